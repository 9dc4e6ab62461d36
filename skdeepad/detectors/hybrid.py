"""Hybrid detection: a shallow detector on the codes of an autoencoder."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing  # part of scikit-learn's documented API
from sklearn.utils._param_validation import HasMethods
from torch import Tensor, nn

from skdeepad.base import WrappingDetector, learns_from_labels, shape_within
from skdeepad.deep import draw_seeds, reseed
from skdeepad.detectors.autoencoder import AutoEncoder
from skdeepad.detectors.ssad import SSAD
from skdeepad.engine import Objective, borrowed_global_rng
from skdeepad.parameters import parameter
from skdeepad.solvers.kernels import NAMED, Kernel


class _KernelOfCodes(Objective):
    """The score of a kernel detector on codes, as a function of rows."""

    def __init__(self, network: nn.Module, scaler: Any, detector: Any, kernel: Kernel) -> None:
        super().__init__()
        self.network, self.kernel = network, kernel
        self.vectors, self.coefficients = detector.support_vectors_, detector.dual_coef_[0]
        size = self.vectors.shape[1]
        self.mean = np.zeros(size) if scaler is None else scaler.mean_
        self.scale = np.ones(size) if scaler is None else scaler.scale_

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows and reference rows by the secants of the kernel: (2n,)."""
        code = self.network(both).flatten(1)
        seen = (code.detach().double().cpu().numpy() - self.mean) / self.scale
        values = -torch.from_numpy(self.kernel(seen, self.vectors) @ self.coefficients).to(code)
        x, reference = np.split(seen, 2)
        slopes = self.kernel.multipliers(x, reference, self.vectors, self.coefficients)
        n = len(x)
        # The product is 0, and has the gradient.
        apart = code[:n] - code[:n].detach()
        line = values[:n] - (torch.from_numpy(slopes / self.scale).to(code) * apart).sum(1)
        return torch.cat([line, values[n:]])


def _one_class_svm() -> Any:
    from sklearn.svm import OneClassSVM  # heavy to import, and seldom needed

    return OneClassSVM()


class HybridDetector(WrappingDetector):
    r"""A shallow detector on the codes of an autoencoder.

    An autoencoder with encoder :math:`\phi` is trained on all rows but labeled anomalies. A shallow
    detector with score s is then fitted to the codes of the rows, standardized if wanted, and the
    anomaly score of a row is :math:`-s(\phi(x))`. Both parts are cloned, never fitted in place.

    If the detector learns from labels, as :class:`SSAD` does, also within a pipeline or a search,
    it is given all rows and their labels. Any other is fitted to the codes of all rows but labeled
    anomalies; labeled normals count as unlabeled, and a warning says so.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    offset_ : float
        Threshold on ``score_samples``.
    autoencoder_ : transformer
        The fitted autoencoder.
    scaler_ : StandardScaler or None
        What standardizes codes.
    detector_ : estimator
        The fitted detector.
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
    AutoEncoder : Detection by reconstruction error; the codes alone are its ``transform``.
    SSAD : The kernel method that learns from labels.

    Notes
    -----
    In a grid, ``detector__nu`` or ``autoencoder__n_epochs`` reach the parts, also where these are
    None. ``make_pipeline(AutoEncoder(), OneClassSVM(), memory="cache")`` does the same without
    labels and trains each autoencoder of a grid once.

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, section 4.1 and appendix E.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import SSAD, AutoEncoder, HybridDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2)) @ [[1, 2, 3, 4], [4, 3, 2, 1]]
    >>> y = np.where(X[:, 0] > 8, -1, 0)  # the far end is known to be anomalous
    >>> autoencoder = AutoEncoder(hidden_layer_sizes=(16, 2))
    >>> detector = HybridDetector(SSAD(), autoencoder, random_state=0).fit(X, y)
    >>> detector.predict([X[y < 0].mean(axis=0), np.zeros(4)])
    array([-1,  1])
    """

    detector: Any = parameter(
        default=None,
        constraint=[HasMethods(["fit", "score_samples"]), None],
        kw_only=False,
        kind="estimator",
        stands_for={None: _one_class_svm},
        doc="""What detects in the codes: an outlier detector of scikit-learn (for
            :class:`~sklearn.neighbors.LocalOutlierFactor` with ``novelty=True``),
            :class:`~sklearn.neighbors.KernelDensity`, :class:`SSAD`, or anything else with ``fit``
            and ``score_samples``, larger = more normal. None: ``OneClassSVM()``.""",
    )
    autoencoder: Any = parameter(
        default=None,
        constraint=[HasMethods(["fit", "transform"]), None],
        kw_only=False,
        kind="transformer",
        stands_for={None: AutoEncoder},
        doc="""What makes the codes. ``FrozenEstimator(fitted)`` reuses one that is fitted already.
            None: ``AutoEncoder()``.""",
    )
    standardize: bool = parameter(
        default=True,
        constraint=["boolean"],
        doc="""Whether each code is scaled to mean 0 and variance 1 over the rows without labeled
            anomalies. The paper uses the codes as they are.""",
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        constraint=["random_state"],
        kind="int, RandomState instance or None",
        doc="""Determines the random_state of both parts; None leaves them as they are.""",
    )

    _own_boundary = "the detector's own threshold; a ValueError where it has none"

    @property
    def _learns_from_labels(self) -> bool:
        return learns_from_labels(self.detector)

    def _copy_of(self, name: str, seed: int) -> Any:
        """Return an unfitted copy of a part."""
        part = clone(self._part(name))
        if self.random_state is not None and not isinstance(part, FrozenEstimator):
            reseed(part, seed)
        return part

    def _fit(self, X: NDArray[Any], y: NDArray[np.int8]) -> None:
        seeds = draw_seeds(self.random_state, ("autoencoder", "detector", "fit"))
        not_anomalous = y >= 0
        if not_anomalous.sum() < 2:
            raise ValueError(
                "HybridDetector has 1 row to train its autoencoder on, as labeled anomalies are "
                "left out: expected at least 2. Pass more rows with y >= 0."
            )
        self.autoencoder_: Any = self._copy_of("autoencoder", seeds["autoencoder"]).fit(
            self._shaped(_safe_indexing(X, np.flatnonzero(not_anomalous))), None
        )
        self.scaler_: Any = None
        codes = self._codes(X)
        self._code_size_ = codes.shape[1]
        if self.standardize:
            from sklearn.preprocessing import StandardScaler  # heavy to import

            self.scaler_ = StandardScaler().fit(codes[not_anomalous])
            codes = np.asarray(self.scaler_.transform(codes))
        detector = self._copy_of("detector", seeds["detector"])
        learned = (codes, y) if self._learns_from_labels else (codes[not_anomalous],)
        # OneClassSVM, for one, draws from NumPy's global generator, whatever its parameters.
        with borrowed_global_rng(seeds["fit"]):
            self.detector_: Any = detector.fit(*learned)
        self.input_shape_: tuple[int, ...] = shape_within(self.autoencoder_, self.input_shape_)

    def _codes(self, X: NDArray[Any]) -> NDArray[Any]:
        # scikit-learn may have been told to give frames.
        codes = np.asarray(self.autoencoder_.transform(self._shaped(X)))
        return codes if self.scaler_ is None else np.asarray(self.scaler_.transform(codes))

    def _anomaly_score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return -np.asarray(self.detector_.score_samples(self._codes(X)), dtype=np.float64)

    def _explained(
        self, X: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        autoencoder = getattr(self.autoencoder_, "best_estimator_", self.autoencoder_)
        if isinstance(autoencoder, FrozenEstimator):
            autoencoder = autoencoder.estimator
        kernel = _named_kernel(self.detector_)
        if not isinstance(autoencoder, AutoEncoder) or kernel is None:
            return super()._explained(X, reference)
        objective = _KernelOfCodes(autoencoder.network_, self.scaler_, self.detector_, kernel)
        rows, references = (
            autoencoder._validate(self._shaped(part), reset=False) for part in (X, reference)
        )
        values, lost = autoencoder._propagated(objective, rows, references)
        if lost.any():
            return super()._explained(X, reference)
        return values, float(self._anomaly_score(reference).mean())

    def _has_own_boundary(self) -> bool:
        return hasattr(self._part("detector"), "decision_function")

    def _needs_training_scores(self) -> bool:
        return self.contamination != "auto"

    def _own_threshold(self) -> float:
        codes = np.zeros((1, self._code_size_))
        own = self.detector_.decision_function(codes) - self.detector_.score_samples(codes)
        return float(own[0])

    def _name_with_setting(self) -> str:
        return f"HybridDetector with {type(self.detector).__name__}"


def _named_kernel(detector: Any) -> Kernel | None:
    """Return the kernel of an SSAD or OneClassSVM, or None if a detector has no such thing."""
    if isinstance(detector, SSAD):
        return None if callable(detector.kernel) else getattr(detector, "_kernel_", None)
    from sklearn.svm import OneClassSVM

    if not isinstance(detector, OneClassSVM) or detector.kernel not in get_args(NAMED):
        return None
    return Kernel(detector.kernel, detector._gamma, detector.degree, detector.coef0)
