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


def data_file(path):
    """Return the path of a file in the folder of the data."""
    folder = os.environ.get("SKDEEPAD_DATA")
    if not folder:
        raise FileNotFoundError(
            f"{path} is needed and SKDEEPAD_DATA is not set. Expected the folder of the data there."
        )
    found = Path(folder).expanduser() / path
    if not found.exists():
        raise FileNotFoundError(f"{found} is needed and is not there. Look at SKDEEPAD_DATA.")
    return found


@cache
def encoded_images(path):
    """Return images (n, 3, 32, 32), labels and whether a row is for testing."""
    sys.path.insert(0, str(data_file("load.py").parent))
    from load import load_images

    images, labels, split, _ = load_images(data_file(path))
    return images.transpose(0, 3, 1, 2), labels, split == 1


@cache
def read(data):
    """Return training images (n, c, h, w) and classes, test images and classes, as bytes."""
    if data == "cifar10":
        images, labels, test = encoded_images("cifar10/cifar10_jpeg.npz.xz")
        return images[~test], labels[~test], images[test], labels[test]
    with np.load(data_file(f"{data}/{data}.npz")) as file:
        X, labels, X_test, test_labels = (
            file[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    return X[:, None], labels, X_test[:, None], test_labels


@cache
def read_auxiliary(data):
    """Return images that are none of a data set's: letters, gray CIFAR-100 or CIFAR-100."""
    if data == "mnist":
        with np.load(data_file("oe/notmnist.npz")) as file:
            return file["x"][:, None]
    colors = encoded_images("oe/cifar100_train_jpeg.npz.xz")[0]
    return colors if data == "cifar10" else colors[:, :, 2:30, 2:30].mean(1)[:, None]


def some(rows, n, rng):
    """Return n of these rows drawn at random, or all of them in random order."""
    return rng.permutation(rows)[:n]
