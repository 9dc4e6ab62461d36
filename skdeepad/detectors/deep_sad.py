"""Deep semi-supervised anomaly detection."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval

from skdeepad import losses, networks
from skdeepad.deep import document
from skdeepad.detectors._hypersphere import HypersphereDetector
from skdeepad.detectors._preparation import LABEL_CONSTRAINTS, preparation
from skdeepad.objectives import DistanceObjective


@document
class DeepSAD(HypersphereDetector):
    r"""Deep SAD: normal rows are drawn to a centre, labeled anomalies pushed away from it.

    With a network :math:`\phi`, a centre :math:`c` and :math:`d(x) = \lVert \phi(x) - c
    \rVert^2`, it minimises the mean over unlabeled and labeled rows of

    .. math::

        \ell(x, y) = \begin{cases}
            d(x) & y = 0 \\
            \eta \, d(x) & y > 0 \\
            \eta \, (d(x) + 10^{-6})^{-1} & y < 0
        \end{cases}

    plus half of `weight_decay` times the squared norm of the weights. The anomaly score is
    :math:`d(x)`. The centre is the mean code of all rows but the labeled anomalies before
    training, no coordinate nearer to 0 than 0.1, and is not trained. The network has no bias terms,
    so that it cannot map all rows to the centre. Without labels this is one-class
    :class:`DeepSVDD`.

    The paper draws all rows alike (``anomaly_fraction=None``). That is better where most anomalies
    are of kinds never labeled; labeled anomalies may also be other images than the normal ones, any
    at all, as in outlier exposure.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
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
    DeepSVDD : The same without labels.
    AutoEncoder : Detection by reconstruction error.

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, equation 7 and appendix C.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSAD
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(200, 4)), rng.normal(3, 1, size=(20, 4))])
    >>> y = np.zeros(220)
    >>> y[-5:] = -1  # five of the twenty anomalies are known
    >>> detector = DeepSAD(random_state=0).fit(X, y)
    >>> truth = np.r_[np.ones(200), -np.ones(20)]
    >>> bool(detector.score(X, truth) > 0.95)
    True
    """

    _parameter_constraints: dict = {
        **HypersphereDetector._parameter_constraints,
        "eta": [Interval(Real, 0, None, closed="neither")],
        **LABEL_CONSTRAINTS,
    }

    _paper_settings: dict = {**HypersphereDetector._paper_settings, "anomaly_fraction": None}

    def __init__(
        self,
        eta=1.0,
        *,
        network=None,
        hidden_layer_sizes=None,
        decoder=None,
        input_shape=None,
        n_branches=8,
        squash=2.0,
        input_noise="auto",
        pretrain="auto",
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

    def _objective(self, encoder, y):
        shape = self.input_shape_
        size = networks.code_size(encoder, shape)
        return DistanceObjective(
            encoder, shape, size, losses.deep_sad, preparation(self), eta=self.eta
        )

    def _training_numbers(self):
        return {"anomaly_fraction": self.anomaly_fraction}
