"""Multilayer perceptrons for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Linear-BatchNorm-LeakyReLU blocks and a linear output layer.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one row; it is flattened.
    hidden_layer_sizes : tuple of int, default=(32, 16, 8)
        Units of each layer; the last is the size of the code.
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones. Hypersphere methods must not
        have them: with a bias, a network of zero weights maps all rows to the centre.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import MLP
    >>> encoder = MLP((21,), hidden_layer_sizes=(32, 16, 8))
    >>> encoder(torch.zeros(5, 21)).shape
    torch.Size([5, 8])
    >>> encoder.decoder()(encoder(torch.zeros(5, 21))).shape
    torch.Size([5, 21])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden_layer_sizes: Sequence[int] = (32, 16, 8),
        bias: bool = False,
    ) -> None:
        sizes = (math.prod(input_shape), *hidden_layer_sizes)
        super().__init__(nn.Flatten(), *blocks(sizes, bias))
        self.input_shape = tuple(input_shape)
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)

    def decoder(self) -> nn.Module:
        """Return the mirror image, from codes to rows. Its layers do have biases."""
        sizes = (*self.hidden_layer_sizes[::-1], math.prod(self.input_shape))
        return nn.Sequential(*blocks(sizes, bias=True), nn.Unflatten(1, self.input_shape))


def blocks(sizes: Sequence[int], bias: bool) -> list[nn.Module]:
    """Linear-BatchNorm-LeakyReLU blocks; the last layer is linear alone."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [
            nn.Linear(inputs, outputs, bias=bias),
            nn.BatchNorm1d(outputs, affine=bias),
            nn.LeakyReLU(0.1),
        ]
    return [*layers, nn.Linear(sizes[-2], sizes[-1], bias=bias)]
