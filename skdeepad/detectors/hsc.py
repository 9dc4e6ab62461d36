"""The hypersphere classifier."""

from __future__ import annotations

import math
import warnings
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad import losses, networks
from skdeepad.base import LabelWarning
from skdeepad.deep import document
from skdeepad.detectors._hypersphere import HypersphereDetector
from skdeepad.detectors._preparation import LABEL_CONSTRAINTS, preparation
from skdeepad.objectives import DistanceObjective

_RADIAL = {
    "pseudo-huber": losses.pseudo_huber,
    "squared-norm": losses.squared_norm,
    "norm": losses.norm,
    "l1": losses.l1_norm,
}


@document
class HSC(HypersphereDetector):
    r"""Hypersphere classifier: normal rows inside a sphere, labeled anomalies outside.

    With a network :math:`\phi` and a radial function :math:`h`, it minimises the mean over
    unlabeled and labeled rows of

    .. math::

        \ell(x, y) = \begin{cases}
            h(\phi(x)) & y = 0 \\
            \eta \, h(\phi(x)) & y > 0 \\
            -\eta \log(1 - e^{-h(\phi(x))}) & y < 0
        \end{cases}

    plus half of `weight_decay` times the squared norm of the weights: binary cross-entropy with
    :math:`e^{-h(\phi(x))}` for the probability that a row is normal. The anomaly score is
    :math:`h(\phi(x))`; the method's own threshold is where both probabilities are 1/2. The bias
    terms of the network's last layer stand in for a centre.

    Any images that are not normal will do for labeled anomalies (outlier exposure): append them to
    X with labels -1, and see `augment`.

    Without labeled anomalies the network has no bias terms and :math:`h(\phi(x) - c)` is minimised,
    with a centre :math:`c` as in :class:`DeepSVDD`, and a warning says so. There are no
    probabilities then, and ``contamination="auto"`` raises a ValueError.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    radial : {"pseudo-huber", "squared-norm", "norm", "l1"}, default="pseudo-huber"
        The function h of a code z: :math:`\sqrt{\lVert z \rVert^2 + 1} - 1`,
        :math:`\lVert z \rVert^2`, :math:`\lVert z \rVert` or :math:`\lVert z \rVert_1`.
    eta : float, default=1.0
        Weight of labeled rows against unlabeled ones.
    {network_parameters}
    {hypersphere_parameters}
    {pretraining_parameters}
    {label_parameters}
    {training_parameters}
    {common_parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    DeepSAD : The same with the reciprocal of a distance for anomalies, and a centre.
    FCDD : The same by regions of an image, with heat maps.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 2.3.5, equation 2.20, and section 2.3.6.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import HSC
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(200, 4)), rng.normal(3, 1, size=(20, 4))])
    >>> y = np.zeros(220)
    >>> y[-5:] = -1  # five of the twenty anomalies are known
    >>> detector = HSC(contamination="auto", random_state=0).fit(X, y)
    >>> truth = np.r_[np.ones(200), -np.ones(20)]
    >>> bool(detector.score(X, truth) > 0.95)
    True
    >>> detector.anomaly_probability([[0, 0, 0, 0], [4, 4, 4, 4]]) > 0.5
    array([False,  True])
    """

    _parameter_constraints: dict = {
        **HypersphereDetector._parameter_constraints,
        "radial": [StrOptions(set(_RADIAL))],
        "eta": [Interval(Real, 0, None, closed="neither")],
        **LABEL_CONSTRAINTS,
    }

    # The thesis balances batches: 128 normal and 128 auxiliary images.
    _paper_settings: dict = {
        **HypersphereDetector._paper_settings,
        "batch_size": 256,
        "anomaly_fraction": 0.5,
        "pretrain": False,
    }

    def __init__(
        self,
        radial="pseudo-huber",
        eta=1.0,
        *,
        network=None,
        hidden_layer_sizes=None,
        decoder=None,
        input_shape=None,
        n_branches=8,
        squash=2.0,
        input_noise="auto",
        pretrain=False,
        pretrain_n_epochs="auto",
        pretrain_lr=1e-3,
        anomaly_fraction=0.5,
        augment=None,
        n_epochs="auto",
        lr=1e-3,
        lr_schedule="cosine",
        batch_size=128,
        weight_decay=1e-6,
        clip_grad_norm=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=0.0,
        precision="float32",
        cuda_graph=False,
        compile=False,
        stream="auto",
        contamination=0.1,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.radial = radial
        self.eta = eta
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.decoder = decoder
        self.input_shape = input_shape
        self.n_branches = n_branches
        self.squash = squash
        self.input_noise = input_noise
        self.pretrain = pretrain
        self.pretrain_n_epochs = pretrain_n_epochs
        self.pretrain_lr = pretrain_lr
        self.anomaly_fraction = anomaly_fraction
        self.augment = augment
        self.n_epochs = n_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.precision = precision
        self.cuda_graph = cuda_graph
        self.compile = compile
        self.stream = stream
        self.contamination = contamination
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def anomaly_probability(self, X):
        r"""Probability that rows are anomalous, :math:`1 - e^{-h(\phi(x))}`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In [0, 1). With ``anomaly_fraction`` it is that of balanced kinds.
        """
        return -np.expm1(-self.anomaly_score(X))

    def _checked(self, X, y, rows=None):
        features, labels = super()._checked(X, y, rows)
        if self.contamination == "auto" and self._needs_center(labels):
            raise ValueError(
                "contamination='auto' is the boundary where a row is as probably anomalous as "
                "normal, which HSC learns from labeled anomalies, and y has none. Label some with "
                "-1, or pass the share of training rows to be flagged, for example "
                "contamination=0.1."
            )
        return features, labels

    def _needs_center(self, y):
        return not (y < 0).any()

    def _objective(self, encoder, y):
        centered = self._needs_center(y)
        if centered:
            warnings.warn(
                "HSC learns from labeled anomalies, and y has none: it draws all rows to a centre, "
                "as DeepSVDD does. Label some with -1; any images that are not normal will do.",
                LabelWarning,
                stacklevel=8,
            )
        shape = self.input_shape_
        return DistanceObjective(
            encoder,
            shape,
            networks.code_size(encoder, shape),
            losses.hypersphere_classification,
            preparation(self),
            _RADIAL[self.radial],
            centered,
            eta=self.eta,
        )

    def _training_numbers(self):
        return {"anomaly_fraction": self.anomaly_fraction}

    def _has_own_boundary(self):
        return True

    def _own_offset(self):
        return -math.log(2.0)
