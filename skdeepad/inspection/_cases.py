"""Known cases that a row is like, as its detector sees it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skdeepad.base import BaseDetector
from skdeepad.inputs import check_labels
from skdeepad.inspection._explain import unwrapped


class NearestCases(NamedTuple):
    """Known cases near to rows, the nearest first.

    Parameters
    ----------
    anomalies : ndarray of shape (n_samples, n_cases), dtype int
        Where labeled anomalies are among the known rows.
    anomaly_distances : ndarray of shape (n_samples, n_cases)
        How far they are.
    normals : ndarray of shape (n_samples, n_cases), dtype int
        Where normal rows are among the known ones.
    normal_distances : ndarray of shape (n_samples, n_cases)
        How far they are.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.inspection import NearestCases
    >>> cases = NearestCases(np.array([[7]]), np.array([[0.2]]), np.array([[3]]), np.array([[0.9]]))
    >>> bool(cases.anomaly_distances < cases.normal_distances)  # more like the anomaly
    True
    """

    anomalies: NDArray[np.intp]
    anomaly_distances: NDArray[np.float64]
    normals: NDArray[np.intp]
    normal_distances: NDArray[np.float64]


def nearest_cases(
    estimator: Any, X: Any, X_known: Any, y_known: ArrayLike, *, n_cases: int = 1
) -> NearestCases:
    """Find the labeled anomalies and normals that are nearest to rows, as a detector sees them.

    Distances are Euclidean between what a detector tells rows apart by: codes of its network, of an
    ensemble's members beside each other, what a discriminator sees in images, a text's mean word
    vectors. A kernel machine sees rows as they are.

    Parameters
    ----------
    estimator : estimator
        Fitted detector of this package, or a pipeline that ends in one.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Rows, an alert for example.
    X_known : array-like of shape (n_known, n_features) or (n_known, ...)
        Known rows, as X.
    y_known : array-like of shape (n_known,)
        Their labels, +1 normal, 0 unlabeled, -1 anomalous. Where none is +1, unlabeled rows stand
        in for normals.
    n_cases : int, default=1
        How many of each kind.

    Returns
    -------
    NearestCases
        Named tuple ``(anomalies, anomaly_distances, normals, normal_distances)``, of fewer columns
        where there are fewer cases, and of none where no anomaly is labeled.

    Raises
    ------
    TypeError
        If the estimator is not a detector of this package.
    ValueError
        If n_cases is not positive, or rows or labels are not as documented.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSAD
    >>> from skdeepad.inspection import nearest_cases
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> y = np.zeros(200)
    >>> X[:2], y[:2] = [[6, 0, 0, 0], [0, 0, 6, 0]], -1
    >>> detector = DeepSAD(random_state=0).fit(X, y)
    >>> cases = nearest_cases(detector, [[0, 0, 7, 0]], X, y)
    >>> int(cases.anomalies[0, 0])
    1
    """
    check_is_fitted(estimator)
    steps, detector = unwrapped(estimator)
    if not isinstance(detector, BaseDetector):
        raise TypeError(
            f"nearest_cases asks a detector of this package what it sees; got "
            f"{type(detector).__name__}. Pass one, or a pipeline that ends in one."
        )
    if n_cases < 1:
        raise ValueError(f"n_cases must be a positive number of cases; got {n_cases}.")
    for step in steps:
        X, X_known = step.transform(X), step.transform(X_known)
    seen, known = (detector._codes(detector._validate(rows, reset=False)) for rows in (X, X_known))
    y = check_labels(y_known, len(known))
    normal = y > 0 if (y > 0).any() else y == 0
    found = [_nearest(seen, known, np.flatnonzero(of), n_cases) for of in (y < 0, normal)]
    return NearestCases(*found[0], *found[1])


def _nearest(
    seen: NDArray[np.float64], known: NDArray[np.float64], rows: NDArray[np.intp], n_cases: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return positions and distances of the nearest among some of the known rows."""
    if not len(rows):
        return np.empty((len(seen), 0), dtype=np.intp), np.empty((len(seen), 0))
    from sklearn.neighbors import NearestNeighbors  # slow to import

    neighbors = NearestNeighbors(n_neighbors=min(n_cases, len(rows))).fit(known[rows])
    distances, places = neighbors.kneighbors(seen)
    return rows[places], distances
