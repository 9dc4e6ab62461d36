"""Time series: what is found in them, windows and their labels, scores of points."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdeepad import HSC, AutoEncoder, DeepSAD, DeepSVDD, LabelWarning
from skdeepad.features import make_windows, point_scores

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


# Windows


POINTS = np.random.default_rng(0).normal(size=(23, 2))
SIZES = [(1, 1), (4, 1), (5, 3), (6, 6), (3, 7), (23, 2)]  # width and step


@pytest.mark.parametrize(("width", "step"), SIZES)
def test_windows_are_slices(width, step):
    expected = [POINTS[i : i + width].T for i in range(0, 23 - width + 1, step)]
    windows = make_windows(POINTS, width=width, step=step)
    assert_array_equal(windows, expected)
    assert_array_equal(make_windows(POINTS[:, 1], width=width, step=step), windows[:, 1:])
    assert np.shares_memory(windows, POINTS) and not windows.flags.writeable


DAYS = pd.date_range("2020-01-01", periods=23)
FORMS = {
    "list": lambda points: points.tolist(),
    "torch": torch.tensor,
    "pandas": lambda points: pd.DataFrame(points, columns=["a", "b"], index=DAYS),
    "pandas, one sensor": lambda points: pd.Series(points[:, 0], index=DAYS),
    "polars": lambda points: pl.DataFrame(points, schema=["a", "b"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_series_are_the_same(form):
    windows = make_windows(FORMS[form](POINTS), width=5)
    assert_array_equal(windows, make_windows(POINTS, width=5)[:, : windows.shape[1]])


@pytest.mark.parametrize(("width", "step"), SIZES)
@pytest.mark.parametrize("form", [np.asarray, list, pd.Series, lambda y: 3.0 * y[:, None]])
@pytest.mark.filterwarnings("ignore:y holds values from:skdeepad.LabelWarning")
def test_a_window_is_as_anomalous_as_its_worst_point(width, step, form):
    """-1 beats 0, which beats +1."""
    y = np.array([1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, -1, 0, 0, 0, 0, 1, 1, 1, 1])
    windows, labels = make_windows(POINTS, form(y), width=width, step=step)
    assert_array_equal(labels, [min(y[i : i + width]) for i in range(0, 23 - width + 1, step)])
    assert_array_equal(windows, make_windows(POINTS, width=width, step=step))


def test_a_series_may_be_all_anomalous():
    labels = make_windows(POINTS, -np.ones(23), width=4)[1]
    assert_array_equal(labels, -np.ones(20))


def test_labels_of_another_convention_are_warned_of():
    """No window is all of ones, so that fitting to them could not tell."""
    y = (np.arange(23) // 3 == 2).astype(int)
    with pytest.warns(LabelWarning, match="If 1 meant 'anomaly'"):
        assert not make_windows(POINTS, y, width=5)[1].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 24}, "23 points, and a window 24.*first axis is time; pass X.T"),
        ({"width": 0}, "width must be a whole number of at least 1; got 0"),
        ({"width": 2.0}, "width must be a whole number of at least 1; got 2.0"),
        ({"width": True}, "width must be a whole number of at least 1; got True"),
        ({"step": 0}, "step must be a whole number of at least 1; got 0"),
        ({"X": POINTS[None]}, r"shape \(n_points,\) or .*got shape \(1, 23, 2\) of float64.*conc"),
        ({"X": 3.0}, r"got shape \(\)"),
        ({"X": ["a", "b", "c", "d"]}, r"must hold numbers.*got shape \(4,\) of <U1"),
        ({"X": DAYS.to_numpy()}, "X holds dates or times"),
        ({"X": pd.DataFrame({"at": DAYS, "a": 1.0})}, "columns that are no numbers.*'at'"),
        ({"X": np.ma.masked_less(POINTS, 0)}, "masked values"),
        ({"X": pd.Series(np.arange(23.0), index=DAYS[::-1])}, "not in order.*sort_index"),
        ({"y": np.zeros(20)}, r"one label for each of the 23 rows of X.*got shape \(20,\)"),
        ({"y": np.zeros(23) > 0}, "booleans"),
    ],
)
def test_what_are_no_windows_is_refused(given, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make_windows(**{"X": POINTS, "width": 4, **given})


# Back to points


@pytest.mark.parametrize("combination", ["mean", "min", "max"])
@pytest.mark.parametrize(("width", "step"), SIZES)
def test_scores_of_points_are_those_of_their_windows(width, step, combination):
    starts = np.arange(0, 23 - width + 1, step)
    scores = np.random.default_rng(1).normal(size=len(starts))
    points = point_scores(scores, n_points=23, width=width, step=step, combination=combination)
    for point in range(23):
        holding = scores[(starts <= point) & (point < starts + width)]
        expected = getattr(np, combination)(holding) if len(holding) else np.nan
        assert_allclose(points[point], expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scores": np.zeros(19)}, r"of the 20 windows of 4 points, one every 1.*shape \(19,\)"),
        ({"scores": np.zeros((20, 1))}, r"got shape \(20, 1\)"),
        ({"n_points": 24}, "of the 21 windows"),
        ({"n_points": 23.0}, "n_points must be a whole number"),
        ({"step": 2}, "of the 10 windows of 4 points, one every 2"),
        ({"width": -1}, "width must be a whole number"),
        ({"combination": "median"}, "combination must be one of.*'mean'.*got 'median'"),
    ],
)
def test_scores_of_other_windows_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        point_scores(**{"scores": np.zeros(20), "n_points": 23, "width": 4, **given})


def test_an_anomaly_is_found_in_a_series():
    rng = np.random.default_rng(0)
    series = np.sin(np.arange(1200) / 3)[:, None] + rng.normal(0, 0.1, (1200, 2))
    series[700:712, 1] = series[700, 1]  # a sensor stands still
    X = make_windows(series.astype(np.float32), width=24)
    detector = DeepSVDD(n_epochs=5, random_state=0, device="cpu").fit(X)
    scores = detector.anomaly_score(X)
    points = point_scores(scores, n_points=1200, width=24, combination="min")
    assert 700 - 12 <= np.argmax(points) < 712 + 12
    apart = X[::24]  # float32, each row of its own memory, and read-only
    assert_array_equal(detector.score_samples(apart), -scores[::24])
