"""Run a benchmark, or lay out results: ``python -m benchmarks NAME``.

table6
    Detectors and peers on the six tables of the Deep SAD paper.
mnist, fmnist, cifar10
    One class of images against the others: scenarios (i) to (iii) of the paper.
oe
    The same with auxiliary images as anomalies.
agad
    AGAD on images, epoch by epoch.
defects
    Heat maps of magnetic tiles.
defaults
    Everyone's defaults on 44 stand-in tables, and how ours were chosen.
speed
    Seconds to fit and to score by number of rows.
report
    Tables and plots of all results, for the pages in docs/evidence.

Results are appended to ``benchmarks/results/NAME.jsonl`` as they come, with versions, seed, device
and commit; what is there already is not run again. ``--quick`` runs a little of everything, of one
benchmark or of all, and keeps no results. ``python -m benchmarks NAME --help`` tells what can be
chosen. Measurements of another form have scripts of their own: ``overhead``, ``stacked``, ``gpu``,
``ssad``, ``check_estimators``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.running import QUICK, RESULTS, Options, load, run_missing

MODULES = {
    "table6": "table6",
    "mnist": "scenarios",
    "fmnist": "scenarios",
    "cifar10": "scenarios",
    "oe": "exposure",
    "agad": "agad",
    "defects": "defects",
    "defaults": "defaults",
    "speed": "speed",
}
SCRIPTS = ("report", "overhead", "stacked", "gpu", "ssad", "check_estimators")


def seeds(text):
    """Read "5" as seeds 0 to 4, and "2,7" as these two."""
    if "," in text:
        return [int(part) for part in text.split(",") if part]
    return list(range(int(text)))


def parse(name, benchmark, given):
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=sys.modules[f"benchmarks.{MODULES[name]}"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", choices=benchmark.data)
    parser.add_argument("--methods", nargs="+", choices=benchmark.methods)
    parser.add_argument("--seeds", type=seeds, help="how many, or a list: 0,3,4")
    for option, (choices, _) in benchmark.choices.items():
        parser.add_argument(f"--{option}", nargs="+", choices=choices)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--n-jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="a little of it, kept nowhere")
    parser.add_argument("--results", type=Path, default=RESULTS / f"{name}.jsonl")
    arguments = parser.parse_args(given)
    fallback = {
        "data": benchmark.data,
        "methods": benchmark.methods,
        "seeds": range(benchmark.seeds),
        **{option: default for option, (_, default) in benchmark.choices.items()},
    }
    if arguments.quick:
        fallback |= benchmark.quick
        arguments.results = QUICK / f"{name}.jsonl"
        arguments.results.unlink(missing_ok=True)
    for option, value in fallback.items():
        if getattr(arguments, option) is None:
            setattr(arguments, option, value)
    return arguments


def run(name, given):
    benchmark = importlib.import_module(f"benchmarks.{MODULES[name]}").BENCHMARKS[name]
    arguments = parse(name, benchmark, given)
    tasks = benchmark.tasks(arguments)
    if not tasks:
        raise SystemExit(f"{name}: no run is both among these methods and among these settings.")
    options = Options(arguments.device, arguments.quick)
    run_missing(benchmark, tasks, options, arguments.results, arguments.n_jobs)
    print(f"{name}: {len(load(arguments.results))} results in {arguments.results.name}")


def main():
    name, *given = sys.argv[1:] or ["--help"]
    if name == "--quick":
        for each in MODULES:
            run(each, ["--quick", *given])
    elif name in MODULES:
        run(name, given)
    elif name in SCRIPTS:
        sys.argv = [f"python -m benchmarks {name}", *given]
        importlib.import_module(f"benchmarks.{name}").main()
    else:
        print(__doc__)
        if name not in ("-h", "--help"):
            raise SystemExit(f"There is no benchmark {name!r}: choose from those above.")


if __name__ == "__main__":
    main()
