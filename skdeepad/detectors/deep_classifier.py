"""The supervised baseline: normal against anomalous rows as two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from skdeepad import losses, networks
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DeepDetector
from skdeepad.detectors.hypersphere import CenteredDetector, CenterWithoutAnomalies
from skdeepad.engine import Batch, Stage
from skdeepad.objectives import DistanceObjective, Preparation, PreparedObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters, preparation


class ClassificationObjective(PreparedObjective):
    """A logit on top of the codes, positive for anomalies."""

    head: nn.Module
    row_loss: Callable[..., Tensor]

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        input_shape: Sequence[int],
        row_loss: Callable[..., Tensor],
        preparation: Preparation,
        **numbers: float,
    ) -> None:
        super().__init__(network, input_shape, preparation, **numbers)
        self.head, self.row_loss = head, row_loss

    def score(self, x: Tensor) -> Tensor:
        """Logit of each row: (n,)."""
        return self.head(self.network(x).flatten(1)).squeeze(1)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,)."""
        return self.row_loss(self.score(batch.x), batch.y, **self.numbers())


class DeepClassifier(LabelParameters, CenterWithoutAnomalies):
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

    It knows anomalies like the labeled ones only. Without any it is one-class :class:`DeepSVDD`
    without pretraining, and a warning says so: the network has no bias terms, :math:`\lVert
    \phi(x) - c \rVert^2` is minimised with a centre :math:`c`, and is the anomaly score, and
    ``n_epochs="auto"`` amounts to 100 steps. There are no probabilities then:
    ``anomaly_probability`` and ``contamination="auto"`` raise a ValueError.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    {parameters}

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

    objective: Literal["cross-entropy", "focal"] = parameter(
        default="cross-entropy",
        constraint=[StrOptions({"cross-entropy", "focal"})],
        kw_only=False,
        doc="The loss.",
    )
    gamma: float = parameter(
        default=2.0,
        constraint=[Interval(Real, 0, None, closed="left")],
        kw_only=False,
        doc="""Exponent of the focal loss: the larger, the less rows count that are well
            classified.""",
    )
    alpha: float = parameter(
        default=0.5,
        constraint=[Interval(Real, 0, 1, closed="neither")],
        kw_only=False,
        doc="Weight of labeled anomalies in the focal loss, in (0, 1).",
    )

    _auto_steps = 500  # around a centre so many make the sphere collapse
    _collapse = DeepDetector._collapse
    _own_boundary = "where both kinds are as probable; a ValueError without labeled anomalies"
    _paper_settings = {
        **RUFF_SETTINGS,
        "n_branches": 1,
        "squash": None,
        "input_noise": 0.0,
        "anomaly_fraction": None,
    }
    _paper_source, _paper_note = RUFF_SOURCE, RUFF_NOTE

    def anomaly_probability(self, X: ArrayLike) -> NDArray[np.float64]:
        r"""Probability that rows are anomalous, :math:`1 / (1 + e^{-l(x)})`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In [0, 1]. With ``anomaly_fraction`` it is that of balanced kinds.

        Raises
        ------
        ValueError
            If it was fitted without labeled anomalies.
        """
        return self._likely(X, expit)

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        encoder, shape = self._branched_encoder(seeds, y), self.input_shape_
        if self._needs_center(y):
            size = networks.code_size(encoder, shape)
            center = DistanceObjective(encoder, shape, size, losses.one_class, preparation(self))
            return [self._stage("train", center, n_steps=CenteredDetector._auto_steps)]
        focal = self.objective == "focal"
        objective = ClassificationObjective(
            encoder,
            self._head(encoder, seeds),
            shape,
            losses.focal if focal else losses.cross_entropy,
            preparation(self),
            **({"gamma": self.gamma, "alpha": self.alpha} if focal else {}),
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _own_threshold(self) -> float:
        return 0.0
