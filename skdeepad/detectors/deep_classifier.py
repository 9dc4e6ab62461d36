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

from skdeepad import losses
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DeepDetector
from skdeepad.engine import Batch, Stage
from skdeepad.objectives import Preparation, PreparedObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import (
    BranchParameters,
    LabelParameters,
    preparation,
    stand_ins,
)


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


class DeepClassifier(LabelParameters, BranchParameters, DeepDetector):
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
    lr_schedule = "cosine"

    _own_boundary = "where both kinds are as probable"
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
        """
        return expit(self.anomaly_score(X))

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        encoder = self._encoder(seeds, bias=True, n_branches=self.n_branches, squash=self.squash)
        shape = self.input_shape_
        head = self._head(encoder, seeds)
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

    def _has_own_boundary(self) -> bool:
        return True

    def _own_threshold(self) -> float:
        return 0.0
