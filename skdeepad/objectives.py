"""Objectives that several detectors share: distance to a centre, and reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from skdeepad import losses
from skdeepad.engine import Batch, Objective, Rows

CENTER_MARGIN = 0.1
"""Least absolute value of a coordinate of the centre: zero weights match a coordinate of 0."""


class DistanceObjective(Objective):
    """Distance to a fixed centre in the space of codes.

    Parameters
    ----------
    network : nn.Module
        Maps (n, *input_shape) to codes; what follows the first axis is flattened to (n, d).
    input_shape : tuple of int
        Shape of one row.
    code_size : int
        d, the number of code coordinates.
    row_loss : callable
        ``row_loss(distance, y, **numbers) -> (n,)``, one of :mod:`skdeepad.losses`.
    input_noise : float, default=0.0
        Standard deviation of the noise added to features in training, in units of each feature's.
    **numbers : float
        Numbers of the loss; kept as 0-dim buffers.
    """

    center: Tensor
    noise_scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: Sequence[int],
        code_size: int,
        row_loss: Callable[..., Tensor],
        input_noise: float = 0.0,
        **numbers: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.row_loss = row_loss
        self.input_noise = input_noise
        self.number_names = tuple(numbers)
        self.register_buffer("center", torch.zeros(code_size))
        self.register_buffer("noise_scale", torch.zeros(tuple(input_shape)))
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor(float(number)))

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Ask for noise of the shape of x, if any is to be added."""
        return {"x": x_shape} if self.input_noise else {}

    def distance(self, x: Tensor) -> Tensor:
        """Squared distance of each row's code to the centre: (n,)."""
        return losses.squared_distance(self.network(x).flatten(1), self.center)

    score = distance

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,)."""
        x = batch.x
        if self.input_noise:
            x = x + self.noise_scale * batch.noise["x"]
        return self._loss_at(x, batch.y)

    def validation_loss(self, batch: Batch) -> Tensor:
        """Loss of each held-out row, without noise: (n,)."""
        return self._loss_at(batch.x, batch.y)

    def _loss_at(self, x: Tensor, y: Tensor) -> Tensor:
        numbers = {name: getattr(self, name) for name in self.number_names}
        return self.row_loss(self.distance(x), y, **numbers)

    def start(self, rows: Rows) -> None:
        """Set the centre to the mean code of all rows but the labeled anomalies."""
        total, weight = torch.zeros_like(self.center), self.center.new_zeros(())
        for x, y, count in rows.slices():
            counted = (y[:count] >= 0).to(total.dtype)  # (count,)
            total += counted @ self.network(x).flatten(1)[:count].to(total.dtype)
            weight += counted.sum()
        center = total / weight
        margin = torch.where(center < 0, -CENTER_MARGIN, CENTER_MARGIN)
        self.center.copy_(torch.where(center.abs() < CENTER_MARGIN, margin, center))
        if self.input_noise:
            self.noise_scale.copy_(self.input_noise * standard_deviation(rows))


def standard_deviation(rows: Rows) -> Tensor:
    """Compute the standard deviation of each feature: (*input_shape,)."""
    n = len(rows)
    mean = sum(x[:count].sum(0) / n for x, _, count in rows.slices())
    variance = sum((x[:count] - mean).square().sum(0) / n for x, _, count in rows.slices())
    return torch.as_tensor(variance).sqrt()


class ReconstructionObjective(Objective):
    """Mean squared error of an autoencoder's reconstruction."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> Tensor:
        """Codes of the rows: (n, d)."""
        return self.encoder(x).flatten(1)

    def score(self, x: Tensor) -> Tensor:
        """Squared error of each row, its mean over the features: (n,)."""
        return losses.squared_error(x, self.decoder(self.encoder(x)))

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,). Labels play no part."""
        return self.score(batch.x)
