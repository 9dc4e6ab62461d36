"""Deep semi-supervised anomaly detection."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval
from torch import nn

from skdeepad import losses, networks
from skdeepad.detectors.hypersphere import HypersphereDetector
from skdeepad.engine import Objective
from skdeepad.objectives import DistanceObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters, is_table, preparation


class DeepSAD(LabelParameters, HypersphereDetector):
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
    {parameters}

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

    eta: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="neither")],
        kw_only=False,
        doc="Weight of labeled rows against unlabeled ones.",
    )

    _pretrained = (
        "for images, and for other rows that are no table, if there is a decoder, that is for the "
        "default network of images and wherever `decoder` is given"
    )
    _paper_settings = {**HypersphereDetector._paper_settings, "anomaly_fraction": None}

    def _objective(self, encoder: nn.Module, y: NDArray[np.int8]) -> Objective:
        shape = self.input_shape_
        size = networks.code_size(encoder, shape)
        return DistanceObjective(
            encoder, shape, size, losses.deep_sad, preparation(self), eta=self.eta
        )

    def _wants_pretraining(self) -> bool:
        of_tables = self.pretrain == "auto" and is_table(self.input_shape_)
        return super()._wants_pretraining() and not of_tables

    def _training_numbers(self) -> dict[str, Any]:
        return {"anomaly_fraction": self.anomaly_fraction}
