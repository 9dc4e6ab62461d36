"""Anomaly detection tasks from the data that comes with scikit-learn."""

from __future__ import annotations

from numbers import Integral
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets as _sklearn
from sklearn.utils import Bunch

_TARGET_NAMES = ("anomaly", "normal")
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Features and ground truth."""


@overload
def load_digits_anomaly(*, normal: int = 0, return_X_y: Literal[False] = False) -> Bunch: ...
@overload
def load_digits_anomaly(*, normal: int = 0, return_X_y: Literal[True]) -> Arrays: ...
def load_digits_anomaly(*, normal: int = 0, return_X_y: bool = False) -> Bunch | Arrays:
    """Load scikit-learn's small digits: one digit is normal, the other nine are anomalies.

    This is the one-against-rest task of the Deep SAD paper [1]_ at a size that trains in
    seconds: 1,797 images of 8 x 8 pixels, some 180 of each digit. Pixels are in [0, 1].

    Parameters
    ----------
    normal : int from 0 to 9, default=0
        The normal digit.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (1797, 64), dtype float64
            The images as flat rows.
        images : ndarray of shape (1797, 1, 8, 8), dtype float64
            The same images with a channel axis, as convolutional networks take them.
        target : ndarray of shape (1797,), dtype int64
            The ground truth: +1 for the normal digit, -1 for the others.
        digit : ndarray of shape (1797,), dtype int64
            The digit of each row: the `classes` of :func:`make_partial_labels`.
        feature_names : list of str
            The names of the 64 pixels.
        target_names : ndarray of shape (2,)
            The names of -1 and +1, in this order.
        DESCR : str
            What the data is.
    (data, target) : tuple of ndarray
        If `return_X_y` is True.

    Raises
    ------
    ValueError
        If `normal` is not a digit.

    See Also
    --------
    make_partial_labels : Make a training set with few labels from the ground truth.

    References
    ----------
    .. [1] Ruff, L., Vandermeulen, R. A., Görnitz, N., Binder, A., Müller, E., Müller, K.-R.,
       & Kloft, M. (2020). Deep Semi-Supervised Anomaly Detection. ICLR.
       https://arxiv.org/abs/1906.02694

    Examples
    --------
    >>> from skdeepad.datasets import load_digits_anomaly
    >>> digits = load_digits_anomaly(normal=3)
    >>> digits.data.shape, digits.images.shape
    ((1797, 64), (1797, 1, 8, 8))
    >>> int((digits.target == 1).sum())
    183
    """
    if isinstance(normal, bool) or not isinstance(normal, Integral) or not 0 <= normal <= 9:
        raise ValueError(f"normal must be a digit, an int from 0 to 9. Got {normal!r} instead.")
    source = _sklearn.load_digits()
    X = source.data / 16.0  # the source counts inked points in blocks of 4 x 4
    y = np.where(source.target == normal, 1, -1)
    if return_X_y:
        return X, y
    return Bunch(
        data=X,
        images=X.reshape(-1, 1, 8, 8),
        target=y,
        digit=source.target,
        feature_names=list(source.feature_names),
        target_names=np.array(_TARGET_NAMES),
        DESCR=(
            f"scikit-learn's digits (UCI Optical Recognition of Handwritten Digits): {normal} is "
            f"normal ({(y == 1).sum()} rows), the other digits are anomalies "
            f"({(y == -1).sum()} rows). 8 x 8 pixels in [0, 1]."
        ),
    )


@overload
def load_breast_cancer_anomaly(*, return_X_y: Literal[False] = False) -> Bunch: ...
@overload
def load_breast_cancer_anomaly(*, return_X_y: Literal[True]) -> Arrays: ...
def load_breast_cancer_anomaly(*, return_X_y: bool = False) -> Bunch | Arrays:
    """Load scikit-learn's breast cancer table: malignant tumors are the anomalies.

    569 rows with 30 features of cell nuclei; 357 benign (normal), 212 malignant (anomalies).
    The features are not scaled, and they need it: see
    :class:`~sklearn.preprocessing.StandardScaler`. A share of 37 % is more than anomalies have
    in practice; `pollution` in :func:`make_partial_labels` lowers it.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (569, 30), dtype float64
            The features.
        target : ndarray of shape (569,), dtype int64
            The ground truth: +1 benign, -1 malignant.
        feature_names : list of str
            The names of the features.
        target_names : ndarray of shape (2,)
            The names of -1 and +1, in this order.
        DESCR : str
            What the data is.
    (data, target) : tuple of ndarray
        If `return_X_y` is True.

    See Also
    --------
    make_partial_labels : Make a training set with few labels from the ground truth.

    Examples
    --------
    >>> from skdeepad.datasets import load_breast_cancer_anomaly
    >>> X, y = load_breast_cancer_anomaly(return_X_y=True)
    >>> X.shape, int((y == -1).sum())
    ((569, 30), 212)
    """
    source = _sklearn.load_breast_cancer()
    malignant = list(source.target_names).index("malignant")
    y = np.where(source.target == malignant, -1, 1)
    if return_X_y:
        return source.data, y
    return Bunch(
        data=source.data,
        target=y,
        feature_names=source.feature_names.tolist(),
        target_names=np.array(_TARGET_NAMES),
        DESCR=(
            "scikit-learn's breast cancer table (UCI Breast Cancer Wisconsin, Diagnostic): benign "
            f"tumors are normal ({(y == 1).sum()} rows), malignant ones are anomalies "
            f"({(y == -1).sum()} rows). 30 features, not scaled."
        ),
    )
