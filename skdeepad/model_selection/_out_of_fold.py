"""Anomaly scores of rows by detectors that were not fitted on them."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable  # documented, despite the first one's name
from sklearn.utils.parallel import Parallel, delayed

from skdeepad.inputs import check_labels
from skdeepad.model_selection._splitters import (
    Fold,
    check_choice,
    check_n_splits,
    deal,
    n_rows,
    train_and_test,
)
from skdeepad.stacking import last_step, told_of_killed_process

_SCALES = ("raw", "rank")


def cross_val_anomaly_scores(
    estimator: Any,
    X: Any,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    cv: Any = 5,
    n_jobs: int | None = None,
    verbose: int = 0,
    scale: Literal["raw", "rank"] = "raw",
) -> NDArray[np.float64]:
    r"""Anomaly score of each row by a detector that was not fitted on it.

    The detector is cloned and fitted on the training set of each fold, and scores the
    test fold: ``-estimator.score_samples``, larger = more anomalous. Labels reach ``fit``
    as they are in y. (:func:`~sklearn.model_selection.cross_val_predict` takes them for
    classes and renumbers them, so that anomalies become unlabeled or normal rows.)

    Scores of rows that were trained on flatter the detector: a flexible one can fit
    any row. Out-of-fold scores do not, so use them to look for anomalies among the
    unlabeled rows, to compare distributions of scores, or to set a threshold.

    Parameters
    ----------
    estimator : object
        A detector or a Pipeline that ends in one, with ``fit`` and ``score_samples``.

    X : array-like of shape (n_samples, ...)
        Rows to fit and to score: an array, a DataFrame, a sparse matrix or a list.

    y : array-like of shape (n_samples,), default=None
        Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.
        Without labels, ``fit`` is called without y.

    groups : array-like of shape (n_samples,), default=None
        Groups for a splitter that keeps groups together, such as
        :class:`~sklearn.model_selection.GroupKFold`.

    cv : int, splitter or iterable of (train, test), default=5
        With an int, all rows are spread over so many folds as by
        ``LabeledStratifiedKFold(cv, unlabeled="split")``, so that each is scored exactly
        once. As no fold is judged by itself here, labels may be fewer than folds.

    n_jobs : int or None, default=None
        Number of folds to fit at a time, as in joblib: None is 1 outside of a
        ``joblib.parallel_config`` context, -1 all processors.

    verbose : int, default=0
        Above 0, joblib prints its progress.

    scale : {"raw", "rank"}, default="raw"
        "raw" keeps the units of the detector. Each fold has its own fitted detector, and
        their scores need not be on one scale: a distance may be twice as long in the next
        fold's network. "rank" replaces each score by its place in the test fold,

        .. math:: (r - 1/2) / n \in (0, 1),

        with the rank r of the score among the n of its fold, 1 the least anomalous, ties
        sharing the mean of their ranks. That puts the folds on one scale provided that
        each has its fair share of anomalies, which stratified folds have.

    Returns
    -------
    scores : ndarray of shape (n_samples,)
        Out-of-fold anomaly scores, float64. A row that is in no test fold, such as an
        unlabeled row of ``LabeledStratifiedKFold(unlabeled="train")``, gets NaN; one that
        is in several, as in repeated cross-validation, the mean of its scores.

    Raises
    ------
    TypeError
        If the estimator has no ``score_samples``.
    ValueError
        If y holds anything but whole numbers, if an int ``cv`` exceeds the number of rows,
        or if ``groups`` come with an int ``cv``, which would ignore them.

    See Also
    --------
    LabeledStratifiedKFold : The folds used by default.

    References
    ----------
    .. [1] Stone, M. "Cross-validatory choice and assessment of statistical predictions."
           Journal of the Royal Statistical Society B 36(2), 1974.
           :doi:`10.1111/j.2517-6161.1974.tb00994.x`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skdeepad.model_selection import cross_val_anomaly_scores
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(99, 2)), [[9.0, 9.0]]])
    >>> y = np.zeros(100, dtype=int)
    >>> y[:20] = 1
    >>> forest = IsolationForest(n_estimators=20, random_state=0)
    >>> scores = cross_val_anomaly_scores(forest, X, y)
    >>> int(scores.argmax())
    99
    """
    check_choice(scale, _SCALES, "scale", "cross_val_anomaly_scores")
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            "cross_val_anomaly_scores needs a detector with score_samples. Got "
            f"{estimator!r}, which has none. (LocalOutlierFactor has it with novelty=True.)"
        )
    X, y, groups = indexable(X, y, groups)
    folds = _list_folds(cv, X, y, groups)
    with told_of_killed_process(f"{type(last_step(estimator)).__name__} to a fold"):
        fold_scores = Parallel(n_jobs=n_jobs, verbose=verbose)(
            delayed(_fit_and_score)(clone(estimator), X, y, train, test) for train, test in folds
        )
    if scale == "rank":
        fold_scores = [(rankdata(scores) - 0.5) / len(scores) for scores in fold_scores]
    return _mean_by_row(n_rows(X), [test for _, test in folds], fold_scores)


def _list_folds(cv: Any, X: Any, y: Any, groups: Any) -> list[Fold]:
    """Return the (train, test) pairs of an int, a splitter or an iterable."""
    n_samples = n_rows(X)
    labels = check_labels(y, n_samples, for_training=False)
    if cv is not None and not isinstance(cv, numbers.Integral):
        return list(check_cv(cv).split(X, y, groups))
    n_splits = 5 if cv is None else check_n_splits(cv, "cv", "cross_val_anomaly_scores")
    if n_splits > n_samples:
        raise ValueError(
            f"cv={n_splits} needs at least as many rows as folds. Got {n_samples}. Set cv to "
            f"{n_samples} or less."
        )
    if groups is not None:
        raise ValueError(
            "groups are used by a splitter only, and cv is a number of folds. Pass a splitter, "
            f"such as cv=GroupKFold({n_splits}), or no groups."
        )
    return list(train_and_test(deal(labels, n_splits), n_splits))


def _fit_and_score(
    estimator: Any, X: Any, y: Any, train: NDArray[np.intp], test: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Fit on the training rows; return the anomaly scores of the test rows, (n_test,)."""
    labels = () if y is None else (_safe_indexing(y, train),)
    estimator.fit(_safe_indexing(X, train), *labels)
    # score_samples grows with normality, an anomaly score falls with it:
    return -np.asarray(estimator.score_samples(_safe_indexing(X, test)), dtype=np.float64)


def _mean_by_row(
    n_samples: int,
    rows_by_fold: Sequence[NDArray[np.intp]],
    scores_by_fold: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the mean score of each row over the folds it is in, NaN if in none."""
    sums, counts = np.zeros(n_samples), np.zeros(n_samples)
    for rows, scores in zip(rows_by_fold, scores_by_fold, strict=True):
        np.add.at(sums, rows, scores)  # counts a row as often as a fold names it
        np.add.at(counts, rows, 1)
    return np.divide(sums, counts, out=np.full(n_samples, np.nan), where=counts > 0)
