"""AGAD on one class of images against the others, epoch by epoch, beside the paper's figures.

Run as ``python -m benchmarks agad`` with the data in ``SKDEEPAD_DATA``. One class is normal.
Labeled anomalies, if any, are drawn from the other nine and make up that share of the training
images. Pixels lie in [-1, 1]. The number of epochs is fixed beforehand; test images are scored
after each epoch to show how the figure depends on it, and the last epoch's is the result. The
learning rate is constant, as in the paper, or falls to 0 along half a cosine, and the generator is
averaged over epochs, as by default. Sizes:

small
    For a CPU: digits 4 and 8 of MNIST, the naive generator, 2,000 normal training images, 1,000
    test images, 30 epochs of 8 or 9 steps.
full
    For a GPU: all classes and images, 35 epochs, the naive generator on MNIST and UNet++ on the
    others, as in the paper.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.images import CLASSES, read, some
from benchmarks.running import Benchmark, prepare
from skdeepad import AGAD

EPOCHS = {"small": 30, "full": 35, "quick": 2}
# Normal training images and test images; None: all of them.
ROWS = {"small": (2000, 1000), "full": (None, None), "quick": (64, 100)}
NORMAL = {
    "small": {"mnist": (4, 8)},
    "full": {data: range(10) for data in CLASSES},
    "quick": {"mnist": (4,)},
}
SHARES = (0.0, 0.05)
SCHEDULES = ("constant", "cosine")
GENERATORS = {"mnist": "naive", "fmnist": "unet++", "cifar10": "unet++"}


class Curve:
    """A callback that scores test images after each epoch."""

    def __init__(self, X, anomalous):
        self.X, self.anomalous = X, anomalous
        self.aucs, self.seconds = [], 0.0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch":
            start = time.perf_counter()
            scores = fitted_estimator.anomaly_score(self.X)
            self.aucs.append(100 * roc_auc_score(self.anomalous, scores))
            self.seconds += time.perf_counter() - start

    def teardown(self, estimator, context):
        pass


def make_task(size, data, normal, share, seed):
    """Return training images and labels, test images, and which of these are anomalies."""
    rng = np.random.default_rng(seed)
    X, labels, X_test, test_labels = read(data)
    n, n_test = ROWS[size]
    rows = some(np.flatnonzero(labels == normal), n, rng)
    others = np.flatnonzero(labels != normal)
    labeled = rng.choice(others, round(share / (1 - share) * len(rows)), replace=False)
    chosen = some(np.arange(len(X_test)), n_test, rng)
    train, test = (
        (part.astype(np.float32) / 127.5 - 1) for part in (X[np.r_[rows, labeled]], X_test[chosen])
    )
    y = np.repeat([0, -1], [len(rows), len(labeled)])
    return train, y, test, test_labels[chosen] != normal


def run(tasks, options):
    """Train on one class and judge each epoch on the test images."""
    ((size, data, _, schedule, share, normal, seed),) = (task.values() for task in tasks)
    X, y, X_test, anomalous = make_task(size, data, normal, share, seed)
    detector = AGAD(generator=GENERATORS[data], n_epochs=EPOCHS[size], lr_schedule=schedule)
    detector.set_params(average=schedule != "constant")
    prepare(detector, seed, options)
    curve = Curve(X_test, anomalous)
    start = time.perf_counter()
    detector.set_callbacks(curve).fit(X, y)
    history = detector.history_["train"]
    return [
        {
            "auc": 100 * roc_auc_score(anomalous, detector.anomaly_score(X_test)),
            "curve": [round(auc, 2) for auc in curve.aucs],
            "history": {name: [round(v, 4) for v in values] for name, values in history.items()},
            "seconds": round(time.perf_counter() - start - curve.seconds, 1),
            "device": str(detector.device_),
        }
    ]


def tasks(arguments):
    return [
        {
            "size": size,
            "data": data,
            "method": "AGAD",
            "schedule": schedule,
            "share": share,
            "normal": normal,
            "seed": seed,
        }
        for seed in arguments.seeds
        for size in arguments.sizes
        for schedule in arguments.schedules
        for data, classes in NORMAL[size].items()
        if data in arguments.data
        for share in SHARES
        for normal in classes
    ]


BENCHMARKS = {
    "agad": Benchmark(
        tasks=tasks,
        run=run,
        data=tuple(CLASSES),
        methods=("AGAD",),
        seeds=1,
        choices={"sizes": (("small", "full"), ("small",)), "schedules": (SCHEDULES, SCHEDULES)},
        quick={"sizes": ["quick"], "schedules": ["cosine"]},
    )
}
