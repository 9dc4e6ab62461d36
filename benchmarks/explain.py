"""Why is this row anomalous? Columns that were moved, and what is left when they are put back.

Run as ``python -m benchmarks explain`` with the tables of ODDS in ``SKDEEPAD_DATA``.

Tables are split 60:40 and standardized by the training rows, half of whose anomalies stay among
the unlabeled rows and a tenth of which, five at least, are labeled.

Planted causes: of normal test rows 1 or 3 columns, drawn by chance, are moved by 3 to 6 deviations
up or down. Those rows are explained, at most 30, that pass the detector's threshold and did not
before, and "found" is the share of the moved columns among as many of largest relevance.

Deletion: of at most 30 anomalies of the test set, columns are replaced by those of a reference row,
largest relevance first; "deletion" is the mean score on the way, as a share of the way from the
scores of the reference rows to that of the anomaly: smaller is better.

Explained by ``explain`` of the detector, by replacing columns in turn (as pipelines are, 16 orders)
and by KernelSHAP (of the package shap, with its default number of samples), the last two against
the reference rows that the first has. Its other seconds are those of explaining, on one thread.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks.running import Benchmark, device_of, prepare
from skdeepad import (
    AGAD,
    FCDD,
    HSC,
    SSAD,
    SSDGM,
    AutoEncoder,
    DeepClassifier,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    HybridDetector,
)
from skdeepad.datasets import load_odds
from skdeepad.occlusion import in_turn

ODDS = ("cardio", "satellite", "satimage-2", "shuttle", "thyroid")
# Of scikit-learn's tables, and the classes that are normal.
OTHERS = {
    "breast cancer": (load_breast_cancer, [1]),
    "digits": (load_digits, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    "wine": (load_wine, [1]),
}
MOVED = (1, 3)
MOST_ROWS, MOST_EXPLAINED = 6000, 30
DETECTORS = {
    "DeepSAD": DeepSAD(),
    "HSC": HSC(),
    "DeepSVDD": DeepSVDD(),
    "DeepClassifier": DeepClassifier(),
    "SSDGM": SSDGM(),
    "SSAD": SSAD(contamination=0.1),
    "AutoEncoder": AutoEncoder(),
    "AGAD": AGAD(),
    "FCDD": FCDD(),
    "HybridDetector": HybridDetector(autoencoder=AutoEncoder(), contamination=0.1),
    "DeepEnsemble": DeepEnsemble(DeepSAD(), 5),
}
WITHOUT_LABELS = ("DeepSVDD", "AutoEncoder", "HybridDetector")


def table(name):
    """Return rows, and which of them are anomalies."""
    if name in OTHERS:
        load, normal = OTHERS[name]
        X, target = load(return_X_y=True)
        return X, ~np.isin(target, normal)
    X, truth = load_odds(name, return_X_y=True)
    return X, truth < 0


def make_task(name, seed):
    """Return training rows and labels, test rows, and which of these are anomalies."""
    rng = np.random.default_rng(seed)
    X, anomalous = table(name)
    if len(X) > MOST_ROWS:
        some = rng.permutation(len(X))[:MOST_ROWS]
        X, anomalous = X[some], anomalous[some]
    X, X_test, anomalous, truth = train_test_split(
        X, anomalous, test_size=0.4, stratify=anomalous, random_state=seed
    )
    scaler = StandardScaler().fit(X)
    known = rng.permutation(np.flatnonzero(anomalous))
    n_labeled = max(5, len(known) // 10)
    y = np.zeros(len(X), dtype=int)
    y[known[:n_labeled]] = -1
    kept = np.setdiff1d(np.arange(len(X)), known[n_labeled : n_labeled + len(known) // 2])
    return scaler.transform(X[kept]), y[kept], scaler.transform(X_test), truth


def move(detector, rows, k, rng):
    """Return rows of which k columns were moved, all now beyond the threshold, and which."""
    varying = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    moved, where = rows.copy(), np.zeros(rows.shape, dtype=bool)
    for row, marks in zip(moved, where, strict=True):
        columns = rng.choice(varying, k, replace=False)
        row[columns] += rng.choice([-1, 1], k) * rng.uniform(3, 6, k)
        marks[columns] = True
    passed = (detector.predict(moved) < 0) & (detector.predict(rows) > 0)
    chosen = np.flatnonzero(passed)[:MOST_EXPLAINED]
    return moved[chosen], where[chosen]


def kernel_shap(score, X, reference):
    import shap

    return shap.KernelExplainer(score, reference).shap_values(X, silent=True)


EXPLAINERS = {
    "own": lambda detector, X, reference: detector.explain(X),
    "in turn": lambda detector, X, reference: in_turn(detector.anomaly_score, X, reference, 16),
    "KernelSHAP": lambda detector, X, reference: kernel_shap(detector.anomaly_score, X, reference),
}


def found(relevance, where):
    """Return the share of the moved columns among as many of largest relevance, in %."""
    k = where[0].sum()
    largest = np.argsort(-relevance, axis=1, kind="stable")[:, :k]
    return 100 * float(np.take_along_axis(where, largest, axis=1).mean())


def deletion(detector, X, relevance, reference):
    """Return the mean score while columns are replaced, largest relevance first, in %."""
    order = np.argsort(-relevance, axis=1, kind="stable")
    means, changed = [], np.repeat(X[None], len(reference), axis=0)  # (m, n, d)
    rows = np.arange(len(X))
    for column in [None, *order.T]:
        if column is not None:
            changed[:, rows, column] = reference[:, column]
        scores = detector.anomaly_score(changed.reshape(-1, X.shape[1]))
        means.append(scores.reshape(len(reference), -1).mean(axis=0))
    first, last = means[0], means[-1]
    share = (np.mean(means, axis=0) - last) / (first - last)
    return 100 * float(np.median(share))


def run(tasks, options):
    """Fit one detector to one table, and explain what was planted and what is anomalous."""
    ((name, method, seed),) = (task.values() for task in tasks)
    X, y, X_test, truth = make_task(name, seed)
    detector = clone(DETECTORS[method])
    prepare(detector, seed, options)
    start = time.perf_counter()
    if method in WITHOUT_LABELS:
        X, y = X[y >= 0], None
    detector.fit(X, y)
    result = {"fit_seconds": round(time.perf_counter() - start, 3)}
    references = getattr(detector, "reference_", X[:: len(X) // 8][:8]).astype(np.float64)
    rng = np.random.default_rng(seed)
    cases = {str(k): move(detector, X_test[~truth], k, rng) for k in MOVED}
    cases["anomalies"] = X_test[truth][:MOST_EXPLAINED], None
    seconds = 0.0
    for explainer, explain in EXPLAINERS.items():
        if options.quick and explainer == "KernelSHAP":
            continue
        spent = rows = 0
        for case, (given, where) in cases.items():
            if len(given) < 5:
                continue
            start = time.perf_counter()
            relevance = explain(detector, given, references)
            spent, rows = spent + time.perf_counter() - start, rows + len(given)
            key = f"{explainer}, {case}"
            if where is not None:
                result[key] = found(relevance, where)
            else:
                result[key] = deletion(detector, given, relevance, references)
        result[f"{explainer}, seconds a row"] = spent / max(rows, 1)
        seconds += spent
    return [result | {"seconds": round(seconds, 3), "device": device_of(detector)}]


def tasks(arguments):
    return [
        {"data": data, "method": method, "seed": seed}
        for seed in arguments.seeds
        for data in arguments.data
        for method in arguments.methods
    ]


BENCHMARKS = {
    "explain": Benchmark(
        tasks=tasks,
        run=run,
        data=(*ODDS, *OTHERS),
        methods=tuple(DETECTORS),
        seeds=1,
        quick={"data": ["wine"], "methods": ["DeepSVDD", "SSAD"], "seeds": [0]},
    )
}
