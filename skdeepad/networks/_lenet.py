"""The papers' LeNet-type convolutional networks, for small images and for series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from skdeepad.networks._mlp import dense_blocks


class _Layers(NamedTuple):
    """What a LeNet is made of, by the number of sides of its rows."""

    convolution: type[nn.Module]
    transposed: type[nn.Module]
    norm: type[nn.Module]
    pool: type[nn.Module]


_LAYERS = {
    1: _Layers(nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.MaxPool1d),
    2: _Layers(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d),
}


class LeNet(nn.Module):
    """Blocks of 5x5 convolution, BatchNorm, LeakyReLU and 2x2 max-pooling, then dense layers.

    For series they have one dimension: convolutions over 5 steps, max-pooling over 2.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width) or (channels, time); height, width and time at least 2 to the
        number of blocks.
    filters : tuple of int, default=(16, 32)
        Filters of each block.
    dense : tuple of int, default=(64, 32)
        Units of each dense layer; the last is the size of the code. BatchNorm and LeakyReLU stand
        between dense layers, nothing after the last.
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones.

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix D.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import LeNet
    >>> encoder = LeNet((1, 28, 28), filters=(8, 4), dense=(32,))
    >>> encoder(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 32])
    >>> LeNet((3, 100))(torch.zeros(5, 3, 100)).shape  # series of three channels
    torch.Size([5, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        filters: Sequence[int] = (16, 32),
        dense: Sequence[int] = (64, 32),
        bias: bool = False,
    ) -> None:
        super().__init__()
        channels, *sides = input_shape
        if len(sides) not in _LAYERS:
            raise ValueError(
                "LeNet takes images (channels, height, width) and series (channels, time); got "
                f"input_shape={tuple(input_shape)}. Use an MLP for tables."
            )
        if min(sides) < 2 ** len(filters):
            raise ValueError(
                f"LeNet with {len(filters)} blocks halves each side {len(filters)} times and needs "
                f"at least {2 ** len(filters)} pixels or steps; got "
                f"input_shape={tuple(input_shape)}. Use fewer filters, or an MLP."
            )
        self.input_shape: tuple[int, ...] = tuple(input_shape)
        self.filters: tuple[int, ...] = tuple(filters)
        self.dense: tuple[int, ...] = tuple(dense)
        of = _LAYERS[len(sides)]
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels, *filters[:-1]), filters, strict=True):
            layers += [
                of.convolution(inputs, outputs, 5, padding=2, bias=bias),
                of.norm(outputs, affine=bias),
                nn.LeakyReLU(0.1),
                of.pool(2),
            ]
        self.convolutions: nn.Module = nn.Sequential(*layers)
        self._map_shape: tuple[int, ...] = (filters[-1], *self._sides_behind(len(filters)))
        sizes = (math.prod(self._map_shape), *dense)
        self.head: nn.Module = nn.Sequential(nn.Flatten(), *dense_blocks(sizes, bias))

    def _sides_behind(self, blocks: int) -> tuple[int, ...]:
        """Return the sides of the maps behind that many blocks."""
        return tuple(side >> blocks for side in self.input_shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) or series (n, c, t) to codes (n, d)."""
        return self.head(self.convolutions(x))

    def decoder(self) -> nn.Module:
        """Return the mirror image: upsampling for pooling, transposed for plain convolutions."""
        channels, *sides = self.input_shape
        of = _LAYERS[len(sides)]
        sizes = (*self.dense[::-1], math.prod(self._map_shape))
        layers = [*dense_blocks(sizes, bias=True), nn.Unflatten(1, self._map_shape)]
        outputs = (*self.filters[:-1][::-1], channels)
        for block, (inputs, out) in enumerate(
            zip(self.filters[::-1], outputs, strict=True), start=1
        ):
            # An odd side lost a pixel in pooling; upsampling to the exact size gives it back.
            layers += [
                of.norm(inputs),
                nn.LeakyReLU(0.1),
                nn.Upsample(size=self._sides_behind(len(self.filters) - block)),
                of.transposed(inputs, out, 5, padding=2),
            ]
        return nn.Sequential(*layers)


def lenet_mnist(input_shape: Sequence[int] = (1, 28, 28), bias: bool = False) -> LeNet:
    """Build the papers' network for MNIST: 8 and 4 filters, code of 32.

    Parameters
    ----------
    input_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width).
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones.

    Returns
    -------
    LeNet
        Maps (n, c, h, w) to (n, 32).

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix D.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import lenet_mnist
    >>> lenet_mnist()(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 32])
    """
    return LeNet(input_shape, filters=(8, 4), dense=(32,), bias=bias)


def lenet_fashion_mnist(input_shape: Sequence[int] = (1, 28, 28), bias: bool = False) -> LeNet:
    """Build the papers' network for Fashion-MNIST: 16 and 32 filters, dense 64, code of 32.

    Parameters
    ----------
    input_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width).
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones.

    Returns
    -------
    LeNet
        Maps (n, c, h, w) to (n, 32).

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix D.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import lenet_fashion_mnist
    >>> lenet_fashion_mnist()(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 32])
    """
    return LeNet(input_shape, filters=(16, 32), dense=(64, 32), bias=bias)


def lenet_cifar10(input_shape: Sequence[int] = (3, 32, 32), bias: bool = False) -> LeNet:
    """Build the papers' network for CIFAR-10: 32, 64 and 128 filters, code of 128.

    Parameters
    ----------
    input_shape : tuple of int, default=(3, 32, 32)
        (channels, height, width).
    bias : bool, default=False
        Whether layers have bias terms and BatchNorm its affine ones.

    Returns
    -------
    LeNet
        Maps (n, c, h, w) to (n, 128).

    References
    ----------
    Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, appendix D.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import lenet_cifar10
    >>> lenet_cifar10()(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 128])
    """
    return LeNet(input_shape, filters=(32, 64, 128), dense=(128,), bias=bias)
