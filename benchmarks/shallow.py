"""Shallow detectors on a table, raw and on an autoencoder's codes, tuned in two ways.

They are a part of ``python -m benchmarks table6``, in its setting "paper". Each is run on the
standardized features ("raw") and on the codes of an autoencoder with the paper's settings
("hybrid"), and its hyper-parameters are chosen in two ways:

cv
    Cross-validation on the training rows alone, unlabeled rows spread over the folds, as many
    folds as there are labeled anomalies, at most 5; there the fold's unlabeled rows stand for
    normal ones.
test
    The paper's way, an advantage that no user has: the best AUC on 10% of the test rows.

SSAD chosen the paper's way has its costs of 1 and kappa of 1, the other one the library's defaults.
OneClassSVM's nu is among what is chosen; the paper chose it after the final results. Isolation
forest has nothing to choose. Kernel methods are fitted to 5,000 training rows of shuttle, drawn at
random beside all labeled anomalies, and to all rows of the other tables.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import ParameterGrid, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.svm import OneClassSVM

from benchmarks.running import prepare
from skdeepad import SSAD, AutoEncoder
from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc_score

MOST_ROWS = 5000
GAMMAS = [2.0**power for power in range(-7, 3)]
BANDWIDTHS = [2.0 ** (power / 2) for power in range(1, 11)]
PAPER_COSTS = {
    "unlabeled_cost": 1.0,
    "normal_cost": 1.0,
    "anomaly_cost": 1.0,
    "kappa": 1.0,
    "tol": 1e-4,
}
# Method, and what is chosen for it in either way.
METHODS = {
    "SSAD": {
        "test": (SSAD(**PAPER_COSTS), {"gamma": GAMMAS}),
        "cv": (SSAD(tol=1e-4), {"gamma": GAMMAS[::2], "nu": [0.05, 0.2]}),
    },
    "OC-SVM": {
        "test": (OneClassSVM(), {"gamma": GAMMAS, "nu": [0.01, 0.1, 0.5]}),
        "cv": (OneClassSVM(), {"gamma": GAMMAS[::2], "nu": [0.05, 0.2]}),
    },
    "KDE": {
        "test": (KernelDensity(rtol=1e-3), {"bandwidth": BANDWIDTHS}),
        "cv": (KernelDensity(rtol=1e-3), {"bandwidth": BANDWIDTHS}),
    },
    "IF": {"default": (IsolationForest(), {})},
}
NAMES = {
    f"{method} {where}, {way}": candidates
    for method, ways in METHODS.items()
    for where in ("raw", "hybrid")
    for way, candidates in ways.items()
}


def space(name):
    """Return whether a method is run "raw" or "hybrid"."""
    return name.partition(",")[0].rpartition(" ")[2]


def fit(detector, X, y):
    """Fit to labels if the detector learns from them, else to all but labeled anomalies."""
    return detector.fit(X, y) if isinstance(detector, SSAD) else detector.fit(X[y >= 0])


def few_rows(X, y, rng):
    """Return all labeled anomalies and at most so many other rows that kernel methods can do."""
    if len(X) <= MOST_ROWS:
        return X, y
    others = rng.permutation(np.flatnonzero(y >= 0))[: MOST_ROWS - (y < 0).sum()]
    rows = np.sort(np.r_[others, np.flatnonzero(y < 0)])
    return X[rows], y[rows]


def cross_validated(detector, X, y):
    """Return the mean AUC over folds of the training rows."""
    folds = LabeledStratifiedKFold(
        min(5, int((y < 0).sum())), unlabeled="split", shuffle=True, random_state=0
    )
    aucs = []
    for train, test in folds.split(X, y):
        fitted = fit(clone(detector), X[train], y[train])
        aucs.append(labeled_roc_auc_score(y[test], fitted.score_samples(X[test])))
    return float(np.mean(aucs))


def on_test_rows(detector, X, y, X_part, truth_part):
    return roc_auc_score(truth_part > 0, fit(clone(detector), X, y).score_samples(X_part))


def codes(X, y, X_test, sizes, seed, options):
    """Return what an autoencoder with the paper's settings makes of the rows."""
    coder = AutoEncoder.with_paper_settings(hidden_layer_sizes=sizes)
    prepare(coder, seed, options)
    coder.fit(X[y >= 0])
    return coder.transform(X), coder.transform(X_test)


def run(tasks, X, y, X_test, truth, sizes, options):
    """Return what comes of methods on one table, all raw or all on codes."""
    seed = tasks[0]["seed"]
    if space(tasks[0]["method"]) == "hybrid":
        X, X_test = codes(X, y, X_test, sizes, seed, options)
    part = train_test_split(
        np.arange(len(truth)), test_size=0.1, stratify=truth, random_state=seed
    )[1]
    X, y = few_rows(X, y, np.random.default_rng(seed))
    judges = {
        "test": lambda candidate: on_test_rows(candidate, X, y, X_test[part], truth[part]),
        "cv": lambda candidate: cross_validated(candidate, X, y),
        "default": lambda candidate: 0.0,
    }
    results = []
    for task in tasks:
        start = time.perf_counter()
        detector, grid = NAMES[task["method"]]
        way = task["method"].rpartition(", ")[2]
        candidates = [clone(detector).set_params(**params) for params in ParameterGrid(grid)]
        candidates = candidates[: 2 if options.quick else None]
        for candidate in candidates:
            prepare(candidate, seed, options)
        best = max(candidates, key=judges[way])
        scores = -fit(clone(best), X, y).score_samples(X_test)
        results.append(
            {
                "auc": 100 * roc_auc_score(truth < 0, scores),
                "ap": 100 * average_precision_score(truth < 0, scores),
                "chosen": {parameter: getattr(best, parameter) for parameter in grid},
                "seconds": round(time.perf_counter() - start, 3),
                "device": "cpu",
            }
        )
    return results
