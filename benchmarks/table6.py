"""Detectors on the six ODDS tables, beside table 6 of the Deep SAD paper.

Run as ``python -m benchmarks table6`` with the tables in ``SKDEEPAD_DATA``. Settings:

paper
    60:40 split, 1% of the training set labeled anomalies, unlabeled rows all normal, the paper's
    networks and training. Shallow detectors are those of :mod:`benchmarks.shallow`.
defaults
    The same splits and labels, everyone's defaults.
tenth
    The same, with eight of the paper's networks beside each other and the defaults, but for a tenth
    of the authors' steps (300 epochs of batches of 128, the last incomplete one dropped),
    pretraining included.
user
    70:30 split, all training anomalies left in, 5% of them labeled, everyone's defaults.

In all of them features are standardized by the training rows (brought to [0, 1] for the paper's
SSDGM) and nothing is tuned but what :mod:`benchmarks.shallow` says. Detectors that learn from no
labels are not given the labeled anomalies. Seeds of one detector on one table are trained as one.
"""

from __future__ import annotations

import math

from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from benchmarks import shallow
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Benchmark, Run, fit_and_measure
from skdeepad import (
    AGAD,
    FCDD,
    HSC,
    SSAD,
    SSDGM,
    AutoEncoder,
    DeepClassifier,
    DeepSAD,
    DeepSVDD,
    HybridDetector,
)
from skdeepad.datasets import load_odds, make_partial_labels

TABLES = ("arrhythmia", "cardio", "satellite", "satimage-2", "shuttle", "thyroid")
PAPER_SIZES = dict.fromkeys(TABLES, (32, 16, 8)) | {
    "arrhythmia": (128, 64, 32),
    "thyroid": (32, 16, 4),
}
WITHOUT_LABELS = (DeepSVDD, AutoEncoder)
OURS = (
    DeepSAD,
    HSC,
    FCDD,
    DeepClassifier,
    DeepSVDD,
    AutoEncoder,
    AGAD,
    SSDGM,
    SSAD,
    HybridDetector,
)


def paper_settings(sizes):
    """Return the paper's detectors by name."""
    sizes = {"hidden_layer_sizes": sizes}
    svdd = DeepSVDD.with_paper_settings
    return {
        "DeepSAD": DeepSAD.with_paper_settings(**sizes),
        "DeepSVDD one-class": svdd(**sizes),
        "DeepSVDD soft-boundary 0.01": svdd("soft-boundary", nu=0.01, **sizes),
        "DeepSVDD soft-boundary 0.1": svdd("soft-boundary", nu=0.1, **sizes),
        "AutoEncoder": AutoEncoder.with_paper_settings(**sizes),
        "SSDGM M2": SSDGM.with_paper_settings("M2", **sizes),
        "SSDGM M1+M2": SSDGM.with_paper_settings("M1+M2", **sizes),
        "DeepClassifier": DeepClassifier.with_paper_settings(**sizes),
    }


def tenth_of(authors_steps, sizes, n_train):
    """Return DeepSAD limited to a tenth of that many steps, a third of them for pretraining."""
    budget = authors_steps // 10
    detector = DeepSAD(hidden_layer_sizes=sizes, batch_size=128, pretrain=True)
    fraction = detector.anomaly_fraction or 0.0
    steps_per_epoch = math.ceil(n_train / 128), math.ceil(n_train / (128 - round(fraction * 128)))
    epochs = [
        max(1, int(share * budget / steps))
        for share, steps in zip((1 / 3, 2 / 3), steps_per_epoch, strict=True)
    ]
    return detector.set_params(pretraining__n_epochs=epochs[0], n_epochs=epochs[1])


DEFAULTS = {cls.__name__: cls for cls in OURS}
# Its parts' parameters can be set only where they are given.
DEFAULTS["HybridDetector"] = lambda: HybridDetector(autoencoder=AutoEncoder())
ALONE = (*PEERS, "SSAD", "HybridDetector")
SETTINGS = {
    "paper": (*paper_settings((8,)), *shallow.NAMES),
    "defaults": (*DEFAULTS, *PEERS),
    "tenth": ("DeepSAD",),
    "user": (*DEFAULTS, *PEERS),
}


def make_detector(setting, table, method, n_train):
    if setting == "paper":
        return paper_settings(PAPER_SIZES[table])[method]
    if setting == "tenth":
        return tenth_of(300 * (n_train // 128), PAPER_SIZES[table], n_train)
    return Peer(method) if method in PEERS else DEFAULTS[method]()


def make_task(setting, table, seed, method=""):
    """Split a table, hide labels, standardize; the paper's SSDGM wants features in [0, 1]."""
    X, truth = load_odds(table, return_X_y=True)
    test_size = 0.3 if setting == "user" else 0.4
    X, X_test, truth, truth_test = train_test_split(
        X, truth, test_size=test_size, stratify=truth, random_state=seed
    )
    if setting == "user":
        labels = {"labeled_anomalies": 0.05, "share_of": "each_kind"}
    else:
        labels = {"labeled_anomalies": 0.01, "pollution": 0.0}
    rows, y = make_partial_labels(truth, random_state=seed, **labels)
    bounded = setting == "paper" and method.startswith("SSDGM")
    scaler = (MinMaxScaler(clip=True) if bounded else StandardScaler()).fit(X[rows])
    return scaler.transform(X[rows]), y, scaler.transform(X_test), truth_test


def measure(X_test, truth):
    """Return what judges a fitted detector on the test rows."""

    def measured(detector):
        anomaly_score = detector.anomaly_score(X_test)
        flagged = detector.predict(X_test) == -1
        return {
            "auc": 100 * roc_auc_score(truth < 0, anomaly_score),
            "ap": 100 * average_precision_score(truth < 0, anomaly_score),
            "false_alarms": 100 * float(flagged[truth > 0].mean()),
            "detected": 100 * float(flagged[truth < 0].mean()),
        }

    return measured


def run(tasks, options):
    """Fit one method on one table with several seeds, and judge it on the test rows."""
    setting, table, method = (tasks[0][name] for name in ("setting", "data", "method"))
    made = [make_task(setting, table, task["seed"], method) for task in tasks]
    if method in shallow.NAMES:
        return shallow.run(tasks, *made[0], PAPER_SIZES[table], options)
    runs = []
    for task, (X, y, X_test, truth) in zip(tasks, made, strict=True):
        detector = make_detector(setting, table, method, len(X))
        if isinstance(detector, WITHOUT_LABELS):
            X, y = X[y >= 0], None
        runs.append(Run(detector, task["seed"], X, y, measure(X_test, truth)))
    return fit_and_measure(runs, options)


def together(task):
    """Seeds are trained as one; shallow detectors of a seed share an autoencoder's codes."""
    method, where = task["method"], (task["setting"], task["data"])
    if method in shallow.NAMES:
        return *where, shallow.space(method), task["seed"]
    return *where, method, task["seed"] if method in ALONE else None


def tasks(arguments):
    return [
        {"setting": setting, "data": table, "method": method, "seed": seed}
        for setting in arguments.settings
        for method in SETTINGS[setting]
        if method in arguments.methods
        for table in arguments.data
        for seed in arguments.seeds
    ]


BENCHMARKS = {
    "table6": Benchmark(
        tasks=tasks,
        run=run,
        together=together,
        data=TABLES,
        methods=tuple(dict.fromkeys(method for methods in SETTINGS.values() for method in methods)),
        seeds=10,
        choices={"settings": (tuple(SETTINGS), tuple(SETTINGS))},
        quick={
            "data": ["cardio"],
            "methods": ["DeepSAD", "SSAD hybrid, test", "IF raw, default", "SSAD", *PEERS[3:]],
            "seeds": [0, 1],
        },
    )
}
