"""The supervised baseline: normal against anomalous rows as two classes."""

from __future__ import annotations

from numbers import Real

from scipy.special import expit
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad import losses, networks
from skdeepad.deep import DeepDetector, document
from skdeepad.detectors._preparation import (
    LABEL_CONSTRAINTS,
    TABLE_CONSTRAINTS,
    preparation,
    stand_ins,
)
from skdeepad.objectives import PreparedObjective


class ClassificationObjective(PreparedObjective):
    """A logit on top of the codes, positive for anomalies."""

    def __init__(self, network, head, input_shape, row_loss, preparation, **numbers):
        super().__init__(network, input_shape, preparation, **numbers)
        self.head, self.row_loss = head, row_loss

    def score(self, x):
        """Logit of each row: (n,)."""
        return self.head(self.network(x).flatten(1)).squeeze(1)

    def loss(self, batch):
        """Loss of each row: (n,)."""
        return self.row_loss(self.score(batch.x), batch.y, **self.numbers())


@document
class DeepClassifier(DeepDetector):
    r"""Binary classifier of normal against anomalous rows, the papers' supervised baseline.

    With a network :math:`\phi`, a logit :math:`l(x) = w^\top a(\phi(x)) + b`, :math:`a` being a
    LeakyReLU, and the probability :math:`p(x)` of a row's own kind, :math:`1 / (1 + e^{-l(x)})`
    for labeled anomalies and :math:`1 / (1 + e^{l(x)})` for all other rows, unlabeled ones counting
    as normal, it minimises the mean over rows of

    .. math::

        \ell(x, y) = -\log p(x) \qquad \text{or} \qquad
        \ell(x, y) = -\alpha_y (1 - p(x))^\gamma \log p(x),

    the cross-entropy or the focal loss, with :math:`\alpha_y = \alpha` for labeled anomalies and
    :math:`1 - \alpha` otherwise, plus half of `weight_decay` times the squared norm of the
    weights. The anomaly score is the logit :math:`l(x)`; the method's own threshold is 0.

    It knows anomalies like the labeled ones only. Without any, synthetic anomalies stand in, made
    anew of every second row in each batch: images with blobs pasted in, or rows with permuted
    columns (:mod:`skdeepad.synthetic`); a warning says so.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    objective : {"cross-entropy", "focal"}, default="cross-entropy"
        The loss.
    gamma : float, default=2.0
        Exponent of the focal loss: the larger, the less rows count that are well classified.
    alpha : float, default=0.5
        Weight of labeled anomalies in the focal loss, in (0, 1).
    {network_parameters}
    {hypersphere_parameters}
    {label_parameters}
    {training_parameters}
    {common_parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HSC : A classifier that encloses the normal rows.
    DeepSAD : Learns from the same labels, and finds new kinds of anomalies.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, appendix B.1.2; Lin et al., "Focal Loss for Dense
    Object Detection", ICCV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(200, 4)), rng.normal(3, 1, size=(20, 4))])
    >>> y = np.zeros(220)
    >>> y[-5:] = -1  # five of the twenty anomalies are known
    >>> detector = DeepClassifier(contamination="auto", random_state=0).fit(X, y)
    >>> truth = np.r_[np.ones(200), -np.ones(20)]
    >>> bool(detector.score(X, truth) > 0.95)
    True
    >>> detector.anomaly_probability([[0, 0, 0, 0], [4, 4, 4, 4]]) > 0.5
    array([False,  True])
    """

    _parameter_constraints: dict = {
        **DeepDetector._parameter_constraints,
        **TABLE_CONSTRAINTS,
        **LABEL_CONSTRAINTS,
        "objective": [StrOptions({"cross-entropy", "focal"})],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
    }
    _paper_settings: dict = {
        **DeepDetector._paper_settings,
        "n_branches": 1,
        "squash": None,
        "input_noise": 0.0,
        "anomaly_fraction": None,
    }

    def __init__(
        self,
        objective="cross-entropy",
        gamma=2.0,
        alpha=0.5,
        *,
        network=None,
        hidden_layer_sizes=None,
        input_shape=None,
        n_branches=8,
        squash=2.0,
        input_noise="auto",
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
        self.objective = objective
        self.gamma = gamma
        self.alpha = alpha
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_shape = input_shape
        self.n_branches = n_branches
        self.squash = squash
        self.input_noise = input_noise
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
        r"""Probability that rows are anomalous, :math:`1 / (1 + e^{-l(x)})`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In [0, 1]. With ``anomaly_fraction`` it is that of balanced kinds.
        """
        return expit(self.anomaly_score(X))

    def _stages(self, seeds, y):
        encoder = self._encoder(seeds, bias=True, n_branches=self.n_branches, squash=self.squash)
        shape = self.input_shape_
        head = networks.build_head(networks.code_size(encoder, shape), seeds["head"])
        focal = self.objective == "focal"
        objective = ClassificationObjective(
            encoder,
            head,
            shape,
            losses.focal if focal else losses.cross_entropy,
            preparation(self, stand_ins(self, y)),
            **({"gamma": self.gamma, "alpha": self.alpha} if focal else {}),
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _has_own_boundary(self):
        return True

    def _own_offset(self):
        return 0.0
