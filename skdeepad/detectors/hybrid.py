"""Hybrid detection: a shallow detector on the codes of an autoencoder."""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods

from skdeepad.base import BaseDetector, on_host
from skdeepad.deep import draw_seeds, reseed
from skdeepad.detectors.autoencoder import AutoEncoder
from skdeepad.engine import borrowed_global_rng


def _default(part):
    if part == "autoencoder":
        return AutoEncoder()
    from sklearn.svm import OneClassSVM  # heavy to import, and seldom needed

    return OneClassSVM()


class HybridDetector(BaseDetector):
    r"""A shallow detector on the codes of an autoencoder.

    An autoencoder with encoder :math:`\phi` is trained on all rows but labeled anomalies. A shallow
    detector with score s is then fitted to the codes of the rows, standardized if wanted, and the
    anomaly score of a row is :math:`-s(\phi(x))`. Both parts are cloned, never fitted in place.

    If the detector is one of this package that learns from labels, such as :class:`SSAD`, it is
    given all rows and their labels. Any other is fitted to the codes of all rows but labeled
    anomalies; labeled normals count as unlabeled, and a warning says so.

    Parameters
    ----------
    detector : estimator, default=None
        What detects in the codes: an outlier detector of scikit-learn (for
        :class:`~sklearn.neighbors.LocalOutlierFactor` with ``novelty=True``),
        :class:`~sklearn.neighbors.KernelDensity`, :class:`SSAD`, or anything else with ``fit`` and
        ``score_samples``, larger = more normal. None: ``OneClassSVM()``.
    autoencoder : transformer, default=None
        What makes the codes. ``FrozenEstimator(fitted)`` reuses one that is fitted already. None:
        ``AutoEncoder()``.
    standardize : bool, default=True
        Whether each code is scaled to mean 0 and variance 1 over the rows without labeled
        anomalies. The paper uses the codes as they are.
    contamination : float or "auto", default=0.1
        Share, in (0, 0.5], of the training rows without labeled anomalies that lies below the
        threshold. "auto": the detector's own threshold; a ValueError where it has none.
    random_state : int, RandomState instance or None, default=None
        Determines the random_state of both parts; None leaves them as they are.

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

    _parameter_constraints: dict = {
        **BaseDetector._parameter_constraints,
        "detector": [HasMethods(["fit", "score_samples"]), None],
        "autoencoder": [HasMethods(["fit", "transform"]), None],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
    }
    _dtype = [np.float64, np.float32]  # as given; the parts convert if they must

    def __init__(
        self,
        detector=None,
        autoencoder=None,
        *,
        standardize=True,
        contamination=0.1,
        random_state=None,
    ):
        self.detector = detector
        self.autoencoder = autoencoder
        self.standardize = standardize
        self.contamination = contamination
        self.random_state = random_state

    def set_params(self, **params):
        """Set parameters of this detector and, as ``detector__nu``, of its parts.

        Parameters
        ----------
        **params : dict
            Parameters. A part that is None becomes its default first if one of its is among them.

        Returns
        -------
        self : object
            This detector.
        """
        for name in ("detector", "autoencoder"):
            nested = any(key.startswith(f"{name}__") for key in params)
            if nested and params.get(name, getattr(self, name)) is None:
                params = {**params, name: _default(name)}
        return super().set_params(**params)

    @property
    def _learns_from_labels(self):
        detector = self.detector
        while hasattr(detector, "steps"):  # a pipeline
            detector = detector.steps[-1][1]
        return isinstance(detector, BaseDetector) and detector._learns_from_labels

    def _part(self, name, seed):
        """Return an unfitted copy of a part."""
        given = getattr(self, name)
        part = _default(name) if given is None else clone(given)
        if self.random_state is not None and not isinstance(part, FrozenEstimator):
            reseed(part, seed)
        return part

    def _fit(self, X, y, given):
        seeds = draw_seeds(self.random_state, ("autoencoder", "detector", "fit"))
        not_anomalous = y >= 0
        images = getattr(given[0], "ndim", 2) == 4
        rows = X.reshape(given[0].shape) if images else X
        self.autoencoder_ = self._part("autoencoder", seeds["autoencoder"]).fit(
            rows[not_anomalous], None
        )
        codes, self.scaler_ = self.autoencoder_.transform(X), None
        if self.standardize:
            from sklearn.preprocessing import StandardScaler  # heavy to import

            self.scaler_ = StandardScaler().fit(codes[not_anomalous])
            codes = self.scaler_.transform(codes)
        detector = self._part("detector", seeds["detector"])
        learned = (codes, y) if self._learns_from_labels else (codes[not_anomalous],)
        # OneClassSVM, for one, draws from NumPy's global generator, whatever its parameters.
        with borrowed_global_rng(seeds["fit"]):
            self.detector_ = detector.fit(*learned)

    def _codes(self, X):
        codes = self.autoencoder_.transform(X)
        return codes if self.scaler_ is None else self.scaler_.transform(codes)

    def _anomaly_score(self, X):
        return -np.asarray(self.detector_.score_samples(self._codes(X)), dtype=np.float64)

    def _validate(self, X, *, reset):
        """Check features; images become flat rows."""
        X = on_host(X)
        if getattr(X, "ndim", 2) == 4:
            X = X.reshape(len(X), math.prod(X.shape[1:]))
        return super()._validate(X, reset=reset)

    def _has_own_boundary(self):
        return self.detector is None or hasattr(self.detector, "decision_function")

    def _finish(self, X, y):
        if self.contamination == "auto":
            codes = self._codes(X[:1])
            own = self.detector_.score_samples(codes) - self.detector_.decision_function(codes)
            self.offset_ = float(own[0])
        else:
            super()._finish(X, y)

    def _name_with_setting(self):
        return f"HybridDetector with {type(self.detector).__name__}"
