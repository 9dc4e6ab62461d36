"""AGAD on one class of images against the others, epoch by epoch, beside the paper's figures.

Run as ``python -m benchmarks.agad`` with the data in ``SKDEEPAD_DATA``. Results are appended to
``benchmarks/results/agad.jsonl`` as they come, and what is there already is not run again;
``--report`` writes ``benchmarks/results/agad.rst`` and ``agad.png`` from them. One class is normal.
Labeled anomalies, if any, are drawn from the other nine and make up that share of the training
images. Pixels lie in [-1, 1]. The number of epochs is fixed beforehand; test images are scored
after each epoch to show how the figure depends on it, and the last epoch's is the result. The
learning rate is constant, as in the paper, or falls to 0 along half a cosine, as by default.

Sizes:

small
    For a CPU: digits 4 and 8 of MNIST, the naive generator, 2,000 normal training images, 1,000
    test images, 30 epochs of 8 or 9 steps.
full
    For a GPU: all classes and images, 35 epochs, the naive generator on MNIST and UNet++ on the
    others, as in the paper.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sklearn
import torch
from sklearn.metrics import roc_auc_score

import skdeepad
from benchmarks.images import CLASSES, read, some
from benchmarks.running import RESULTS, load, run_missing, table_rst
from skdeepad import AGAD

EPOCHS = {"small": 30, "full": 35}
DATA = {"small": {"mnist": (4, 8)}, "full": {data: range(10) for data in CLASSES}}
SHARES = (0.0, 0.05)
SCHEDULES = ("constant", "cosine")
GENERATORS = {"mnist": "naive", "fmnist": "unet++", "cifar10": "unet++"}
# Table 1 of the paper by class, without labels; table 2, the mean over classes with 5% of them.
PAPER = {
    "mnist": (100, 100, 99.0, 98.6, 99.5, 97.2, 99.6, 99.8, 95.8, 99.2),
    "fmnist": (99.9, 100, 100, 99.4, 100, 100, 100, 100, 100, 100),
    "cifar10": (99.9, 99.5, 98.8, 98.4, 99.7, 94.7, 100, 93.2, 99.9, 98.8),
}
PAPER_LABELED = {"mnist": 99.9, "fmnist": 100.0, "cifar10": 99.8}


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
    X, labels, X_test, test_labels, _ = read(data)
    n, n_test = (2000, 1000) if size == "small" else (None, None)
    of_class = np.flatnonzero(labels == normal)
    rows = of_class[some(of_class, n, rng)]
    others = np.flatnonzero(labels != normal)
    labeled = rng.choice(others, round(share / (1 - share) * len(rows)), replace=False)
    chosen = some(X_test, n_test, rng)
    train, test = (
        (part.astype(np.float32) / 127.5 - 1) for part in (X[np.r_[rows, labeled]], X_test[chosen])
    )
    y = np.repeat([0, -1], [len(rows), len(labeled)])
    return train, y, test, test_labels[chosen] != normal


def run(size, data, schedule, share, normal, seed):
    """Train on one class and judge each epoch on the test images."""
    if size == "small":
        torch.set_num_threads(1)
    X, y, X_test, anomalous = make_task(size, data, normal, share, seed)
    detector = AGAD(generator=GENERATORS[data], n_epochs=EPOCHS[size])
    detector.set_params(lr_schedule=schedule, random_state=seed)
    curve = Curve(X_test, anomalous)
    start = time.perf_counter()
    detector.set_callbacks(curve).fit(X, y)
    history = detector.history_["train"]
    return {
        "size": size,
        "data": data,
        "schedule": schedule,
        "share": share,
        "normal": normal,
        "seed": seed,
        "auc": 100 * roc_auc_score(anomalous, detector.anomaly_score(X_test)),
        "curve": [round(auc, 2) for auc in curve.aucs],
        "history": {name: [round(v, 4) for v in values] for name, values in history.items()},
        "seconds": round(time.perf_counter() - start - curve.seconds, 1),
        "device": str(detector.device_),
        "versions": f"skdeepad {skdeepad.__version__}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}",
    }


def key(result):
    return tuple(result[name] for name in ("size", "data", "schedule", "share", "normal", "seed"))


def section(size, data, results):
    """Lay out one data set's figures, the paper's beside them."""
    rows = []
    for result in sorted(results, key=key):
        curve, share, normal = result["curve"], result["share"], result["normal"]
        paper = f"{PAPER_LABELED[data]} (mean)" if share else PAPER[data][normal]
        best = int(np.argmax(curve))
        rows.append(
            [
                result["schedule"],
                f"{100 * share:.0f}%",
                CLASSES[data][normal],
                f"{result['auc']:.1f}",
                f"{curve[best]:.1f} ({best + 1})",
                f"{min(curve[len(curve) // 2 :]):.1f} to {max(curve[len(curve) // 2 :]):.1f}",
                paper,
                int(sum(result["history"]["reset"])),
                f"{result['seconds']:.0f}",
            ]
        )
    title = f"{data}, {size}"
    header = ["rate", "labeled", "normal", "last epoch", "best epoch", "second half", "paper"]
    header += ["resets", "seconds"]
    return f"{title}\n{'-' * len(title)}\n\n{table_rst(header, rows)}"


def draw(results, path):
    """Draw test AUC by epoch."""
    _, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for result in results:
        share, normal = result["share"], CLASSES[result["data"]][result["normal"]]
        axis.plot(
            range(1, len(result["curve"]) + 1),
            result["curve"],
            linestyle="-" if share else "--",
            linewidth=1 if result["schedule"] == "constant" else 2.5,
            label=f"{result['data']} {normal}, {100 * share:.0f}% labeled, {result['schedule']}",
        )
    axis.set(xlabel="epoch", ylabel="ROC AUC on test images, %", title="AGAD")
    axis.legend()
    plt.savefig(path, dpi=100)
    plt.close()


def report(path):
    results = load(path)
    parts = [
        "Made by ``python -m benchmarks.agad --report`` from ``agad.jsonl``. ROC AUC in %: after "
        "the last epoch, which is the result; of the best epoch, which one would have to know, "
        "its number in brackets; least and greatest in the second half of training. The sizes are "
        "described in ``benchmarks/agad.py``; a size or a data set that is missing has not been "
        "run."
    ]
    for size, of_size in DATA.items():
        for data in of_size:
            chosen = [r for r in results if r["size"] == size and r["data"] == data]
            parts += [section(size, data, chosen)] if chosen else []
    path.with_suffix(".rst").write_text("\n\n".join(parts) + "\n")
    draw([r for r in results if r["size"] == "small"], path.with_suffix(".png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=EPOCHS)
    parser.add_argument("--data", nargs="+", choices=CLASSES)
    parser.add_argument("--schedules", nargs="+", default=SCHEDULES, choices=SCHEDULES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "agad.jsonl")
    parser.add_argument("--report", action="store_true", help="write the table, run nothing")
    arguments = parser.parse_args()
    tasks = [
        (arguments.size, data, schedule, share, normal, seed)
        for seed in range(arguments.seeds)
        for schedule in arguments.schedules
        for data, classes in DATA[arguments.size].items()
        if arguments.data is None or data in arguments.data
        for share in SHARES
        for normal in classes
    ]
    if not arguments.report:
        run_missing(run, tasks, key, arguments.results, arguments.n_jobs)
    report(arguments.results)


if __name__ == "__main__":
    main()
