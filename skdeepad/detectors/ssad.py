"""Kernel semi-supervised anomaly detection."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from skdeepad.base import BaseDetector, checks_parameters
from skdeepad.notices import warn
from skdeepad.parameters import parameter
from skdeepad.solvers import Kernel, SSADDual, largest_kappa, solve_ssad

# Rows are scored in slices of one size: matrix products of other sizes differ in their last bits.
_SLICE_ROWS = 256
# The squares of larger numbers, summed over features, come near to where float64 ends.
_LARGEST = 1e100
_Kernel = (
    Literal["rbf", "linear", "poly", "sigmoid", "precomputed"]
    | Callable[[NDArray[Any], NDArray[Any]], ArrayLike]
)
_KINDS = {"unlabeled": 0, "normal": 1, "anomaly": -1}


class SSAD(BaseDetector):
    r"""Kernel SSAD: a hyperplane with normal rows above it and labeled anomalies below.

    With the feature map :math:`\phi` of a kernel k, SSAD solves the convex problem

    .. math::

        \min_{w, \rho, \gamma \ge 0, \xi \ge 0}\;
        \tfrac12 \lVert w \rVert^2 - \rho - \kappa \gamma + \sum_i C_i \xi_i

    so that :math:`\langle w, \phi(x_i) \rangle \ge \rho - \xi_i` for unlabeled rows and
    :math:`y_j \langle w, \phi(x_j) \rangle \ge y_j \rho + \gamma - \xi_j` for labeled ones. Then
    :math:`w = \sum_i \alpha_i y_i \phi(x_i)`, where y = 1 for unlabeled rows, and the score is

    .. math:: \langle w, \phi(x) \rangle = \sum_i \alpha_i y_i k(x_i, x)

    with the threshold :math:`\rho`. Without labels it is :class:`~sklearn.svm.OneClassSVM` with the
    same `nu`, up to the scale of the scores.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline. Training takes time and, without
    a bound on the cache, memory that grow faster than the number of rows: it is meant for up to
    some ten thousand.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    offset_ : float
        Threshold on ``score_samples``.
    support_ : ndarray of shape (n_support,)
        Positions of the rows whose coefficient is not 0.
    support_vectors_ : ndarray of shape (n_support, n_features)
        These rows; empty if the kernel is precomputed.
    dual_coef_ : ndarray of shape (1, n_support)
        Their coefficients :math:`\alpha_i y_i`.
    margin_ : float
        :math:`\gamma`.
    dual_gap_ : float
        Primal less dual objective: how far the former is from its minimum at most.
    n_iter_ : int
        Steps taken.
    reference_ : ndarray of shape (n_reference, n_features)
        Training rows that :meth:`explain` compares with, eight at most: of those without labels of
        anomalies, from the most normal one to the one in the middle.
    input_shape_ : tuple of int
        Shape of a row of X; it is flattened.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if X had any.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` ended the search.
    CollapseWarning
        If w is 0 or all kernels are the same, so that all scores are: for constant features, or a
        kernel for which the origin lies among the rows, such as "linear" on centred features.

    See Also
    --------
    DeepSAD : The deep method for the same labels.
    HybridDetector : This method on the codes of an autoencoder.

    Notes
    -----
    In the dual two linear constraints hold, :math:`\sum_i y_i \alpha_i = 1` and
    :math:`\sum_{\text{labeled}} \alpha_i \ge \kappa`. It is solved by decomposition in steps of two
    or three rows, as in LIBSVM.

    References
    ----------
    Görnitz, Kloft, Rieck, Brefeld, "Toward Supervised Anomaly Detection", JAIR 46, 2013; Ruff et
    al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix E.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import SSAD
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(200, 2)), rng.normal(2, 0.3, size=(10, 2))])
    >>> y = np.concatenate([np.zeros(200), -np.ones(10)])  # the last ten are known anomalies
    >>> detector = SSAD().fit(X, y)
    >>> detector.predict([[0.0, 0.0], [2.0, 2.0]])
    array([ 1, -1])
    """

    kernel: _Kernel = parameter(
        default="rbf",
        constraint=[StrOptions({"rbf", "linear", "poly", "sigmoid", "precomputed"}), callable],
        kw_only=False,
        kind='{"rbf", "linear", "poly", "sigmoid", "precomputed"} or callable',
        doc="""As in :class:`~sklearn.svm.OneClassSVM`. With "precomputed", X holds kernels: (n, n)
            to fit, (rows, n) to score. A callable takes two matrices of rows and gives that of
            their kernels.""",
    )
    gamma: Literal["scale", "auto"] | float = parameter(
        default="scale",
        constraint=[StrOptions({"scale", "auto"}), Interval(Real, 0, None, closed="neither")],
        kind='"scale", "auto" or float',
        doc="""Factor in "rbf", "poly" and "sigmoid". "scale": 1 / (n_features * X.var()); "auto":
            1 / n_features.""",
    )
    degree: int = parameter(
        default=3,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="""Degree of "poly".""",
    )
    coef0: float = parameter(
        default=0.0,
        constraint=[Interval(Real, None, None, closed="neither")],
        doc="""Constant in "poly" and "sigmoid".""",
    )
    nu: float = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 1, closed="right")],
        doc=r"""What costs that are None come from: a share nu of the rows of a kind, beyond their
            margin, have coefficients :math:`\alpha` that sum to 1. Without labels at most a
            share nu lies below the threshold; with labels more do, up to (1 + kappa) nu.""",
    )
    kappa: float | Literal["auto"] = parameter(
        default="auto",
        constraint=[StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        doc=r"""Weight of the margin :math:`\gamma`: the least sum of :math:`\alpha` over labeled
            rows, and so their weight against the unlabeled ones'. The paper has 1. "auto": 1
            with labeled anomalies, 2 with both kinds, 1/2 with labeled normals alone (1 would
            leave nothing to the unlabeled rows), or the most that the costs allow.""",
    )
    unlabeled_cost: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc=r"""Cost C of each unlabeled row, the largest :math:`\alpha` it can have. The paper has
            1. None: 1 / (nu * n), n being the number of rows of that kind.""",
    )
    normal_cost: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc=r"""Cost C of each row labeled normal, the largest :math:`\alpha` it can have. The paper
            has 1. None: 1 / (nu * n), n being the number of rows of that kind.""",
    )
    anomaly_cost: float | None = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc=r"""Cost C of each labeled anomaly, the largest :math:`\alpha` it can have. The paper
            has 1. None: 1 / (nu * n), n being the number of rows of that kind.""",
    )
    tol: float = parameter(
        default=1e-9,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc="""Largest violation of the optimality conditions that ends the search, as a share of
            the range of the training rows' scores. Rows nearer than that to the threshold are
            inliers.""",
    )
    cache_size: float = parameter(
        default=200,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc="Memory for columns of the kernel matrix, in MB.",
    )
    max_iter: int = parameter(
        default=-1,
        constraint=[Interval(Integral, -1, None, closed="left")],
        doc="Largest number of steps; -1 for 100,000 or 100 a row, whichever is more.",
    )
    contamination = "auto"

    _collapse = (
        "a degenerate dual, as of constant or duplicate rows, or of a kernel for which the origin "
        "lies among the rows, such as 'linear' on centred features: use 'rbf', or another gamma"
    )
    _own_boundary = r"the threshold is :math:`\rho`"

    @checks_parameters
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from unlabeled rows and from whatever labels there are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, or their kernels, (n_samples, n_samples).
        y : array-like of shape (n_samples,), default=None
            Whole numbers read by their sign: +1 normal, 0 unlabeled, -1 anomalous. None: all rows
            are unlabeled.
        sample_weight : array-like of shape (n_samples,), default=None
            Factors of the rows' costs. Where a cost is None they count as numbers of rows, so that
            a weight of 2 is the same as the row twice, and 0 as no row.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X, y, a weight or a parameter is not as documented, or if no coefficients meet the
            constraints: `kappa` larger than the costs allow, or costs that sum to less than 1.
            What was fitted before stays as it was.
        """
        return self._fit_rows(X, y, sample_weight=sample_weight)

    def _fit(self, X: NDArray[np.float64], y: NDArray[np.int8], sample_weight: Any = None) -> None:
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights[y >= 0].any():
            raise ValueError("All rows that are not labeled anomalies have a sample weight of 0.")
        # By kind, as the solver wants them.
        order = np.argsort(np.select([y == 0, y > 0], [0, 1], 2), kind="stable")
        kernel, diagonal = self._kernel_columns(X, weights, order)
        costs = self._costs(y, weights)[order]
        dual = solve_ssad(
            kernel,
            diagonal,
            y[order],
            costs,
            self._kappa(y[order], costs),
            tol=self.tol,
            max_iter=self.max_iter,
            max_bytes=1e6 * self.cache_size,
        )
        self._keep(X, order, dual)
        self._warn_of_solution(dual, X)

    def _kernel_columns(
        self, X: NDArray[np.float64], weights: NDArray[np.float64], order: NDArray[np.intp]
    ) -> tuple[Callable[[Any], NDArray[np.float64]], NDArray[np.float64]]:
        """Return what gives columns of the kernel matrix of the ordered rows, and its diagonal."""
        if self.kernel == "precomputed":
            if X.shape[0] != X.shape[1] or not np.allclose(X, X.T):
                raise ValueError(
                    "With kernel='precomputed' X must be the symmetric matrix (n, n) of the "
                    f"training rows' kernels; got shape {X.shape}"
                    f"{'' if X.shape[0] != X.shape[1] else ', not symmetric'}."
                )
            return lambda rows: X[order[rows]][:, order], X.diagonal()[order]
        self._kernel_ = Kernel(self.kernel, self._gamma(X, weights), self.degree, self.coef0)
        X = X[order]
        squared_norms = np.einsum("ij,ij->i", X, X)
        return lambda rows: self._kernel_(X[rows], X, squared_norms), self._kernel_.diagonal(X)

    def _gamma(self, X: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        if self.gamma == "auto":
            return 1 / X.shape[1]
        if self.gamma == "scale":
            mean = np.average(X, weights=weights, axis=0).mean()
            variance = np.average(((X - mean) ** 2).mean(axis=1), weights=weights)
            return 1 / (X.shape[1] * variance) if variance > 0 else 1.0
        return self.gamma

    def _costs(self, y: NDArray[np.int8], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        costs = weights.copy()
        for name, label in _KINDS.items():
            cost, total = getattr(self, f"{name}_cost"), weights[y == label].sum()
            if total > 0:
                costs[y == label] *= 1 / (self.nu * total) if cost is None else cost
        return costs

    def _kappa(self, y: NDArray[np.int8], costs: NDArray[np.float64]) -> float:
        if self.kappa != "auto":
            return self.kappa
        normal, anomalous = ((costs[y == label] > 0).any() for label in (1, -1))
        wanted = {(0, 0): 0.0, (1, 0): 0.5, (0, 1): 1.0, (1, 1): 2.0}[normal, anomalous]
        return min(wanted, largest_kappa(y, costs))

    def _keep(self, X: NDArray[np.float64], order: NDArray[np.intp], dual: SSADDual) -> None:
        """Keep the rows whose coefficient is not 0."""
        beta = np.empty_like(dual.beta)
        beta[order] = dual.beta
        self.support_: NDArray[np.intp] = np.flatnonzero(beta)
        self.dual_coef_: NDArray[np.float64] = beta[None, self.support_]
        precomputed = self.kernel == "precomputed"
        vectors = X[:0] if precomputed else X[self.support_]
        self.support_vectors_: NDArray[np.float64] = vectors
        self.margin_: float = dual.gamma
        self.dual_gap_: float = dual.gap
        self.n_iter_: int = dual.n_iter
        # Rows on the margin have this score but for the tolerance; they are not beyond it.
        self._rho_ = dual.rho - dual.tolerance

    def _warn_of_solution(self, dual: Any, X: NDArray[np.float64]) -> None:
        if not dual.converged:
            warn(
                f"SSAD stopped after {dual.n_iter} steps, before it converged: the optimality "
                f"conditions are missed by {dual.violation:.1e} in units of the scores; tol allows "
                f"{dual.tolerance:.1e}. Raise max_iter or tol, or scale the features.",
                ConvergenceWarning,
            )
        if self._needs_training_scores():
            return  # they are looked at later
        some = X[:: len(X) // 500 + 1]  # all take long
        scores = self._anomaly_score(some)
        if dual.degenerate or self._all_the_same(scores):
            self._warn_of_constant_scores(scores, some)

    def _validate(self, X: Any, *, reset: bool) -> NDArray[Any]:
        X = super()._validate(X, reset=reset)
        if np.abs(X).max() > _LARGEST:
            raise ValueError(
                f"X holds values up to {np.abs(X).max():.1e}, too large for a kernel: expected at "
                f"most {_LARGEST:.0e}. Scale the features, for example with StandardScaler."
            )
        return X

    def _anomaly_score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        coefficients = self.dual_coef_[0]
        squared_norms = np.einsum("ij,ij->i", self.support_vectors_, self.support_vectors_)
        scores = np.empty(len(X))
        for first in range(0, len(X), _SLICE_ROWS):
            x = X[first : first + _SLICE_ROWS]
            padded = np.pad(x, ((0, _SLICE_ROWS - len(x)), (0, 0)))
            if self.kernel == "precomputed":
                K = padded[:, self.support_]
            else:
                K = self._kernel_(padded, self.support_vectors_, squared_norms)
            scores[first : first + _SLICE_ROWS] = (K @ coefficients)[: len(x)]
        return -scores

    def _explained(
        self, X: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        if callable(self.kernel):
            return super()._explained(X, reference)
        values = np.zeros(X.shape)
        for first in range(0, len(X), _SLICE_ROWS):
            x = X[first : first + _SLICE_ROWS]
            for row in reference:
                multipliers = self._kernel_.multipliers(
                    x, np.broadcast_to(row, x.shape), self.support_vectors_, self.dual_coef_[0]
                )
                values[first : first + len(x)] -= multipliers * (x - row) / len(reference)
        return values, float(self._anomaly_score(reference).mean())

    def _reference_rows(self, reference: Any) -> NDArray[Any]:
        if self.kernel == "precomputed":
            raise ValueError(
                "SSAD with kernel='precomputed' sees kernels, and no columns to explain a score "
                "by: expected a named kernel. Pass one, such as 'rbf', and the rows themselves."
            )
        return np.asarray(super()._reference_rows(reference))

    def _needs_training_scores(self) -> bool:
        return self.contamination != "auto"

    def _has_own_boundary(self) -> bool:
        return True

    def _own_threshold(self) -> float:
        return -self._rho_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags
