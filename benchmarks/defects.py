"""Where defects of magnetic tiles are: heat maps of FCDD against simpler explanations.

Run as ``python -m benchmarks defects`` with the data in ``SKDEEPAD_DATA``.

Tiles are split by group, 60:40, as near copies of a tile share one; training rows are all normal
ones of the training groups, and ten anomalies of theirs where labels are used. Each image is
standardized by itself, since the exposures differ, and augmented by flips, shifts and colors. Pixel
AUC is over the pixels of all test images together, tile AUC the mean over the anomalous tiles.

At 64 x 64 pixels, for a CPU, FCDD has 8, 16, 16 and 8 filters and all are trained for about 360
steps of 32 images; at 128 x 128, for a GPU, it has the thesis's network for large images without
its pretrained layers, and they are trained for 100 epochs in batches of 128.
"""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from benchmarks.images import data_file
from benchmarks.running import Benchmark, Options, prepare
from skdeepad import FCDD, HSC, AutoEncoder, HeatmapDisplay
from skdeepad.engine import resolve_device
from skdeepad.losses import pseudo_huber
from skdeepad.synthetic import confetti

N_LABELED = 10
FILTERS = {64: (8, 16, 16, 8), 128: None}
RECEPTIVE_FIELD = {64: 22, 128: 62}
EPOCHS = {64: 20, 128: 100}
BATCH_SIZE = {64: 32, 128: 128}
AUGMENT = ["flip", "crop", "color"]


def tiles(side):
    """Return standardized images (n, 1, side, side), masks, labels and groups."""
    with np.load(data_file("defects/magnetic_tile.npz")) as file:
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
    options: Options


def make_task(side, seed, options):
    images, masks, anomalous, groups = tiles(side)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(groups))
    test = np.isin(groups, order[: round(0.4 * len(order))])
    annotated = masks.any((1, 2))
    normal = np.flatnonzero(~test & ~anomalous)
    labeled = rng.permutation(np.flatnonzero(~test & anomalous & annotated))[:N_LABELED]
    # A few defects are smaller than a quarter of a pixel, and some have no mask in the source.
    test = np.flatnonzero(test & (annotated | ~anomalous))
    if options.quick:
        normal, test = normal[:64], rng.permutation(test)[:100]
    return Task(images, masks, anomalous, normal, labeled, test, seed, options)


def training(task, labels=False):
    """Return settings for the same number of steps; half of a batch with labels is anomalies."""
    side = task.images.shape[-1]
    return {
        "n_epochs": EPOCHS[side] // 2 if labels else EPOCHS[side],
        "batch_size": BATCH_SIZE[side],
        "lr_schedule": "cosine",
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
    )
    prepare(detector, task.seed, task.options)
    detector.fit(X, y, masks=known)
    X_test = task.images[task.test]
    return detector.anomaly_score(X_test), detector.explain(X_test)


def smoothed(maps):
    """Spread maps as FCDD's are, by a Gaussian of a quarter of its receptive field."""
    deviation = RECEPTIVE_FIELD[maps.shape[-1]] / 4
    return gaussian_filter(maps, (0, deviation, deviation))


def residuals(task):
    """Return scores and maps of an autoencoder's squared residuals."""
    detector = AutoEncoder(**training(task))
    prepare(detector, task.seed, task.options)
    detector.fit(task.images[task.normal])
    X_test = task.images[task.test]
    with torch.no_grad():
        codes = detector.network_.eval()(torch.from_numpy(X_test).to(detector.device_))
        rebuilt = detector.decoder_.eval()(codes).cpu().numpy()
    return detector.anomaly_score(X_test), smoothed(((X_test - rebuilt) ** 2)[:, 0])


def gradients(task):
    """Return scores and maps of the absolute input gradients of HSC's score."""
    X, X_test = task.images[task.normal], task.images[task.test]
    made, _ = confetti(X, random_state=task.seed)
    y = np.r_[np.zeros(len(X)), -np.ones(len(made))]
    detector = HSC(augment=AUGMENT, **training(task, labels=True))
    prepare(detector, task.seed, task.options)
    detector.fit(np.concatenate([X, made]), y)
    maps = []
    for part in np.array_split(X_test, 10):
        x = torch.from_numpy(part).to(detector.device_).requires_grad_()
        codes = detector.network_.eval()(x).flatten(1)
        pseudo_huber(codes).sum().backward()
        maps.append(x.grad.abs().sum(1).cpu().numpy())
    return detector.anomaly_score(X_test), smoothed(np.concatenate(maps))


METHODS = {
    "FCDD, confetti": fcdd,
    "FCDD, 10 labels": partial(fcdd, labels=True, blobs=False),
    "FCDD, 10 labels with masks": partial(fcdd, labels=True, masks=True, blobs=False),
    "FCDD, confetti and 10 labels with masks": partial(fcdd, labels=True, masks=True),
    "AutoEncoder, residuals": residuals,
    "HSC with confetti, gradients": gradients,
}


def run(tasks, options):
    """Train on the normal tiles of one split and judge images and pixels of the others."""
    ((side, _, method, seed),) = (task.values() for task in tasks)
    task = make_task(side, seed, options)
    start = time.perf_counter()
    scores, maps = METHODS[method](task)
    seconds = time.perf_counter() - start
    truth = task.masks[task.test]
    of_tiles = [
        roc_auc_score(mask.ravel(), heat.ravel())
        for mask, heat in zip(truth, maps, strict=True)
        if 0 < mask.mean() < 1
    ]
    return [
        {
            "auc": 100 * roc_auc_score(task.anomalous[task.test], scores),
            "pixel_auc": 100 * roc_auc_score(truth.ravel(), maps.ravel()),
            "tile_auc": 100 * float(np.mean(of_tiles)),
            "seconds": round(seconds, 1),
            "device": str(resolve_device(options.device)),
        }
    ]


def draw(side, seed, method, paths):
    """Draw the best and the worst heat maps of anomalous test tiles."""
    task = make_task(side, seed, Options())
    _, maps = METHODS[method](task)
    rows = np.flatnonzero(task.anomalous[task.test])
    truth, shown = task.masks[task.test][rows], task.images[task.test][rows]
    aucs = [roc_auc_score(m.ravel(), h.ravel()) for m, h in zip(truth, maps[rows], strict=True)]
    order = np.argsort(aucs)
    for path, chosen in zip(paths, (order[::-1][:4], order[:4]), strict=True):
        display = HeatmapDisplay.from_maps(shown[chosen], maps[rows][chosen], masks=truth[chosen])
        display.figure_.savefig(path, dpi=80)


def tasks(arguments):
    return [
        {"side": side, "data": "magnetic_tile", "method": method, "seed": seed}
        for side in map(int, arguments.sides)
        for seed in arguments.seeds
        for method in arguments.methods
    ]


BENCHMARKS = {
    "defects": Benchmark(
        tasks=tasks,
        run=run,
        data=("magnetic_tile",),
        methods=tuple(METHODS),
        seeds=5,
        choices={"sides": (tuple(map(str, FILTERS)), ("64",))},
        quick={"methods": ["FCDD, 10 labels with masks"], "seeds": [0]},
    )
}
