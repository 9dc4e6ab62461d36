"""The hypersphere classifier."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from skdeepad import losses, networks
from skdeepad.detectors.hypersphere import CenterWithoutAnomalies, HypersphereDetector
from skdeepad.engine import Objective
from skdeepad.objectives import DistanceObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters, preparation

_RADIAL = {
    "pseudo-huber": losses.pseudo_huber,
    "squared-norm": losses.squared_norm,
    "norm": losses.norm,
    "l1": losses.l1_norm,
}


class HSC(LabelParameters, CenterWithoutAnomalies, HypersphereDetector):
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
    probabilities then: ``anomaly_probability`` and ``contamination="auto"`` raise a ValueError.

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

    radial: Literal["pseudo-huber", "squared-norm", "norm", "l1"] = parameter(
        default="pseudo-huber",
        constraint=[StrOptions(set(_RADIAL))],
        kw_only=False,
        doc=r"""The function h of a code z: :math:`\sqrt{\lVert z \rVert^2 + 1} - 1`,
            :math:`\lVert z \rVert^2`, :math:`\lVert z \rVert` or :math:`\lVert z \rVert_1`.""",
    )
    eta: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="neither")],
        kw_only=False,
        doc="Weight of labeled rows against unlabeled ones.",
    )

    pretrain = False

    _branches_learn = " Each has a loss of its own, and the loss is their mean."
    _own_boundary = "where a row is as probably anomalous as normal; a ValueError without anomalies"
    # The thesis balances batches: 128 normal and 128 auxiliary images.
    _paper_settings = {
        **HypersphereDetector._paper_settings,
        "batch_size": 256,
        "anomaly_fraction": 0.5,
        "pretrain": False,
    }
    _paper_source = 'Ruff, "Deep One-Class Learning", thesis, appendix B.1.'
    _paper_note = (
        "Augmentation of images is not among them: pass ``augment``. For CIFAR-10 the thesis has "
        "two dense layers and does not give their sizes: ``hidden_layer_sizes=(512, 256)``, say."
    )

    def anomaly_probability(self, X: ArrayLike) -> NDArray[np.float64]:
        r"""Probability that rows are anomalous, :math:`1 - e^{-h(\phi(x))}`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In [0, 1). With ``anomaly_fraction`` it is that of balanced kinds.

        Raises
        ------
        ValueError
            If it was fitted without labeled anomalies.
        """
        return self._likely(X, lambda scores: -np.expm1(-scores))

    def _objective(self, encoder: nn.Module, y: NDArray[np.int8]) -> Objective:
        shape = self.input_shape_
        return DistanceObjective(
            encoder,
            shape,
            networks.code_size(encoder, shape),
            losses.hypersphere_classification,
            preparation(self),
            _RADIAL[self.radial],
            self._needs_center(y),
            networks.n_branches(encoder),
            eta=self.eta,
        )

    def _training_numbers(self) -> dict[str, Any]:
        return {"anomaly_fraction": self.anomaly_fraction}

    def _own_threshold(self) -> float:
        return math.log(2.0)
