"""One class of images against the others, with outlier exposure, beside the thesis's figures.

Run as ``python -m benchmarks.images`` with the data in ``SKDEEPAD_DATA``. Results are appended to
``benchmarks/results/images.jsonl`` as they come, and what is there already is not run again;
``--report`` writes ``benchmarks/results/images.rst`` from them. One class is normal. DeepSVDD
learns from its training images alone; the others also from auxiliary images labeled as anomalies:
letters (notMNIST) for MNIST, gray CIFAR-100 for Fashion-MNIST, CIFAR-100 for CIFAR-10. All are
judged on the test images of all ten classes.

Sizes:

small
    For a CPU: the first three classes, 1,000 normal and 1,000 auxiliary images, 2,000 test images,
    few filters, about 160 steps of 64 images.
full
    For a GPU: all classes and images, the thesis's networks, batches of 256, 50 epochs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.metrics import roc_auc_score

import skdeepad
from benchmarks.running import RESULTS, load, mean_and_deviation, run_missing, table_rst
from skdeepad import FCDD, HSC, DeepClassifier, DeepSAD, DeepSVDD
from skdeepad.networks import LeNet, fcn_cifar10, fcn_fashion_mnist

METHODS = ("DeepSVDD", "DeepSAD", "HSC", "FCDD", "DeepClassifier")
CLASSES = {
    "mnist": [str(digit) for digit in range(10)],
    "fmnist": [
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "boot",
    ],
    "cifar10": [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
}
SEEDS = {"small": 2, "full": 5}
# Filters, dense layers and FCDD's filters.
NETWORKS = {
    "small": {
        "mnist": ((8, 4), (32,), (16, 32)),
        "fmnist": ((16, 32), (64, 32), (16, 32)),
        "cifar10": ((16, 32, 64), (64,), (16, 32, 32, 16)),
    },
    "full": {
        "mnist": ((8, 4), (32,), (128, 128)),
        "fmnist": ((16, 32), (64, 32), (128, 128)),
        "cifar10": ((32, 64, 128), (128,), (128, 256, 256, 128)),
    },
}
# Thesis, tables 2.1, C.5 and C.6, by class; the classifier's are those of "Rethinking Assumptions
# in Deep Anomaly Detection". Their auxiliary images for CIFAR-10 were 80 Million Tiny Images, but
# for FCDD, whose were CIFAR-100. For Fashion-MNIST they give FCDD alone with auxiliary images.
PAPER = {
    "mnist": {"DeepSVDD": (98.0, 99.7, 91.7, 91.9, 94.9, 88.5, 98.3, 94.6, 93.9, 96.5)},
    "fmnist": {
        "DeepSVDD": (98, 90, 91, 94, 89, 92, 83, 99, 92, 99),
        "FCDD": (82, 98, 84, 92, 87, 90, 75, 99, 86, 94),
    },
    "cifar10": {
        "DeepSVDD": (61.7, 65.9, 50.8, 59.1, 60.9, 65.7, 67.7, 67.3, 75.9, 73.1),
        "DeepSAD": (94.2, 98.1, 89.8, 87.4, 95.0, 93.0, 96.9, 96.8, 97.1, 96.2),
        "HSC": (96.3, 98.7, 92.7, 89.8, 96.6, 94.2, 97.9, 97.6, 98.2, 97.4),
        "FCDD": (95, 96, 91, 90, 94, 93, 97, 96, 97, 96),
        "DeepClassifier": (96.4, 98.8, 93.0, 90.0, 97.1, 94.2, 98.0, 97.6, 98.1, 97.7),
    },
}


def folder():
    return Path(os.environ["SKDEEPAD_DATA"])


@cache
def encoded_images(path):
    """Return images (n, 3, 32, 32), labels and whether a row is for testing."""
    sys.path.insert(0, str(folder()))
    from load import load_images

    images, labels, split, _ = load_images(folder() / path)
    return images.transpose(0, 3, 1, 2), labels, split == 1


def read(data):
    """Return training images and classes, test images and classes, and auxiliary images."""
    if data == "cifar10":
        images, labels, test = encoded_images("cifar10/cifar10_jpeg.npz.xz")
        auxiliary = encoded_images("oe/cifar100_train_jpeg.npz.xz")[0]
        return images[~test], labels[~test], images[test], labels[test], auxiliary
    with np.load(folder() / data / f"{data}.npz") as file:
        arrays = [file[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    if data == "mnist":
        with np.load(folder() / "oe" / "notmnist.npz") as file:
            auxiliary = file["x"]
    else:
        colors = encoded_images("oe/cifar100_train_jpeg.npz.xz")[0]
        auxiliary = colors[:, :, 2:30, 2:30].mean(1)
    X, labels, X_test, test_labels = arrays
    return X[:, None], labels, X_test[:, None], test_labels, auxiliary[:, None]


def some(array, n, rng):
    """Return n rows drawn at random, or all of them."""
    return rng.permutation(len(array))[:n] if n else np.arange(len(array))


def make_task(size, data, normal, seed, n_auxiliary=None):
    """Return training and auxiliary images, test images, and which of these are anomalies."""
    rng = np.random.default_rng(seed)
    X, labels, X_test, test_labels, auxiliary = read(data)
    X = X[labels == normal]
    n, n_test = (1000, 2000) if size == "small" else (None, None)
    X = X[some(X, n, rng)]
    auxiliary = auxiliary[some(auxiliary, n_auxiliary or n, rng)]
    chosen = some(X_test, n_test, rng)
    mean, deviation = X.mean((0, 2, 3), keepdims=True), X.std((0, 2, 3), keepdims=True)
    parts = [((part - mean) / deviation).astype(np.float32) for part in (X, auxiliary)]
    test = ((X_test[chosen] - mean) / deviation).astype(np.float32)
    return *parts, test, test_labels[chosen] != normal


def make_detector(size, data, method, n_normal, seed):
    filters, dense, maps = NETWORKS[size][data]
    settings = {
        "batch_size": 64 if size == "small" else 256,
        "lr_schedule": "cosine",
        "random_state": seed,
    }
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
    cls = {"DeepSVDD": DeepSVDD, "DeepSAD": DeepSAD, "HSC": HSC, "DeepClassifier": DeepClassifier}
    return cls[method](network=network, **settings)


def run(size, data, method, normal, seed, n_auxiliary=None):
    """Train one detector on one class and judge it on the test images."""
    if size == "small":
        torch.set_num_threads(1)
    X, auxiliary, X_test, anomalous = make_task(size, data, normal, seed, n_auxiliary)
    detector = make_detector(size, data, method, len(X), seed)
    start = time.perf_counter()
    if method == "DeepSVDD":
        detector.fit(X)
    else:
        y = np.r_[np.zeros(len(X)), -np.ones(len(auxiliary))]
        detector.fit(np.concatenate([X, auxiliary]), y)
    seconds = time.perf_counter() - start
    return {
        "size": size,
        "data": data,
        "method": method,
        "normal": normal,
        "seed": seed,
        "auc": 100 * roc_auc_score(anomalous, detector.anomaly_score(X_test)),
        "seconds": round(seconds, 1),
        "device": str(detector.device_),
        "versions": f"skdeepad {skdeepad.__version__}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}",
    }


def key(result):
    return tuple(result[name] for name in ("size", "data", "method", "normal", "seed"))


def section(size, data, results):
    """Lay out one data set's table, the thesis's figures below."""
    classes = sorted({result["normal"] for result in results})
    rows = []
    for method in METHODS:
        by_class = [
            [r["auc"] for r in results if r["method"] == method and r["normal"] == normal]
            for normal in classes
        ]
        if all(by_class):
            mean = np.mean([np.mean(values) for values in by_class])
            seconds = np.median([r["seconds"] for r in results if r["method"] == method])
            cells = [mean_and_deviation(values) for values in by_class]
            rows.append([method, *cells, f"{mean:.1f}", f"{seconds:.0f}"])
    for method, figures in PAPER.get(data, {}).items():
        chosen = [figures[normal] for normal in classes]
        rows.append([f"thesis: {method}", *chosen, f"{np.mean(chosen):.1f}", ""])
    title = f"{data}, {size}"
    header = ["", *(CLASSES[data][normal] for normal in classes), "mean", "seconds"]
    return f"{title}\n{'-' * len(title)}\n\n{table_rst(header, rows)}"


def report(path):
    results = load(path)
    parts = [
        "Made by ``python -m benchmarks.images --report`` from ``images.jsonl``. ROC AUC in %, "
        "mean ± standard deviation over the seeds, and the median of seconds to fit. The sizes are "
        "described in ``benchmarks/images.py``; a size that is missing has not been run."
    ]
    for size in SEEDS:
        for data in CLASSES:
            chosen = [r for r in results if r["size"] == size and r["data"] == data]
            parts += [section(size, data, chosen)] if chosen else []
    path.with_suffix(".rst").write_text("\n\n".join(parts) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=SEEDS)
    parser.add_argument("--data", nargs="+", default=list(CLASSES), choices=CLASSES)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "images.jsonl")
    parser.add_argument("--report", action="store_true", help="write the tables, run nothing")
    arguments = parser.parse_args()
    tasks = [
        (arguments.size, data, method, normal, seed)
        for seed in range(arguments.seeds or SEEDS[arguments.size])
        for data in arguments.data
        for normal in range(3 if arguments.size == "small" else 10)
        for method in arguments.methods
    ]
    if not arguments.report:
        run_missing(run, tasks, key, arguments.results, arguments.n_jobs)
    report(arguments.results)


if __name__ == "__main__":
    main()
