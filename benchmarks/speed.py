"""Seconds to fit and to score by number of rows, everyone's defaults.

Run as ``python -m benchmarks speed`` with shuttle in ``SKDEEPAD_DATA``. Rows of shuttle are drawn
at random, 1% of them labeled anomalies, 5% hidden ones, standardized; scores are those of 5,000
others. Each is fitted alone, on a CPU in one thread. Kernel methods and neighbors, whose time grows
with the square of the number of rows, stop at 10,000.

Times of a training step against a bare loop are measured by ``python -m benchmarks overhead``,
those of stacks by ``stacked``, of SSAD against other solvers by ``ssad``, of a GPU by ``gpu``.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.peers import PEERS
from benchmarks.running import Benchmark, Run, fit_and_measure
from benchmarks.table6 import DEFAULTS, WITHOUT_LABELS, make_detector
from skdeepad.datasets import load_odds
from skdeepad.engine import resolve_device

SIZES = (500, 2000, 10000, 30000)
SQUARE = ("SSAD", "OneClassSVM", "LocalOutlierFactor", "HybridDetector")


def make_task(n, seed):
    """Return rows and labels for training, 5,000 others and which of these are anomalies."""
    X, truth = load_odds("shuttle", return_X_y=True)
    rng = np.random.default_rng(seed)
    normal, anomalies = (rng.permutation(np.flatnonzero(truth == kind)) for kind in (1, -1))
    labeled, hidden = n // 100, n // 20
    rows = np.r_[normal[: n - labeled - hidden], anomalies[: labeled + hidden]]
    y = np.where(np.arange(n) < n - labeled, 0, -1)
    others = rng.permutation(np.setdiff1d(np.arange(len(X)), rows))[:5000]
    scaler = StandardScaler().fit(X[rows])
    return scaler.transform(X[rows]), y, scaler.transform(X[others]), truth[others] < 0


def run(tasks, options):
    """Fit one detector by itself and time it."""
    (task,) = tasks
    X, y, X_test, anomalous = make_task(200 if options.quick else task["n"], task["seed"])
    detector = make_detector("defaults", "shuttle", task["method"], len(X))
    if isinstance(detector, WITHOUT_LABELS):
        X, y = X[y >= 0], None

    def measure(fitted):
        start = time.perf_counter()
        scores = fitted.anomaly_score(X_test)
        seconds = time.perf_counter() - start
        auc = 100 * roc_auc_score(anomalous, scores)
        return {"auc": auc, "score_seconds": round(seconds, 4)}

    return fit_and_measure([Run(detector, task["seed"], X, y, measure)], options)


def tasks(arguments):
    on = str(resolve_device(arguments.device))
    return [
        {"data": "shuttle", "method": method, "n": n, "on": on, "seed": seed}
        for seed in arguments.seeds
        for n in SIZES
        for method in arguments.methods
        if method not in SQUARE or n <= 10000
    ]


BENCHMARKS = {
    "speed": Benchmark(
        tasks=tasks,
        run=run,
        data=("shuttle",),
        methods=(*DEFAULTS, *PEERS),
        seeds=3,
        quick={"seeds": [0], "methods": ["DeepSAD", "SSAD", "IsolationForest"]},
    )
}
