"""Objectives that several detectors share, and how batches are prepared for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skdeepad import losses
from skdeepad.augmentation import ImageAugmentation
from skdeepad.engine import Batch, Objective, Rows
from skdeepad.relevance import secant
from skdeepad.synthetic import Confetti, PermutedColumns, RandomWords

CENTER_MARGIN = 0.1
"""Least absolute value of a coordinate of the centre: zero weights match a coordinate of 0."""


class Preparation(NamedTuple):
    """How a batch is changed before a training step.

    Parameters
    ----------
    input_noise : float, default=0.0
        Standard deviation of the noise added to features, in units of each feature's.
    augment : ImageAugmentation, callable or None, default=None
        Changes images; a user's callable takes a batch (n, channels, height, width) and returns
        one of the same shape. It may draw from the global generators, which are seeded for it.
    synthetic : Confetti, PermutedColumns, RandomWords or None, default=None
        Makes anomalies of every second or third row that is not labeled as one.

    Examples
    --------
    >>> from skdeepad import losses
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import DistanceObjective, Preparation
    >>> objective = DistanceObjective(
    ...     MLP((4,), (8, 2)), (4,), 2, losses.one_class, Preparation(input_noise=0.5)
    ... )
    >>> objective.noise_shapes((128, 4))  # drawn by the training loop
    {'x': (128, 4)}
    """

    input_noise: float = 0.0
    augment: ImageAugmentation | Callable[[Tensor], Tensor] | None = None
    synthetic: Confetti | PermutedColumns | RandomWords | None = None


UNCHANGED = Preparation()
"""Batches as they come."""


class PreparedObjective(Objective):
    """What objectives share that add noise, augment images, or make synthetic anomalies.

    Parameters
    ----------
    network : nn.Module
        Maps rows (n, ...) to codes or maps.
    input_shape : tuple of int
        Shape of one row.
    preparation : Preparation, default=UNCHANGED
        What happens to a batch before a training step.
    **numbers : float
        Numbers of the loss; kept as 0-dim buffers.

    Examples
    --------
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import Preparation, PreparedObjective
    >>> from skdeepad.synthetic import PermutedColumns
    >>> made = Preparation(synthetic=PermutedColumns())
    >>> objective = PreparedObjective(MLP((4,), (8, 2)), (4,), made, eta=2.0)
    >>> objective.numbers()  # a subclass defines loss and score
    {'eta': tensor(2.)}
    """

    preparation: Preparation
    number_names: tuple[str, ...]
    input_noise: Tensor
    noise_scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: Sequence[int],
        preparation: Preparation = UNCHANGED,
        **numbers: float,
    ) -> None:
        super().__init__()
        self.network = network
        # Models that are trained as one may differ in how much noise there is, not in whether.
        self.preparation = preparation._replace(input_noise=bool(preparation.input_noise))
        self.number_names = tuple(numbers)
        self.register_buffer("input_noise", torch.tensor(float(preparation.input_noise)))
        self.register_buffer("noise_scale", torch.zeros(tuple(input_shape)))
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor(float(number)))

    def numbers(self) -> dict[str, Tensor]:
        """Return the numbers of the loss by name."""
        return {name: getattr(self, name) for name in self.number_names}

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Ask for the noise that preparing a batch of that shape needs."""
        input_noise, augment, synthetic = self.preparation
        shapes: dict[str, Sequence[int]] = {}
        if isinstance(augment, ImageAugmentation):
            shapes |= augment.noise_shapes(x_shape)
        if synthetic is not None:
            shapes["synthetic"] = synthetic.noise_shape(x_shape)
        if input_noise:
            shapes["x"] = x_shape
        return shapes

    def prepare(self, batch: Batch) -> Batch:
        """Augment, make synthetic anomalies, add noise."""
        input_noise, augment, _ = self.preparation
        if isinstance(augment, ImageAugmentation):
            batch = batch._replace(x=augment(batch.x, batch.noise))
        elif augment is not None:
            batch = batch._replace(x=_augmented(augment, batch.x))
        batch = self.with_synthetic(batch)
        if input_noise:
            batch = batch._replace(x=batch.x + self.noise_scale * batch.noise["x"])
        return batch

    def with_synthetic(self, batch: Batch) -> Batch:
        """Make anomalies of every second row or so, if there are to be any."""
        synthetic = self.preparation.synthetic
        if synthetic is None:
            return batch
        made, masks = synthetic(batch.x, batch.noise["synthetic"])
        place = torch.arange(len(made), device=made.device) % synthetic.every  # (n,)
        chosen = (place == synthetic.every - 1) & (batch.y >= 0)
        rows = chosen.view(-1, *[1] * (made.dim() - 1))
        x = torch.where(rows, made, batch.x)
        return self._with_masks(batch._replace(x=x, y=torch.where(chosen, -1, batch.y)), masks)

    def _with_masks(self, batch: Batch, masks: Tensor | None) -> Batch:
        """Keep the masks (n, h, w) of synthetic anomalies, where they are of use."""
        return batch

    def validation_loss(self, batch: Batch) -> Tensor:
        """Loss of each held-out row, synthetic anomalies among them, as they are: (n,)."""
        return self.loss(self.with_synthetic(batch))

    def start(self, rows: Rows) -> None:
        """Measure the features' deviations, if noise is to be added."""
        if self.preparation.input_noise:
            self.noise_scale.copy_(self.input_noise * standard_deviation(rows))


def _augmented(augment: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    changed: object = augment(x)
    came = type(changed).__name__
    if isinstance(changed, Tensor):
        came = f"{tuple(changed.shape)} of {changed.dtype} on {changed.device}, {changed.layout}"
        alike = changed.shape == x.shape, changed.device == x.device, changed.layout == x.layout
        if all(alike) and changed.is_floating_point():
            # On an accelerator the question would hold up every step.
            if x.device.type != "cpu" or changed.isfinite().all():
                return changed.to(x.dtype)
            came = "NaN or infinity, of rows that are finite"
    raise ValueError(
        f"augment must return a tensor of the shape of its batch, {tuple(x.shape)}; it returned "
        f"{came}. Return finite numbers of floating point, where and as the batch is."
    )


class DistanceObjective(PreparedObjective):
    """Distance to a fixed centre in the space of codes, or to the origin.

    Parameters
    ----------
    network : nn.Module
        Maps rows (n, ...) to codes; what follows the first axis is flattened to (n, d).
    input_shape : tuple of int
        Shape of one row.
    code_size : int
        d, the number of code coordinates.
    row_loss : callable
        ``row_loss(distance, y, **numbers) -> (n,)``, one of :mod:`skdeepad.losses`.
    preparation : Preparation, default=UNCHANGED
        What happens to a batch before a training step.
    radial : callable, default=losses.squared_norm
        Maps vectors (n, d) to distances from 0, (n,).
    centered : bool, default=True
        Whether the centre is the mean code before training, or 0: then the bias terms of the
        network's last layer stand in for it.
    n_branches : int, default=1
        Number of parts of a code that learn by themselves: the loss is the mean of theirs, and the
        distance that of their distances. The network gives a code divided by the root of it.
    **numbers : float
        Numbers of the loss; kept as 0-dim buffers.

    Examples
    --------
    >>> import torch
    >>> from skdeepad import losses
    >>> from skdeepad.engine import Batch
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import DistanceObjective
    >>> objective = DistanceObjective(MLP((4,), (8, 2)), (4,), 2, losses.deep_sad, eta=2.0)
    >>> objective("loss", Batch(torch.zeros(3, 4), torch.tensor([1, 0, -1]))).shape
    torch.Size([3])
    """

    row_loss: Callable[..., Tensor]
    radial: Callable[[Tensor], Tensor]
    centered: bool
    center: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: Sequence[int],
        code_size: int,
        row_loss: Callable[..., Tensor],
        preparation: Preparation = UNCHANGED,
        radial: Callable[[Tensor], Tensor] = losses.squared_norm,
        centered: bool = True,
        n_branches: int = 1,
        **numbers: float,
    ) -> None:
        super().__init__(network, input_shape, preparation, **numbers)
        self.row_loss, self.radial, self.centered = row_loss, radial, centered
        self.n_branches = n_branches
        self.register_buffer("center", torch.zeros(code_size))

    def distances(self, x: Tensor) -> Tensor:
        """Distance of each row's code to the centre: (n,), or (n, n_branches) if several learn."""
        code = self.network(x).flatten(1) - self.center
        if self.n_branches == 1:
            return self.radial(code)
        parts = code.unflatten(1, (self.n_branches, -1))  # (n, n_branches, d)
        return self.radial(math.sqrt(self.n_branches) * parts)

    def score(self, x: Tensor) -> Tensor:
        """Distance of each row's code to the centre, or the mean of its branches': (n,)."""
        return self._over_branches(self.distances(x))

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows and reference rows by the secants of squares and of what is made of them."""
        code = self.network(both).flatten(1) - self.center
        parts = math.sqrt(self.n_branches) * code.unflatten(1, (self.n_branches, -1))
        return secant_radial(self.radial, parts).mean(1)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row, or the mean of its branches': (n,)."""
        y = batch.y if self.n_branches == 1 else batch.y[:, None]
        # By row and branch: here a branch could be made to leave out some rows.
        return self._over_branches(self.row_loss(self.distances(batch.x), y, **self.numbers()))

    def _over_branches(self, values: Tensor) -> Tensor:
        return values if self.n_branches == 1 else values.mean(1)

    def start(self, rows: Rows) -> None:
        """Set the centre to the mean code of all rows but the labeled anomalies."""
        super().start(rows)
        if not self.centered:
            return
        total, weight = torch.zeros_like(self.center), self.center.new_zeros(())
        for x, y, count in rows.slices():
            counted = (y[:count] >= 0).to(total.dtype)  # (count,)
            total += counted @ self.network(x).flatten(1)[:count].to(total.dtype)
            weight += counted.sum()
        center = total / weight
        margin = torch.where(center < 0, -CENTER_MARGIN, CENTER_MARGIN)
        self.center.copy_(torch.where(center.abs() < CENTER_MARGIN, margin, center))


def secant_radial(radial: Callable[[Tensor], Tensor], both: Tensor) -> Tensor:
    """Apply a radial function to vectors (2 n, ..., d) so that relevance goes to coordinates.

    Those of this package are functions of the sum of squares, or of absolute values.
    """
    if radial is losses.l1_norm:
        return secant(torch.abs, both).sum(-1)
    squared = secant(torch.square, both).sum(-1)
    tiny = torch.finfo(squared.dtype).tiny
    return secant(lambda squared: radial(squared.clamp(min=tiny).sqrt()[..., None]), squared)


def standard_deviation(rows: Rows) -> Tensor:
    """Compute the standard deviation of each feature: (*input_shape,)."""
    n = len(rows)
    mean = sum(x[:count].sum(0) / n for x, _, count in rows.slices())
    variance = sum((x[:count] - mean).square().sum(0) / n for x, _, count in rows.slices())
    return torch.as_tensor(variance).sqrt()


class ReconstructionObjective(Objective):
    """Mean squared error of an autoencoder's reconstruction.

    Parameters
    ----------
    network : nn.Module
        Maps rows to codes.
    decoder : nn.Module
        Maps codes back to rows.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import ReconstructionObjective
    >>> encoder = MLP((4,), (8, 2), bias=True)
    >>> objective = ReconstructionObjective(encoder, encoder.decoder())
    >>> objective.codes(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    network: nn.Module
    decoder: nn.Module

    def __init__(self, network: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.network, self.decoder = network, decoder

    def decode(self, codes: Tensor) -> Tensor:
        """Rows that codes of the network's own shape are decoded to: (n, ...)."""
        decoded: Tensor = self.decoder(codes)
        return decoded

    def score(self, x: Tensor) -> Tensor:
        """Squared error of each row, its mean over the features: (n,)."""
        return losses.squared_error(x, self.decoder(self.network(x)))

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows and reference rows by the secants of squares: (2n,)."""
        residual = both - self.decoder(self.network(both))
        return secant(torch.square, residual).flatten(1).mean(1)

    def relevance(self, x: Tensor) -> Tensor:
        """Share of each number of a row in its score: the shape of x."""
        return (x - self.decoder(self.network(x))).square() / x[0].numel()

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,). Labels play no part."""
        return self.score(batch.x)
