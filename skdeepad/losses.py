"""Losses of one row each: pure functions of a distance and a label.

They hold ``torch.where`` and last-axis reductions only, no boolean indexing and no branch on data,
so that ``torch.func.vmap`` can stack many models; the branch that ``where`` does not choose gets a
safe input, because its gradient is computed all the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEEP_SAD_EPS = 1e-6
"""Added to a distance before its reciprocal is taken, as in the authors' experiments."""


def squared_distance(z: Tensor, center: Tensor) -> Tensor:
    r""":math:`\lVert z - c \rVert^2` of codes (n, d) to a centre (d,): (n,)."""
    return (z - center).square().sum(-1)


def one_class(distance: Tensor, y: Tensor) -> Tensor:
    """Give the distance itself, whatever the label: (n,)."""
    return distance


def soft_boundary(distance: Tensor, y: Tensor, radius_squared: Tensor, nu: Tensor) -> Tensor:
    r""":math:`R^2 + \frac{1}{\nu} \max(0, d - R^2)`, whatever the label: (n,)."""
    return radius_squared + torch.relu(distance - radius_squared) / nu


def deep_sad(distance: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    r"""By label 0, > 0, < 0: :math:`d`, :math:`\eta d`, :math:`\eta / (d + 10^{-6})`: (n,)."""
    anomalous = y < 0
    reciprocal = 1.0 / (torch.where(anomalous, distance, 1.0) + DEEP_SAD_EPS)
    labeled = eta * torch.where(anomalous, reciprocal, distance)
    return torch.where(y == 0, distance, labeled)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    r""":math:`\frac{1}{D} \lVert x - \hat x \rVert^2` over all D features of a row: (n,)."""
    return (x - reconstruction).square().flatten(1).mean(-1)
