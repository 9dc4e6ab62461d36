"""Training sets with partial labels, made from ground truth."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, column_or_1d


def make_partial_labels(
    y: ArrayLike,
    *,
    labeled_anomalies: float = 0,
    labeled_normals: float = 0,
    pollution: float | None = None,
    known_classes: int | ArrayLike | None = None,
    classes: ArrayLike | None = None,
    share_of: Literal["training_set", "each_kind"] = "training_set",
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    r"""Make a training set with partial labels from ground truth.

    Chooses the rows to train on and hides most of their labels, as in the experiments of the
    Deep SAD paper [1]_. Train on ``X[indices], y_partial``, where +1 is a row labeled normal,
    0 an unlabeled row and -1 a labeled anomaly.

    Every normal row is in the training set. Some anomalies are in it as labeled anomalies, some
    as unlabeled *pollution*, and the others are left out. Take :math:`n` for the number of
    unlabeled rows in the training set, :math:`p` of them anomalies, and :math:`m_-` and
    :math:`m_+` for the numbers of labeled anomalies and labeled normal rows. Then

    .. math::

        \text{labeled_anomalies} = \frac{m_-}{n + m_- + m_+}, \qquad
        \text{labeled_normals} = \frac{m_+}{n + m_- + m_+}, \qquad
        \text{pollution} = \frac{p}{n},

    each to the nearest whole number of rows. With no labeled normal rows, `labeled_anomalies` is
    the paper's :math:`\gamma_l`; `pollution` is its :math:`\gamma_p`, and the number of
    `known_classes` its :math:`k_l`.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The ground truth, in whole numbers read by their sign: positive for normal, negative for
        anomalous. Distinct negative numbers are distinct classes of anomalies.
    labeled_anomalies : float in [0, 1] or int, default=0
        The labeled anomalies: a float is a share, an int is a count (1 is one row, and 1.0
        is 100 %). A share above 0 is never rounded down to no row.
    labeled_normals : float in [0, 1] or int, default=0
        The same for the rows labeled normal.
    pollution : float in [0, 1), default=None
        The share of anomalies among the unlabeled rows. They are drawn from all classes of
        anomalies, the known ones too. With 0 the unlabeled rows are all normal. With None every
        anomaly that is not labeled stays in, as for a user who has not been through the data;
        then all rows are in the training set and ``indices`` is ``arange(n_samples)``.
    known_classes : int or array-like, default=None
        The classes that labeled anomalies are drawn from: an int is how many, drawn at random;
        a list names them. With None, all. The rows are drawn with equal chances from the classes
        taken together, so a small class may get no label.
    classes : array-like of shape (n_samples,), default=None
        The class of each row, where it is not in `y`; numbers or strings. Values at normal rows
        do not matter.
    share_of : {"training_set", "each_kind"}, default="training_set"
        What a float is a share of. With "training_set", of the training set, by the formulas
        above. With "each_kind", `labeled_anomalies` is a share of all the anomalies in `y`, and
        `labeled_normals` of all its normal rows.
    random_state : int, RandomState instance or None, default=None
        Draws the rows and classes. Pass an int for the same training set at every call. With
        the same int, rows labeled at a smaller share are also labeled at a larger one.

    Returns
    -------
    indices : ndarray of shape (n_train,)
        The rows of the training set, in increasing order.
    y_partial : ndarray of shape (n_train,), dtype int64
        Their labels: +1, 0 or -1.

    Raises
    ------
    ValueError
        If an argument is not as described, or there are too few rows for what was asked.

    Notes
    -----
    Let :math:`N` be the number of normal rows in `y`, and :math:`\gamma_-`, :math:`\gamma_+` and
    :math:`\gamma_p` the three shares of the training set. Its size follows from the equations
    above and :math:`N = m_+ + n - p`, because all normal rows are in it:

    .. math::

        n + m_- + m_+ = \frac{N}{\gamma_+ + (1 - \gamma_p) (1 - \gamma_- - \gamma_+)}.

    Rounding goes in this order: :math:`m_+`, then :math:`p` for the unlabeled normal rows that
    are left, then :math:`m_-` for all of these, so that the shares of pollution and of labeled
    anomalies are as exact as whole rows allow.

    To train on fewer normal rows, choose them before calling this function.

    References
    ----------
    .. [1] Ruff, L., Vandermeulen, R. A., Görnitz, N., Binder, A., Müller, E., Müller, K.-R.,
       & Kloft, M. (2020). Deep Semi-Supervised Anomaly Detection. ICLR.
       https://arxiv.org/abs/1906.02694

    Examples
    --------
    The paper's second scenario: 5 % of the training set are labeled anomalies from one class,
    and a tenth of the unlabeled rows are anomalies from any class.

    >>> from skdeepad.datasets import load_digits_anomaly, make_partial_labels
    >>> digits = load_digits_anomaly(normal=0)
    >>> indices, y_partial = make_partial_labels(
    ...     digits.target, labeled_anomalies=0.05, pollution=0.1, known_classes=[7],
    ...     classes=digits.digit, random_state=0)
    >>> X_train = digits.data[indices]
    >>> X_train.shape, int((y_partial == -1).sum()), int((y_partial == 0).sum())
    ((208, 64), 10, 198)

    One in twenty of the anomalies has been found and verified; the others are in the data too.

    >>> indices, y_partial = make_partial_labels(
    ...     digits.target, labeled_anomalies=0.05, share_of="each_kind", random_state=0)
    >>> len(indices), int((y_partial == -1).sum())
    (1797, 81)
    """
    truth = _check_truth(y)
    classes = truth if classes is None else _check_classes(classes, truth)
    _check_share("labeled_anomalies", labeled_anomalies)
    _check_share("labeled_normals", labeled_normals)
    _check_pollution(pollution)
    if share_of not in ("training_set", "each_kind"):
        raise ValueError(f'share_of must be "training_set" or "each_kind". Got {share_of!r}.')

    rng = check_random_state(random_state)
    # Everything is shuffled once and in full, whatever was asked for: so a larger share adds
    # rows to those of a smaller one, and no option changes what another one draws.
    anomalies = rng.permutation(np.flatnonzero(truth < 0))
    normals = rng.permutation(np.flatnonzero(truth > 0))
    known = anomalies[_is_known(classes[anomalies], known_classes, rng)]

    if share_of == "each_kind":
        labeled_anomalies = _n_rows(labeled_anomalies, len(anomalies))
        labeled_normals = _n_rows(labeled_normals, len(normals))
    m_anomaly, m_normal, n_polluting = _sizes(
        len(anomalies), len(normals), labeled_anomalies, labeled_normals, pollution
    )
    of_known = "" if known_classes is None else " of the known classes"
    _check_enough("labeled_anomalies", m_anomaly, len(known), f"anomalies{of_known} in y")
    _check_enough("labeled_normals", m_normal, len(normals), "normal rows in y")
    left = f"anomalies in y beside the {m_anomaly} labeled ones"
    _check_enough("pollution", n_polluting, len(anomalies) - m_anomaly, left)

    labeled = known[:m_anomaly]
    others = anomalies[~np.isin(anomalies, labeled)]
    # Labels come from the front of the shuffled anomalies and pollution from their end, so
    # that neither moves the other as long as there are enough.
    polluting = others[len(others) - n_polluting :]
    y_partial = np.zeros(len(truth), dtype=np.int64)
    y_partial[labeled] = -1
    y_partial[normals[:m_normal]] = 1
    indices = np.sort(np.concatenate([normals, labeled, polluting]))
    return indices, y_partial[indices]


def _sizes(
    n_anomalies: int,
    n_normals: int,
    labeled_anomalies: float,
    labeled_normals: float,
    pollution: float | None,
) -> tuple[int, int, int]:
    """Return the numbers of labeled anomalies, labeled normal rows and polluting anomalies."""
    if pollution is None:
        all_rows = n_anomalies + n_normals
        m_anomaly = _n_rows(labeled_anomalies, all_rows)
        return m_anomaly, _n_rows(labeled_normals, all_rows), n_anomalies - m_anomaly

    size = _training_set_size(n_normals, labeled_anomalies, labeled_normals, pollution)
    m_normal = _n_rows(labeled_normals, size)
    n_polluting = round(pollution / (1 - pollution) * (n_normals - m_normal))
    if isinstance(labeled_anomalies, Integral):
        m_anomaly = int(labeled_anomalies)
    else:
        # m = share * size with size = m + the rest, solved for m: exact, whatever was rounded
        # in the rest
        odds = labeled_anomalies / (1 - labeled_anomalies)
        m_anomaly = _n_rows(odds, n_normals + n_polluting)
    return m_anomaly, m_normal, n_polluting


def _training_set_size(
    n_normals: int, labeled_anomalies: float, labeled_normals: float, pollution: float
) -> float:
    """Solve the docstring's equations for the size; a count of anomalies is a constant in them.

    Only a share of labeled normal rows needs the size: a count of them is known without it.
    """
    is_count = isinstance(labeled_anomalies, Integral)
    count_anomaly, share_anomaly = (labeled_anomalies, 0) if is_count else (0, labeled_anomalies)
    share_normal = 0 if isinstance(labeled_normals, Integral) else labeled_normals
    if share_normal + share_anomaly > 1 or share_anomaly == 1:
        raise ValueError(
            "labeled_anomalies and labeled_normals must leave room for the normal rows, which "
            f"are all in the training set. Got {labeled_anomalies} and {labeled_normals} as "
            'shares of it; give lower ones, or share_of="each_kind".'
        )
    rest = 1 - share_normal - share_anomaly
    return (n_normals + (1 - pollution) * count_anomaly) / (share_normal + (1 - pollution) * rest)


def _n_rows(share: float, whole: float) -> int:
    """Return a count as it is, and a share of `whole` as the nearest count, at least one row."""
    if isinstance(share, Integral):
        return int(share)
    return max(1, round(share * whole)) if share > 0 else 0


def _is_known(
    classes: NDArray[Any], known_classes: Any, rng: np.random.RandomState
) -> NDArray[np.bool_]:
    """Mark the anomalies, given by their classes, that labels may be drawn from."""
    if known_classes is None:
        return np.ones(len(classes), dtype=bool)
    present = np.unique(classes)
    if isinstance(known_classes, Integral) and not isinstance(known_classes, bool):
        if not 1 <= int(known_classes) <= len(present):
            raise ValueError(
                f"known_classes must be from 1 to {len(present)}, the number of classes of "
                f"anomalies in y. Got {known_classes} instead; to name classes, give a list."
            )
        known_classes = rng.permutation(present)[:known_classes]
    names = np.asarray(known_classes).ravel().tolist()
    unknown = [name for name in names if name not in set(present.tolist())]
    if unknown:
        raise ValueError(
            f"known_classes must be classes of anomalies in y, which are {present.tolist()}. "
            f"Got {unknown}, which are not among them."
        )
    return np.isin(classes, names)


def _check_truth(y: Any) -> NDArray[Any]:
    """Return the ground truth as whole numbers without 0."""
    y = column_or_1d(y)
    is_number = y.dtype.kind in "iuf"
    if not (is_number and np.all(np.isfinite(y)) and np.array_equal(y, np.rint(y))):
        raise ValueError(
            "y must be ground truth in whole numbers, positive for normal and negative for "
            f"anomalous. Got {y.dtype} values such as {y[:3].tolist()}."
        )
    if np.any(y == 0):
        raise ValueError(
            "y must be ground truth, positive for normal and negative for anomalous. Got "
            f"{np.sum(y == 0)} zeros, which mean unlabeled. If 1 marks an anomaly and 0 a normal "
            "row, pass np.where(y == 1, -1, 1)."
        )
    if not np.any(y > 0):
        raise ValueError(f"y must have normal rows (+1). Got none in {len(y)} rows.")
    return y


def _check_classes(classes: ArrayLike, truth: NDArray[Any]) -> NDArray[Any]:
    """Return the classes as an array with a value for each row of the ground truth."""
    classes = np.asarray(classes)
    if classes.shape != truth.shape:
        raise ValueError(
            f"classes must have one value for each row of y, shape {truth.shape}. "
            f"Got shape {classes.shape} instead."
        )
    return classes


def _check_share(name: str, value: float) -> None:
    """Refuse what is neither a count of at least 0 nor a share in [0, 1]."""
    is_count = isinstance(value, Integral) and not isinstance(value, bool) and value >= 0
    is_share = isinstance(value, Real) and not isinstance(value, Integral) and 0 <= value <= 1
    if not (is_count or is_share):
        raise ValueError(
            f"{name} must be a share, a float in [0, 1], or a count, an int of at least 0. "
            f"Got {value!r} instead."
        )


def _check_pollution(pollution: float | None) -> None:
    """Refuse what is neither None nor a share below 1."""
    if pollution is None:
        return
    if isinstance(pollution, bool) or not isinstance(pollution, Real) or not 0 <= pollution < 1:
        raise ValueError(
            "pollution must be None or a share of the unlabeled rows, a float in [0, 1). "
            f"Got {pollution!r} instead."
        )


def _check_enough(name: str, needed: int, available: int, what: str) -> None:
    """Refuse to draw more rows than there are."""
    if needed > available:
        raise ValueError(
            f"{name} asks for {needed} rows, but there are only {available} {what}. "
            f"Give a lower {name}, or more data."
        )
