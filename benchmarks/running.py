"""What the benchmarks share: their runs, results appended as they come, and what made them."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import subprocess
import time
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import joblib
import torch
from threadpoolctl import threadpool_limits

from skdeepad import Pretraining
from skdeepad.engine import resolve_device
from skdeepad.stacking import Fit, fit_together, why_not_stacked

RESULTS = Path(__file__).parent / "results"
QUICK = Path(__file__).parent / ".cache" / "quick"
PACKAGES = ("skdeepad", "torch", "scikit-learn", "numpy", "pyod")


class Options(NamedTuple):
    """How runs are made, beside what they are."""

    device: str = "auto"
    quick: bool = False


@dataclass(frozen=True)
class Benchmark:
    """Methods on data sets over seeds.

    Parameters
    ----------
    tasks : callable
        Of the parsed arguments: the runs, as dicts of what tells one from another. Each has a
        ``data``, a ``method`` and a ``seed``.
    run : callable
        Of tasks that are run together and the options: what was measured, a dict for each.
    data, methods : tuples of str
        What can be chosen.
    seeds : int
        How many seeds, 0 and up.
    together : callable
        Of a task: what is equal for those that are run together. By default each is run alone.
    choices : dict
        More command-line options: what can be chosen from, and what is by default.
    quick : dict
        Arguments of the quick run.
    """

    tasks: Callable
    run: Callable
    data: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    together: Callable[[dict], Hashable] = lambda task: tuple(task.values())
    choices: dict = field(default_factory=dict)
    quick: dict = field(default_factory=dict)


def load(path):
    """Return the results in a file of JSON lines, but for a last line that is not complete."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def mend(path):
    """Drop a last line that was cut off: what is appended would make one line with it."""
    text = path.read_text() if path.exists() else ""
    whole, end, cut_off = text.rpartition("\n")
    if cut_off:
        print(f"{path}: the last line is not complete and is dropped.")
        path.write_text(whole + end)


def missing(tasks, results):
    """Return the tasks that no result belongs to."""
    tasks = list(tasks)
    names = list(tasks[0]) if tasks else []
    done = {tuple(result.get(name) for name in names) for result in results}
    return [task for task in tasks if tuple(task.values()) not in done]


@functools.cache
def made_with():
    """Return commit and versions; a commit ends in "+" if the code was changed since."""
    root = Path(__file__).parents[1]

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "skdeepad", "benchmarks/*.py")
        commit = git("rev-parse", "--short=9", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        commit = None
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"commit": commit, "versions": versions}


def run_missing(benchmark, tasks, options, path, n_jobs):
    """Run those tasks that have no result yet, append what comes of them, return what failed."""
    code = made_with()  # what is loaded, not what is there at the end
    mend(path)
    tasks = missing(tasks, load(path))
    groups = {}
    for task in tasks:
        groups.setdefault(benchmark.together(task), []).append(task)
    done, failed, start = 0, [], time.perf_counter()
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
    path.parent.mkdir(parents=True, exist_ok=True)
    for group, results, error in parallel(
        joblib.delayed(run_group)(benchmark.run, group, options) for group in groups.values()
    ):
        with path.open("a") as file:
            file.writelines(json.dumps(result | code) + "\n" for result in results)
        done += len(group)
        left = (time.perf_counter() - start) / done * (len(tasks) - done)
        for result in results:
            told = tell(group[0], result)
            print(f"{done}/{len(tasks)} {told}; {left / 60:.0f} min left", flush=True)
        if error:
            failed += group
            print(f"{done}/{len(tasks)} failed: {group}\n{error}", flush=True)
    return failed


def run_group(run, tasks, options):
    """Run some tasks in one thread, as processes share the cores.

    Returns the tasks, tasks and measures as results, and a traceback or None.
    """
    on_cpu = resolve_device(options.device).type == "cpu"
    n_threads = torch.get_num_threads()
    if on_cpu:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1 if on_cpu else None):
            measured = run(tasks, options)
    except FileNotFoundError:  # it would be missing for all of them
        raise
    except Exception:
        return tasks, [], traceback.format_exc()
    finally:
        torch.set_num_threads(n_threads)
    return tasks, [task | of for task, of in zip(tasks, measured, strict=True)], None


def tell(task, result):
    """Lay out a result in a line."""
    names = [str(result[name]) for name in task]
    figures = f"{result['auc']:.1f} " if "auc" in result else ""
    return f"{' '.join(names)}: {figures}({result['seconds']:.1f} s)"


class Run(NamedTuple):
    """A detector, its training rows, and what is to be measured once it is fitted."""

    estimator: object
    seed: int
    X: object
    y: object
    measure: Callable


def fit_and_measure(runs, options):
    """Fit detectors, those that are alike as one, and return what is measured of each.

    Seconds to fit are a detector's own, or its share of its stack's.
    """
    for run in runs:
        prepare(run.estimator, run.seed, options)
    fits = [Fit(run.estimator, run.X, run.y) for run in runs]
    fit_together(fits)
    for fit in fits:
        if fit.error is not None:
            raise fit.error
    alone = [bool(fit.why_alone or why_not_stacked(fit.estimator)) for fit in fits]
    return [
        {
            **run.measure(fit.estimator),
            "seconds": round(fit.seconds, 3),
            "stacked": 1 if by_itself else alone.count(False),
            "device": device_of(fit.estimator),
        }
        for run, fit, by_itself in zip(runs, fits, alone, strict=True)
    ]


def device_of(fitted):
    """Return where a detector, or its autoencoder, was trained."""
    return str(getattr(getattr(fitted, "autoencoder_", fitted), "device_", "cpu"))


def prepare(estimator, seed, options):
    """Set seed and device where there are such, and train for next to nothing if it is quick."""
    wanted = {"random_state": seed, "device": options.device}
    if options.quick:
        wanted |= {"n_epochs": 2, "pretraining": Pretraining(n_epochs=1), "quick": True}
    parameters = {name: wanted.get(name.rpartition("__")[2]) for name in estimator.get_params()}
    estimator.set_params(**{name: v for name, v in parameters.items() if v is not None})
