"""One class of images against the others, with outlier exposure, beside the thesis's figures.

Run as ``python -m benchmarks oe`` with the data in ``SKDEEPAD_DATA``. One class is normal. DeepSVDD
learns from its training images alone; the others also from auxiliary images labeled as anomalies:
letters (notMNIST) for MNIST, gray CIFAR-100 for Fashion-MNIST, CIFAR-100 for CIFAR-10. All are
judged on the test images of all ten classes. Images are standardized by channel; those of color
are flipped, shifted and recolored in training, the others shifted and made noisy, but for
DeepSVDD. Sizes:

small
    For a CPU: the first three classes, 1,000 normal and 1,000 auxiliary images, 2,000 test images,
    few filters, about 160 steps of 64 images.
full
    For a GPU: all classes and images, the thesis's networks, batches of 256, 50 epochs. For
    CIFAR-10 they end in two dense layers, whose sizes, 512 and 256, are ours: it gives none.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.images import CLASSES, read, read_auxiliary, some
from benchmarks.running import Benchmark, Run, fit_and_measure
from skdeepad import FCDD, HSC, DeepClassifier, DeepSAD, DeepSVDD
from skdeepad.networks import LeNet, fcn_cifar10, fcn_fashion_mnist

METHODS = {
    "DeepSVDD": DeepSVDD,
    "DeepSAD": DeepSAD,
    "HSC": HSC,
    "FCDD": FCDD,
    "DeepClassifier": DeepClassifier,
}
# Rows of a class, of auxiliary images and for testing; None: all of them.
ROWS = {"small": (1000, 1000, 2000), "full": (None, None, None), "quick": (64, 64, 200)}
# Filters, dense layers and FCDD's filters.
SMALL_NETWORKS = {
    "mnist": ((8, 4), (32,), (16, 32)),
    "fmnist": ((16, 32), (64, 32), (16, 32)),
    "cifar10": ((16, 32, 64), (64,), (16, 32, 32, 16)),
}
NETWORKS = {
    "small": SMALL_NETWORKS,
    "quick": SMALL_NETWORKS,
    "full": {
        "mnist": ((8, 4), (32,), (128, 128)),
        "fmnist": ((16, 32), (64, 32), (128, 128)),
        "cifar10": ((32, 64, 128), (512, 256), (128, 256, 256, 128)),
    },
}


def make_task(size, data, normal, seed):
    """Return training and auxiliary images, test images, and which of these are anomalies."""
    rng = np.random.default_rng(seed)
    X, labels, X_test, test_labels = read(data)
    n, n_auxiliary, n_test = ROWS[size]
    X = X[labels == normal]
    X = X[some(np.arange(len(X)), n, rng)]
    auxiliary = read_auxiliary(data)
    auxiliary = auxiliary[some(np.arange(len(auxiliary)), n_auxiliary, rng)]
    chosen = some(np.arange(len(X_test)), n_test, rng)
    mean, deviation = X.mean((0, 2, 3), keepdims=True), X.std((0, 2, 3), keepdims=True)
    X, auxiliary, X_test = (
        ((part - mean) / deviation).astype(np.float32) for part in (X, auxiliary, X_test[chosen])
    )
    return X, auxiliary, X_test, test_labels[chosen] != normal


def make_detector(size, data, method, n_normal):
    filters, dense, maps = NETWORKS[size][data]
    settings = {"batch_size": 256 if size == "full" else 64, "lr_schedule": "cosine"}
    if size == "full":
        settings["n_epochs"] = 50
    else:  # the same number of steps with and without auxiliary images
        settings["n_epochs"] = round(160 * (64 if method == "DeepSVDD" else 32) / n_normal)
    if method != "DeepSVDD":
        settings["augment"] = "standard" if data == "cifar10" else ["crop", "noise"]
    if method == "FCDD":
        network = fcn_cifar10 if data == "cifar10" else fcn_fashion_mnist
        return FCDD(network=partial(network, filters=maps), **settings)
    bias = method in ("HSC", "DeepClassifier")
    network = partial(LeNet, filters=filters, dense=dense, bias=bias)
    return METHODS[method](network=network, **settings)


def run(tasks, options):
    """Train a method on one class with several seeds and judge it on the test images."""
    runs = []
    for task in tasks:
        size, data, method, normal, seed = task.values()
        X, auxiliary, X_test, anomalous = make_task(size, data, normal, seed)
        y, n_normal = None, len(X)
        if method != "DeepSVDD":
            y = np.repeat([0, -1], [len(X), len(auxiliary)])
            X = np.concatenate([X, auxiliary])

        def measure(detector, X_test=X_test, anomalous=anomalous):
            return {"auc": 100 * roc_auc_score(anomalous, detector.anomaly_score(X_test))}

        detector = make_detector(size, data, method, n_normal)
        runs.append(Run(detector, seed, X, y, measure))
    return fit_and_measure(runs, options)


def together(task):
    """Seeds are trained as one on a GPU; on a CPU networks of images gain nothing by that."""
    seed = None if task["size"] == "full" else task["seed"]
    return task["size"], task["data"], task["method"], task["normal"], seed


def tasks(arguments):
    return [
        {"size": size, "data": data, "method": method, "normal": normal, "seed": seed}
        for size in arguments.sizes
        for seed in arguments.seeds
        for data in arguments.data
        for normal in range({"small": 3, "full": 10, "quick": 1}[size])
        for method in arguments.methods
    ]


BENCHMARKS = {
    "oe": Benchmark(
        tasks=tasks,
        run=run,
        together=together,
        data=tuple(CLASSES),
        methods=tuple(METHODS),
        seeds=2,
        choices={"sizes": (("small", "full"), ("small",))},
        quick={"sizes": ["quick"], "data": ["mnist"], "seeds": [0]},
    )
}
