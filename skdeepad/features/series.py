"""Windows of time series as rows of detectors, and scores of windows as scores of points."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from skdeepad.inputs import check_labels, on_host, refuse_lossy

_COMBINATIONS = {"mean": np.add, "min": np.minimum, "max": np.maximum}


@overload
def make_windows(X: Any, y: None = None, *, width: int, step: int = 1) -> NDArray[Any]: ...
@overload
def make_windows(
    X: Any, y: ArrayLike, *, width: int, step: int = 1
) -> tuple[NDArray[Any], NDArray[np.int64]]: ...
def make_windows(
    X: Any, y: ArrayLike | None = None, *, width: int, step: int = 1
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut a time series into windows, and turn labels of its points into labels of windows.

    Window i holds the points from ``i * step`` to ``i * step + width - 1``. A window with an
    anomalous point is anomalous, one of which all points are normal is normal, and any other is
    unlabeled, since what nobody has looked at may hold an anomaly.

    Parameters
    ----------
    X : array-like of shape (n_points,) or (n_points, n_channels)
        The series, in equal steps of time: an array, tensor, series or data frame, of numbers.
    y : array-like of shape (n_points,), default=None
        A label of each point: +1 normal, 0 unlabeled, -1 anomalous.
    width : int
        Points in a window.
    step : int, default=1
        Points from the start of one window to that of the next. With `width` they do not overlap.

    Returns
    -------
    windows : ndarray of shape (n_windows, n_channels, width)
        Rows for a detector: a view of the series, read-only, which takes no memory of its own.
    labels : ndarray of shape (n_windows,)
        +1, 0 or -1 of each window. Only if `y` is given.

    Raises
    ------
    ValueError
        If X is no series of numbers in order of time, or shorter than a window; if y does not hold
        one label for each point; or if `width` or `step` is not a whole number of at least 1.

    Warns
    -----
    LabelWarning
        If y looks as if another convention was meant, such as "1 = anomaly".

    See Also
    --------
    point_scores : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.features import make_windows
    >>> y = np.array([1, 1, 1, 0, 0, -1, 0])
    >>> windows, labels = make_windows(np.arange(7), y, width=3)
    >>> windows[:, 0].tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]
    >>> labels.tolist()
    [1, 0, 0, -1, -1]
    """
    _check_sizes(width=width, step=step)
    series = _series(X)
    if len(series) < width:
        raise ValueError(
            f"X has {len(series)} points, and a window {width}: expected at least as many. The "
            "first axis is time; pass X.T if that is the last one, or lower width."
        )
    windows: NDArray[Any] = sliding_window_view(series, width, axis=0)[::step]
    if y is None:
        return windows
    labels = check_labels(y, len(series), for_training=False)
    if (labels >= 0).any():
        check_labels(y, len(series))  # warns of other conventions
    of_windows = sliding_window_view(labels, width)[::step]  # (n_windows, width)
    normal = np.where((of_windows > 0).all(axis=1), 1, 0)
    return windows, np.where((of_windows < 0).any(axis=1), -1, normal)


def point_scores(
    scores: ArrayLike,
    *,
    n_points: int,
    width: int,
    step: int = 1,
    combination: Literal["mean", "min", "max"] = "mean",
) -> NDArray[np.float64]:
    """Turn scores of windows into scores of the points of the series they were cut from.

    Parameters
    ----------
    scores : array-like of shape (n_windows,)
        Scores of the windows, of either sign.
    n_points : int
        Points of the series.
    width, step : int
        As in :func:`make_windows`.
    combination : {"mean", "min", "max"}, default="mean"
        Of the scores of all windows that hold a point. The windows around an anomaly hold normal
        points as well; those that are anomalous in each of their windows, by the "max" of
        ``score_samples`` or the "min" of ``anomaly_score``, are where it is.

    Returns
    -------
    ndarray of shape (n_points,), dtype float64
        The score of each point; NaN where no window holds it: the last ones, if `step` leaves some
        over, and those between windows, if it is longer than `width`.

    Raises
    ------
    ValueError
        If these are not the scores of as many windows as the series has.

    Examples
    --------
    >>> from skdeepad.features import point_scores
    >>> point_scores([1.0, 3.0, 2.0], n_points=5, width=3)
    array([1. , 2. , 2. , 2.5, 2. ])
    >>> point_scores([1.0, 3.0, 2.0], n_points=5, width=3, combination="min")
    array([1., 1., 1., 2., 2.])
    """
    _check_sizes(n_points=n_points, width=width, step=step)
    if combination not in _COMBINATIONS:
        raise ValueError(f"combination must be one of {list(_COMBINATIONS)}; got {combination!r}.")
    values = np.asarray(on_host(scores), dtype=np.float64)
    starts = np.arange(0, n_points - width + 1, step)
    if values.shape != starts.shape:
        raise ValueError(
            f"scores must hold one number for each of the {len(starts)} windows of {width} points, "
            f"one every {step}, that a series of {n_points} points has; got shape {values.shape}. "
            "Pass n_points, width and step as they were in make_windows."
        )
    combine = _COMBINATIONS[combination]
    points, counts = np.full(n_points, np.nan), np.zeros(n_points)
    for offset in range(width):  # the windows' points of this place are all different
        held = starts + offset
        points[held] = np.where(counts[held], combine(points[held], values), values)
        counts[held] += 1
    return points / np.maximum(counts, 1) if combination == "mean" else points


def _check_sizes(**sizes: int) -> None:
    for name, number in sizes.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {number!r}.")


def _series(X: Any) -> NDArray[Any]:
    """Return a series as an array (n_points, n_channels), or say what is wrong with it."""
    refuse_lossy(X, "X")
    if not getattr(getattr(X, "index", None), "is_monotonic_increasing", True):
        raise ValueError(
            "The index of X is not in order; expected one of time. Pass X.sort_index()."
        )
    series = np.asarray(on_host(X))
    if series.ndim not in (1, 2) or series.dtype.kind not in "fiub":
        raise ValueError(
            "X must hold numbers, of shape (n_points,) or (n_points, n_channels); got shape "
            f"{series.shape} of {series.dtype}. Cut several series one by one, and put their "
            "windows together by np.concatenate."
        )
    return series.reshape(len(series), -1)
