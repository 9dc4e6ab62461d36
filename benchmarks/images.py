"""The image sets of the benchmarks, read from ``SKDEEPAD_DATA``."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import numpy as np

CLASSES = {
    "mnist": tuple(str(digit) for digit in range(10)),
    "fmnist": (
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
    ),
    "cifar10": (
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
    ),
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


@cache
def read(data):
    """Return training images (n, c, h, w) and classes, test images and classes, as bytes."""
    if data == "cifar10":
        images, labels, test = encoded_images("cifar10/cifar10_jpeg.npz.xz")
        return images[~test], labels[~test], images[test], labels[test]
    with np.load(folder() / data / f"{data}.npz") as file:
        X, labels, X_test, test_labels = (
            file[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    return X[:, None], labels, X_test[:, None], test_labels


@cache
def read_auxiliary(data):
    """Return images that are none of a data set's: letters, gray CIFAR-100 or CIFAR-100."""
    if data == "mnist":
        with np.load(folder() / "oe" / "notmnist.npz") as file:
            return file["x"][:, None]
    colors = encoded_images("oe/cifar100_train_jpeg.npz.xz")[0]
    return colors if data == "cifar10" else colors[:, :, 2:30, 2:30].mean(1)[:, None]


def some(rows, n, rng):
    """Return n of these rows drawn at random, or all of them in random order."""
    return rng.permutation(rows)[:n]
