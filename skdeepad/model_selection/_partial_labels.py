"""Splitters, scorers and out-of-fold scores that leave unlabeled rows out of account."""

import numbers
import warnings

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    make_scorer,
    roc_auc_score,
)
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import (
    _safe_indexing,  # part of scikit-learn's documented API despite its name
    check_random_state,
    column_or_1d,
    indexable,
)
from sklearn.utils.parallel import Parallel, delayed

from skdeepad.base import check_labels

_UNLABELED_MODES = ("train", "split", "drop")
_SCALES = ("raw", "rank")

# Instead of a fold number: the row is trained on in every fold, or used in none.
_ALWAYS_TRAIN = -1
_NEVER_USED = -2


def _n_rows(X):
    """Return the number of rows of an indexable container, sparse matrices included."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


# Splitting ----------------------------------------------------------------------------


def _deal(labels, n_splits, rng=None):
    """Return the fold of each row, an array of shape (n_samples,).

    Anomalies, normals and unlabeled rows are spread one after the other, each as evenly
    as can be. A kind that does not divide by ``n_splits`` leaves some folds one row
    short; the next kind begins with these, so that whole folds differ by one row too.
    """
    folds = np.empty(labels.size, dtype=np.intp)
    n_dealt = 0
    # Unlabeled rows come last: the folds of the labeled ones do not depend on them.
    for sign in (-1, 1, 0):
        rows = np.flatnonzero(labels == sign)
        if rng is not None:
            rng.shuffle(rows)
        places = np.arange(n_dealt, n_dealt + rows.size) % n_splits
        sizes = np.bincount(places, minlength=n_splits)
        folds[rows] = np.repeat(np.arange(n_splits), sizes)
        n_dealt += rows.size
    return folds


def _train_and_test(folds, n_splits):
    """Yield the training and the test rows of each fold, both in ascending order."""
    for fold in range(n_splits):
        train = np.flatnonzero((folds != fold) & (folds != _NEVER_USED))
        yield train, np.flatnonzero(folds == fold)


def _check_n_splits(n_splits, name, owner):
    """Return the number of folds as an int, or raise for anything below two."""
    is_whole = isinstance(n_splits, numbers.Integral) and not isinstance(n_splits, bool)
    if not is_whole or n_splits < 2:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be a whole number of at least 2. "
            f"Got {n_splits!r} instead."
        )
    return int(n_splits)


def _check_choice(value, choices, name, owner):
    """Raise unless the value is one of the given strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be one of {', '.join(map(repr, choices))}. "
            f"Got {value!r} instead."
        )


class LabeledStratifiedKFold(BaseCrossValidator):
    r"""Stratified k-fold cross-validation when only some rows are labeled.

    Labeled anomalies (y < 0) and labeled normals (y > 0) are each spread evenly over the
    folds, and each labeled row is in exactly one test fold. What happens to unlabeled
    rows (y = 0) is the user's choice.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of labeled anomalies.

    unlabeled : {"train", "split", "drop"}, default="train"
        Where unlabeled rows go:

        - "train": into every training set and no test fold. Nothing that can be learned
          from is wasted; use it to choose hyper-parameters by labeled rows.
        - "split": spread over the folds like the labeled rows, so that every row is in
          exactly one test fold. Use it for out-of-fold scores of unlabeled rows, or if
          there are no labeled normals.
        - "drop": left out altogether, as if they had not been collected.

        The labeled rows fall into the same test folds in all three modes.

    shuffle : bool, default=False
        Whether to shuffle the rows of each kind before they are spread. Without it, each
        kind is cut into consecutive blocks, as in
        :class:`~sklearn.model_selection.StratifiedKFold`: neighboring rows, which in
        recorded data are often near duplicates, then stay in one fold.

    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. An int gives the same folds at each call of ``split``,
        which a fair comparison of two detectors needs.

    See Also
    --------
    cross_val_anomaly_scores : Out-of-fold anomaly scores of all rows.
    labeled_roc_auc_score : ROC AUC of the labeled rows.

    Notes
    -----
    Each test fold must be able to tell anomalies from normals, so there have to be at
    least ``n_splits`` labeled rows of either kind. There is one exception: if **no**
    normal is labeled and ``unlabeled="split"``, the unlabeled rows of each test fold
    stand in for normals in the scores of this module. A few labeled normals, fewer than
    ``n_splits``, are an error in every mode, because some folds would then measure one
    thing and the other folds another.

    Standing in has a price: an anomaly hidden among the unlabeled rows counts as a
    normal. If a share :math:`\pi` of the unlabeled rows are anomalies that score like
    the labeled ones, the measured ROC AUC is, in expectation [1]_ [2]_,

    .. math:: \mathrm{AUC}' = (1 - \pi) \, \mathrm{AUC} + \pi / 2,

    biased towards 1/2. It grows with :math:`\mathrm{AUC}`, so that a search still prefers
    the better candidate as long as this assumption holds.

    Tools that train on part of a training set thin out the labels as well. For
    :func:`~sklearn.model_selection.learning_curve`, pass ``shuffle=True`` there, since it
    takes the first rows of each training set otherwise. For ``HalvingGridSearchCV``,
    prefer a parameter of the detector, such as its number of epochs, as the resource:
    ``resource="n_samples"`` subsamples test folds too, and with few labels leaves them
    without an anomaly.

    References
    ----------
    .. [1] Menon, A. K., van Rooyen, B., Ong, C. S., Williamson, R. C. "Learning from
           corrupted binary labels via class-probability estimation." ICML 2015.
    .. [2] Jain, S., White, M., Radivojac, P. "Recovering true classifier performance in
           positive-unlabeled learning." AAAI 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.model_selection import LabeledStratifiedKFold
    >>> X = np.zeros((8, 1))
    >>> y = np.array([-1, -1, 0, 0, 0, 0, 1, 1])
    >>> for mode in ("train", "split", "drop"):
    ...     train, test = next(LabeledStratifiedKFold(2, unlabeled=mode).split(X, y))
    ...     print(mode, train, test)
    train [1 2 3 4 5 7] [0 6]
    split [1 4 5 7] [0 2 3 6]
    drop [1 7] [0 6]
    """

    def __init__(self, n_splits=5, *, unlabeled="train", shuffle=False, random_state=None):
        # Splitters check here rather than in split, as all of scikit-learn's do: they
        # have no fit, and set_params does not exist.
        owner = type(self).__name__
        self.n_splits = _check_n_splits(n_splits, "n_splits", owner)
        _check_choice(unlabeled, _UNLABELED_MODES, "unlabeled", owner)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise ValueError(
                f"The 'shuffle' parameter of {owner} must be True or False. "
                f"Got {shuffle!r} instead."
            )
        if random_state is not None and not shuffle:
            raise ValueError(
                "random_state has no effect while shuffle is False. Set shuffle=True, or leave "
                "random_state at None."
            )
        self.unlabeled = unlabeled
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored, present for compatibility with scikit-learn.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        return self.n_splits

    def split(self, X, y=None, groups=None):
        """Yield the row numbers of each training set and test fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The rows to split; only their number is used.

        y : array-like of shape (n_samples,)
            Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.

        groups : object, default=None
            Ignored with a warning, present for compatibility with scikit-learn.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Row numbers of the training set, ascending.

        test : ndarray of shape (n_test,)
            Row numbers of the test fold, ascending.

        Raises
        ------
        ValueError
            If y is missing or holds anything but whole numbers, or if there are fewer
            labeled anomalies or labeled normals than folds (see Notes of the class).
        """
        if groups is not None:
            warnings.warn(
                f"The groups parameter is ignored by {type(self).__name__}",
                UserWarning,
                stacklevel=2,
            )
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs y, the labels to spread over the folds. Got None. "
                "Pass y, or split rows without labels by sklearn.model_selection.KFold."
            )
        X, y = indexable(X, y)
        labels = check_labels(y, _n_rows(X), for_training=False)
        self._check_counts(labels)
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = _deal(labels, self.n_splits, rng)
        if self.unlabeled == "train":
            folds[labels == 0] = _ALWAYS_TRAIN
        elif self.unlabeled == "drop":
            folds[labels == 0] = _NEVER_USED
        yield from _train_and_test(folds, self.n_splits)

    def _check_counts(self, labels):
        """Raise if some test fold would lack anomalies, or rows to compare them with."""
        n_anomalies, n_unlabeled, n_normals = (np.sum(labels == sign) for sign in (-1, 0, 1))
        if n_anomalies < self.n_splits:
            raise ValueError(self._too_few("anomalies (y < 0)", n_anomalies) + ".")
        stand_in = self.unlabeled == "split" and n_normals == 0 and n_unlabeled >= self.n_splits
        if n_normals < self.n_splits and not stand_in:
            raise ValueError(
                self._too_few("normals (y > 0)", n_normals)
                + ', or use unlabeled="split" with no label above 0: then unlabeled rows, at '
                "least one for each fold, stand in for normals."
            )

    def _too_few(self, kind, n_rows):
        """Return what was expected, what came and what to do, to be continued."""
        remedy = f"Set n_splits to {n_rows} or less, or label" if n_rows >= 2 else "Label"
        return (
            f"n_splits={self.n_splits} needs at least {self.n_splits} labeled {kind}, one to "
            f"test on in each fold. Got {n_rows}. {remedy} more rows"
        )


# Scoring ------------------------------------------------------------------------------


def _labeled_rows(y_true, values):
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


def labeled_roc_auc_score(y_true, decision):
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


def labeled_partial_roc_auc_score(y_true, decision, *, max_fpr=0.1):
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


def labeled_average_precision_score(y_true, decision, *, prevalence=None):
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


def _prevalence_weights(is_anomaly, prevalence):
    """Return row weights of shape (n_labeled,) whose anomalies sum to the prevalence."""
    if not isinstance(prevalence, numbers.Real) or not 0 < prevalence < 1:
        raise ValueError(
            "The 'prevalence' parameter of labeled_average_precision_score must be None or a "
            f"share above 0 and below 1. Got {prevalence!r} instead."
        )
    n_anomalies = is_anomaly.sum()
    n_normals = is_anomaly.size - n_anomalies
    return np.where(is_anomaly == 1, prevalence / n_anomalies, (1 - prevalence) / n_normals)


def labeled_balanced_accuracy_score(y_true, y_pred):
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
labeled_roc_auc = make_scorer(labeled_roc_auc_score, response_method="decision_function")

#: Scorer of :func:`labeled_partial_roc_auc_score` at its default rate of false alarms, 0.1.
labeled_partial_roc_auc = make_scorer(
    labeled_partial_roc_auc_score, response_method="decision_function"
)

#: Scorer of :func:`labeled_average_precision_score` at the labeled rows' own prevalence.
labeled_average_precision = make_scorer(
    labeled_average_precision_score, response_method="decision_function"
)

#: Scorer of :func:`labeled_balanced_accuracy_score`: of ``predict``, not of the scores.
labeled_balanced_accuracy = make_scorer(labeled_balanced_accuracy_score, response_method="predict")


# Out-of-fold scores -------------------------------------------------------------------


def cross_val_anomaly_scores(
    estimator, X, y=None, *, groups=None, cv=5, n_jobs=None, verbose=0, scale="raw"
):
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
    _check_choice(scale, _SCALES, "scale", "cross_val_anomaly_scores")
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            "cross_val_anomaly_scores needs a detector with score_samples. Got "
            f"{estimator!r}, which has none."
        )
    X, y, groups = indexable(X, y, groups)
    folds = _list_folds(cv, X, y, groups)
    fold_scores = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_fit_and_score)(clone(estimator), X, y, train, test) for train, test in folds
    )
    if scale == "rank":
        fold_scores = [(rankdata(scores) - 0.5) / len(scores) for scores in fold_scores]
    return _mean_by_row(_n_rows(X), [test for _, test in folds], fold_scores)


def _list_folds(cv, X, y, groups):
    """Return the (train, test) pairs of an int, a splitter or an iterable."""
    n_samples = _n_rows(X)
    labels = check_labels(y, n_samples, for_training=False)
    if cv is not None and not isinstance(cv, numbers.Integral):
        return list(check_cv(cv).split(X, y, groups))
    n_splits = 5 if cv is None else _check_n_splits(cv, "cv", "cross_val_anomaly_scores")
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
    return list(_train_and_test(_deal(labels, n_splits), n_splits))


def _fit_and_score(estimator, X, y, train, test):
    """Fit on the training rows; return the anomaly scores of the test rows, (n_test,)."""
    labels = () if y is None else (_safe_indexing(y, train),)
    estimator.fit(_safe_indexing(X, train), *labels)
    # score_samples grows with normality, an anomaly score falls with it:
    return -np.asarray(estimator.score_samples(_safe_indexing(X, test)), dtype=np.float64)


def _mean_by_row(n_samples, rows_by_fold, scores_by_fold):
    """Return the mean score of each row over the folds it is in, NaN if in none."""
    sums, counts = np.zeros(n_samples), np.zeros(n_samples)
    for rows, scores in zip(rows_by_fold, scores_by_fold, strict=True):
        np.add.at(sums, rows, scores)  # counts a row as often as a fold names it
        np.add.at(counts, rows, 1)
    return np.divide(sums, counts, out=np.full(n_samples, np.nan), where=counts > 0)
