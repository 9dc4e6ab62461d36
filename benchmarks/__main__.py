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
mnistc
    Relevance maps of corrupted digits.
text
    Newsgroups, one of them normal.
text_labels
    The same with labeled texts of one other.
explain
    Columns that were moved, found by explanations.
defaults
    Everyone's defaults on 44 stand-in tables, and how ours were chosen.
speed
    Seconds to fit and to score by number of rows.
report
    Tables and plots of all results, for the pages in docs/evidence.

Results are appended to ``benchmarks/results/NAME.jsonl`` as they come, with versions, seed, device
and commit; what is there already is not run again. ``--quick`` runs a little of everything, of one
benchmark or of all, and does not add to these. ``python -m benchmarks NAME --help`` tells what can
be chosen. Measurements of another form have scripts of their own: ``overhead``, ``stacked``,
``gpu``, ``ssad``, ``standins``, ``check_estimators``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.peers import PEERS, is_installed
from benchmarks.running import QUICK, RESULTS, Options, load, run_missing

MODULES = {
    "table6": "table6",
    "mnist": "scenarios",
    "fmnist": "scenarios",
    "cifar10": "scenarios",
    "oe": "exposure",
    "agad": "agad",
    "defects": "defects",
    "mnistc": "explain_mnistc",
    "text": "text",
    "text_labels": "text",
    "explain": "explain",
    "defaults": "defaults",
    "speed": "speed",
}
SCRIPTS = ("report", "overhead", "stacked", "gpu", "ssad", "standins", "check_estimators")


def seeds(text):
    """Read "5" as seeds 0 to 4, and "2,7" as these two."""
    if "," in text:
        return [int(part) for part in text.split(",") if part]
    if int(text) < 1:
        raise argparse.ArgumentTypeError("expected a number of seeds, or a list such as 0,3")
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
    parser.add_argument("--quick", action="store_true", help="a little of it, and begin anew")
    parser.add_argument("--results", type=Path, help="a file of JSON lines to append to")
    arguments = parser.parse_args(given)
    there = [name for name in benchmark.methods if name not in PEERS or is_installed(name)]
    absent = [name for name in arguments.methods or () if name not in there]
    if absent:
        parser.error(f"{', '.join(absent)}: needs PyOD, as in pip install -e '.[benchmarks]'")
    fallback = {
        "results": RESULTS / f"{name}.jsonl",
        "data": benchmark.data,
        "methods": there,
        "seeds": range(benchmark.seeds),
        **{option: default for option, (_, default) in benchmark.choices.items()},
    }
    if arguments.quick:
        fallback |= {"results": QUICK / f"{name}.jsonl"} | benchmark.quick
    for option, value in fallback.items():
        if getattr(arguments, option) is None:
            setattr(arguments, option, value)
    arguments.methods = [method for method in arguments.methods if method in there]
    return arguments


def run(name, given):
    """Run a benchmark; return how many of its runs failed."""
    benchmark = importlib.import_module(f"benchmarks.{MODULES[name]}").BENCHMARKS[name]
    arguments = parse(name, benchmark, given)
    options = Options(arguments.device, arguments.quick)
    if arguments.results.parent == QUICK:
        arguments.results.unlink(missing_ok=True)
    try:
        tasks = benchmark.tasks(arguments)
        if not tasks:
            raise SystemExit(f"{name}: there is nothing to run for these options.")
        failed = run_missing(benchmark, tasks, options, arguments.results, arguments.n_jobs)
    except FileNotFoundError as error:
        raise SystemExit(f"{name}: {error}") from error
    print(f"{name}: {len(load(arguments.results))} results in {arguments.results}")
    return len(failed)


def main():
    name, *given = sys.argv[1:] or ["--help"]
    if name == "--quick":
        failed = sum(run(each, ["--quick", *given]) for each in MODULES)
        raise SystemExit(f"{failed} runs failed." if failed else None)
    if name in MODULES:
        failed = run(name, given)
        raise SystemExit(f"{failed} runs failed." if failed else None)
    if name in SCRIPTS:
        sys.argv = [f"python -m benchmarks {name}", *given]
        importlib.import_module(f"benchmarks.{name}").main()
    else:
        print(__doc__)
        if name not in ("-h", "--help"):
            raise SystemExit(f"There is no benchmark {name!r}: choose from those above.")


if __name__ == "__main__":
    main()
