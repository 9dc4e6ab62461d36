"""Where defects of magnetic tiles are: heat maps of FCDD against simpler explanations.

Run as ``python -m benchmarks.defects`` with the data in ``SKDEEPAD_DATA``. Results are appended to
``benchmarks/results/defects.jsonl`` as they come, and what is there already is not run again;
``--report`` writes ``benchmarks/results/defects.rst`` from them, ``--pictures`` draws
``benchmarks/results/defects_best.png`` and ``defects_worst.png``.

Tiles are split by group, 60:40, as near copies of a tile share one; training rows are all normal
ones of the training groups, and ten anomalies of theirs where labels are used. Each image is
standardized by itself, since the exposures differ, and augmented by flips, shifts and colors. Pixel
AUC is over the pixels of all test images together, tile AUC the mean over the anomalous tiles.

At 64 x 64 pixels, for a CPU, FCDD has 8, 16, 16 and 8 filters and all are trained for about 360
steps of 32 images; at 128 x 128, for a GPU, it has the thesis's network for large images without
its pretrained layers, and they are trained for 100 epochs in batches of 128.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from benchmarks.running import RESULTS, load, mean_and_deviation, run_missing, table_rst
from skdeepad import FCDD, HSC, AutoEncoder
from skdeepad.losses import pseudo_huber
from skdeepad.synthetic import confetti

N_LABELED = 10
FILTERS = {64: (8, 16, 16, 8), 128: None}
EPOCHS = {64: 20, 128: 100}
BATCH_SIZE = {64: 32, 128: 128}
AUGMENT = ["flip", "crop", "color"]


def tiles(side):
    """Return standardized images (n, 1, side, side), masks, labels and groups."""
    path = Path(os.environ["SKDEEPAD_DATA"]) / "defects" / "magnetic_tile.npz"
    with np.load(path) as file:
        images, masks, y, groups = (file[name] for name in ("images", "masks", "y", "group"))
    blocks = (len(images), side, images.shape[1] // side, side, images.shape[2] // side)
    images = images.reshape(blocks).mean((2, 4))[:, None].astype(np.float32)
    mean, deviation = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
    masks = (masks.reshape(blocks).mean((2, 4)) >= 0.25).astype(np.int8)
    return (images - mean) / deviation, masks, y == 1, groups


class Task(NamedTuple):
    """One split: all images, masks and labels, and the positions of their rows."""

    images: np.ndarray
    masks: np.ndarray
    anomalous: np.ndarray
    normal: np.ndarray
    labeled: np.ndarray
    test: np.ndarray
    seed: int


def make_task(side, seed):
    images, masks, anomalous, groups = tiles(side)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(groups))
    test = np.isin(groups, order[: round(0.4 * len(order))])
    annotated = masks.any((1, 2))
    normal = np.flatnonzero(~test & ~anomalous)
    labeled = rng.permutation(np.flatnonzero(~test & anomalous & annotated))[:N_LABELED]
    # A few defects are smaller than a quarter of a pixel, and some have no mask in the source.
    test = np.flatnonzero(test & (annotated | ~anomalous))
    return Task(images, masks, anomalous, normal, labeled, test, seed)


def training(task, labels=False):
    """Return settings for the same number of steps; half of a batch with labels is anomalies."""
    side = task.images.shape[-1]
    return {
        "n_epochs": EPOCHS[side] // 2 if labels else EPOCHS[side],
        "batch_size": BATCH_SIZE[side],
        "lr_schedule": "cosine",
        "random_state": task.seed,
    }


def fcdd(task, labels=False, masks=False, blobs=True):
    """Return scores and heat maps of FCDD, trained on labels, masks, confetti."""
    X = [task.images[task.normal]]
    known = [np.full_like(task.masks[task.normal], -1)]
    if labels:
        X.append(task.images[task.labeled])
        known.append(task.masks[task.labeled] if masks else np.full_like(known[0][:N_LABELED], -1))
    if labels and blobs:  # without labels FCDD makes them itself
        made, where = confetti(X[0], random_state=task.seed)
        X.append(made)
        known.append(where)
    X, known = np.concatenate(X), np.concatenate(known)
    y = np.where(np.arange(len(X)) < len(task.normal), 0, -1)
    detector = FCDD(
        hidden_layer_sizes=FILTERS[X.shape[-1]], augment=AUGMENT, **training(task, labels)
    ).fit(X, y, masks=known)
    X_test = task.images[task.test]
    return detector.anomaly_score(X_test), detector.explain(X_test)


def smoothed(maps):
    """Spread maps as FCDD's are, by a Gaussian of a quarter of its receptive field."""
    return gaussian_filter(maps, (0, 22 / 4, 22 / 4))


def residuals(task):
    """Return scores and maps of an autoencoder's squared residuals."""
    detector = AutoEncoder(**training(task)).fit(task.images[task.normal])
    X_test = task.images[task.test]
    with torch.no_grad():
        codes = detector.network_.eval()(torch.from_numpy(X_test))
        rebuilt = detector.decoder_.eval()(codes).numpy()
    return detector.anomaly_score(X_test), smoothed(((X_test - rebuilt) ** 2)[:, 0])


def gradients(task):
    """Return scores and maps of the absolute input gradients of HSC's score."""
    X, X_test = task.images[task.normal], task.images[task.test]
    made, _ = confetti(X, random_state=task.seed)
    y = np.r_[np.zeros(len(X)), -np.ones(len(made))]
    detector = HSC(augment=AUGMENT, **training(task, labels=True))
    detector.fit(np.concatenate([X, made]), y)
    maps = []
    for part in np.array_split(X_test, 10):
        x = torch.from_numpy(part).requires_grad_()
        codes = detector.network_.eval()(x).flatten(1)
        pseudo_huber(codes).sum().backward()
        maps.append(x.grad.abs().sum(1).numpy())
    return detector.anomaly_score(X_test), smoothed(np.concatenate(maps))


METHODS = {
    "FCDD, confetti": fcdd,
    "FCDD, 10 labels": partial(fcdd, labels=True, blobs=False),
    "FCDD, 10 labels with masks": partial(fcdd, labels=True, masks=True, blobs=False),
    "FCDD, confetti and 10 labels with masks": partial(fcdd, labels=True, masks=True),
    "AutoEncoder, residuals": residuals,
    "HSC with confetti, gradients": gradients,
}


def run(side, method, seed):
    """Train on the normal tiles of one split and judge images and pixels of the others."""
    if side == 64:
        torch.set_num_threads(1)
    task = make_task(side, seed)
    start = time.perf_counter()
    scores, maps = METHODS[method](task)
    seconds = time.perf_counter() - start
    truth = task.masks[task.test]
    of_tiles = [
        roc_auc_score(mask.ravel(), heat.ravel())
        for mask, heat in zip(truth, maps, strict=True)
        if 0 < mask.mean() < 1
    ]
    return {
        "side": side,
        "method": method,
        "seed": seed,
        "auc": 100 * roc_auc_score(task.anomalous[task.test], scores),
        "pixel_auc": 100 * roc_auc_score(truth.ravel(), maps.ravel()),
        "tile_auc": 100 * float(np.mean(of_tiles)),
        "seconds": round(seconds, 1),
        "versions": f"torch {torch.__version__}",
    }


def key(result):
    return result["side"], result["method"], result["seed"]


FIELDS = {"auc": "image AUC", "pixel_auc": "pixel AUC", "tile_auc": "tile AUC", "seconds": "s"}


def report(path):
    results = load(path)
    parts = [
        "Made by ``python -m benchmarks.defects --report`` from ``defects.jsonl``. In %, mean ± "
        "standard deviation over the splits, whose number stands in brackets."
    ]
    for side in FILTERS:
        rows = []
        for method in METHODS:
            chosen = [r for r in results if r["side"] == side and r["method"] == method]
            if chosen:
                cells = [mean_and_deviation([r[field] for r in chosen]) for field in FIELDS]
                rows.append([f"{method} ({len(chosen)})", *cells])
        title = f"{side} x {side} pixels"
        if rows:
            table = table_rst(["", *FIELDS.values()], rows)
            parts.append(f"{title}\n{'-' * len(title)}\n\n{table}")
    path.with_suffix(".rst").write_text("\n\n".join(parts) + "\n")


def draw(side, seed, method):
    """Draw the best and the worst heat maps of anomalous test tiles."""
    from skdeepad import HeatmapDisplay

    task = make_task(side, seed)
    _, maps = METHODS[method](task)
    rows = np.flatnonzero(task.anomalous[task.test])
    truth, shown = task.masks[task.test][rows], task.images[task.test][rows]
    aucs = [roc_auc_score(m.ravel(), h.ravel()) for m, h in zip(truth, maps[rows], strict=True)]
    order = np.argsort(aucs)
    for name, chosen in (("best", order[::-1][:4]), ("worst", order[:4])):
        display = HeatmapDisplay.from_maps(shown[chosen], maps[rows][chosen], masks=truth[chosen])
        display.figure_.savefig(RESULTS / f"defects_{name}.png", dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, choices=FILTERS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "defects.jsonl")
    parser.add_argument("--report", action="store_true", help="write the tables, run nothing")
    parser.add_argument("--pictures", metavar="METHOD", help="draw this method's heat maps")
    arguments = parser.parse_args()
    if arguments.pictures:
        draw(arguments.side, 0, arguments.pictures)
    elif not arguments.report:
        tasks = [
            (arguments.side, method, seed)
            for seed in range(arguments.seeds)
            for method in arguments.methods
        ]
        run_missing(run, tasks, key, arguments.results, arguments.n_jobs)
    report(arguments.results)


if __name__ == "__main__":
    main()
