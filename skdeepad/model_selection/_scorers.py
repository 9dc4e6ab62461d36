"""Scores and scorers over labeled rows; unlabeled ones are left out of account."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    make_scorer,
    roc_auc_score,
)
from sklearn.utils import column_or_1d

from skdeepad.inputs import check_labels


def _labeled_rows(y_true: ArrayLike, values: Any) -> tuple[NDArray[np.int_], NDArray[Any]]:
    """Return which labeled rows are anomalies (1) or normals (0), and their values.

    Unlabeled rows stand in for normals when none is labeled.
    """
    values = column_or_1d(values)
    labels = check_labels(y_true, values.size, for_training=False)
    anomalies, normals = labels < 0, labels > 0
    if not normals.any():
        normals = labels == 0
    if not anomalies.any() or not normals.any():
        raise ValueError(
            "The score needs at least one labeled anomaly (y < 0) and one labeled normal "
            "(y > 0), or unlabeled rows (y = 0) in place of the normals. Got "
            f"{np.sum(labels < 0)} anomalies, {np.sum(labels > 0)} normals and "
            f"{np.sum(labels == 0)} unlabeled rows. In cross-validation, use "
            "cv=LabeledStratifiedKFold(), which puts both kinds into every test fold."
        )
    used = anomalies | normals
    return anomalies[used].astype(int), values[used]


def labeled_roc_auc_score(y_true: ArrayLike, decision: ArrayLike) -> float:
    r"""Area under the ROC curve over the labeled rows.

    It is the probability that a labeled anomaly looks more anomalous than a labeled
    normal,

    .. math:: P(s_- < s_+) + \tfrac{1}{2} P(s_- = s_+),

    with :math:`s_-` and :math:`s_+` the decision values of an anomaly and of a normal.
    Shares of anomalies do not enter, so that it can be compared between data sets that
    were labeled differently: the default choice. The scorer is ``labeled_roc_auc``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.
        Unlabeled rows are ignored if any normal is labeled. If none is, they stand in for
        the normals.

    decision : array-like of shape (n_samples,)
        Decision values, larger = more normal, as ``decision_function`` and
        ``score_samples`` return them.

    Returns
    -------
    auc : float
        1.0 if all anomalies lie below all normals, 0.5 for random values.

    Raises
    ------
    ValueError
        If there is no anomaly, or neither a normal nor an unlabeled row. An undefined
        score is not NaN, because a grid search in which all scores are NaN returns its
        first candidate as the best one. scikit-learn's searches turn an error in a scorer
        into a warning and NaN, unless they are given ``error_score="raise"``.

    See Also
    --------
    labeled_partial_roc_auc_score : The part of it where false alarms are few.
    LabeledStratifiedKFold : Folds with both kinds of labels in each.

    Notes
    -----
    If a share :math:`\pi` of the unlabeled rows that stand in for normals are anomalies
    that score like the labeled ones, the result is
    :math:`(1 - \pi) \, \mathrm{AUC} + \pi / 2` in expectation [2]_.

    References
    ----------
    .. [1] Fawcett, T. "An introduction to ROC analysis." Pattern Recognition Letters
           27(8), 2006. :doi:`10.1016/j.patrec.2005.10.010`
    .. [2] Menon, A. K., van Rooyen, B., Ong, C. S., Williamson, R. C. "Learning from
           corrupted binary labels via class-probability estimation." ICML 2015.

    Examples
    --------
    >>> from skdeepad.model_selection import labeled_roc_auc_score
    >>> labeled_roc_auc_score([-1, -1, 0, 1, 1], [-2.0, 0.5, -9.0, 0.3, 1.0])
    0.75
    """
    is_anomaly, decision = _labeled_rows(y_true, decision)
    return float(roc_auc_score(is_anomaly, -decision))


def labeled_partial_roc_auc_score(
    y_true: ArrayLike, decision: ArrayLike, *, max_fpr: float = 0.1
) -> float:
    r"""Area under the ROC curve where false alarms are few, over the labeled rows.

    Only the thresholds that flag at most a share :math:`f` = ``max_fpr`` of the normals
    count. The area is standardized [1]_,

    .. math::

        \frac{1}{2} \left( 1 + \frac{A - f^2 / 2}{f - f^2 / 2} \right),
        \qquad A = \int_0^f \mathrm{TPR} \; d\,\mathrm{FPR},

    so that 1/2 is a random and 1 a perfect order, as in the whole curve. The scorer
    ``labeled_partial_roc_auc`` uses the default rate; see the example for another.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.
        Unlabeled rows are ignored if any normal is labeled. If none is, they stand in for
        the normals.

    decision : array-like of shape (n_samples,)
        Decision values, larger = more normal.

    max_fpr : float, default=0.1
        The highest rate of false alarms of interest, in (0, 1]; at 1 the result is that
        of :func:`labeled_roc_auc_score`. With n normals the curve moves in steps of 1/n:
        below ``max_fpr=1/n`` a single normal decides.

    Returns
    -------
    auc : float
        The standardized area.

    Raises
    ------
    ValueError
        If there is no anomaly, or neither a normal nor an unlabeled row, or if
        ``max_fpr`` is not in (0, 1].

    See Also
    --------
    labeled_roc_auc_score : The area under the whole curve.

    References
    ----------
    .. [1] McClish, D. K. "Analyzing a portion of the ROC curve." Medical Decision Making
           9(3), 1989. :doi:`10.1177/0272989X8900900307`

    Examples
    --------
    >>> from sklearn.metrics import make_scorer
    >>> from skdeepad.model_selection import labeled_partial_roc_auc_score
    >>> labeled_partial_roc_auc_score([-1, -1, 0, 1, 1], [-2, 0.5, -9, 0.3, 1], max_fpr=0.5)
    0.666...

    A scorer for at most one false alarm in a hundred:

    >>> scorer = make_scorer(
    ...     labeled_partial_roc_auc_score, response_method="decision_function", max_fpr=0.01
    ... )
    """
    is_anomaly, decision = _labeled_rows(y_true, decision)
    return float(roc_auc_score(is_anomaly, -decision, max_fpr=max_fpr))


def labeled_average_precision_score(
    y_true: ArrayLike, decision: ArrayLike, *, prevalence: float | None = None
) -> float:
    r"""Average precision over the labeled rows, with anomalies as the positive class.

    .. math:: \mathrm{AP} = \sum_k (R_k - R_{k-1}) \, P_k,

    with the recall :math:`R_k` and the precision :math:`P_k` of flagging all rows up to
    the k-th most anomalous value. The scorer is ``labeled_average_precision``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.
        Unlabeled rows are ignored if any normal is labeled. If none is, they stand in for
        the normals.

    decision : array-like of shape (n_samples,)
        Decision values, larger = more normal.

    prevalence : float or None, default=None
        Share :math:`\pi` of anomalies for which to state the precision, in (0, 1). With
        None it is their share among the labeled rows. That is seldom the share met in
        use, for anomalies are labeled more often than normals, and precision, hence the
        result, depends on it.

    Returns
    -------
    average_precision : float
        1.0 for a perfect order; for random values it is near the prevalence.

    Raises
    ------
    ValueError
        If there is no anomaly, or neither a normal nor an unlabeled row, or if
        ``prevalence`` is not in (0, 1).

    See Also
    --------
    labeled_roc_auc_score : Does not depend on the share of anomalies.

    Notes
    -----
    With a prevalence, rows are weighted so that anomalies make up the share
    :math:`\pi`. With the rates :math:`\mathrm{TPR}_k, \mathrm{FPR}_k` of flagged
    anomalies and normals,

    .. math::

        P_k = \frac{\pi \, \mathrm{TPR}_k}
                    {\pi \, \mathrm{TPR}_k + (1 - \pi) \, \mathrm{FPR}_k}.

    References
    ----------
    .. [1] Boyd, K., Santos Costa, V., Davis, J., Page, C. D. "Unachievable region in
           precision-recall space and its effect on empirical evaluation." ICML 2012.

    Examples
    --------
    >>> from skdeepad.model_selection import labeled_average_precision_score
    >>> y, decision = [-1, -1, 0, 1, 1], [-2.0, 0.5, -9.0, 0.3, 1.0]
    >>> labeled_average_precision_score(y, decision)
    0.833...
    >>> labeled_average_precision_score(y, decision, prevalence=0.01)
    0.509...
    """
    is_anomaly, decision = _labeled_rows(y_true, decision)
    weights = None if prevalence is None else _prevalence_weights(is_anomaly, prevalence)
    return float(average_precision_score(is_anomaly, -decision, sample_weight=weights))


def _prevalence_weights(is_anomaly: NDArray[np.int_], prevalence: float) -> NDArray[np.float64]:
    """Return row weights of shape (n_labeled,) whose anomalies sum to the prevalence."""
    if not isinstance(prevalence, numbers.Real) or not 0 < prevalence < 1:
        raise ValueError(
            "The 'prevalence' parameter of labeled_average_precision_score must be None or a "
            f"share above 0 and below 1. Got {prevalence!r} instead."
        )
    n_anomalies = is_anomaly.sum()
    n_normals = is_anomaly.size - n_anomalies
    return np.where(is_anomaly == 1, prevalence / n_anomalies, (1 - prevalence) / n_normals)


def labeled_balanced_accuracy_score(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    r"""Mean of the shares of anomalies flagged and of normals passed, over labeled rows.

    .. math:: (\mathrm{TPR} + 1 - \mathrm{FPR}) / 2

    Unlike the scores of decision values it depends on the detector's threshold, that is
    on ``contamination``. The scorer is ``labeled_balanced_accuracy``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.
        Unlabeled rows are ignored if any normal is labeled. If none is, they stand in for
        the normals.

    y_pred : array-like of shape (n_samples,)
        Predictions, +1 inlier or -1 outlier, as ``predict`` returns them.

    Returns
    -------
    balanced_accuracy : float
        1.0 if all are right; 0.5 if all rows get the same prediction.

    Raises
    ------
    ValueError
        If there is no anomaly, or neither a normal nor an unlabeled row, or if
        ``y_pred`` holds anything but +1 and -1.

    See Also
    --------
    labeled_roc_auc_score : Does not depend on the threshold.

    Notes
    -----
    If a share :math:`\pi` of the unlabeled rows that stand in for normals are anomalies
    flagged as often as the labeled ones, the result B becomes
    :math:`(1 - \pi) B + \pi / 2` in expectation, as for the ROC AUC.

    References
    ----------
    .. [1] Brodersen, K. H., Ong, C. S., Stephan, K. E., Buhmann, J. M. "The balanced
           accuracy and its posterior distribution." ICPR 2010.
           :doi:`10.1109/ICPR.2010.764`

    Examples
    --------
    >>> from skdeepad.model_selection import labeled_balanced_accuracy_score
    >>> labeled_balanced_accuracy_score([-1, -1, 0, 1, 1], [-1, 1, -1, 1, 1])
    0.75
    """
    is_anomaly, y_pred = _labeled_rows(y_true, y_pred)
    if not np.isin(y_pred, (-1, 1)).all():
        raise ValueError(
            "y_pred must hold +1 (inlier) and -1 (outlier) only. Got the values "
            f"{np.unique(y_pred)}. Pass what predict returns, not decision values."
        )
    return float(balanced_accuracy_score(is_anomaly, y_pred == -1))


#: Scorer of :func:`labeled_roc_auc_score`, for the ``scoring`` of GridSearchCV and others.
labeled_roc_auc: Any = make_scorer(labeled_roc_auc_score, response_method="decision_function")

#: Scorer of :func:`labeled_partial_roc_auc_score` at its default rate of false alarms, 0.1.
labeled_partial_roc_auc: Any = make_scorer(
    labeled_partial_roc_auc_score, response_method="decision_function"
)

#: Scorer of :func:`labeled_average_precision_score` at the labeled rows' own prevalence.
labeled_average_precision: Any = make_scorer(
    labeled_average_precision_score, response_method="decision_function"
)

#: Scorer of :func:`labeled_balanced_accuracy_score`: of ``predict``, not of the scores.
labeled_balanced_accuracy: Any = make_scorer(
    labeled_balanced_accuracy_score, response_method="predict"
)
