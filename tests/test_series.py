"""Time series: what is found in them, windows and their labels, scores of points."""

import numpy as np
import pytest

from skdeepad import HSC, AutoEncoder, DeepSAD, DeepSVDD

slow = pytest.mark.slow


def sensors(n, seed, anomalous=False, width=48):
    """Return three sensors of a machine at any time of its turn.

    In anomalies one of them is out of step for a quarter of the window.
    """
    rng = np.random.default_rng(seed)
    period = 14 * rng.uniform(0.9, 1.1, (n, 1, 1))
    turn = 2 * np.pi * (np.arange(width) / period + rng.uniform(0, 1, (n, 1, 1)))
    turn = turn + np.array([[0], [1], [2]])  # (n, 3, width)
    if anomalous:
        start = rng.integers(0, width - width // 4, n)
        for row, channel, first in zip(turn, rng.integers(0, 3, n), start, strict=True):
            row[channel, first : first + width // 4] += rng.uniform(2, 4)
    rows = np.sin(turn) + 0.4 * np.sin(2 * turn)
    rows += rng.normal(0, 0.3, (n, 3, 1)) + rng.normal(0, 0.2, rows.shape)
    return rows.astype(np.float32)


_DETECTORS = [DeepSVDD, DeepSAD, HSC, AutoEncoder]

# Which network


@pytest.mark.parametrize(("shape", "size"), [((1, 16), 4), ((3, 20), 15), ((4, 60), 32)])
def test_an_autoencoder_has_a_narrow_code(shape, size):
    rows = np.random.default_rng(0).normal(size=(20, *shape))
    detector = AutoEncoder(n_epochs=1, random_state=0, device="cpu").fit(rows)
    assert detector.transform(rows).shape == (20, size)
    assert detector.inverse_transform(detector.transform(rows)).shape == rows.shape
    wide = AutoEncoder(hidden_layer_sizes=(9, 7), n_epochs=1, device="cpu").fit(rows)
    assert wide.transform(rows).shape == (20, 7)


@pytest.mark.parametrize(
    "cls", [cls if cls is HSC else pytest.param(cls, marks=slow) for cls in _DETECTORS]
)
def test_training_helps_and_convolutions_do(cls):
    """Beside the same detector untrained, and beside its network for tables on flat rows."""
    X, y = sensors(320, 0), np.zeros(320, int)
    if cls in (DeepSAD, HSC):
        X[:10], y[:10] = sensors(10, 1, anomalous=True), -1
    new = np.r_[sensors(200, 2), sensors(200, 3, anomalous=True)]
    truth = np.repeat([1, -1], 200)
    detector = cls(random_state=0, device="cpu")
    trained = detector.fit(X, y).score(new, truth)
    assert trained > 0.97
    flat = detector.fit(X.reshape(320, -1), y).score(new.reshape(400, -1), truth)
    detector.set_params(n_epochs=1, lr=1e-30)
    if cls in (DeepSVDD, DeepSAD):
        detector.set_params(pretrain=False)
    untrained = detector.fit(X, y).score(new, truth)
    assert trained > untrained + 0.2
    assert cls is AutoEncoder or trained > flat + 0.02
