"""AGAD: adversarial generative anomaly detection."""

from __future__ import annotations

import math
import warnings
from functools import partial
from numbers import Real
from typing import NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from skdeepad import networks
from skdeepad.base import CollapseWarning, on_host
from skdeepad.deep import DeepDetector, document
from skdeepad.detectors._preparation import LABEL_CONSTRAINTS, preparation
from skdeepad.engine import Turn
from skdeepad.losses import norm
from skdeepad.objectives import PreparedObjective

SIDES = 16
"""Images are resized to the next multiple of this for the generators of the paper."""
LEAST_MEAN = 1e-3
"""Added to means before their reciprocals are taken."""
CONSTANT = 1e-4
"""Reconstructions are constant if their variance is below this share of the rows'."""
WON = 0.03
"""The discriminator wins an epoch if its loss is below this share of that of guessing."""


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

    early_stopping_refusal = (
        "generator and discriminator learn against each other, and when the loss of one falls that "
        "of the other rises: the lowest loss does not mark the best detector. Pass "
        "early_stopping=False, and choose n_epochs."
    )
    apart_from_losses = ("new_discriminator",)

    def __init__(self, generator, new_discriminator, input_shape, size, preparation, **numbers):
        super().__init__(generator, input_shape, preparation, **numbers)
        self.new_discriminator, self.size = new_discriminator, size
        self.discriminator = new_discriminator()
        self.twice = numbers["contextual_adversarial"] > 0
        self.register_buffer("variation", torch.ones(()))

    def turns(self):
        """Return the generator's turn, then the discriminator's."""
        return (
            Turn("generator_loss", ("network.",)),
            Turn("discriminator_loss", ("discriminator.",)),
        )

    def shared(self, batch):
        """Reconstruct rows, and their reconstructions, and judge both: once for both turns."""
        x = resized(batch.x, self.size)
        reconstruction = self.network(x)
        again = self.network_of_reconstructions(reconstruction) if self.twice else None
        return Views(
            x, reconstruction, again, *self.discriminator(x), *self.discriminator(reconstruction)
        )

    def network_of_reconstructions(self, reconstruction):
        """Pass reconstructions through the generator, and leave its running statistics alone.

        BatchNorm would otherwise score rows by what reconstructions look like, too.
        """
        kept = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        return functional_call(self.network, kept, (reconstruction,))

    def generator_loss(self, batch):
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

    def discriminator_loss(self, batch):
        """Cross-entropy of each row and, if it is normal, of its reconstruction: (n,)."""
        views, anomalous = batch.shared, batch.y < 0
        real = torch.where(anomalous, -views.logit, views.logit)
        made = functional.softplus(views.reconstruction_logit)
        return functional.softplus(-real) + torch.where(anomalous, 0.0, made)

    def after_epoch(self, epoch, rows, losses):
        """Note the balance, and start the discriminator anew where its loss has become too low."""
        balance = losses["discriminator_loss"] / math.log(4.0)
        reset = losses["discriminator_loss"] < float(self.reset_threshold)
        losses |= {"balance": balance, "reset": float(reset)}
        if not reset:
            return ()
        self.discriminator.load_state_dict(self.new_discriminator().state_dict())
        return ("discriminator_loss",)

    def finish(self, rows):
        """Measure how much reconstructions vary, as a share of the variance of their rows.

        Among the first rows: a generator that gives all rows the same gives it to these.
        """
        x, _, count = next(rows.slices())
        x = resized(x, self.size)[:count]
        of_rows, of_made = (part.var(0, correction=0).sum() for part in (x, self.network(x)))
        self.variation.copy_(torch.where(of_rows > 0, of_made / of_rows, 1.0))

    def reconstruct(self, x):
        """Return reconstructions of the shape of rows: (n, *input_shape)."""
        return resized(self.network(resized(x, self.size)), x.shape[2:])

    def score(self, x):
        """Length of the residual of each row: (n,)."""
        x = resized(x, self.size)
        residual = (x - self.network(x)).flatten(1)
        # Squares overflow long before lengths do.
        largest = residual.abs().amax(1).clamp(min=torch.finfo(residual.dtype).tiny)
        return largest * norm(residual / largest[:, None])

    def explain(self, x):
        """Squared residual of each pixel, summed over channels, or of each column."""
        seen = resized(x, self.size)
        squared = (seen - self.network(seen)).square()
        if x.dim() == 2:
            return squared
        return resized(squared.sum(1, keepdim=True), x.shape[2:])[:, 0]


def resized(x, size):
    """Return images (n, c, *size); rows as they are where there is no other size."""
    if size is None or tuple(x.shape[2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def masked_mean(values, mask):
    """Mean of the values (n,) where the mask is True; 0 if it never is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


@document
class AGAD(DeepDetector):
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
    number of epochs matters, and no loss tells when to stop. A rate that falls to 0, the default,
    keeps the ranking from hanging on the last few steps; the paper's is constant.

    Features are used as they are: standardize tables first, for example with
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    adversarial : float, default=1.0
        :math:`\lambda_\text{adv}`, weight of deceiving the discriminator.
    contextual : float, default=50.0
        :math:`\lambda_\text{con}`, weight of the reconstruction.
    contextual_adversarial : float, default=15.0
        :math:`\lambda_\text{adcon}`, weight of not reconstructing reconstructions, nor labeled
        anomalies. 0 leaves out the second pass through the generator.
    latent : float, default=5.0
        :math:`\lambda_\text{lat}`, weight of the discriminator's features.
    reset_threshold : float, default=0.05
        The discriminator starts anew, with its first weights, after an epoch in which its mean loss
        was lower; guessing has :math:`2 \log 2 \approx 1.39`. 0 never resets it.
    generator : {"naive", "unet", "unet++"}, torch.nn.Module, class or callable, default="naive"
        For images the paper's encoder-decoder, a UNet or a UNet++ (:mod:`skdeepad.networks`); for
        tables "naive" is an MLP and its mirror image. A network of your own maps rows to rows of
        the same shape; an instance is copied, its weights included, and never trained in place; a
        class or a function is called, with ``input_shape=`` if it takes a parameter of that name.
    hidden_layer_sizes : tuple of int, default=None
        Filters of the generators given by name, or units of the MLP. None: the papers' filters;
        (128, 64, 32) for tables.
    input_shape : tuple of int, default=None
        (channels, height, width) if the rows of X are flattened images.
    {label_parameters}
    {training_parameters}
    {common_parameters}

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
    Cai et al., "AGAD: Adversarial Generative Anomaly Detection", sections 3.2 and 3.3, algorithm 1,
    appendix A.2.

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

    _parameter_constraints: dict = {
        **DeepDetector._parameter_constraints,
        **LABEL_CONSTRAINTS,
        "adversarial": [Interval(Real, 0, None, closed="left")],
        "contextual": [Interval(Real, 0, None, closed="left")],
        "contextual_adversarial": [Interval(Real, 0, None, closed="left")],
        "latent": [Interval(Real, 0, None, closed="left")],
        "reset_threshold": [Interval(Real, 0, None, closed="left")],
        "generator": [StrOptions({"naive", "unet", "unet++"}), nn.Module, callable],
    }
    del _parameter_constraints["network"]
    _auto_steps = 200
    _paper_settings: dict = {"n_epochs": 35, "lr_schedule": "constant"}

    def __init__(
        self,
        adversarial=1.0,
        contextual=50.0,
        contextual_adversarial=15.0,
        latent=5.0,
        *,
        reset_threshold=0.05,
        generator="naive",
        hidden_layer_sizes=None,
        input_shape=None,
        anomaly_fraction=0.125,
        augment=None,
        n_epochs="auto",
        lr=2e-4,
        lr_schedule="cosine",
        batch_size=256,
        weight_decay=0.0,
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
        self.adversarial = adversarial
        self.contextual = contextual
        self.contextual_adversarial = contextual_adversarial
        self.latent = latent
        self.reset_threshold = reset_threshold
        self.generator = generator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_shape = input_shape
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

    @classmethod
    def with_paper_settings(cls, *args, **parameters):
        """Return a detector that is trained for 35 epochs at a constant rate.

        The paper does not say how long it trains; its curves end there (figure 6). Weights of the
        losses, learning rate, batches and generators are its own by default.

        Parameters
        ----------
        *args, **parameters : object
            Parameters of the detector, which go before the paper's.

        Returns
        -------
        AGAD
            Not fitted.

        References
        ----------
        Cai et al., "AGAD: Adversarial Generative Anomaly Detection", section 4.3, figure 6.
        """
        return super().with_paper_settings(*args, **parameters)

    def reconstruct(self, X):
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
        return made if getattr(on_host(X), "ndim", 2) == 4 else made.reshape(rows.shape)

    def explain(self, X):
        """Compute squared residuals: how much each pixel, or column, adds to the squared score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to explain, or images of shape (n, channels, height, width).

        Returns
        -------
        ndarray of shape (n_samples, height, width), dtype float64
            Sums over the channels, brought back to the image's size where it was resized;
            (n_samples, n_features) for tables.
        """
        check_is_fitted(self)
        return self._by_row(self._validate(X, reset=False), "explain")

    def _stages(self, seeds, y):
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
            adversarial=self.adversarial,
            contextual=self.contextual,
            contextual_adversarial=self.contextual_adversarial,
            latent=self.latent,
            reset_threshold=self.reset_threshold,
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _keep(self, objective):
        super()._keep(objective)
        self.discriminator_ = objective.discriminator

    def _warn_of_scores(self, scores):
        history = self.history_["train"]
        won = [
            reset or balance < WON
            for reset, balance in zip(history["reset"], history["balance"], strict=True)
        ]
        if len(won) >= 3 and all(won[-3:]):
            warnings.warn(
                "The discriminator of AGAD has won for good: in the last three epochs it hardly "
                "ever took a reconstruction for a row (its loss was "
                f"{history['balance'][-1]:.2g} of that of guessing) and taught the generator "
                "little. Usual causes: few rows, or features of very different scale. Standardize "
                "the features, or lower lr.",
                ConvergenceWarning,
                stacklevel=6,
            )
        if float(self._objective_.variation) < CONSTANT:
            warnings.warn(
                "The generator of AGAD makes nearly the same of all rows, and the score is the "
                "distance to that. Usual causes: a learning rate too high, features far from "
                "standardized, or too few steps. Change lr, n_epochs or the generator.",
                CollapseWarning,
                stacklevel=6,
            )
