"""Ensembles of detectors that differ by their random numbers."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing  # part of scikit-learn's documented API
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdeepad.base import BaseDetector, WrappingDetector, learns_from_labels, shape_within
from skdeepad.deep import draw_seeds, reseed
from skdeepad.detectors.deep_sad import DeepSAD
from skdeepad.notices import warned_once
from skdeepad.occlusion import in_turn
from skdeepad.parameters import parameter
from skdeepad.stacking import Fit, fit_together, last_step


class DeepEnsemble(WrappingDetector):
    r"""Several detectors that differ by their seeds, trained as one, and what they say together.

    Each of M members is a clone of the estimator with a ``random_state`` of its own, and with
    `bootstrap` with rows of its own. Members that can be stacked are trained as one model
    (:class:`~skdeepad.model_selection.StackedGridSearchCV` says what cannot be), so that small
    networks cost a fraction of M fits.

    Scores :math:`s_m` of members are put on a common scale by their mean :math:`\mu_m` and standard
    deviation :math:`\sigma_m` over the training rows without labeled anomalies,
    :math:`z_m(x) = (s_m(x) - \mu_m) / \sigma_m`. The anomaly score is

    .. math::

        \frac 1 M \sum_m z_m(x), \qquad \max_m z_m(x) \qquad \text{or} \qquad
        \frac 1 M \sum_m r_m(x),

    where :math:`r_m(x)` is the share of those training rows that :math:`s_m` ranks below x, ties
    counting half. Ranks do not tell how far beyond all training rows a row lies.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    offset_ : float
        Threshold on ``score_samples``.
    estimators_ : list of estimator
        The fitted members.
    training_scores_ : ndarray of shape (n_estimators, n_rows)
        Anomaly scores by the members of the training rows without labeled anomalies, ascending.
    reference_ : ndarray of shape (n_reference, n_features)
        Training rows that :meth:`explain` compares with, eight at most: of those without labels of
        anomalies, from the most normal one to the one in the middle.
    input_shape_ : tuple of int
        Shape of one row.
    n_features_in_ : int
        Number of features; channels x height x width for images.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if X had any.

    See Also
    --------
    DeepSAD : The default member.

    References
    ----------
    Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles", NIPS 2017; Aggarwal and Sathe, "Theoretical Foundations and Algorithms for Outlier
    Ensembles", SIGKDD Explorations 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepEnsemble, DeepSAD
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2)) @ [[1, 2, 3, 4], [4, 3, 2, 1]]
    >>> ensemble = DeepEnsemble(DeepSAD(hidden_layer_sizes=(16, 8)), random_state=0).fit(X)
    >>> rows = [X[1], [9.0, -9.0, 9.0, -9.0]]  # one like the others, one off their plane
    >>> ensemble.predict(rows)
    array([ 1, -1])
    >>> certain, uncertain = ensemble.score_std(rows)
    >>> bool(certain < uncertain)  # members agree where there were rows to learn from
    True
    """

    estimator: Any = parameter(
        default=None,
        constraint=[HasMethods(["fit", "score_samples"]), None],
        kw_only=False,
        kind="estimator",
        stands_for={None: DeepSAD},
        doc="""A detector, or a pipeline that ends in one; it is cloned, never fitted in place.
            None: ``DeepSAD()``.""",
    )
    n_estimators: int = parameter(
        default=10,
        constraint=[Interval(Integral, 1, None, closed="left")],
        kw_only=False,
        doc="Number of members, M.",
    )
    bootstrap: bool = parameter(
        default=False,
        constraint=["boolean"],
        kw_only=False,
        doc="""Whether each member is trained on rows drawn with replacement, as many as there are
            of each kind of label.""",
    )
    combination: Literal["mean", "max", "rank-mean"] = parameter(
        default="mean",
        constraint=[StrOptions({"mean", "max", "rank-mean"})],
        kw_only=False,
        doc="Which of the three the anomaly score is.",
    )
    max_models: int | None = parameter(
        default=None,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        doc="Most models in a stack. None: as many as half the free memory holds.",
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        constraint=["random_state"],
        kind="int, RandomState instance or None",
        doc="Determines the members' random states and rows, whatever `estimator` has.",
    )
    verbose: int = parameter(
        default=0,
        constraint=["verbose"],
        doc="Whether to say why members are not trained as one, if they are not.",
    )

    def score_std(self, X: ArrayLike) -> NDArray[np.float64]:
        """Measure how much members disagree.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or images of shape (n, channels, height, width).

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            Standard deviation over the members of what the anomaly score combines: of the scores on
            the common scale or, for "rank-mean", of the shares.
        """
        check_is_fitted(self)
        return self._by_member(self._validate(X, reset=False)).std(axis=0)

    def _warn_of_unused_labels(self, y: NDArray[np.int8]) -> None:
        if not hasattr(last_step(self._part("estimator")), "_learns_from_labels"):
            super()._warn_of_unused_labels(y)  # others do not say so themselves

    @property
    def _learns_from_labels(self) -> bool:
        return learns_from_labels(self._part("estimator"))

    def _fit(self, X: NDArray[Any], y: NDArray[np.int8]) -> None:
        uses = ["bootstrap", *range(self.n_estimators)]
        seeds = draw_seeds(self.random_state, uses)
        rng = np.random.default_rng(seeds.pop("bootstrap"))
        features = self._shaped(X)
        fits = []
        for seed in seeds.values():
            member = clone(self._part("estimator"))
            rows = _bootstrap(y, rng) if self.bootstrap else None
            labels = y if rows is None else y[rows]
            fits.append(Fit(reseed(member, seed), features, labels, rows))
        with warned_once():
            fit_together(fits, max_models=self.max_models, verbose=self.verbose)
        for fit in fits:
            if fit.error is not None:
                raise fit.error
        self.estimators_: list[Any] = [fit.estimator for fit in fits]
        shape = shape_within(self.estimators_[0], self.input_shape_)
        self.input_shape_: tuple[int, ...] = shape
        scores = self._member_scores(_safe_indexing(X, np.flatnonzero(y >= 0)))
        self.training_scores_: NDArray[np.float64] = np.sort(scores, axis=1)

    def _member_scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Anomaly scores of rows by each member: (n_estimators, n)."""
        rows = self._shaped(X)
        return np.stack([-np.asarray(member.score_samples(rows)) for member in self.estimators_])

    def _by_member(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return what is combined, of each member: (n_estimators, n)."""
        scores, known = self._member_scores(X), self.training_scores_
        if self.combination == "rank-mean":
            below, up_to = (
                np.stack([np.searchsorted(*pair, side) for pair in zip(known, scores, strict=True)])
                for side in ("left", "right")
            )
            return (below + up_to) / (2 * known.shape[1])
        means, deviations = self._common_scale()
        return (scores - means[:, None]) / deviations[:, None]

    def _common_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each member's mean and deviation over the training rows."""
        deviations = self.training_scores_.std(axis=1)
        deviations[deviations == 0] = 1.0
        return self.training_scores_.mean(axis=1), deviations

    def _anomaly_score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        values = self._by_member(X)
        return values.max(axis=0) if self.combination == "max" else values.mean(axis=0)

    def explain(self, X: ArrayLike, reference: ArrayLike | None = None) -> NDArray[np.float64]:
        """Say how much each column, pixel or moment of a row adds to its anomaly score.

        Each member explains its score, which is put on the common scale: the mean of that or, with
        ``combination="max"``, the explanation of the member whose score is highest. With
        "rank-mean", and of members that are not of this package, columns are replaced by those of
        reference rows, one after the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Rows to explain.
        reference : array-like of shape (n_reference, n_features), default=None
            Rows to compare with, for members that do. None: ``reference_``.

        Returns
        -------
        ndarray of shape (n_samples, n_features), dtype float64
            Relevance, as of the members. It adds up to the score less the mean of what the members
            start from, which is their score of reference rows or, where they need none, 0.
        """
        return super().explain(X, reference)

    def _in_place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        member = last_step(self.estimators_[0])
        return (
            member._in_place(values)
            if isinstance(member, BaseDetector)
            else super()._in_place(values)
        )

    def _codes(self, X: NDArray[Any]) -> NDArray[np.float64]:
        rows = self._shaped(X)
        codes = []
        for member in self.estimators_:
            detector, seen = last_step(member), rows
            if detector is not member:
                seen = member[:-1].transform(rows)
            if isinstance(detector, BaseDetector):
                codes.append(detector._codes(detector._validate(seen, reset=False)))
        return np.hstack(codes) if codes else super()._codes(X)

    def _explained(
        self, X: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        if self.combination == "rank-mean":
            return super()._explained(X, reference)
        parts, bases = [], []
        for member, mean, deviation in zip(self.estimators_, *self._common_scale(), strict=True):
            values, base = self._member_explained(member, X, reference)
            parts.append(values / deviation)
            bases.append(np.broadcast_to((base - mean) / deviation, len(X)))
        if self.combination == "mean":
            return np.mean(parts, axis=0), np.mean(bases, axis=0)
        highest, rows = self._by_member(X).argmax(axis=0), np.arange(len(X))
        return np.stack(parts)[highest, rows], np.stack(bases)[highest, rows]

    def _member_explained(
        self, member: Any, X: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[np.float64], Any]:
        """Explain the score of a member, one of this package or another, as flat relevance."""
        if isinstance(member, BaseDetector):
            rows, references = (
                member._validate(self._shaped(part), reset=False) for part in (X, reference)
            )
            return member._explained(rows, references)

        def score(rows: NDArray[Any]) -> NDArray[np.float64]:
            return -np.asarray(member.score_samples(self._shaped(rows)))

        return in_turn(score, X, reference), float(score(reference).mean())


def _bootstrap(y: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw positions with replacement, as many of each kind of label as there are."""
    kinds = [np.flatnonzero(y == label) for label in (-1, 0, 1)]
    return np.sort(np.concatenate([rng.choice(kind, len(kind)) for kind in kinds if len(kind)]))
