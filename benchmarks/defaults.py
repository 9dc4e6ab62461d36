"""How defaults were chosen, and how everyone's defaults do in a user's setting.

Run as ``python -m benchmarks defaults``, with what :mod:`benchmarks.standins` needs. Each stand-in
table is split 70:30, stratified, and standardized by its training rows. All training anomalies are
left in; 5% of them, at least one, are labeled, and all other rows are unlabeled. Nothing is tuned
on any table. After a change of the defaults, start with a new file of results. Methods are

``DeepSAD``, ``HSC``, ...
    The detectors of this package and their peers, as in :mod:`benchmarks.table6`.
``parameter=value``
    ``DeepSAD`` with this one change; those that are the default already are left out.
    ``steps=0.5x`` trains for half of the steps that ``n_epochs="auto"`` aims at, in whole epochs
    and for at least one: on tables of many rows this may be the default again.
``AGAD parameter=value``, ``SSDGM parameter=value``
    These detectors with one change.
"""

from __future__ import annotations

import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks import standins, table6
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Benchmark, Run, fit_and_measure
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
    DEFAULTS["pretrain"] = False  # what it means for tables
if DEFAULTS["input_noise"] == "auto":
    DEFAULTS["input_noise"] = 0.5
CHANGES = {
    name: changes
    for name, changes in CHANGES.items()
    if any(DEFAULTS[parameter] != value for parameter, value in changes.items())
}
VARIANTS = {
    **{name: (DeepSAD, changes) for name, changes in CHANGES.items()},
    "AGAD average=False": (AGAD, {"average": False}),
    "AGAD steps=2x": (AGAD, {"steps": 2}),
    "AGAD steps=5x": (AGAD, {"steps": 5}),
    "AGAD contextual_adversarial=0": (AGAD, {"contextual_adversarial": 0.0}),
    "AGAD contextual_adversarial=5": (AGAD, {"contextual_adversarial": 5.0}),
    "SSDGM alpha=0.1": (SSDGM, {"alpha": 0.1}),
    "SSDGM alpha=10": (SSDGM, {"alpha": 10.0}),
    "SSDGM alpha=100": (SSDGM, {"alpha": 100.0}),
    "SSDGM prior=0.5": (SSDGM, {"prior": 0.5}),
    "SSDGM M1+M2": (SSDGM, {"model": "M1+M2"}),
    "SSDGM anomaly_fraction=None": (SSDGM, {"anomaly_fraction": None}),
}
METHODS = (*table6.DEFAULTS, *PEERS, *VARIANTS)


def make_detector(method, y):
    """Return the detector of a configuration, for training rows with labels y."""
    if method in PEERS:
        return Peer(method)
    if method in table6.DEFAULTS:
        return table6.DEFAULTS[method]()
    cls, changes = VARIANTS[method]
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


def run(tasks, options):
    """Fit one configuration to one table with several seeds and judge it on the test rows."""
    runs = []
    for task in tasks:
        X, y, X_test, truth = make_task(task["data"], task["seed"])
        detector = make_detector(task["method"], y)
        if isinstance(detector, table6.WITHOUT_LABELS):
            X, y = X[y >= 0], None
        runs.append(Run(detector, task["seed"], X, y, table6.measure(X_test, truth)))
    return fit_and_measure(runs, options)


def tasks(arguments):
    return [
        {"data": table, "method": method, "seed": seed}
        for table in arguments.data
        for method in arguments.methods
        for seed in arguments.seeds
    ]


BENCHMARKS = {
    "defaults": Benchmark(
        tasks=tasks,
        run=run,
        together=lambda task: (task["data"], task["method"]),
        data=tuple(standins.names()),
        methods=METHODS,
        seeds=3,
        quick={"data": [standins.names()[0]], "methods": ["DeepSAD", "AGAD"], "seeds": [0]},
    )
}
