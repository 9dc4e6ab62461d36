"""Why a row's score is what it is, in the columns that the user knows."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skdeepad.base import BaseDetector
from skdeepad.inputs import on_host
from skdeepad.occlusion import in_turn, ordinary

# Transformers that change each column by itself, along a line.
_SCALERS = ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler")
# Background rows that are kept of more, and orders in which columns are replaced.
_BACKGROUND = 64
_ORDERS = 16


@dataclass(eq=False)
class Explanation:
    """Relevance of columns, and the scores that it adds up to.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Relevance of each column, larger = more of the anomaly score.
    scores : ndarray of shape (n_samples,)
        Anomaly scores.
    base : ndarray of shape (n_samples,)
        What relevance starts from: the mean score of the reference rows, or 0.
    feature_names : list of str
        Of the columns.

    Attributes
    ----------
    residual : ndarray of shape (n_samples,)
        What is not explained: ``scores - base - values.sum(axis=1)``. Nothing but rounding, where
        relevance is propagated.

    See Also
    --------
    ExplanationDisplay : Draws it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.inspection import Explanation
    >>> explanation = Explanation(
    ...     np.array([[1.5, -0.5]]), np.array([3.0]), np.array([2.0]), ["a", "b"])
    >>> explanation.residual
    array([0.])
    """

    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    base: NDArray[np.float64]
    feature_names: list[str]

    @property
    def residual(self) -> NDArray[np.float64]:
        """Return what is not explained of each score."""
        left: NDArray[np.float64] = self.scores - self.base - self.values.sum(axis=1)
        return left


def explain(
    estimator: Any,
    X: Any,
    *,
    background: Any = None,
    n_orders: int = _ORDERS,
    random_state: int = 0,
) -> Explanation:
    r"""Say how much each column adds to anomaly scores, in the columns of X.

    A detector of this package that was fitted to a table, alone or behind scalers that change each
    column by itself along a line (StandardScaler, RobustScaler, MaxAbsScaler, MinMaxScaler without
    ``clip``), is asked for :meth:`~skdeepad.base.BaseDetector.explain`: its columns are those of X.

    Of any other pipeline or detector, columns are replaced by those of background rows, one after
    the other, in random orders and in the opposite ones; each gets the mean change of the score.
    Columns of any kind will do, text and missing values among them. The estimator scores
    ``len(X) * n_orders * (n_features + 1)`` rows, many at a time.

    Parameters
    ----------
    estimator : estimator
        Fitted detector, or pipeline that ends in one: whatever has ``score_samples``.
    X : DataFrame or array-like of shape (n_samples, n_features)
        Rows to explain.
    background : DataFrame or array-like of shape (m, n_features), default=None
        Rows to compare with, as X; ordinary ones, for example some of the training set. Of more
        than 64, or than `n_orders` where columns are replaced, those are taken that are spread
        over the more normal half of their scores. None: a detector's ``reference_``; other
        estimators need one.
    n_orders : int, default=16
        Orders in which columns are replaced, at least. More of them differ less by chance.
    random_state : int, default=0
        Determines the orders.

    Returns
    -------
    Explanation
        With ``values`` (n_samples, n_features), which add up to ``scores - base``.

    Raises
    ------
    TypeError
        If the estimator has no ``score_samples``.
    ValueError
        If it needs a background and there is none, if the background has other columns than X, or
        X holds images, series or texts: use the detector's own ``explain``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdeepad import DeepSVDD
    >>> from skdeepad.inspection import explain
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> pipeline = make_pipeline(StandardScaler(), DeepSVDD(random_state=0)).fit(X)
    >>> explanation = explain(pipeline, [[0, 0, 9, 0]])
    >>> int(explanation.values.argmax()), explanation.feature_names[2]
    (2, 'x2')
    """
    check_is_fitted(estimator)
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"explain needs score_samples, and {type(estimator).__name__} has none. Pass a fitted "
            "detector, or a pipeline that ends in one."
        )
    if not isinstance(n_orders, Integral) or n_orders < 1:
        raise ValueError(f"n_orders must be a whole number of at least 1; got {n_orders!r}.")
    X = _as_table(X, "X")
    names = [str(name) for name in getattr(X, "columns", ())]
    names = names or [f"x{number}" for number in range(X.shape[1])]
    if background is not None:
        background = _in_order(_as_table(background, "background"), X)
    scores = -np.asarray(estimator.score_samples(X), dtype=np.float64)
    exact = _exact(estimator, X, background)
    if exact is not None:
        values, base = exact
        return Explanation(values, scores, np.broadcast_to(base, scores.shape), names)
    if background is None:
        raise ValueError(
            f"{type(estimator).__name__} can be explained by comparison only: expected "
            "background=, some ordinary rows with the columns of X. Pass part of the training set."
        )

    def anomaly_score(rows: Any) -> NDArray[np.float64]:
        return -np.asarray(estimator.score_samples(rows), dtype=np.float64)

    background = _ordinary(background, anomaly_score(background), min(_BACKGROUND, n_orders))
    values = in_turn(anomaly_score, X, background, n_orders, random_state)
    base = anomaly_score(background).mean()
    return Explanation(values, scores, np.broadcast_to(base, scores.shape), names)


def _exact(estimator: Any, X: Any, background: Any) -> Any:
    """Return what a detector says itself, and where it starts, if its columns are those of X."""
    steps, detector = unwrapped(estimator)
    if not isinstance(detector, BaseDetector) or not all(map(_is_line, steps)):
        return None
    n_columns = X.shape[1]
    for step in steps:
        X = step.transform(X)
        background = None if background is None else step.transform(background)
    rows = detector._validate(X, reset=False)
    if np.prod(detector.input_shape_) != max(detector.input_shape_):
        raise ValueError(
            f"explain gives one value a column, and {type(detector).__name__} was fitted to rows "
            f"of shape {detector.input_shape_}: call its own explain(X)."
        )
    reference = background if detector._compares else None
    if reference is not None:
        reference = _ordinary(reference, detector.anomaly_score(reference), _BACKGROUND)
    values, base = detector._explained(rows, detector._reference_rows(reference))
    if values.shape[1] != n_columns:
        raise ValueError(
            f"{type(detector).__name__} has {values.shape[1]} values for the {n_columns} columns "
            "of X, as of words or the like: call its own explain(X)."
        )
    return values, base


def unwrapped(estimator: Any) -> tuple[list[Any], Any]:
    """Return the transformers before a detector, and it, in pipelines, searches, frozen models."""
    steps: list[Any] = []
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif getattr(estimator, "steps", None):
            own = [step for _, step in estimator.steps[:-1]]
            steps += [step for step in own if step not in (None, "passthrough")]
            estimator = estimator.steps[-1][1]
        else:
            return steps, estimator


def _is_line(step: Any) -> bool:
    known = type(step).__name__ in _SCALERS and type(step).__module__.startswith("sklearn.")
    return known and not getattr(step, "clip", False)


def _ordinary(background: Any, scores: NDArray[np.float64], n_rows: int) -> Any:
    """Return the ordinary ones of a background that has more rows than that."""
    return (
        background
        if len(scores) <= n_rows
        else _safe_indexing(background, ordinary(scores, n_rows))
    )


def _as_table(X: Any, name: str) -> Any:
    """Return a frame as it is, and anything else as an array of two axes."""
    if hasattr(X, "toarray"):
        raise ValueError(f"{name} is sparse: expected a table. Pass {name}.toarray().")
    rows = X if hasattr(X, "columns") else np.asarray(on_host(X))
    if getattr(rows, "dtype", np.dtype(float)).kind in "US":
        rows = np.asarray(X, dtype=object)  # of numbers and texts all would become texts
    if len(rows.shape) != 2 or not all(rows.shape):
        remedy = "For images, series and texts call the detector's own explain(X)."
        if hasattr(X, "iloc"):
            remedy = "One row of a frame is frame.iloc[[0]]."
        raise ValueError(
            f"{name} must be a table, (n_samples, n_features), of at least one row; got shape "
            f"{rows.shape}. {remedy}"
        )
    names = list(getattr(rows, "columns", ()))
    if len(set(names)) < len(names):
        raise ValueError(f"{name} has several columns of one name; expected names that differ.")
    return rows


def _in_order(background: Any, X: Any) -> Any:
    """Return a background with its columns in the order of X, or refuse other columns."""
    of_x, of_background = (
        list(rows.columns) if hasattr(rows, "columns") else rows.shape[1]
        for rows in (X, background)
    )
    if of_x == of_background:
        return background
    both_named = isinstance(of_x, list) and isinstance(of_background, list)
    if both_named and sorted(of_x, key=str) == sorted(of_background, key=str):
        return background[of_x]
    raise ValueError(
        f"background must have the columns of X, {of_x}; got {of_background}. Pass rows of the "
        "same table."
    )
