"""Scenarios (i) to (iii) of the Deep SAD paper: one class of images against the other nine.

Run as ``python -m benchmarks mnist``, ``fmnist`` or ``cifar10`` with the data in ``SKDEEPAD_DATA``.

i
    A share of the training images are labeled anomalies of one class (gamma_l, from 0 to 0.2).
ii
    5% of them are, and unlabeled anomalies of all nine pollute the others (gamma_p, from 0 to 0.2).
iii
    5% are of several classes (k_l, from 0 to 5), the pollution is 10%.

A run is told by these three figures, so that scenarios share those that they have in common. The
classes of the labeled anomalies follow each other, the normal one left out: with seed s the first
is the one s + 1 after the normal class. The paper draws them for (iii), in 100 trainings. All are
judged on the same test images. Pixels lie in [0, 1]. Detectors that learn from no labels are not
given the labeled anomalies, and are run with one gamma_l only. Sizes:

small
    For a CPU: 1,000 normal images, 2,000 test images, LeNets of few filters, about 160 steps of 64
    images at a rate that falls along a cosine, after the pretraining that is the default. Kernel
    methods, forests and neighbors are given the same images, and nobody's parameters are tuned.
full
    For a GPU: all classes and images, the paper's networks and training; seeds 0 to 8 are the
    paper's 90 trainings of (i) and (ii).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.images import read, some
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Benchmark, Run, fit_and_measure
from skdeepad import SSAD, SSDGM, AutoEncoder, DeepClassifier, DeepSAD, DeepSVDD, HybridDetector
from skdeepad.networks import LeNet

SHARES = (0.0, 0.01, 0.05, 0.1, 0.2)
KNOWN_CLASSES = (0, 1, 2, 3, 5)
ROWS = {"small": (1000, 2000), "full": (None, None), "quick": (64, 200)}
# Filters and dense layers.
NETWORKS = {
    "mnist": {"small": ((8, 4), (32,)), "full": ((8, 4), (32,))},
    "fmnist": {"small": ((8, 16), (64, 32)), "full": ((16, 32), (64, 32))},
    "cifar10": {"small": ((8, 16, 32), (64,)), "full": ((32, 64, 128), (128,))},
}
DEEP = {
    "DeepSAD": DeepSAD,
    "DeepClassifier": DeepClassifier,
    "SSDGM": SSDGM,
    "DeepSVDD": DeepSVDD,
    "AutoEncoder": AutoEncoder,
}
WITH_BIAS = (DeepClassifier, SSDGM)
METHODS = (*DEEP, "SSAD", "SSAD hybrid", "OC-SVM hybrid", *PEERS)
NEEDS_ANOMALIES = ("DeepClassifier", "RandomForest", "SSDGM")
WITHOUT_LABELS = ("DeepSVDD", "AutoEncoder", "OC-SVM hybrid", *PEERS)
WITHOUT_LABELS = tuple(name for name in WITHOUT_LABELS if name != "RandomForest")


def points(scenarios):
    """Return what the scenarios consist of: gamma_l, gamma_p and k_l."""
    of = {
        "i": [(share, 0.0, 1 if share else 0) for share in SHARES],
        "ii": [(0.05, share, 1) for share in SHARES],
        "iii": [(0.05 if k else 0.0, 0.1, k) for k in KNOWN_CLASSES],
    }
    return list(dict.fromkeys(point for name in scenarios for point in of[name]))


def make_task(task):
    """Return training images and labels, test images, and which of these are anomalies."""
    rng = np.random.default_rng(task["seed"])
    X, labels, X_test, test_labels = read(task["data"])
    n, n_test = ROWS[task["size"]]
    own = some(np.flatnonzero(labels == task["normal"]), n, rng)
    hidden = np.flatnonzero(labels != task["normal"])
    hidden = rng.choice(hidden, count(task["polluted"], len(own)), replace=False)
    kinds = (task["normal"] + 1 + (task["seed"] + np.arange(task["classes"])) % 9) % 10
    n_known = count(task["labeled"], len(own) + len(hidden))
    # As many of each class as of the others, one more or less.
    sizes = [len(part) for part in np.array_split(np.arange(n_known), max(1, len(kinds)))]
    known = [
        rng.choice(np.setdiff1d(np.flatnonzero(labels == kind), hidden), size, replace=False)
        for kind, size in zip(kinds, sizes, strict=False)
    ]
    rows = np.concatenate([own, hidden, *known]).astype(int)
    chosen = some(np.arange(len(X_test)), n_test, np.random.default_rng(task["seed"]))
    X, X_test = (part.astype(np.float32) / 255 for part in (X[rows], X_test[chosen]))
    y = np.repeat([0, -1], [len(own) + len(hidden), n_known])
    return X, y, X_test, test_labels[chosen] != task["normal"]


def count(share, others):
    """Return how many rows make up that share beside so many others."""
    return round(share / (1 - share) * others)


def make_detector(size, data, method, n_rows, with_anomalies):
    """Return a detector of images, or of flat rows, for so many rows but labeled anomalies."""
    if method in PEERS:
        return Peer(method)
    if method == "SSAD":
        return SSAD()
    cls = DEEP.get(method, AutoEncoder)
    filters, dense = NETWORKS[data]["full" if size == "full" else "small"]
    network = partial(LeNet, filters=filters, dense=dense, bias=cls in WITH_BIAS)
    if size == "full":
        detector = cls.with_paper_settings(network=network)
    else:
        # Labeled anomalies have half of each batch to themselves.
        epochs = round(160 * (32 if with_anomalies else 64) / n_rows)
        detector = cls(network=network, n_epochs=epochs, batch_size=64, lr_schedule="cosine")
    if method.endswith("hybrid"):
        return HybridDetector(SSAD() if method.startswith("SSAD") else None, detector)
    return detector


def run(tasks, options):
    """Train a method at one point with several seeds and judge it on the test images."""
    runs = []
    for task in tasks:
        X, y, X_test, anomalous = make_task(task)
        method = task["method"]
        if method in WITHOUT_LABELS:
            X, y = X[y == 0], None
        if method == "SSAD":
            X, X_test = X.reshape(len(X), -1), X_test.reshape(len(X_test), -1)

        def measure(detector, X_test=X_test, anomalous=anomalous):
            return {"auc": 100 * roc_auc_score(anomalous, detector.anomaly_score(X_test))}

        n_known = 0 if y is None else int((y < 0).sum())
        detector = make_detector(
            task["size"],
            task["data"],
            method,
            len(X) - n_known,
            with_anomalies=n_known > 0 and method in DEEP,
        )
        runs.append(Run(detector, task["seed"], X, y, measure))
    return fit_and_measure(runs, options)


def together(task):
    """Seeds are trained as one on a GPU; on a CPU networks of images gain nothing by that."""
    return tuple(v for name, v in task.items() if name != "seed" or task["size"] != "full")


def tasks(data, arguments):
    """Return what is to be run; without labels, points may be the same or have nothing to learn."""
    found = {}
    for size in arguments.sizes:
        for seed in arguments.seeds:
            for method in arguments.methods:
                for labeled, polluted, classes in points(arguments.scenarios):
                    if method in NEEDS_ANOMALIES and not labeled:
                        continue
                    if method in WITHOUT_LABELS:
                        labeled, classes = 0.0, 0
                    for normal in map(int, arguments.normal):
                        task = {
                            "size": size,
                            "data": data,
                            "method": method,
                            "normal": normal,
                            "labeled": labeled,
                            "polluted": polluted,
                            "classes": classes,
                            "seed": seed,
                        }
                        found[tuple(task.values())] = task
    return list(found.values())


BENCHMARKS = {
    data: Benchmark(
        tasks=partial(tasks, data),
        run=run,
        together=together,
        data=(data,),
        methods=METHODS,
        seeds=9,
        choices={
            "sizes": (("small", "full"), ("small",)),
            "scenarios": (("i", "ii", "iii"), ("i", "ii", "iii")),
            "normal": (tuple("0123456789"), tuple("0123456789")),
        },
        quick={
            "sizes": ["quick"],
            "scenarios": ["i"],
            "normal": ["0"],
            "seeds": [0],
            "methods": ["DeepSAD", "SSAD hybrid", "OneClassSVM"],
        },
    )
    for data in NETWORKS
}
