"""SS-DGM: a semi-supervised deep generative model with a class for anomalies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn import functional

from skdeepad import networks
from skdeepad.deep import RUFF_NOTE, RUFF_SETTINGS, RUFF_SOURCE, DecoderParameter, DeepDetector
from skdeepad.engine import Batch, Objective, Rows, Stage
from skdeepad.losses import bernoulli_log_likelihood, gaussian_kl, gaussian_log_likelihood
from skdeepad.objectives import Preparation, PreparedObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters, preparation, stand_ins
from skdeepad.relevance import secant

LOG_VARIANCES = -20.0, 20.0
"""Least and greatest logarithm of the variance of a code: its exponential stays finite."""
LEAST_VARIANCE = 1e-3
"""Least variance of a feature given its code: a constant one would drive it to 0."""


class GenerativeObjective(PreparedObjective):
    """What M1 and M2 share: a distribution of codes z for each row, and of rows for each code.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of what the network takes.
    bernoulli : bool
        Whether features are probabilities, or normal with variances that are learned.
    preparation : Preparation
        What happens to a batch before a training step.
    network : nn.Module
        Maps rows to hidden codes (n, k).
    posterior : nn.Sequential
        Maps hidden codes to the parameters of the distribution of z.
    decoder : nn.Module
        Maps z to the mean of each feature, or to the logit of its probability.
    **numbers : float
        Numbers of the loss; kept as 0-dim buffers.
    """

    posterior: nn.Sequential
    decoder: nn.Module
    bernoulli: bool

    def __init__(
        self,
        input_shape: Sequence[int],
        bernoulli: bool,
        preparation: Preparation,
        *,
        network: nn.Module,
        posterior: nn.Sequential,
        decoder: nn.Module,
        **numbers: float,
    ) -> None:
        super().__init__(network, input_shape, preparation, **numbers)
        self.posterior, self.decoder, self.bernoulli = posterior, decoder, bernoulli
        if not bernoulli:
            self.log_variance: nn.Parameter = nn.Parameter(torch.zeros(tuple(input_shape)))

    def log_likelihood(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Log density of each row, given what its z was decoded to: (n,)."""
        if self.bernoulli:
            return bernoulli_log_likelihood(x, decoded)
        floor = math.log(LEAST_VARIANCE)
        return gaussian_log_likelihood(x, decoded, self.log_variance.clamp(min=floor))


def drawn(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Draw from normal distributions, given standard normal noise of their shape."""
    return mean + torch.exp(0.5 * log_variance) * noise


class M1Objective(GenerativeObjective):
    """A variational autoencoder: minus the evidence lower bound of each row."""

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Ask for one draw of z for each row."""
        return {**super().noise_shapes(x_shape), "z": (x_shape[0], self.code_size)}

    @property
    def code_size(self) -> int:
        """Size of z."""
        return cast(nn.Linear, self.posterior[-1]).out_features // 2

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of z given each row, and the logarithm of its variance: two of (n, d)."""
        mean, log_variance = self.posterior(self.network(x).flatten(1)).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCES)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,). Labels play no part."""
        mean, log_variance = self.moments(batch.x)
        z = drawn(mean, log_variance, batch.noise["z"])
        return gaussian_kl(mean, log_variance) - self.log_likelihood(batch.x, self.decoder(z))


class M2Objective(GenerativeObjective):
    """A class and a code together generate a row; where the class is unknown, both are weighed.

    In tensors the normal class stands first and the anomalous one second.

    Parameters
    ----------
    *generative : object
        As for the base class.
    classifier : nn.Module
        Maps hidden codes to the logit of q(anomaly | x).
    entry : nn.Sequential
        Maps z and the class (n, d + 1) to what the decoder takes.
    unlabeled_are_normal : bool
        Whether unlabeled rows count as normal in the term of classification.
    alpha, prior : float
        Weight of that term, and the share of anomalies.
    """

    classifier: nn.Module
    entry: nn.Sequential
    unlabeled_are_normal: bool
    classes: Tensor
    alpha: Tensor
    prior: Tensor

    def __init__(
        self,
        *generative: Any,
        classifier: nn.Module,
        entry: nn.Sequential,
        unlabeled_are_normal: bool,
        **numbers: Any,
    ) -> None:
        super().__init__(*generative, **numbers)
        self.classifier, self.entry = classifier, entry
        self.unlabeled_are_normal = unlabeled_are_normal
        self.register_buffer("classes", torch.tensor([-1.0, 1.0]))

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Ask for a draw of z for each row and class."""
        return {**super().noise_shapes(x_shape), "z": (x_shape[0], 2, self.code_size)}

    @property
    def code_size(self) -> int:
        """Size of z."""
        return cast(nn.Linear, self.entry[-1]).in_features - 1

    def score(self, x: Tensor) -> Tensor:
        """Logit of q(anomaly | x): (n,)."""
        return self.classifier(self.network(x).flatten(1)).squeeze(1)

    def explained_score(self, both: Tensor) -> Tensor:
        """q(anomaly | x) of rows and reference rows: (2n,)."""
        return secant(torch.sigmoid, self.score(both))

    def bounds(self, x: Tensor, hidden: Tensor, noise: Tensor) -> Tensor:
        """Minus the evidence lower bound of each row in each class: (n, 2)."""
        n, size = len(x), self.code_size
        mean, log_variance = self.posterior(hidden).view(n, 2, 2 * size).chunk(2, -1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        z = drawn(mean, log_variance, noise)  # (n, 2, d)
        classes = self.classes.expand(n, 2)[..., None]
        # One pass for both classes, so that BatchNorm sees them together.
        decoded = self.decoder(self.entry(torch.cat([z, classes], -1).flatten(0, 1)))
        log_likelihood = self.log_likelihood(x.repeat_interleave(2, 0), decoded).view(n, 2)
        log_prior = torch.stack([torch.log1p(-self.prior), torch.log(self.prior)])
        return gaussian_kl(mean, log_variance) - log_likelihood - log_prior

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,)."""
        x, y, noise = batch.x, batch.y, batch.noise["z"]
        hidden = self.network(x).flatten(1)
        logit = self.classifier(hidden).squeeze(1)
        log_q = functional.logsigmoid(torch.stack([-logit, logit], 1))  # (n, 2)
        bounds = self.bounds(x, hidden, noise)
        of_both = (log_q.exp() * (bounds + log_q)).sum(1)
        anomalous = y < 0
        of_known = torch.where(anomalous, bounds[:, 1], bounds[:, 0])
        log_q_known = torch.where(anomalous, log_q[:, 1], log_q[:, 0])
        known = torch.ones_like(anomalous) if self.unlabeled_are_normal else y != 0
        # alpha times the mean over the rows whose class is known, as a share of the batch's mean.
        weight = self.alpha * len(y) / known.sum().clamp(min=1)
        bound = torch.where(y == 0, of_both, of_known)
        return bound - torch.where(known, weight * log_q_known, 0.0)


class M1PlusM2Objective(M2Objective):
    """M1+M2: what M2 generates are the codes z of an M1 trained before, which stays as it is.

    Parameters
    ----------
    m1 : M1Objective
        The first model.
    *generative, **others : object
        As for the base class.
    """

    m1: M1Objective

    def __init__(self, m1: M1Objective, *generative: Any, **others: Any) -> None:
        super().__init__(*generative, **others)
        self.m1 = m1

    def train(self, mode: bool = True) -> M1PlusM2Objective:
        """Keep the first model in evaluation mode."""
        super().train(mode)
        self.m1.eval()
        return self

    def start(self, rows: Rows) -> None:
        """Leave the first model out of what is trained."""
        super().start(rows)
        self.m1.requires_grad_(False)

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Ask for draws of the first model's z as well."""
        return {**super().noise_shapes(x_shape), "m1": (x_shape[0], self.m1.code_size)}

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row, by a draw of its code in the first model: (n,)."""
        mean, log_variance = self.m1.moments(batch.x)
        codes = drawn(mean, log_variance, batch.noise["m1"])
        return super().loss(batch._replace(x=codes.detach()))

    def codes(self, x: Tensor) -> Tensor:
        """Hidden codes of rows, by the mean of their codes in the first model: (n, d)."""
        return super().codes(self.m1.moments(x)[0])

    def score(self, x: Tensor) -> Tensor:
        """Logit of q(anomaly | x) by the mean of its code: (n,)."""
        return super().score(self.m1.moments(x)[0])


class SSDGM(LabelParameters, DecoderParameter, DeepDetector):
    r"""Semi-supervised deep generative model: the probability that a row's class is "anomalous".

    The model M2 says that a class :math:`y`, anomalous with probability :math:`\pi`, and a code
    :math:`z \sim N(0, I)` together generate a row, :math:`x \sim p(x | y, z)`. Networks give
    :math:`q(y | x)` and :math:`q(z | x, y) = N(\mu, \operatorname{diag} \sigma^2)`. Minus the
    evidence lower bound of a row whose class is known is

    .. math::

        L(x, y) = -\mathbb{E}_{q(z | x, y)} \log p(x | y, z) - \log p(y)
                  + \operatorname{KL}(q(z | x, y) \,\Vert\, N(0, I)),

    the expectation being taken at one draw of z, and that of an unlabeled row

    .. math:: U(x) = \sum_y q(y | x) \left( L(x, y) + \log q(y | x) \right).

    It minimises the mean of these over the rows, plus :math:`\alpha` times the mean of
    :math:`-\log q(y | x)` over the rows of known class, plus half of `weight_decay` times the
    squared norm of the weights. Where no row is labeled as normal, unlabeled ones count as normal
    in the latter term alone. M1+M2 first trains a variational autoencoder, M1, on all rows, then
    M2 on the codes that it gives them; what M1 leaves out of them M2 cannot learn, and with few
    columns that may be nearly all.

    The anomaly score is :math:`q(\text{anomaly} | x)`, in [0, 1]; the method's own threshold is
    1/2.

    It finds anomalies like the labeled ones, and may take rows far from all others for normal.
    Without any, synthetic anomalies stand in, made anew of every second row in each batch: images
    with blobs pasted in, or rows with permuted columns (:mod:`skdeepad.synthetic`); a warning says
    so.

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
    DeepClassifier : The classification alone.
    DeepSAD : Learns from the same labels, and finds new kinds of anomalies.

    References
    ----------
    Kingma et al., "Semi-supervised Learning with Deep Generative Models", NIPS 2014, sections 2 and
    3; Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix E.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import SSDGM
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(200, 4)), rng.normal(3, 1, size=(20, 4))])
    >>> y = np.zeros(220)
    >>> y[-5:] = -1  # five of the twenty anomalies are known
    >>> detector = SSDGM(contamination="auto", random_state=0).fit(X, y)
    >>> truth = np.r_[np.ones(200), -np.ones(20)]
    >>> bool(detector.score(X, truth) > 0.95)
    True
    >>> detector.anomaly_score([[0, 0, 0, 0], [4, 4, 4, 4]]) > 0.5
    array([False,  True])
    """

    model: Literal["M2", "M1+M2"] = parameter(
        default="M2",
        constraint=[StrOptions({"M2", "M1+M2"})],
        kw_only=False,
        doc="The model.",
    )
    likelihood: Literal["gaussian", "bernoulli"] = parameter(
        default="gaussian",
        constraint=[StrOptions({"gaussian", "bernoulli"})],
        kw_only=False,
        doc="""Distribution of a feature given class and code: normal, its variance learned, for
            standardized features, or that of a yes with a probability, for features in [0, 1] such
            as pixels. M1+M2 uses it for M1; the codes are normal.""",
    )
    alpha: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="left")],
        kw_only=False,
        doc="Weight of the classification.",
    )
    prior: float = parameter(
        default=0.1,
        constraint=[Interval(Real, 0, 1, closed="neither")],
        kw_only=False,
        doc=r":math:`\pi`, share of anomalies among the unlabeled rows, in (0, 1).",
    )
    lr_schedule = "cosine"

    _own_boundary = "where both classes are as probable"
    _paper_settings = {**RUFF_SETTINGS, "likelihood": "bernoulli", "anomaly_fraction": None}
    _paper_source = RUFF_SOURCE
    _paper_note = (
        f"{RUFF_NOTE} Features must lie in [0, 1], as they do behind ``MinMaxScaler(clip=True)``; "
        'where they are standardized instead, pass ``likelihood="gaussian"``.'
    )

    def _validate(self, X: Any, *, reset: bool) -> NDArray[Any]:
        X = super()._validate(X, reset=reset)
        if reset and self.likelihood == "bernoulli" and not (X.min() >= 0 and X.max() <= 1):
            raise ValueError(
                "likelihood='bernoulli' is for features in [0, 1]; the values of X lie between "
                f"{X.min():.3g} and {X.max():.3g}. Rescale them, for example with MinMaxScaler, or "
                "pass likelihood='gaussian'."
            )
        return X

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        synthetic = stand_ins(self, y)
        encoder = self._encoder(seeds, bias=True)
        decoder = self._required_decoder(encoder, seeds)
        shape, bernoulli = self.input_shape_, self.likelihood == "bernoulli"
        numbers: dict[str, Any] = {
            "unlabeled_are_normal": not (y > 0).any(),
            "alpha": self.alpha,
            "prior": self.prior,
        }
        last = {"anomaly_fraction": self.anomaly_fraction}
        if self.model == "M2":
            parts = _m2_parts(encoder, decoder, shape, seeds["head"])
            m2 = M2Objective(shape, bernoulli, preparation(self, synthetic), **parts, **numbers)
            return [self._stage("train", m2, **last)]
        size = networks.code_size(encoder, shape)
        posterior = networks.build_head(size, seeds["head"], 2 * size)
        m1 = M1Objective(
            shape,
            bernoulli,
            preparation(self),
            network=encoder,
            posterior=posterior,
            decoder=decoder,
        )
        encoder = networks.build_encoder(
            None, (size,), self._layer_sizes(), True, seeds["network"] + 1
        )
        mirror = networks.build_decoder(None, encoder, (size,), seeds["decoder"] + 1)
        parts = _m2_parts(encoder, cast(nn.Module, mirror), (size,), seeds["head"] + 1)
        m2 = M1PlusM2Objective(m1, (size,), False, preparation(self, synthetic), **parts, **numbers)
        return [self._stage("M1", m1), self._stage("train", m2, **last)]

    def _keep(self, objective: Objective) -> None:
        self._objective_ = objective
        if self.model == "M1+M2":
            objective = cast(M1PlusM2Objective, objective).m1
        self.network_: nn.Module = objective.network

    def _score_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return expit(values)

    def _has_own_boundary(self) -> bool:
        return True

    def _own_threshold(self) -> float:
        return 0.5


def _m2_parts(
    encoder: nn.Module, decoder: nn.Module, shape: Sequence[int], seed: int
) -> dict[str, Any]:
    """Return the networks of an M2 around an encoder and its decoder."""
    size = networks.code_size(encoder, shape)
    return {
        "network": encoder,
        "posterior": networks.build_head(size, seed, 4 * size),  # of each class
        "decoder": decoder,
        "classifier": networks.build_head(size, seed + 1),
        "entry": networks.build_encoder(None, (size + 1,), (size,), True, seed + 2),
    }
