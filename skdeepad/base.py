"""What all detectors have in common: rows, labels, sign, threshold, prediction, score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import OutlierMixin, _fit_context
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skdeepad.inputs import (
    LABELS,
    as_table,
    check_labels,
    check_row_shape,
    on_host,
    refuse_lossy,
    refuse_masked,
    told_of_columns,
    warn_of_channels_last,
    warn_of_scales,
)
from skdeepad.notices import CollapseWarning, LabelWarning, warn
from skdeepad.occlusion import in_turn, ordinary
from skdeepad.parameters import Parametrized, parameter

__all__ = [
    "BaseDetector",
    "CollapseWarning",
    "LabelWarning",
    "check_labels",
    "checks_parameters",
    "fitted_state",
    "kept_on_failure",
    "learns_from_labels",
    "on_host",
    "restore_fitted_state",
    "shape_within",
]


N_REFERENCE = 8
"""Training rows that explanations compare with."""
# Rows that are scored to choose them, where training scores are not at hand.
_JUDGED = 500

_Method = TypeVar("_Method", bound=Callable[..., Any])


def fitted_state(estimator: Any) -> dict[str, Any]:
    """Return an estimator's fitted attributes."""
    return {name: value for name, value in vars(estimator).items() if name.endswith("_")}


def restore_fitted_state(estimator: Any, before: dict[str, Any]) -> None:
    """Make an estimator's fitted attributes what they were before."""
    for name in fitted_state(estimator):
        delattr(estimator, name)
    vars(estimator).update(before)


@contextmanager
def kept_on_failure(estimator: Any) -> Iterator[None]:
    """Put an estimator's fitted attributes back if fitting it again fails or is interrupted."""
    before = fitted_state(estimator)
    try:
        yield
    except BaseException:
        restore_fitted_state(estimator, before)
        raise


def learns_from_labels(estimator: Any) -> bool:
    """Tell whether an estimator learns from labels of anomalies.

    Detectors of this package say so themselves. Pipelines of any package, searches and frozen
    models are asked for what they hold. Others are supposed not to.

    Parameters
    ----------
    estimator : estimator
        Fitted or not.

    Returns
    -------
    bool
        Whether it should be given labeled anomalies.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdeepad import AutoEncoder, DeepSAD
    >>> from skdeepad.base import learns_from_labels
    >>> learns_from_labels(make_pipeline(StandardScaler(), DeepSAD()))
    True
    >>> learns_from_labels(AutoEncoder())
    False
    """
    own = getattr(estimator, "_learns_from_labels", None)
    if own is not None:
        return bool(own)
    if getattr(estimator, "steps", None):
        return learns_from_labels(estimator.steps[-1][1])
    inner = getattr(estimator, "estimator", None)
    return inner is not None and learns_from_labels(inner)


def shape_within(estimator: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which a fitted estimator sees rows, if it is told of one, or ``shape``.

    What wraps an estimator that has been told the shape of flat rows then knows it, too.
    """
    own = getattr(estimator, "input_shape_", shape)
    return own if len(shape) == 1 and getattr(estimator, "input_shape", None) is not None else shape


def checks_parameters(fit: _Method) -> _Method:
    """Have a method ``fit`` check the parameters first: scikit-learn's decorator, with types."""
    return _fit_context(prefer_skip_nested_validation=True)(fit)


class BaseDetector(OutlierMixin, Parametrized):
    """Base class of all detectors.

    A subclass defines ``_fit(X, y)``, which learns from flat rows (n, d) and labels (n,) and sets
    fitted attributes, and ``_anomaly_score(X)``, which gives one number a row, larger = more
    anomalous. Its parameters are annotated attributes, see
    :class:`~skdeepad.parameters.Parametrized`. All else is here: rows of any shape, labels, the
    sign, the threshold, prediction. Below the public methods all scores are anomaly scores.
    """

    contamination: float | Literal["auto"] = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 0.5, closed="right"), StrOptions({"auto"})],
        doc="""Share, in (0, 0.5], of the training rows without labeled anomalies that lies below
            the threshold. "auto": {own_boundary}.""",
    )
    # Why training scores may all be the same.
    _collapse = "constant or duplicate rows, or parameters far off"
    _own_boundary = "the method's own boundary; a ValueError where it has none"

    # What rows are converted to.
    _dtype: ClassVar[Any] = np.float64
    # Whether rows are looked at as they are, so that their scale and order of axes matter.
    _wants_scaled_rows: ClassVar[bool] = True
    # Training scores are all the same if they differ by less than this share of the largest.
    _resolution: ClassVar[float] = 1e-9
    # Whether explanations compare rows with others.
    _compares: ClassVar[bool] = True
    # Whether the method learns from labels beyond leaving out labeled anomalies.
    _learns_from_labels: ClassVar[Any] = True

    @checks_parameters
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn from unlabeled rows and from whatever labels there are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows: a table, images of shape (n, channels, height, width), series of shape
            (n, channels, time), or whatever the network takes.
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
            If X, y or a parameter is not as documented, or the model that comes of them gives
            scores that are not finite. What was fitted before stays as it was.
        """
        return self._fit_rows(X, y)

    def _fit_rows(self, X: Any, y: Any, **more: Any) -> Self:
        """Check what was given, learn, set the threshold; ``more`` goes to :meth:`_fit`."""
        with kept_on_failure(self):
            features, labels = self._checked(X, y)
            scores = self._fit(features, labels, **more)
            if scores is None and self._needs_training_scores():
                scores = self._anomaly_score(features)
            self._finish(scores, labels, features)
        return self

    def _checked(
        self, X: Any, y: Any, rows: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int8]]:
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

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score rows: larger = more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            The negated anomaly score.
        """
        # Larger is more normal, as scikit-learn has it; the papers' score is the other way round.
        return -self.anomaly_score(X)

    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score rows in the papers' orientation and units: larger = more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            The anomaly score of each row.

        Raises
        ------
        ValueError
            If X is not as in ``fit``, or a score is not finite.
        """
        check_is_fitted(self)
        features = self._validate(X, reset=False)
        scores = self._anomaly_score(features)
        self._check_finite(scores, features)
        return scores

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score rows against the threshold: below 0 is an anomaly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int_]:
        """Tell normal rows from anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype int
            +1 normal, -1 anomalous.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(
        self, X: ArrayLike, y: ArrayLike | None = None, **fit_params: Any
    ) -> NDArray[np.int_]:
        """Fit to rows and labels, then judge the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
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

    def explain(self, X: ArrayLike, reference: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Say how much each column, pixel or moment of a row adds to its anomaly score.

        Rows are compared with reference rows, ordinary ones of the training set. Where the detector
        has a network or a kernel, relevance is propagated from the score down to the numbers of the
        row, exactly; elsewhere columns are replaced by a reference row's, one after the other, in
        random orders. Both ways a row's relevance adds up to

        .. math:: \sum_i R_i = s(x) - \text{mean of } s(\tilde x) \text{ over reference rows}.

        Autoencoders and generators need no reference rows for images and series: there relevance is
        the squared residual, and adds up to the score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to explain.
        reference : array-like of shape (n_reference, n_features), default=None
            Rows to compare with, of any shape that X may have. None: ``reference_``.

        Returns
        -------
        ndarray of shape (n_samples, n_features), dtype float64
            Relevance, larger = more of the anomaly score; (n_samples, height, width) for images and
            (n_samples, time) for series, sums over the channels.

        Raises
        ------
        ValueError
            If X or reference is not as in ``fit``, or a relevance is not finite.
        """
        check_is_fitted(self)
        features = self._validate(X, reset=False)
        values, _ = self._explained(features, self._reference_rows(reference))
        if not np.isfinite(values).all():
            raise ValueError(
                f"{type(self).__name__}: the relevance of {(~np.isfinite(values)).any(1).sum()} of "
                f"{len(values)} rows is not finite. Usual cause: features of very large scale."
            )
        return self._in_place(values)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Area under the ROC curve over the labeled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
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
            raise ValueError(f"score needs labels: pass y with {LABELS}.")
        decision = self.decision_function(X)
        labels = check_labels(y, len(decision), for_training=False)
        labeled = labels != 0
        if len(np.unique(labels[labeled])) < 2:
            warn(
                "ROC AUC needs labeled anomalies and labeled normals; one of them is missing "
                f"among {int(labeled.sum())} labeled rows. Returning NaN.",
                UndefinedMetricWarning,
            )
            return float("nan")
        from sklearn.metrics import roc_auc_score  # heavy to import, and seldom needed

        return float(roc_auc_score(labels[labeled] > 0, decision[labeled]))

    def _validate(self, X: Any, *, reset: bool) -> NDArray[Any]:
        """Check rows of any shape and return them flat, (n, d)."""
        self._refuse_lossy(X)
        given, shape = as_table(X)
        expected = self._given_shape() if reset else self.input_shape_
        of_all = tuple(getattr(given, "shape", ()))
        if shape is not None or of_all == expected:
            said_by = "as input_shape says" if reset else "as in fit"
            check_row_shape(shape or of_all[1:], expected, len(given), said_by)
        if reset and shape is not None and len(given) == 1:
            raise ValueError(
                f"X holds one row, of shape {shape}; at least two are needed to learn from. A "
                "single image is written X[None], with an axis for the rows, and is one row, too."
            )
        rows = self._converted(given, reset)
        if reset:
            self.input_shape_: tuple[int, ...] = self._row_shape(
                shape or expected or (rows.shape[1],)
            )
            self._check_input_shape(rows)
            if shape is not None and self._wants_scaled_rows:
                warn_of_channels_last(shape)
            if self._wants_scaled_rows:
                self._warn_of_scales(given)
        return rows

    def _refuse_lossy(self, X: Any) -> None:
        """Refuse what would lose its meaning on the way to numbers."""
        refuse_lossy(X, "X")

    def _converted(self, X: Any, reset: bool) -> NDArray[Any]:
        """Return a table as an array of numbers, or say what is wrong with it."""
        with told_of_columns(X):
            rows: NDArray[Any] = validate_data(
                self, X, reset=reset, dtype=self._dtype, order="C", ensure_min_samples=1 + reset
            )
        return rows

    def _check_input_shape(self, rows: NDArray[Any]) -> None:
        if np.prod(self.input_shape_) != rows.shape[1]:
            raise ValueError(
                f"input_shape={self.input_shape_} has {np.prod(self.input_shape_)} numbers; "
                f"the rows of X have {rows.shape[1]}. They must be the same."
            )

    def _warn_of_scales(self, given: Any) -> None:
        """Warn of rows that nobody has scaled, judged by some thousand of them."""
        rows = np.asarray(given)
        rows = rows[:: len(rows) // 10_000 + 1]
        if rows.dtype.kind not in "fiu":
            rows = rows.astype(np.float64)
        columns = getattr(self, "feature_names_in_", np.arange(rows.shape[1]))
        images = len(self.input_shape_) == 3 and self.input_shape_[1] > 1
        with np.errstate(all="ignore"):  # values that are too large are refused elsewhere
            warn_of_scales(rows, columns, images, in_float32=self._dtype is np.float32)

    def _given_shape(self) -> tuple[int, ...] | None:
        """Return the parameter input_shape as a tuple, or None."""
        given: Sequence[int] | None = getattr(self, "input_shape", None)
        if given is None:
            return None
        shape = tuple(given)
        if not shape or not all(isinstance(side, Integral) and side > 0 for side in shape):
            raise ValueError(
                "input_shape must be positive whole numbers, such as (channels, height, width), or "
                f"None; got {given!r}."
            )
        return tuple(int(side) for side in shape)

    def _explained(
        self, X: NDArray[Any], reference: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        """Return flat relevance (n, d), and what it starts from: both add up to the scores."""
        values = in_turn(self._anomaly_score, X, reference, n_orders=N_REFERENCE)
        return values, float(self._anomaly_score(reference).mean())

    def _codes(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the method tells rows apart by: (n, ...); by default rows as they are."""
        return np.asarray(X, dtype=np.float64)

    def _in_place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give flat relevance the shape of a row, and add up channels."""
        values = values.reshape(len(values), *self.input_shape_)
        return values.sum(axis=1) if values.ndim > 2 else values

    def _reference_rows(self, reference: Any) -> Any:
        """Return checked rows to compare with, or refuse them where the method needs none."""
        if reference is not None:
            if not self._compares:
                raise ValueError(
                    f"{type(self).__name__} explains its scores without reference rows: expected "
                    "reference=None. Leave it out."
                )
            return self._validate(reference, reset=False)
        if not self._compares:
            return None
        if not hasattr(self, "reference_"):
            raise ValueError(
                f"This {type(self).__name__} holds no reference rows, as one fitted by an earlier "
                "version: pass reference=, some normal rows (background= of a pipeline)."
            )
        return self.reference_

    def _reference_among(
        self, scores: NDArray[np.float64] | None, y: NDArray[np.int8], X: Any
    ) -> NDArray[np.intp]:
        """Choose training rows that are surely ordinary, for explanations to compare with."""
        rows = np.flatnonzero(y >= 0)
        if scores is None:
            rows = rows[:: len(rows) // _JUDGED + 1]
            of_rows = self._anomaly_score(_safe_indexing(X, rows))
        else:
            of_rows = scores[rows]
        return rows[ordinary(of_rows, N_REFERENCE)]

    def _row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which the method sees rows of a shape, or refuse them."""
        return shape

    def _shaped(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return flat rows in the shape that they had in ``fit``, for what takes them so."""
        return X if len(self.input_shape_) == 1 else X.reshape(len(X), *self.input_shape_)

    def _fit(self, X: NDArray[Any], y: NDArray[np.int8]) -> NDArray[np.float64] | None:
        """Learn; may return the anomaly scores of the training rows, if they are at hand."""
        raise NotImplementedError(f"{type(self).__name__} must define _fit(X, y).")

    def _anomaly_score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        raise NotImplementedError(f"{type(self).__name__} must define _anomaly_score(X).")

    def _needs_training_scores(self) -> bool:
        """Tell whether the training rows must be scored, which takes long for some methods."""
        return True

    def _finish(
        self,
        scores: NDArray[np.float64] | None,
        y: NDArray[np.int8],
        X: NDArray[Any] | None = None,
    ) -> None:
        """Set the threshold, and look at the training rows' scores for signs of trouble."""
        if scores is not None:
            self._check_finite(scores, X)
        # The sign is flipped here and in score_samples.
        self.offset_: float = -self._threshold(scores, y)
        if not np.isfinite(self.offset_):
            raise ValueError(
                f"The threshold of {type(self).__name__} became {self.offset_}; expected a finite "
                "number. Usual cause: features of very large scale. Standardize them, for example "
                "with StandardScaler."
            )
        if self._compares and X is not None:
            chosen = self._reference_among(scores, y, X)
            self.reference_: Any = _safe_indexing(X, chosen)
        if scores is not None:
            if self._all_the_same(scores):
                self._warn_of_constant_scores(scores, X)
            self._warn_of_scores(scores)

    def _check_finite(self, scores: NDArray[np.float64], X: NDArray[Any] | None) -> None:
        """Refuse scores that are not finite, and name what is to blame."""
        finite = np.isfinite(scores)
        if finite.all():
            return
        rows = np.flatnonzero(~finite)
        X = X if isinstance(X, np.ndarray) and X.dtype.kind == "f" else None
        told = f"{len(rows)} of {len(scores)} anomaly scores are not finite"
        if X is not None and len(rows) < len(scores):
            largest = np.abs(X[rows[0]]).max()
            told += (
                f", first {scores[rows[0]]} of row {rows[0]}, whose values go up to {largest:.3g}"
            )
        elif X is not None:
            told += f", those of all rows, whose values go up to {np.abs(X).max():.3g}"
        raise ValueError(
            f"{type(self).__name__}: {told}. Usual causes: features of very large scale "
            "(standardize them, for example with StandardScaler), a learning rate too high, or a "
            "network of your own that gives NaN or infinity in evaluation mode."
        )

    def _all_the_same(self, scores: NDArray[np.float64]) -> bool:
        """Tell whether training scores differ by no more than rounding."""
        return len(scores) > 1 and bool(np.ptp(scores) <= self._resolution * np.abs(scores).max())

    def _warn_of_constant_scores(
        self, scores: NDArray[np.float64], X: NDArray[Any] | None = None
    ) -> None:
        """Say that a model tells no rows apart, and why."""
        cause = self._collapse
        if isinstance(X, np.ndarray) and X.dtype.kind == "f" and not np.ptp(X, axis=0).any():
            cause = (
                f"all columns are constant, as {X.dtype} holds them: standardize them in float64, "
                "or drop them"
            )
        warn(
            f"{type(self).__name__}: all training rows have nearly the same score "
            f"({scores.min():.6g} to {scores.max():.6g}), so that it tells no rows apart. Cause: "
            f"{cause}.",
            CollapseWarning,
        )

    def _has_own_boundary(self) -> bool:
        """Tell whether the method, as parametrised, defines a threshold itself."""
        return False

    def _own_threshold(self) -> float:
        """Return the anomaly score beyond which the method itself calls a row anomalous."""
        raise NotImplementedError(f"{type(self).__name__} must define _own_threshold().")

    def _name_with_setting(self) -> str:
        return type(self).__name__

    def _threshold(self, scores: NDArray[np.float64] | None, y: NDArray[np.int8]) -> float:
        """Return the threshold: labeled anomalies do not count, they are known to be beyond it."""
        if self.contamination == "auto" or scores is None:
            return self._own_threshold()
        # Counted from the largest score on, so that no rounding of 1 - contamination shifts it.
        return -float(np.quantile(-scores[y >= 0], self.contamination))

    def _warn_of_unused_labels(self, y: NDArray[np.int8]) -> None:
        n_anomalies, n_normal = int((y < 0).sum()), int((y > 0).sum())
        if self._learns_from_labels or not n_anomalies + n_normal:
            return
        warn(
            f"{type(self).__name__} does not learn from labels: {n_anomalies} labeled anomalies "
            f"are left out of training, {n_normal} labeled normals count as unlabeled. Use a "
            "detector that learns from them, for example DeepSAD.",
            LabelWarning,
        )

    def _warn_of_scores(self, scores: NDArray[np.float64]) -> None:
        """Warn if training scores show that something went wrong; by default nothing is checked."""


class WrappingDetector(BaseDetector):
    """Base class of detectors that hold others, which decide what rows may be.

    Missing values, text and the names of columns are left to them.
    """

    _wants_scaled_rows = False

    def _validate_params(self) -> None:
        for name, value in self.get_params().items():
            if name.endswith("__novelty") and value is False:
                raise ValueError(
                    "LocalOutlierFactor with novelty=False judges its training rows alone: "
                    f"expected a detector with score_samples for new rows. Pass {name}=True."
                )
        super()._validate_params()

    def _refuse_lossy(self, X: Any) -> None:
        refuse_masked(X, "X")

    def _converted(self, X: Any, reset: bool) -> Any:
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            ensure_all_finite=False,
            ensure_min_samples=1 + reset,
        )
