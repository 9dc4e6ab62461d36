"""Explain any score: replace columns by those of background rows, and see what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows that are scored at once, if each has few columns.
_ROWS_AT_ONCE = 2**15
_NUMBERS_AT_ONCE = 2**22


def in_turn(
    score: Callable[[Any], NDArray[np.float64]],
    X: Any,
    background: Any,
    n_orders: int = 8,
    random_state: int = 0,
) -> NDArray[np.float64]:
    r"""Give each column the change of the score when it is replaced, in random orders.

    Columns are replaced one after the other by those of a background row, until it is there
    entire; then in the opposite order, with another. The mean over orders approaches the Shapley
    values of the columns, and whatever the number of orders

    .. math:: \sum_i R_i = s(x) - \text{mean of } s(b) \text{ over background rows } b.

    Parameters
    ----------
    score : callable
        Maps rows to anomaly scores. It scores ``len(X) * n_orders * (d + 1)`` rows in all.
    X : ndarray or DataFrame of shape (n, d)
        Rows to explain.
    background : ndarray or DataFrame of shape (m, d)
        Rows to compare with.
    n_orders : int, default=8
        Number of orders at least: as many more as make it even, and each row meet all background
        rows equally often.
    random_state : int, default=0
        Determines the orders.

    Returns
    -------
    ndarray of shape (n, d)
        Relevance of each column.

    References
    ----------
    Castro et al., "Polynomial Calculation of the Shapley Value Based on Sampling", 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.occlusion import in_turn
    >>> def score(X):
    ...     return 3 * X[:, 0] + X[:, 1] * X[:, 2]
    >>> in_turn(score, np.ones((1, 3)), np.zeros((1, 3)))
    array([[3. , 0.5, 0.5]])
    """
    n, d = X.shape
    background = _as_kind_of(background, X)
    rng = np.random.default_rng(random_state)
    total = np.zeros((n, d))
    whole = len(background) * (1 + len(background) % 2)
    n_pairs = -(-n_orders // whole) * whole // 2
    for pair in range(n_pairs):
        forth = rng.permutation(d)
        for back, order in enumerate((forth, forth[::-1])):
            met = (np.arange(n) + 2 * pair + back) % len(background)
            for rows in _slices(n, d):
                scores = score(_replaced(X, background, rows, met[rows], order))
                steps = -np.diff(np.reshape(scores, (len(rows), d + 1)), axis=1)
                total[rows[:, None], order] += steps
    return total / (2 * n_pairs)


def ordinary(scores: NDArray[np.float64], n_rows: int) -> NDArray[np.intp]:
    """Choose rows to compare with, spread over the more normal half of some.

    The mean row, or one row, may itself be strange to a model, and rows with high scores may be
    anomalies.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Anomaly scores.
    n_rows : int
        How many rows at most.

    Returns
    -------
    ndarray of int
        Where they are, from the most normal one to the one in the middle.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.occlusion import ordinary
    >>> ordinary(np.array([9.0, 1.0, 5.0, 2.0, 3.0]), 2)
    array([1, 4])
    """
    ranks = np.linspace(0, (len(scores) - 1) // 2, n_rows).round().astype(int)
    return np.argsort(scores, kind="stable")[np.unique(ranks)]


def _slices(n: int, d: int) -> Iterator[NDArray[np.intp]]:
    size = max(1, min(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // d) // (d + 1))
    for first in range(0, n, size):
        yield np.arange(first, min(n, first + size))


def _replaced(
    X: Any, background: Any, rows: NDArray[np.intp], met: NDArray[np.intp], order: NDArray[np.intp]
) -> Any:
    """Return each row d + 1 times, of which the k-th has its first k columns in order replaced."""
    d = len(order)
    place = np.empty(d, dtype=np.intp)
    place[order] = np.arange(d)
    step = np.tile(np.arange(d + 1), len(rows))
    own, other = np.repeat(rows, d + 1), np.repeat(met, d + 1)
    if isinstance(X, np.ndarray):
        return np.where(place < step[:, None], background[other], X[own])
    columns = {}
    for name, its_place in zip(X.columns, place, strict=True):
        at = np.where(its_place < step, len(X) + other, own)
        columns[name] = _taken(X[name], background[name], at)
    return type(X)(columns)


def _taken(column: Any, background: Any, at: NDArray[np.intp]) -> Any:
    """Take values of a column of a frame, with those of the background behind it."""
    if not hasattr(column, "iloc"):
        from polars import concat

        both = [part.alias("both").to_frame() for part in (column, background)]
        return concat(both, how="vertical_relaxed")["both"].gather(at)
    import pandas as pd

    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in (column, background)):
        # Those of the background first, as a pipeline knows them. Joined as they are, columns of
        # other categories would become objects.
        known = background.cat.categories
        categories = known.append(column.cat.categories.difference(known, sort=False))
        column, background = (part.cat.set_categories(categories) for part in (column, background))
    return pd.concat([column, background], ignore_index=True).take(at).array


def _as_kind_of(background: Any, X: Any) -> Any:
    """Return background rows as what X is: an array, or one of two kinds of frames."""
    if isinstance(background, type(X)):
        return background
    if isinstance(X, np.ndarray):
        return np.asarray(background)
    if hasattr(background, "columns"):
        return type(X)({name: background[name].to_list() for name in background.columns})
    return type(X)(dict(zip(X.columns, np.asarray(background).T, strict=True)))
