"""How defaults were chosen, and how they do in a user's setting.

Run as ``python -m benchmarks.defaults``, with what :mod:`benchmarks.standins` needs. Results are
appended to ``benchmarks/results/defaults.jsonl`` as they come, and what is there already is not run
again: after a change of the defaults, start with a new file. At the end, or at once with
``--report``, ``benchmarks/results/defaults.rst`` is written from them.

Each stand-in table is split 70:30, stratified, and standardized by its training rows. All training
anomalies are left in; 5% of them, at least one, are labeled, and all other rows are unlabeled.
Nothing is tuned on any table. Configurations are

``default``
    ``DeepSAD()``.
``parameter=value``
    The same with this one change; those that are the default already are left out. ``steps=0.5x``
    trains for half of the steps that ``n_epochs="auto"`` aims at, in whole epochs and for at least
    one: on tables of many rows this may be the default again.
``AGAD``, ``SSDGM``
    These detectors, or the same with one change, written as above.
``IsolationForest``
    Without labels.
``RandomForest``, ``HistGradientBoosting``
    Classifiers of the labeled anomalies against all other rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.base import is_classifier
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import skdeepad
from benchmarks import standins
from benchmarks.running import RESULTS, load, run_missing, table_rst
from skdeepad import AGAD, SSDGM, DeepSAD
from skdeepad.datasets import make_partial_labels
from skdeepad.engine import Sampler

# "steps" is no parameter: a factor on the steps of the main stage, see make_detector.
CHANGES = {
    "eta=3": {"eta": 3.0},
    "eta=10": {"eta": 10.0},
    "anomaly_fraction=None": {"anomaly_fraction": None},
    "anomaly_fraction=0.1": {"anomaly_fraction": 0.1},
    "anomaly_fraction=0.25": {"anomaly_fraction": 0.25},
    "anomaly_fraction=0.5": {"anomaly_fraction": 0.5},
    "n_branches=1": {"n_branches": 1},
    "n_branches=4": {"n_branches": 4},
    "n_branches=16": {"n_branches": 16},
    "hidden=32-16-8": {"hidden_layer_sizes": (32, 16, 8)},
    "hidden=256-128-64": {"hidden_layer_sizes": (256, 128, 64)},
    "squash=None": {"squash": None},
    "squash=4": {"squash": 4.0},
    "input_noise=0": {"input_noise": 0.0},
    "input_noise=0.5": {"input_noise": 0.5},
    "pretrain=False": {"pretrain": False},
    "pretrain=True": {"pretrain": True},
    "steps=0.5x": {"steps": 0.5},
    "steps=2x": {"steps": 2},
    "steps=5x": {"steps": 5},
    "lr=1e-4": {"lr": 1e-4},
    "lr=3e-4": {"lr": 3e-4},
    "lr=3e-3": {"lr": 3e-3},
    "lr_schedule=cosine": {"lr_schedule": "cosine"},
    "batch_size=64": {"batch_size": 64},
    "batch_size=256": {"batch_size": 256},
    "weight_decay=0": {"weight_decay": 0.0},
    "weight_decay=1e-2": {"weight_decay": 1e-2},
}
DEFAULTS = DeepSAD().get_params() | {"steps": 1}
if DEFAULTS["pretrain"] == "auto":
    DEFAULTS["pretrain"] = True  # what it means for tables
CHANGES = {
    name: changes
    for name, changes in CHANGES.items()
    if any(DEFAULTS[parameter] != value for parameter, value in changes.items())
}
DETECTORS = {
    **{name: (DeepSAD, changes) for name, changes in {"default": {}, **CHANGES}.items()},
    "AGAD": (AGAD, {}),
    "AGAD steps=2x": (AGAD, {"steps": 2}),
    "AGAD steps=5x": (AGAD, {"steps": 5}),
    "AGAD contextual_adversarial=0": (AGAD, {"contextual_adversarial": 0.0}),
    "AGAD contextual_adversarial=5": (AGAD, {"contextual_adversarial": 5.0}),
    "SSDGM": (SSDGM, {}),
    "SSDGM alpha=0.1": (SSDGM, {"alpha": 0.1}),
    "SSDGM alpha=10": (SSDGM, {"alpha": 10.0}),
    "SSDGM alpha=100": (SSDGM, {"alpha": 100.0}),
    "SSDGM prior=0.5": (SSDGM, {"prior": 0.5}),
    "SSDGM M1+M2": (SSDGM, {"model": "M1+M2"}),
    "SSDGM anomaly_fraction=None": (SSDGM, {"anomaly_fraction": None}),
}
OTHERS = {
    "IsolationForest": IsolationForest,
    "RandomForest": RandomForestClassifier,
    "HistGradientBoosting": HistGradientBoostingClassifier,
}
CONFIGS = (*DETECTORS, *OTHERS)


def make_detector(config, y):
    """Return the detector or classifier of a configuration, for training rows with labels y."""
    if config in OTHERS:
        return OTHERS[config]()
    cls, changes = DETECTORS[config]
    factor = changes.get("steps")
    detector = cls(**{name: value for name, value in changes.items() if name != "steps"})
    if factor is not None:
        sampler = Sampler(torch.from_numpy(y), detector.batch_size, detector.anomaly_fraction)
        steps = factor * cls._auto_steps
        detector.set_params(n_epochs=max(1, round(steps / sampler.steps)))
    return detector


def make_task(table, seed):
    """Split a table, hide most labels, standardize."""
    X, truth = standins.load(table)
    X, X_test, truth, truth_test = train_test_split(
        X, truth, test_size=0.3, stratify=truth, random_state=seed
    )
    _, y = make_partial_labels(
        truth, labeled_anomalies=0.05, share_of="each_kind", random_state=seed
    )
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), y, scaler.transform(X_test), truth_test


def run(config, table, seed):
    """Fit one configuration to one table and judge it on the test rows."""
    torch.set_num_threads(1)
    X, y, X_test, truth = make_task(table, seed)
    detector = make_detector(config, y).set_params(random_state=seed)
    classifies = is_classifier(detector)
    start = time.perf_counter()
    detector.fit(X, np.where(y < 0, -1, 1) if classifies else y)
    seconds = time.perf_counter() - start
    if classifies:
        anomaly_score = detector.predict_proba(X_test)[:, 0]  # classes are -1 and 1
    else:
        anomaly_score = -detector.score_samples(X_test)
    flagged = detector.predict(X_test) == -1
    return {
        "config": config,
        "data": table,
        "seed": seed,
        "auc": 100 * roc_auc_score(truth < 0, anomaly_score),
        "ap": 100 * average_precision_score(truth < 0, anomaly_score),
        "false_alarms": 100 * float(flagged[truth > 0].mean()),
        "detected": 100 * float(flagged[truth < 0].mean()),
        "seconds": round(seconds, 2),
        "versions": f"skdeepad {skdeepad.__version__}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}",
    }


def key(result):
    return result["config"], result["data"], result["seed"]


def run_all(configs, tables, seeds, n_jobs, path):
    tasks = [
        (config, table, seed) for seed in range(seeds) for table in tables for config in configs
    ]
    done = {key(result) for result in load(path)}
    for table in dict.fromkeys(task[1] for task in tasks if task not in done):
        standins.load(table)  # built once, here, and not by several jobs
    run_missing(run, tasks, key, path, n_jobs)


def table_means(results, config, field, seeds=None):
    """Return the mean over seeds for each table; ``seeds`` limits them to (table, seed) pairs."""
    values = {}
    for result in results:
        pair = result["data"], result["seed"]
        if result["config"] == config and (seeds is None or pair in seeds):
            values.setdefault(result["data"], []).append(result[field])
    return {table: np.mean(value) for table, value in values.items()}


def differences(results, config, field):
    """Return configuration minus default for each table, over the seeds that both have."""
    runs = {
        name: {(result["data"], result["seed"]) for result in results if result["config"] == name}
        for name in (config, "default")
    }
    both = runs[config] & runs["default"]
    changed = table_means(results, config, field, both)
    default = table_means(results, "default", field, both)
    return np.array([changed[table] - default[table] for table in changed])


def with_error(values):
    """Lay out a mean over tables with its standard error."""
    if not len(values):
        return ""
    mean = f"{np.mean(values):+.1f}"
    if len(values) < 2:
        return mean
    return f"{mean}±{np.std(values, ddof=1) / np.sqrt(len(values)):.1f}"


def section(title, table):
    return f"{title}\n{'-' * len(title)}\n\n{table}"


def report(path):
    """Write means over tables, differences to the default, and means by group."""
    results = load(path)
    configs = list(dict.fromkeys(result["config"] for result in results))
    configs.sort(key=lambda config: CONFIGS.index(config) if config in CONFIGS else len(CONFIGS))
    tables = {result["data"] for result in results}
    n_seeds = len({result["seed"] for result in results})
    rows = []
    for config in configs:
        means = {
            field: table_means(results, config, field)
            for field in ("auc", "ap", "false_alarms", "seconds")
        }
        row = [config, len(means["auc"])]
        for field in ("auc", "ap"):
            row.append(f"{np.mean(list(means[field].values())):.1f}")
            is_default = config == "default"
            row.append("" if is_default else with_error(differences(results, config, field)))
        row += [f"{np.mean(list(means[field].values())):.1f}" for field in list(means)[2:]]
        rows.append(row)
    header = ["", "tables", "AUC", "against default", "AP", "against default"]
    header += ["% flagged", "seconds"]
    parts = [
        "Made by ``python -m benchmarks.defaults --report`` from ``defaults.jsonl``.",
        f"{len(tables)} stand-in tables, {n_seeds} seeds. AUC and average precision (AP) in %, "
        "means over tables. Differences are paired: the mean over tables of configuration minus "
        "``default`` ± its standard error. Flagged: share of new normal rows beyond the default "
        "threshold.",
        section("All tables", table_rst(header, rows)),
    ]
    groups = {standins.group(table): [] for table in standins.names() if table in tables}
    for table in tables:
        groups[standins.group(table)].append(table)
    header = ["", *(f"{group} ({len(members)})" for group, members in groups.items())]
    for field, name in (("auc", "AUC"), ("ap", "Average precision")):
        rows = []
        for config in configs:
            means = table_means(results, config, field)
            by_group = [
                [means[table] for table in members if table in means] for members in groups.values()
            ]
            rows.append([config, *(f"{np.mean(of):.1f}" if of else "" for of in by_group)])
        parts.append(section(f"{name} by group of tables", table_rst(header, rows)))
    path.with_suffix(".rst").write_text("\n\n".join(parts) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=CONFIGS, choices=CONFIGS)
    tables = standins.names()
    parser.add_argument("--tables", nargs="+", default=tables, choices=tables)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS / "defaults.jsonl")
    parser.add_argument("--report", action="store_true", help="write the tables, run nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        run_all(
            arguments.configs,
            arguments.tables,
            arguments.seeds,
            arguments.n_jobs,
            arguments.results,
        )
    report(arguments.results)


if __name__ == "__main__":
    main()
