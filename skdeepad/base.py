"""What all detectors have in common: labels, sign, threshold, prediction, score."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

_LABELS = "+1 for normal, 0 for unlabeled, -1 for anomalous rows"


class LabelWarning(UserWarning):
    """Labels that are legal but probably do not mean what the detector will read."""


class CollapseWarning(UserWarning):
    """A network that maps, or is likely to map, all rows to nearly the same score."""


def check_labels(y, n_samples, *, for_training=True):
    """Read partial labels by their sign.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
        Whole numbers: > 0 normal, 0 unlabeled, < 0 anomalous. None means all unlabeled.
    n_samples : int
        Number of rows that y must have.
    for_training : bool, default=True
        Whether a detector is to learn from them: then there must be a row with y >= 0, and labels
        that look as if another convention was meant are warned of.

    Returns
    -------
    ndarray of shape (n_samples,), dtype int8
        The labels: +1, 0, -1.

    Raises
    ------
    ValueError
        If y has another length or dimension, or holds anything but whole numbers (booleans, strings
        and missing values are refused too).

    Warns
    -----
    LabelWarning
        If y holds values beyond -1, 0, +1, or a few +1 among many 0 and no -1, as in the
        convention "1 = anomaly".

    Examples
    --------
    >>> from skdeepad.base import check_labels
    >>> check_labels([1, 0, 0, -1], 4)
    array([ 1,  0,  0, -1], dtype=int8)
    """
    if y is None:
        return np.zeros(n_samples, dtype=np.int8)
    y = np.asarray(on_host(y))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n_samples,):
        raise ValueError(
            f"y must have one label for each of the {n_samples} rows of X, that is "
            f"shape ({n_samples},); got shape {y.shape}. Pass {_LABELS}."
        )
    numbers = _whole_numbers(y)
    labels = np.sign(numbers).astype(np.int8)
    if for_training:
        if not (labels >= 0).any():
            raise ValueError(
                "All rows of y are labeled anomalies; expected at least one normal or unlabeled "
                f"row to learn what is normal from. Pass {_LABELS}."
            )
        _warn_of_other_conventions(numbers, labels)
    return labels


def _whole_numbers(y):
    """Return y as floats, or say why it holds no labels."""
    problem = None
    strange = None if y.dtype.kind in "iuf" else _first_that_is_no_number(y)
    if isinstance(strange, bool | np.bool_):
        problem = "booleans"
    elif strange is not None:
        problem = f"values such as {strange!r} of type {type(strange).__name__}"
    else:
        numbers = y.astype(np.float64)
        if not np.isfinite(numbers).all():
            problem = "NaN or infinity"
        elif (numbers != np.round(numbers)).any():
            problem = f"fractions such as {numbers[numbers != np.round(numbers)][0]}"
    if problem is not None:
        raise ValueError(
            f"Unknown label type: y must hold whole numbers, {_LABELS}; got {problem}."
        )
    return numbers


def _first_that_is_no_number(y):
    """Return the first value that is not a number; scalars of NumPy other than booleans are."""
    return next((v for v in y if not isinstance(v, Real) or isinstance(v, bool)), None)


def _warn_of_other_conventions(numbers, labels):
    if (np.abs(numbers) > 1).any():
        extremes = int(numbers.min()), int(numbers.max())
        warnings.warn(
            f"y holds values from {extremes[0]} to {extremes[1]}; they are read by their sign: "
            f"positive is normal, 0 unlabeled, negative anomalous. Pass {_LABELS} if these are "
            "class numbers.",
            LabelWarning,
            stacklevel=7,
        )
    n_normal, n_unlabeled = int((labels > 0).sum()), int((labels == 0).sum())
    if not (labels < 0).any() and 0 < n_normal < n_unlabeled:
        warnings.warn(
            f"y holds {n_normal} rows of +1 among {n_unlabeled} of 0 and none of -1: they are "
            "read as verified normals among unlabeled rows. If 1 meant 'anomaly', pass "
            f"{_LABELS}, for example -y.",
            LabelWarning,
            stacklevel=7,
        )


def on_host(values):
    """Turn a torch tensor into a NumPy array, and leave everything else as it is."""
    if not (hasattr(values, "detach") and hasattr(values, "cpu")):
        return values
    values = values.detach().cpu()
    # NumPy has no bfloat16, and half precision is too coarse for what comes next.
    return (
        values.float() if values.is_floating_point() and values.itemsize < 4 else values
    ).numpy()


@contextmanager
def kept_on_failure(estimator) -> Iterator[None]:
    """Put an estimator's fitted attributes back if fitting it again fails or is interrupted."""
    state = vars(estimator)
    before = {name: value for name, value in state.items() if name.endswith("_")}
    try:
        yield
    except BaseException:
        for name in [name for name in state if name.endswith("_")]:
            del state[name]
        state.update(before)
        raise


class BaseDetector(OutlierMixin, BaseEstimator):
    """Base class of all detectors.

    A subclass defines ``_fit(X, y, given)``, which learns from validated features and labels and
    sets fitted attributes, and ``_anomaly_score(X)``, which gives one number a row, larger = more
    anomalous. All else is here: reading labels, the sign, the threshold, prediction.
    """

    _parameter_constraints: dict = {
        "contamination": [Interval(Real, 0, 0.5, closed="right"), StrOptions({"auto"})],
    }
    _dtype = np.float64
    # What labels the method learns from beyond leaving out labeled anomalies.
    _learns_from_labels = True

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn from unlabeled rows and from whatever labels there are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows. Deep detectors also take images of shape (n, channels, height, width).
        y : array-like of shape (n_samples,), default=None
            Whole numbers read by their sign: +1 normal, 0 unlabeled, -1 anomalous. None: all rows
            are unlabeled.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X, y or a parameter is not as documented. What was fitted before stays as it was.
        """
        return self._fit_rows(X, y)

    def _fit_rows(self, X, y, **more):
        """Check what was given, learn, set the threshold; ``more`` goes to :meth:`_fit`."""
        with kept_on_failure(self):
            features, labels = self._checked(X, y)
            self._fit(features, labels, given=(X, y), **more)
            self._finish(features, labels)
        return self

    def _checked(self, X, y, rows=None):
        """Return features, and labels of ``rows`` among them, or say what is wrong with them."""
        if self.contamination == "auto" and not self._has_own_boundary():
            raise ValueError(
                f"contamination='auto' asks for the method's own boundary, and "
                f"{self._name_with_setting()} has none. Pass the share of training rows to be "
                "flagged, for example contamination=0.1."
            )
        features = self._validate(X, reset=True)
        labels = check_labels(y, len(features) if rows is None else len(rows))
        self._warn_of_unused_labels(labels)
        return features, labels

    def score_samples(self, X):
        """Score rows: larger = more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            The negated anomaly score.
        """
        # Larger is more normal, as scikit-learn has it; the papers' score is the other way round.
        return -self.anomaly_score(X)

    def anomaly_score(self, X):
        """Score rows in the papers' orientation and units: larger = more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            The anomaly score of each row.
        """
        check_is_fitted(self)
        return self._anomaly_score(self._validate(X, reset=False))

    def decision_function(self, X):
        """Score rows against the threshold: below 0 is an anomaly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Tell normal rows from anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype int
            +1 normal, -1 anomalous.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(self, X, y=None, **fit_params):
        """Fit to rows and labels, then judge the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Labels as in :meth:`fit`; they are used, not ignored.
        **fit_params : dict
            Passed to :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,), dtype int
            +1 normal, -1 anomalous.
        """
        return self.fit(X, y, **fit_params).predict(X)

    def score(self, X, y):
        """Area under the ROC curve over the labeled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,)
            Labels; rows with 0 are left out.

        Returns
        -------
        float
            Share of pairs of a labeled anomaly and a labeled normal row that are ranked rightly;
            NaN, with an UndefinedMetricWarning, if there are no such pairs.

        Raises
        ------
        ValueError
            If y is None.
        """
        if y is None:
            raise ValueError(f"score needs labels: pass y with {_LABELS}.")
        decision = self.decision_function(X)
        labels = check_labels(y, len(decision), for_training=False)
        labeled = labels != 0
        if len(np.unique(labels[labeled])) < 2:
            warnings.warn(
                "ROC AUC needs labeled anomalies and labeled normals; one of them is missing "
                f"among {int(labeled.sum())} labeled rows. Returning NaN.",
                UndefinedMetricWarning,
                stacklevel=2,
            )
            return float("nan")
        from sklearn.metrics import roc_auc_score  # heavy to import, and seldom needed

        return float(roc_auc_score(labels[labeled] > 0, decision[labeled]))

    def _validate(self, X, *, reset):
        """Check features and return them as a two-dimensional array."""
        return validate_data(
            self,
            on_host(X),
            reset=reset,
            dtype=self._dtype,
            order="C",
            ensure_min_samples=1 + reset,
        )

    def _fit(self, X, y, given):
        raise NotImplementedError(f"{type(self).__name__} must define _fit(X, y, given).")

    def _anomaly_score(self, X):
        raise NotImplementedError(f"{type(self).__name__} must define _anomaly_score(X).")

    def _finish(self, X, y):
        """Set the threshold, and look at the training rows' scores for signs of trouble."""
        scores = -self._anomaly_score(X)
        self.offset_ = self._threshold(scores, y)
        self._warn_of_scores(scores)

    def _has_own_boundary(self):
        """Tell whether the method, as parametrised, defines a threshold itself."""
        return False

    def _own_offset(self):
        """Return the method's own threshold on ``score_samples``."""
        raise NotImplementedError(f"{type(self).__name__} must define _own_offset().")

    def _name_with_setting(self):
        return type(self).__name__

    def _threshold(self, scores, y):
        """Return the threshold: labeled anomalies do not count, they are known to be below it."""
        if self.contamination == "auto":
            return self._own_offset()
        return float(np.quantile(scores[y >= 0], self.contamination))

    def _warn_of_unused_labels(self, y):
        n_anomalies, n_normal = int((y < 0).sum()), int((y > 0).sum())
        if self._learns_from_labels or not n_anomalies + n_normal:
            return
        warnings.warn(
            f"{type(self).__name__} does not learn from labels: {n_anomalies} labeled anomalies "
            f"are left out of training, {n_normal} labeled normals count as unlabeled. Use a "
            "detector that learns from them, for example DeepSAD.",
            LabelWarning,
            stacklevel=6,
        )

    def _warn_of_scores(self, scores):
        """Warn if training scores show that something went wrong; by default nothing is checked."""
