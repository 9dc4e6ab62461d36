"""Why detectors find corrupted digits: relevance maps beside what was changed.

Run as ``python -m benchmarks mnistc`` with the data in ``SKDEEPAD_DATA``: the thesis's section
4.4 on MNIST-C, with corruptions made here (:mod:`benchmarks.corruptions`). Detectors learn from
clean digits of all ten classes, and are judged on clean test images and the same ones corrupted: by
AUC, and by the cosine similarity between the maps of ``explain`` and how much each pixel was
changed, the mean over half of the corrupted images, as ensembles take long to explain. The AUC less
the cosine, both in %, is the thesis's Clever Hans score: found, but for another reason. Where most
pixels are changed, a flat map, which says nothing, has a high cosine, too: it stands beside them.

KDE is SSAD without labels at nu = 1, where all training rows have the same coefficient; its width
is the default, whereas the thesis chooses it by likelihood. The thesis's DeepSVDD has layers
pretrained on letters. Labeled anomalies are ten training images, corrupted in ways of one half of
the 15; a detector that knows them is judged on the other half, and there are two of it. Images are
scaled to [0, 1] and standardized by one mean and deviation for all pixels. Sizes:

small
    For a CPU: 2,000 training and 200 test images, default networks but for FCDD's few filters,
    about 160 steps of 64 images at a rate that falls along a cosine.
full
    For a GPU: all training images, 1,000 test images, 50 epochs, default networks. Without KDE,
    whose time grows with the square of the rows.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import cycle

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.corruptions import CORRUPTIONS, corrupted, truth
from benchmarks.images import read, some
from benchmarks.running import Benchmark, device_of, prepare
from skdeepad import FCDD, SSAD, AutoEncoder, DeepEnsemble, DeepSAD, DeepSVDD

# Training and test images.
ROWS = {"small": (2000, 200), "full": (None, 1000), "quick": (64, 10)}
N_EPOCHS = {"small": 5, "full": 50}
FCDD_FILTERS = {"small": (16, 32), "full": None}
N_LABELED = 10
# Least change of a pixel that masks mark.
MARKED = 0.25
METHODS = (
    "KDE",
    "DeepSVDD",
    "AutoEncoder",
    "DeepSAD, 10 labeled",
    "FCDD, masks",
    "DeepEnsemble of 5 DeepSVDD",
)
WITH_LABELS = ("DeepSAD, 10 labeled", "FCDD, masks")
# Dotted line and zigzag are in the same half, as are the blurs: neither helps to find the other.
HALVES = (tuple(CORRUPTIONS)[::2], tuple(CORRUPTIONS)[1::2])


def make_images(size, seed):
    """Return clean images to train on, to test on and to make labeled anomalies of: (n, h, w)."""
    rng = np.random.default_rng(seed)
    X, _, X_test, _ = read("mnist")
    n, n_test = ROWS[size]
    order = rng.permutation(len(X))
    rows = order[N_LABELED:][:n], some(np.arange(len(X_test)), n_test, rng), order[:N_LABELED]
    return [
        images[chosen, 0].astype(np.float32) / 255
        for images, chosen in zip((X, X_test, X), rows, strict=True)
    ]


def labeled_anomalies(images, names, seed):
    """Corrupt each image in the next of those ways; return what comes of it, and its masks."""
    made = np.concatenate(
        [
            corrupted(image[None], name, [seed, row])
            for row, (image, name) in enumerate(zip(images, cycle(names), strict=False))
        ]
    )
    masks = (truth(images, made) > MARKED).astype(int)
    # An anomaly has at least one marked pixel, or nobody has annotated it.
    masks[~masks.any((1, 2))] = -1
    return made, masks


def make_detector(size, method):
    """Return a detector that has not been fitted."""
    if method == "KDE":
        return SSAD(nu=1.0)
    # Labeled anomalies have half of each batch to themselves.
    epochs = (N_EPOCHS[size] + 1) // 2 if method in WITH_LABELS else N_EPOCHS[size]
    training = {"n_epochs": epochs, "batch_size": 64, "lr_schedule": "cosine"}
    return {
        "DeepSVDD": DeepSVDD,
        "AutoEncoder": AutoEncoder,
        "DeepSAD, 10 labeled": DeepSAD,
        "FCDD, masks": partial(FCDD, hidden_layer_sizes=FCDD_FILTERS[size]),
        "DeepEnsemble of 5 DeepSVDD": lambda **training: DeepEnsemble(DeepSVDD(**training), 5),
    }[method](**training)


def fit(detector, method, X, anomalies, masks):
    """Fit a detector to images (n, 1, h, w), and to labeled anomalies if it learns from them."""
    if method not in WITH_LABELS:
        return detector.fit(X)
    rows = np.concatenate([X, anomalies])
    y = np.repeat([0, -1], [len(X), len(anomalies)])
    if method == "DeepSAD, 10 labeled":
        return detector.fit(rows, y)
    unmarked = np.zeros((len(X), *masks.shape[1:]), dtype=int)
    return detector.fit(rows, y, masks=np.concatenate([unmarked, masks]))


def cosine(relevance, changes):
    """Return the mean cosine in % between relevance and change, over images (n, h, w).

    Negative relevance, of pixels that speak for a normal image, counts as none: no change is
    negative. An image without any relevance has a cosine of 0.
    """
    relevance, changes = (
        maps.reshape(len(maps), -1).astype(float) for maps in (np.maximum(relevance, 0), changes)
    )
    norms = np.linalg.norm(relevance, axis=1) * np.linalg.norm(changes, axis=1)
    return 100 * float(np.mean((relevance * changes).sum(1) / np.where(norms > 0, norms, 1)))


def measure(detector, prepared, clean, made):
    """Judge a detector by scores of clean and corrupted images, and by what it says of the latter.

    ``prepared`` makes of images in [0, 1] what the detector was trained on.
    """
    scores = [detector.anomaly_score(prepared(images)) for images in (clean, made)]
    corrupt = np.repeat([0, 1], [len(clean), len(made)])
    auc = 100 * float(roc_auc_score(corrupt, np.concatenate(scores)))
    explained = made[: (len(made) + 1) // 2]
    changes = truth(clean[: len(explained)], explained)
    similarity = cosine(detector.explain(prepared(explained)), changes)
    return {
        "auc": auc,
        "cosine": similarity,
        "clever_hans": auc - similarity,
        "flat_cosine": cosine(np.ones_like(changes), changes),
    }


def half(name):
    """Return which half a corruption is of, 0 or 1."""
    return int(name in HALVES[1])


def run(tasks, options):
    """Fit a method once, and judge it on several corruptions."""
    size, method, seed = (tasks[0][name] for name in ("size", "method", "seed"))
    X, X_test, others = make_images("quick" if options.quick else size, seed)
    mean, deviation = X.mean(), X.std()

    def prepared(images):
        return ((images - mean) / deviation)[:, None].astype(np.float32)

    anomalies, masks = labeled_anomalies(others, HALVES[1 - half(tasks[0]["data"])], seed)
    detector = make_detector(size, method)
    prepare(detector, seed, options)
    start = time.perf_counter()
    fit(detector, method, prepared(X), prepared(anomalies), masks)
    of_fit = {
        "seconds": round(time.perf_counter() - start, 1),
        "device": device_of(getattr(detector, "estimators_", [detector])[0]),
    }
    return [
        measure(detector, prepared, X_test, corrupted(X_test, task["data"], seed)) | of_fit
        for task in tasks
    ]


def together(task):
    """One fit serves all corruptions, or those of a half where it knows the other one."""
    known = half(task["data"]) if task["method"] in WITH_LABELS else None
    return task["size"], task["method"], task["seed"], known


def tasks(arguments):
    return [
        {"size": size, "data": name, "method": method, "seed": seed}
        for size in arguments.sizes
        for seed in arguments.seeds
        for method in arguments.methods
        for name in arguments.data
        if (size, method) != ("full", "KDE")
    ]


BENCHMARKS = {
    "mnistc": Benchmark(
        tasks=tasks,
        run=run,
        together=together,
        data=tuple(CORRUPTIONS),
        methods=METHODS,
        seeds=5,
        choices={"sizes": (("small", "full"), ("small",))},
        quick={
            "data": ["fog", "stripe"],
            "methods": ["KDE", "AutoEncoder", "FCDD, masks"],
            "seeds": [0],
        },
    )
}
