"""Objectives that several detectors share: distance to a centre, and reconstruction."""

from __future__ import annotations

from collections.abc import Callable

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
    code_size : int
        d, the number of code coordinates.
    row_loss : callable
        ``row_loss(distance, y, **numbers) -> (n,)``, one of :mod:`skdeepad.losses`.
    **numbers : float
        Numbers of the loss; kept as 0-dim buffers.
    """

    center: Tensor

    def __init__(
        self,
        network: nn.Module,
        code_size: int,
        row_loss: Callable[..., Tensor],
        **numbers: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.row_loss = row_loss
        self.number_names = tuple(numbers)
        self.register_buffer("center", torch.zeros(code_size))
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor(float(number)))

    def distance(self, x: Tensor) -> Tensor:
        """Squared distance of each row's code to the centre: (n,)."""
        return losses.squared_distance(self.network(x).flatten(1), self.center)

    score = distance

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row: (n,)."""
        numbers = {name: getattr(self, name) for name in self.number_names}
        return self.row_loss(self.distance(batch.x), batch.y, **numbers)

    def start(self, rows: Rows) -> None:
        """Set the centre to the mean code of all rows but the labeled anomalies."""
        total = torch.zeros_like(self.center)
        weight = total.new_zeros(())
        for x, y, count in rows.slices():
            counted = (y[:count] >= 0).to(total.dtype)  # (count,)
            total += counted @ self.network(x).flatten(1)[:count].to(total.dtype)
            weight += counted.sum()
        center = total / weight
        margin = torch.where(center < 0, -CENTER_MARGIN, CENTER_MARGIN)
        self.center.copy_(torch.where(center.abs() < CENTER_MARGIN, margin, center))


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
