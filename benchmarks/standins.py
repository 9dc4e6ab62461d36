"""Stand-ins for the tables that anomaly detectors are benchmarked on.

44 tables of the kind anomaly detectors are benchmarked on: 80 to 10,000 rows, 3 to 1,555 columns,
1% to 40% anomalies. Training defaults are judged on them (:mod:`benchmarks.defaults`), rather than
on the tables of published comparisons, of which the ODDS tables alone are among them. Groups:

odds
    Six tables of the ODDS library (shuttle: a sample of 10,000 rows).
small
    80 to 550 rows: scikit-learn's tables with a class made rare, and random ones of mixed columns.
hard
    Anomalies that overlap with normal rows, or depend on a few of many columns.
image
    Pixels, averages of pixels and principal components of images; one class is anomalous.
text
    Mean word vectors, word counts and word shares of newsgroup posts; one topic is anomalous.
synth
    Breiman's waveforms, a rule over heavy-tailed columns, and local, global, clustered and
    dependency anomalies around Gaussian mixtures fitted to real tables, as in ADBench.

A name that ends in ``_like`` tells the published table whose size, kinds of columns and share of
anomalies were the model; the content is other data. Each table has its own random numbers, seeded
by its name, and does not depend on the others.

``SKDEEPAD_DATA`` names the folder with the ODDS tables (see
:func:`skdeepad.datasets.load_odds`), ``mnist/mnist.npz``, ``fmnist/fmnist.npz``,
``cifar10/cifar10_jpeg.npz.xz`` (encoded images, which need Pillow), ``text/20newsgroups.jsonl.gz``,
``text/glove_6B_50d_5k.npz`` and ``defects/magnetic_tile.npz``. Tables are kept in
``benchmarks/.cache/standins``; ``python -m benchmarks standins`` builds all of them anew and lists
them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import os
import re
import zlib
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from benchmarks.images import data_file
from benchmarks.layout import table_rst
from skdeepad.datasets import load_odds

CACHE = Path(__file__).parent / ".cache" / "standins"


# Builders take a random generator and return the normal rows and the anomalous ones.


def part(X, is_anomaly):
    return X[~is_anomaly], X[is_anomaly]


def sample(X, n, rng):
    return rng.choice(X, n, replace=False)


# Real tables.


def odds(name, rng):
    X, y = load_odds(name, return_X_y=True)
    if len(X) > 10_000:
        rows = rng.choice(len(X), 10_000, replace=False)
        X, y = X[rows], y[rows]
    return part(X, y < 0)


def rare_class(loader, anomalous, columns, n_normal, n_anomalies, rng):
    """Take columns and rows of a table of scikit-learn in which a class is anomalous."""
    X, target = loader(return_X_y=True)
    normal, anomalies = part(X[:, columns], target == anomalous)
    return sample(normal, n_normal, rng), sample(anomalies, n_anomalies, rng)


def diabetes(rng):
    X, target = datasets.load_diabetes(return_X_y=True)
    return part(X, target > np.quantile(target, 0.66))


def ionosphere_like(rng):
    """Noisy, bounded projections of the breast cancer table."""
    X, target = datasets.load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X[:, :20])
    X = np.tanh(X @ rng.normal(0, 1 / 4, (20, 33))) + rng.normal(0, 0.6, (len(X), 33))
    normal, anomalies = part(X, target == 0)
    return sample(normal, 225, rng), sample(anomalies, 126, rng)


# Random tables.


def clinical(n, p, share, shift, n_binary, n_shifted, rng):
    """Correlated columns, some binary, some skewed; anomalies are shifted in a few of them."""
    is_anomaly = np.arange(n) < round(n * share)
    X = 0.6 * rng.normal(size=(n, 4)) @ rng.normal(size=(4, p)) + rng.normal(size=(n, p))
    shifted = rng.choice(p, n_shifted, replace=False)
    X[np.ix_(is_anomaly, shifted)] += shift * rng.choice([-1, 1], n_shifted)
    for j in range(n_binary):
        X[:, j] = X[:, j] > np.quantile(X[:, j], rng.uniform(0.1, 0.9))
    for j in range(n_binary, p):
        if rng.random() < 0.5:
            X[:, j] = np.exp(0.7 * X[:, j])
    return part(X, is_anomaly)


def lymphography_like(rng):
    """Correlated grades from 1 to 4; a few rows have arbitrary grades in seven columns."""
    X = 2 + 0.7 * rng.normal(size=(148, 18)) + 0.5 * rng.normal(size=(148, 1))
    X = np.round(np.clip(X, 1, 4))
    anomalies, normal = X[:8], X[8:]
    anomalies[:, rng.choice(18, 7, replace=False)] = rng.integers(3, 8, (8, 7))
    return normal, anomalies


def mixture(n, p, n_components, separation, rng):
    """Draw rows from random Gaussian components of equal weight."""
    rows = []
    for count in rng.multinomial(n, np.full(n_components, 1 / n_components)):
        mean = separation * rng.normal(size=p)
        rows.append(mean + rng.normal(size=(count, p)) @ rng.normal(0, p**-0.5, (p, p)))
    return np.concatenate(rows)


def other_components(p, separation, normal, anomalous, rng):
    """Mixtures of Gaussians; ``normal`` and ``anomalous`` are numbers of rows and components."""
    return tuple(
        mixture(n, p, n_components, separation, rng) for n, n_components in (normal, anomalous)
    )


def classification(n, p, n_informative, share, separation, flipped, rng):
    """Two clusters a class on the corners of a cube, and some labels changed."""
    X, target = datasets.make_classification(
        n,
        p,
        n_informative=n_informative,
        n_redundant=min(2, p - n_informative),
        weights=[1 - share],
        class_sep=separation,
        flip_y=flipped,
        random_state=int(rng.integers(2**31)),
    )
    return part(X, target == 1)


def annthyroid_like(rng):
    """Heavy-tailed columns; anomalies exceed a threshold on a ratio of three of them."""
    n = 7000
    X = np.exp(0.8 * rng.normal(size=(n, 4))) @ np.abs(rng.normal(size=(4, 6)))
    X *= np.exp(0.4 * rng.normal(size=(n, 6)))
    score = np.log(X[:, 0]) - np.log(X[:, 3]) + 0.5 * np.log(X[:, 1])
    return part(X, score > np.quantile(score, 0.926))


def celeba_like(rng):
    """Binary attributes of five factors; a noisy sum of the factors is extreme in anomalies."""
    n, p = 10_000, 39
    factors = rng.normal(size=(n, 5))
    X = factors @ rng.normal(size=(5, p)) + rng.normal(size=(n, p))
    score = factors @ rng.normal(size=5) + 0.7 * rng.normal(size=n)
    is_set = np.median(X, axis=0) + rng.normal(size=p) < X
    return part(is_set, score > np.quantile(score, 0.977))


def campaign_like(rng):
    """One-hot categories and heavy-tailed numbers, of which a noisy sum is extreme in anomalies."""
    n = 10_000
    categories = np.eye(6)[rng.integers(0, 6, (n, 7))].reshape(n, -1)
    numbers = np.exp(0.8 * rng.normal(size=(n, 8)))
    score = categories @ rng.normal(0, 0.5, 42) + 0.6 * numbers[:, 0] - 0.5 * numbers[:, 1]
    score += 0.8 * rng.normal(size=n)
    return part(np.hstack([categories, numbers]), score > np.quantile(score, 0.887))


def magic_like(rng):
    """Skewed and mixed columns; anomalies are wider and slightly shifted."""
    n = 9000
    is_anomaly = np.arange(n) < 3150
    X = rng.normal(size=(n, 5))
    X[is_anomaly] = 1.5 * X[is_anomaly] + 0.4 * np.array([1, -1, 0.5, 0, 1])
    mixed = X @ rng.normal(size=(5, 5)) + 0.7 * rng.normal(size=(n, 5))
    return part(np.hstack([np.exp(0.5 * X), mixed]), is_anomaly)


def waveform(rng):
    """Breiman's waveforms: random convex combinations of two of three triangles, and noise."""
    peaks = np.array([[11], [15], [7]])
    triangles = np.maximum(6 - np.abs(np.arange(1, 22) - peaks), 0)

    def wave(n, first, second):
        weight = rng.random((n, 1))
        mean = weight * triangles[first] + (1 - weight) * triangles[second]
        return mean + rng.normal(size=(n, 21))

    return np.concatenate([wave(1672, 0, 2), wave(1671, 1, 2)]), wave(100, 0, 1)


# Anomalies made from a model of real normal rows.


class Gaussians(NamedTuple):
    """A Gaussian mixture."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def draw(self, n, rng):
        """Draw n rows."""
        counts = rng.multinomial(n, self.weights)
        components = zip(self.means, self.covariances, counts, strict=True)
        return np.concatenate([rng.multivariate_normal(*component) for component in components])


def fitted(table, n_components, rng):
    """Fit a Gaussian mixture to normal rows of an ODDS table, standardized by all rows."""
    X, y = load_odds(table, return_X_y=True)
    normal = rng.permutation(StandardScaler().fit_transform(X)[y > 0])[:4000]
    model = GaussianMixture(n_components, random_state=0, reg_covar=1e-3).fit(normal)
    return Gaussians(model.weights_, model.means_, model.covariances_)


def local_anomalies(rng):
    model = fitted("cardio", 4, rng)
    wider = model._replace(covariances=3 * model.covariances)
    return model.draw(2000, rng), wider.draw(200, rng)


def global_anomalies(rng):
    normal = fitted("thyroid", 4, rng).draw(3000, rng)
    low, high = 0.7 * normal.min(axis=0), 0.7 * normal.max(axis=0)
    return normal, rng.uniform(low, high, (150, normal.shape[1]))


def clustered_anomalies(rng):
    model = fitted("satellite", 8, rng)
    moved = model._replace(means=model.means + 0.5 * rng.normal(size=model.means.shape))
    return model.draw(3000, rng), moved.draw(200, rng)


def dependency_anomalies(rng):
    """Anomalies have the normal rows' values in each column, but independent of each other."""
    normal, _ = surfaces(rng)
    normal = StandardScaler().fit_transform(normal)[:, ::2]
    return normal, rng.permuted(normal, axis=0)[:100]


# Images.


def digits(normal, anomalous, n_normal, n_anomalies, rng):
    """Pixels of scikit-learn's small digits."""
    X, digit = datasets.load_digits(return_X_y=True)
    chosen = sample(X[np.isin(digit, normal)], n_normal, rng)
    return chosen, sample(X[digit == anomalous], n_anomalies, rng)


def vowels_like(rng):
    """Principal components of scikit-learn's small digits."""
    X, digit = datasets.load_digits(return_X_y=True)
    X = PCA(12, random_state=0).fit_transform(X)
    return X[np.isin(digit, [1, 2, 3, 5, 7, 8, 9])], sample(X[digit == 4], 50, rng)


@cache
def training_images(name):
    """Return the training images of MNIST or Fashion-MNIST and their classes."""
    with np.load(data_file(f"{name}/{name}.npz")) as archive:
        return archive["x_train"], archive["y_train"]


def halved(images):
    """Average images of 28 x 28 pixels over blocks of 2 x 2, as flat rows."""
    return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)


def mnist_pixels(rng):
    """Take some hundred pixels: zeros are normal, sixes are not."""
    images, digit = training_images("mnist")
    images = images.reshape(-1, 784)
    columns = sample(np.flatnonzero(images[:5000].std(axis=0) > 5), 100, rng)
    normal, anomalies = images[digit == 0][:, columns], images[digit == 6][:, columns]
    return sample(normal, 4500, rng), sample(anomalies, 450, rng)


def pendigits_like(rng):
    """Principal components of all digits; fours are anomalous."""
    images, digit = training_images("mnist")
    normal = halved(sample(images[digit != 4], 6000, rng))
    anomalies = halved(sample(images[digit == 4], 150, rng))
    components = PCA(16, random_state=0).fit(np.concatenate([normal, anomalies]))
    return components.transform(normal), components.transform(anomalies)


def fashion(normal, anomalous, n_normal, n_anomalies, rng):
    images, kind = training_images("fmnist")
    chosen = sample(images[np.isin(kind, normal)], n_normal, rng)
    return halved(chosen), halved(sample(images[kind == anomalous], n_anomalies, rng))


@cache
def colour_images(kind):
    """Return the 6,000 CIFAR-10 images of a class."""
    from PIL import Image

    raw = lzma.decompress(data_file("cifar10/cifar10_jpeg.npz.xz").read_bytes())
    with np.load(io.BytesIO(raw)) as archive:
        blob, offsets, labels = archive["blob"], archive["offsets"], archive["labels"]
    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]])).convert("RGB"))
            for i in np.flatnonzero(labels == kind)
        ]
    )


def skin_like(rng):
    """Colours of single pixels: of airplanes and ships, and of frogs as anomalies."""

    def pixels(kind, n):
        images = sample(colour_images(kind), n, rng)
        row, column = rng.integers(8, 24, (2, n))
        return images[np.arange(n), row, column]

    return np.concatenate([pixels(0, 4000), pixels(8, 4000)]), pixels(6, 2000)


def colour_features(rng):
    """Block means, spread and edges: cars, trucks and some cats are normal, ships are not."""
    normal = np.concatenate([colour_images(1), colour_images(9), colour_images(3)[:2000]])

    def features(images):
        images = images.astype(np.float32)
        blocks = images.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(len(images), -1)
        grey = images.mean(axis=3)
        edges = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
        return np.column_stack([blocks, images.std(axis=(1, 2)), *edges])

    return features(sample(normal, 4000, rng)), features(sample(colour_images(8), 250, rng))


def surfaces(rng):
    """Grey levels, gradients and blocks of magnetic tiles; those with a defect are anomalous.

    Each tile was photographed a few times, so rows have near copies.
    """
    with np.load(data_file("defects/magnetic_tile.npz")) as archive:
        images, y = archive["images"].astype(np.float32), archive["y"]
    n = len(images)
    flat = images.reshape(n, -1)
    steps = [np.abs(np.diff(images, axis=axis)).reshape(n, -1) for axis in (1, 2)]
    blocks = images.reshape(n, 8, 16, 8, 16)
    block_means, block_spreads = (
        statistic.reshape(n, -1)
        for statistic in (blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4)))
    )
    mean, spread = flat.mean(axis=1), flat.std(axis=1)
    features = [mean, spread]
    features += list(np.quantile(flat, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], axis=1))
    for step in steps:
        features += [step.mean(axis=1), step.std(axis=1)]
        features += list(np.quantile(step, [0.9, 0.99, 1], axis=1))
    features += [block_means.std(axis=1), np.ptp(block_means, axis=1)]
    features += [getattr(block_spreads, name)(axis=1) for name in ("mean", "std", "max", "min")]
    features += [((flat - mean[:, None]) ** 3).mean(axis=1) / spread**3]
    return part(np.column_stack(features), y == 1)


# Text.


class Posts(NamedTuple):
    """Posts of the 20 newsgroups: texts, their lower-case words, and their topics."""

    texts: list
    words: list
    topics: np.ndarray

    def choose(self, normal, anomalous, n_normal, n_anomalies, rng):
        """Return numbers of normal posts, then of anomalous ones."""
        return np.concatenate(
            [
                sample(np.flatnonzero(np.isin(self.topics, topics)), n, rng)
                for topics, n in ((normal, n_normal), (anomalous, n_anomalies))
            ]
        )


@cache
def posts():
    with gzip.open(data_file("text/20newsgroups.jsonl.gz"), "rt") as file:
        documents = [json.loads(line) for line in file]
    documents = [document for document in documents if len(document["text"]) > 200]
    texts = [document["text"] for document in documents]
    words = [re.findall(r"[a-z']+", text.lower()) for text in texts]
    return Posts(texts, words, np.array([document["group"] for document in documents]))


@cache
def mean_vectors():
    """Return the mean word vector of each post, of shape (n_posts, 50)."""
    with np.load(data_file("text/glove_6B_50d_5k.npz")) as archive:
        vectors = dict(zip(archive["words"].tolist(), archive["vectors"], strict=True))
    nothing = [np.zeros(50)]
    return np.stack(
        [
            np.mean([vectors[word] for word in words if word in vectors] or nothing, axis=0)
            for words in posts().words
        ]
    )


def word_vectors(normal, anomalous, n_normal, n_anomalies, squares, rng):
    chosen = posts().choose(normal, anomalous, n_normal, n_anomalies, rng)
    X = mean_vectors()[chosen]
    if squares:
        X = np.hstack([X, X**2])
    return X[:n_normal], X[n_normal:]


def word_counts(chosen, **settings):
    texts = [" ".join(posts().words[i]) for i in chosen]
    return CountVectorizer(**settings).fit_transform(texts).toarray()


def ads_like(rng):
    """Whether words occur in a post: everyday topics are normal, science is not."""
    topics = ["computer", "recreation", "misc"]
    chosen = posts().choose(topics, ["science"], 1600, 366, rng)
    X = word_counts(chosen, max_features=1555, binary=True, stop_words="english")
    return X[:1600], X[1600:]


def spam_like(rng):
    """Percentages of words and characters, and lengths: computer posts are anomalous."""
    chosen = posts().choose(["science", "politics"], ["computer"], 2500, 1680, rng)
    texts = [posts().texts[i] for i in chosen]
    n_words = np.array([[len(posts().words[i])] for i in chosen])
    marks = np.array([[100 * text.count(mark) / len(text) for mark in "!$;("] for text in texts])
    capitals = np.array([[sum(map(str.isupper, text))] for text in texts])
    shares = 100 * word_counts(chosen, max_features=84) / n_words
    X = np.hstack([shares, marks, n_words, capitals])
    return X[:2500], X[2500:]


EVERYDAY = ("computer", "science", "misc", "recreation")
MEAN_10 = slice(0, 10)
ERRORS_8 = [11, 14, 15, 16, 17, 18, 19, 9]
cancer = partial(rare_class, datasets.load_breast_cancer, 0)

TABLES = {
    "arrhythmia": ("odds", partial(odds, "arrhythmia")),
    "cardio": ("odds", partial(odds, "cardio")),
    "satellite": ("odds", partial(odds, "satellite")),
    "satimage-2": ("odds", partial(odds, "satimage-2")),
    "shuttle": ("odds", partial(odds, "shuttle")),
    "thyroid": ("odds", partial(odds, "thyroid")),
    "wdbc": ("small", partial(cancer, slice(None), 357, 10)),
    "bc_mean10": ("small", partial(cancer, MEAN_10, 357, 190)),
    "wine": ("small", partial(rare_class, datasets.load_wine, 0, slice(None), 119, 10)),
    "iris_hard": ("small", partial(rare_class, datasets.load_iris, 2, slice(None), 100, 15)),
    "hepatitis_like": ("small", partial(clinical, 80, 19, 0.16, 1.2, 13, 10)),
    "stamps_like": ("small", partial(clinical, 340, 9, 0.09, 1.3, 0, 5)),
    "lympho_like": ("small", lymphography_like),
    "glass_like": ("small", partial(other_components, 7, 0.9, (174, 5), (9, 1))),
    "ionosphere_like": ("small", ionosphere_like),
    "bc_errors8": ("hard", partial(cancer, ERRORS_8, 150, 45)),
    "diabetes": ("hard", diabetes),
    "wpbc_like": ("hard", partial(clinical, 198, 33, 0.237, 0.8, 0, 5)),
    "fm_shirt": ("hard", partial(fashion, [0, 2, 4], 6, 3000, 300)),
    "fault_like": ("hard", surfaces),
    "skin_like": ("hard", skin_like),
    "yeast_like": ("hard", partial(classification, 1484, 8, 5, 0.34, 0.6, 0.1)),
    "wilt_like": ("hard", partial(classification, 4800, 5, 4, 0.05, 0.9, 0.02)),
    "celeba_like": ("hard", celeba_like),
    "campaign_like": ("hard", campaign_like),
    "magic_like": ("hard", magic_like),
    "letter_like": ("hard", partial(other_components, 32, 0.45, (1465, 23), (100, 2))),
    "optdigits_like": ("image", partial(digits, range(1, 10), 0, 1619, 50)),
    "digits_vs8": ("image", partial(digits, [1, 2, 3, 5, 9], 8, 900, 60)),
    "vowels_like": ("image", vowels_like),
    "mnist_0v6": ("image", mnist_pixels),
    "pendigits_like": ("image", pendigits_like),
    "musk_like": ("image", partial(fashion, [5, 8, 9], 1, 2900, 97)),
    "cifar_features": ("image", colour_features),
    "news_vectors": (
        "text",
        partial(
            word_vectors, ["computer", "recreation", "politics"], ["religion"], 3000, 180, False
        ),
    ),
    "speech_like": ("text", partial(word_vectors, EVERYDAY, ["politics"], 3600, 62, True)),
    "ads_like": ("text", ads_like),
    "spam_like": ("text", spam_like),
    "waveform": ("synth", waveform),
    "syn_local": ("synth", local_anomalies),
    "syn_global": ("synth", global_anomalies),
    "syn_cluster": ("synth", clustered_anomalies),
    "syn_depend": ("synth", dependency_anomalies),
    "annthyroid_like": ("synth", annthyroid_like),
}


def names():
    """Return the names of all tables."""
    return list(TABLES)


def group(name):
    """Return the group of a table."""
    return TABLES[name][0]


def build(name):
    """Build a table: shuffled rows without constant columns, and +1 normal, -1 anomaly."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    normal, anomalies = TABLES[name][1](rng)
    X = np.concatenate([normal, anomalies]).astype(np.float32)
    y = np.repeat([1, -1], [len(normal), len(anomalies)])
    order = rng.permutation(len(X))
    X, y = X[order], y[order]
    return X[:, np.ptp(X, axis=0) > 0], y


def load(name, *, rebuild=False):
    """Return the features (float32) and labels of a table, from the cache if it is there."""
    path = CACHE / f"{name}.npz"
    if rebuild or not path.exists():
        X, y = build(name)
        CACHE.mkdir(parents=True, exist_ok=True)
        # Renamed when complete, so that no other process reads half a file.
        unfinished = CACHE / f"{name}.{os.getpid()}.npz"
        np.savez_compressed(unfinished, X=X, y=y)
        unfinished.replace(path)
    with np.load(path) as archive:
        return archive["X"], archive["y"]


def main():
    argparse.ArgumentParser(
        description="Build all stand-in tables anew and list them."
    ).parse_args()
    rows = []
    for name in names():
        X, y = load(name, rebuild=True)
        n_anomalies = (y < 0).sum()
        rows.append([name, group(name), *X.shape, n_anomalies, f"{100 * n_anomalies / len(X):.1f}"])
    print(table_rst(["table", "group", "rows", "columns", "anomalies", "%"], rows))


if __name__ == "__main__":
    main()
