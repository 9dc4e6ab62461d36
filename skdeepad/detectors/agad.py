"""AGAD: adversarial generative anomaly detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from skdeepad import networks
from skdeepad.deep import DeepDetector, Network
from skdeepad.engine import Batch, Objective, Rows, Stage, Turn
from skdeepad.inputs import on_host
from skdeepad.losses import norm
from skdeepad.notices import CollapseWarning, warn
from skdeepad.objectives import Preparation, PreparedObjective, secant_radial
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters, image_shape, preparation

SIDES = 16
"""Images are resized to the next multiple of this for the generators of the paper."""
LEAST_MEAN = 1e-3
"""Added to means before their reciprocals are taken."""
CONSTANT = 1e-4
"""Reconstructions are constant if their variance is below this share of the rows'."""
AVERAGE_EXPONENT = 8
"""Epoch t counts as many times as t to this power in the average of the generator's weights."""
WON = 0.03
"""The discriminator wins an epoch if its loss is below this share of that of guessing."""
AT_LEAST_0: list[Any] = [Interval(Real, 0, None, closed="left")]


class Views(NamedTuple):
    """What both turns need of a batch, x, x̂ = G(x) and x̂' = G(x̂) being rows of one shape."""

    x: Tensor
    reconstruction: Tensor
    again: Tensor | None
    logit: Tensor
    features: Tensor
    reconstruction_logit: Tensor
    reconstruction_features: Tensor


class AdversarialObjective(PreparedObjective):
    """A generator that reconstructs rows against a discriminator that tells it from them."""

    early_stopping_refusal: str | None = (
        "generator and discriminator learn against each other, and when the loss of one falls that "
        "of the other rises: the lowest loss does not mark the best detector. Pass "
        "early_stopping=False, and choose n_epochs."
    )
    apart_from_losses: tuple[str, ...] = ("new_discriminator", "averages", "average")

    new_discriminator: Callable[[], nn.Module]
    size: tuple[int, ...] | None
    discriminator: nn.Module
    twice: bool
    adversarial: Tensor
    contextual: Tensor
    contextual_adversarial: Tensor
    latent: Tensor
    reset_threshold: Tensor
    variation: Tensor

    def __init__(
        self,
        generator: nn.Module,
        new_discriminator: Callable[[], nn.Module],
        input_shape: Sequence[int],
        size: tuple[int, ...] | None,
        preparation: Preparation,
        batch_norm: str = "shared",
        averages: bool = False,
        **numbers: float,
    ) -> None:
        super().__init__(generator, input_shape, preparation, **numbers)
        self.new_discriminator, self.size = new_discriminator, size
        self.discriminator = new_discriminator()
        self.twice = numbers["contextual_adversarial"] > 0
        self.freezes = batch_norm in ("frozen", "both")
        # What BatchNorm of a network is where it takes reconstructions, by its names.
        self.auxiliary_names: dict[str, list[str]] = {}
        self.auxiliary: nn.ModuleDict = nn.ModuleDict()
        if batch_norm in ("auxiliary", "both"):
            for which in ("network", "discriminator"):
                norms = networks.copied_norms(getattr(self, which))
                self.auxiliary_names[which] = list(norms)
                self.auxiliary[which] = nn.ModuleList(norms.values())
        self.averages = averages
        self.average: list[Tensor] = []  # of the generator's weights so far
        self.register_buffer("variation", torch.ones(()))

    def turns(self) -> Sequence[Turn]:
        """Return the generator's turn, then the discriminator's."""
        return (
            Turn("generator_loss", ("network.", "auxiliary.network.")),
            Turn("discriminator_loss", ("discriminator.", "auxiliary.discriminator.")),
        )

    def shared(self, batch: Batch) -> Views:
        """Reconstruct rows, and their reconstructions, and judge both: once for both turns."""
        x = resized(batch.x, self.size)
        left_out = networks.LeftOutOfBatchNorm(batch.y < 0) if self.freezes else nullcontext()
        with left_out:
            reconstruction = self.network(x)
            again = self._of_reconstructions("network", reconstruction) if self.twice else None
            of_rows = self.discriminator(x)
            of_made = self._of_reconstructions("discriminator", reconstruction)
        return Views(x, reconstruction, again, *of_rows, *of_made)

    def _of_reconstructions(self, which: str, reconstruction: Tensor) -> Any:
        """Pass reconstructions through a network, and leave the generator's statistics alone.

        BatchNorm would otherwise score rows by what reconstructions look like, too.
        """
        network: nn.Module = getattr(self, which)
        instead: dict[str, Tensor] = {}
        if which in self.auxiliary:
            layers = zip(self.auxiliary_names[which], self._norms(which), strict=True)
            for name, layer in layers:
                own = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
                instead |= {f"{name}.{key}".lstrip("."): tensor for key, tensor in own.items()}
        elif which == "network":
            instead = {name: buffer.clone() for name, buffer in network.named_buffers()}
        return functional_call(network, instead, (reconstruction,))

    def _norms(self, which: str) -> nn.ModuleList:
        """Return what BatchNorm of a network is where it takes reconstructions."""
        return cast(nn.ModuleList, self.auxiliary[which])

    def generator_loss(self, batch: Batch) -> Tensor:
        """Loss of each normal row; for anomalies that of all in the batch together: (n,)."""
        views, anomalous = batch.shared, batch.y < 0
        real = views.reconstruction_logit
        latent = norm(views.features - views.reconstruction_features)
        change = torch.zeros_like(latent)
        if self.twice:
            change = (views.reconstruction - views.again).abs().flatten(1).mean(1)
        normal = (
            self.adversarial * functional.softplus(-real)
            + self.contextual * (views.x - views.reconstruction).abs().flatten(1).mean(1)
            - self.contextual_adversarial * change
            + self.latent * latent
        )
        of_anomalies = sum(
            weight / (masked_mean(term, anomalous) + LEAST_MEAN)
            for weight, term in (
                (self.adversarial, functional.softplus(real)),
                (self.contextual_adversarial, change),
                (self.latent, latent),
            )
        )
        return torch.where(anomalous, of_anomalies, normal)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each row and, if it is normal, of its reconstruction: (n,)."""
        views, anomalous = batch.shared, batch.y < 0
        real = torch.where(anomalous, -views.logit, views.logit)
        made = functional.softplus(views.reconstruction_logit)
        return functional.softplus(-real) + torch.where(anomalous, 0.0, made)

    def after_epoch(self, epoch: int, rows: Rows, losses: dict[str, float]) -> Sequence[str]:
        """Note the balance, and start the discriminator anew where its loss has become too low."""
        balance = losses["discriminator_loss"] / math.log(4.0)
        reset = losses["discriminator_loss"] < float(self.reset_threshold)
        losses |= {"balance": balance, "reset": float(reset)}
        if self.averages:
            self._add_to_average(epoch)
        if not reset:
            return ()
        new = self.new_discriminator()
        self.discriminator.load_state_dict(new.state_dict())
        if self.auxiliary:
            norms = networks.copied_norms(new).values()
            for layer, first in zip(self._norms("discriminator"), norms, strict=True):
                layer.load_state_dict(first.state_dict())
        return ("discriminator_loss",)

    def _add_to_average(self, epoch: int) -> None:
        """Average the generator's weights over epochs, that of epoch t counting t^a times."""
        weights = list(self.network.parameters())
        if not self.average:
            self.average = [weight.clone() for weight in weights]
        counts = [number**AVERAGE_EXPONENT for number in range(1, epoch + 2)]
        for average, weight in zip(self.average, weights, strict=True):
            average.lerp_(weight, counts[-1] / sum(counts))

    def _take_average(self, rows: Rows) -> None:
        """Make the average the generator's weights, and measure BatchNorm's statistics for them."""
        for average, weight in zip(self.average, self.network.parameters(), strict=True):
            weight.copy_(average)
        self.average = []
        layers = [m for m in self.network.modules() if isinstance(m, networks.BATCH_NORMS)]
        momenta = [layer.momentum for layer in layers]
        seen = 0
        for layer in layers:
            layer.train()
        for x, y, count in rows.slices():
            seen += count
            for layer in layers:
                layer.momentum = count / seen  # the mean over all slices
            with networks.LeftOutOfBatchNorm(y[:count] < 0):
                self.network(resized(x[:count], self.size))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.eval()
            layer.momentum = momentum

    def finish(self, rows: Rows) -> None:
        """Take the average, and measure how much reconstructions vary.

        As a share of the variance of their rows, among the first ones: a generator that gives all
        rows the same gives it to these.
        """
        if self.average:
            self._take_average(rows)
        x, _, count = next(rows.slices())
        x = resized(x, self.size)[:count]
        of_rows, of_made = (part.var(0, correction=0).sum() for part in (x, self.network(x)))
        self.variation.copy_(torch.where(of_rows > 0, of_made / of_rows, 1.0))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return reconstructions of the shape of rows: (n, *input_shape)."""
        return resized(self.network(resized(x, self.size)), x.shape[2:])

    def codes(self, x: Tensor) -> Tensor:
        """Features that the discriminator sees in rows: (n, d)."""
        features: Tensor = self.discriminator(resized(x, self.size))[1]
        return features.flatten(1)

    def score(self, x: Tensor) -> Tensor:
        """Length of the residual of each row: (n,)."""
        x = resized(x, self.size)
        return length(x - self.network(x))

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows of a table and reference rows by the secants of squares and root: (2n,)."""
        return secant_radial(norm, both - self.network(both))

    def relevance(self, x: Tensor) -> Tensor:
        """Share of each number of a row in the length of the residual: the shape of x."""
        seen = resized(x, self.size)
        residual = seen - self.network(seen)
        tiny = torch.finfo(residual.dtype).tiny
        whole = length(residual).clamp(min=tiny).view(-1, *[1] * (x.dim() - 1))
        shares = residual * (residual / whole)
        return shares if seen.shape == x.shape else given_back(shares, x.shape[2:])


def length(residual: Tensor) -> Tensor:
    """Euclidean length of each row: (n,). Squares overflow long before lengths do."""
    flat = residual.flatten(1)
    largest = flat.abs().amax(1).clamp(min=torch.finfo(flat.dtype).tiny)
    return largest * norm(flat / largest[:, None])


def given_back(shares: Tensor, size: Sequence[int]) -> Tensor:
    """Give each pixel of resized images back to those of the given size that it was made of."""
    for axis, side in zip((2, 3), size, strict=True):
        unit = torch.eye(side, dtype=shares.dtype, device=shares.device)[None, None]
        made = resized(unit, (shares.shape[axis], side))[0, 0]  # (of shares, given)
        shares = torch.tensordot(shares, made, dims=([axis], [0])).movedim(-1, axis)
    return shares


def resized(x: Tensor, size: Sequence[int] | None) -> Tensor:
    """Return images (n, c, *size); rows as they are where there is no other size."""
    if size is None or tuple(x.shape[2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values (n,) where the mask is True; 0 if it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


class AGAD(LabelParameters, DeepDetector):
    r"""Adversarial generative anomaly detection: rows that a generator fails to reconstruct.

    A generator :math:`G` reconstructs rows, :math:`\hat x = G(x)`, and its own reconstructions,
    :math:`\hat x' = G(\hat x)`; a discriminator gives a probability :math:`D(x)` that a row is
    real, and features :math:`D_z(x)`. For unlabeled and normal rows the generator minimises the
    mean of

    .. math::

        -\lambda_\text{adv} \log D(\hat x) + \lambda_\text{con} |x - \hat x|
        - \lambda_\text{adcon} |\hat x - \hat x'|
        + \lambda_\text{lat} \lVert D_z(x) - D_z(\hat x) \rVert

    and for each labeled anomaly, with means :math:`\mathbb{E}` over those in the batch,

    .. math::

        \frac{\lambda_\text{adv}}{-\mathbb{E} \log(1 - D(\hat x))}
        + \frac{\lambda_\text{adcon}}{\mathbb{E} |\hat x - \hat x'|}
        + \frac{\lambda_\text{lat}}{\mathbb{E} \lVert D_z(x) - D_z(\hat x) \rVert}.

    The discriminator minimises the mean of :math:`-\log D(x) - \log(1 - D(\hat x))` for unlabeled
    and normal rows and of :math:`-\log(1 - D(x))` for labeled anomalies. Here :math:`|\cdot|` is
    the mean over a row's features, and 0.001 is added to denominators. Half of `weight_decay` times
    the squared norm of the weights is added to either loss. Both turns use one forward pass.

    The anomaly score is the Euclidean length of :math:`x - \hat x`. For the generators given by
    name images are resized, bilinearly, to sides that are the next multiples of 16 (28 x 28 to
    32 x 32), and the score is the length of the resized image's residual.

    With ``contextual_adversarial=0`` and without labeled anomalies it is trained as GANomaly is.

    The generator's loss has no lower bound, as :math:`|\hat x - \hat x'|` has no upper one: with
    more epochs reconstructions get worse for the sake of that term, and the ranking may, too. The
    number of epochs matters, and no loss tells when to stop. A rate that falls to 0 and an average
    of the generator over the epochs, the defaults, keep the ranking from hanging on the last few
    steps, where it may swing from good to upside down. The paper has a constant rate and no
    average. In its section 6.2 it compares kinds of BatchNorm (`batch_norm`); it trains with the
    shared one, which is the default.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    discriminator_ : torch.nn.Module
        The trained discriminator, from rows, resized as for the generator, to logits and features.

    See Also
    --------
    AutoEncoder : Reconstruction alone.
    FCDD : Heat maps without a generator.
    HeatmapDisplay : Draws what :meth:`explain` gives.

    Notes
    -----
    ``history_["train"]`` holds by epoch the mean losses of both, ``"balance"``, the
    discriminator's loss as a share of that of guessing, and ``"reset"``, 1 where it started anew.

    References
    ----------
    Shi and Zhang, "AGAD: Adversarial Generative Anomaly Detection", sections 3.2, 3.3 and 6.2,
    algorithm 1, appendix A.2; Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import AGAD
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[1, 2, 3, 4], [4, 3, 2, 1]]
    >>> detector = AGAD(random_state=0).fit(X)
    >>> detector.predict([[5.0, -5.0, 5.0, -5.0]])  # off the plane
    array([-1])
    >>> detector.reconstruct(X).shape, detector.explain(X).shape
    ((300, 4), (300, 4))
    """

    adversarial: float = parameter(
        default=1.0,
        constraint=AT_LEAST_0,
        kw_only=False,
        doc=r":math:`\lambda_\text{adv}`, weight of deceiving the discriminator.",
    )
    contextual: float = parameter(
        default=50.0,
        constraint=AT_LEAST_0,
        kw_only=False,
        doc=r":math:`\lambda_\text{con}`, weight of the reconstruction.",
    )
    contextual_adversarial: float = parameter(
        default=15.0,
        constraint=AT_LEAST_0,
        kw_only=False,
        doc=r""":math:`\lambda_\text{adcon}`, weight of not reconstructing reconstructions, nor
            labeled anomalies. 0 leaves out the second pass through the generator.""",
    )
    latent: float = parameter(
        default=5.0,
        constraint=AT_LEAST_0,
        kw_only=False,
        doc=r":math:`\lambda_\text{lat}`, weight of the discriminator's features.",
    )
    reset_threshold: float = parameter(
        default=0.05,
        constraint=AT_LEAST_0,
        doc=r"""The discriminator starts anew, with its first weights, after an epoch in which its
            mean loss was lower; guessing has :math:`2 \log 2 \approx 1.39`. 0 never resets it.""",
    )
    generator: str | Network = parameter(
        default="naive",
        constraint=[StrOptions({"naive", "unet", "unet++"}), nn.Module, callable],
        kind='{"naive", "unet", "unet++"}, torch.nn.Module, class or callable',
        doc="""For images the paper's encoder-decoder, a UNet or a UNet++
            (:mod:`skdeepad.networks`); for tables "naive" is an MLP and its mirror image. A network
            of your own maps rows to rows of the same shape; an instance is copied, its weights
            included, and never trained in place; a class or a function is called, with
            ``input_shape=`` if it takes a parameter of that name.""",
    )
    batch_norm: Literal["shared", "auxiliary", "frozen", "both"] = parameter(
        default="shared",
        constraint=[StrOptions({"shared", "auxiliary", "frozen", "both"})],
        doc="""Which BatchNorm rows go through in training. "shared": all through the same, by the
            statistics of the batch that they come in. "auxiliary": reconstructions have layers of
            their own, in both networks, which scoring does not use (AdvProp). "frozen": labeled
            anomalies are left out of all statistics, and are normalized by the running ones.
            "both": the one and the other.""",
    )
    average: bool = parameter(
        default=True,
        constraint=["boolean"],
        doc="""Whether the generator is an average over the epochs, in which the weights of epoch t
            count :math:`t^8` times, those of the last ninth most, and its BatchNorm has the
            statistics of all rows but the labeled anomalies. False keeps the weights of the last
            step and the running statistics, which swing.""",
    )
    network: ClassVar[None] = None  # type: ignore[misc]  # the generator is in its place
    hidden_layer_sizes: Sequence[int] | None = parameter(
        default=None,
        constraint=["array-like", None],
        kind="tuple of int",
        doc="""Filters of the generators given by name, or units of the MLP. None: the papers'
            filters; (128, 64, 32) for tables.""",
    )
    anomaly_fraction = 0.125
    lr = 2e-4
    lr_schedule = "cosine"
    batch_size = 256
    weight_decay = 0.0

    _auto_steps = 200
    _paper_settings = {
        "generator": "unet++",
        "average": False,
        "n_epochs": 35,
        "lr_schedule": "constant",
    }
    _paper_source = (
        'Shi and Zhang, "AGAD: Adversarial Generative Anomaly Detection", sections 4.1 and 4.3, '
        "figure 6."
    )
    _paper_note = (
        'The paper has ``generator="naive"`` for MNIST, and tables need it. It does not say how '
        "long it trains; its curves end after these epochs. Weights of the losses, learning rate "
        "and batches are its own by default."
    )

    def reconstruct(self, X: ArrayLike) -> NDArray[np.float64]:
        """Reconstruct rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or images of shape (n, channels, height, width).

        Returns
        -------
        ndarray of the shape of X, dtype float64
            What the generator makes of them, images in their own size.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        made = self._by_row(rows, "reconstruct")
        return made if np.ndim(on_host(X)) == 4 else made.reshape(rows.shape)

    @property
    def _compares(self) -> bool:  # type: ignore[override]  # by measurement
        return len(self.input_shape_) == 1

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        shape, size = self.input_shape_, None
        if len(shape) == 3 and isinstance(self.generator, str):
            size = tuple(SIDES * math.ceil(side / SIDES) for side in shape[1:])
            shape = (shape[0], *size)
        generator = networks.build_generator(
            self.generator, shape, self._layer_sizes(), seeds["network"]
        )
        objective = AdversarialObjective(
            generator,
            partial(networks.build_discriminator, shape, seeds["head"]),
            self.input_shape_,
            size,
            preparation(self),
            self.batch_norm,
            bool(self.average),
            adversarial=self.adversarial,
            contextual=self.contextual,
            contextual_adversarial=self.contextual_adversarial,
            latent=self.latent,
            reset_threshold=self.reset_threshold,
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _keep(self, objective: Objective) -> None:
        super()._keep(objective)
        self.discriminator_: nn.Module = cast(AdversarialObjective, objective).discriminator

    def _row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if len(shape) == 1 else image_shape(self, shape, "X.reshape(len(X), -1)")

    def _warn_of_scores(self, scores: NDArray[np.float64]) -> None:
        history = self.history_["train"]
        won = [
            reset or balance < WON
            for reset, balance in zip(history["reset"], history["balance"], strict=True)
        ]
        if len(won) >= 3 and all(won[-3:]):
            warn(
                "The discriminator of AGAD has won for good: in the last three epochs it hardly "
                "ever took a reconstruction for a row (its loss was "
                f"{history['balance'][-1]:.2g} of that of guessing) and taught the generator "
                "little. Usual causes: few rows, or features of very different scale. Standardize "
                "the features, or lower lr.",
                ConvergenceWarning,
            )
        if float(cast(AdversarialObjective, self._objective_).variation) < CONSTANT:
            warn(
                "The generator of AGAD makes nearly the same of all rows, and the score is the "
                "distance to that. Usual causes: a learning rate too high, features far from "
                "standardized, or too few steps. Change lr, n_epochs or the generator.",
                CollapseWarning,
            )
