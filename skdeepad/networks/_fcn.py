"""Fully convolutional networks: from images to smaller maps, place by place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

_FROZEN_LAYERS = 10
_LEAKY_RELU = partial(nn.LeakyReLU, 0.1)


class Block(NamedTuple):
    """A convolution with what follows it.

    Attributes
    ----------
    kernel : int or tuple of int
        Side of the filters.
    normalized : bool
        Whether BatchNorm and the activation follow.
    pooled : bool
        Whether 2x2 max-pooling follows, where the map is large enough.
    """

    kernel: int | tuple[int, int]
    normalized: bool
    pooled: bool


_FASHION_MNIST = (Block(5, True, True), Block(5, False, True))
_CIFAR10 = (
    Block(3, True, True),
    Block(3, True, False),
    Block(3, True, True),
    Block(3, False, False),
)
_IMAGENET = (
    Block(3, True, True),
    Block(3, True, True),
    Block(3, True, False),
    Block(3, True, True),
    Block(3, True, False),
    Block(3, True, False),
)


def _fcn(
    input_shape: Sequence[int],
    filters: Sequence[int],
    blocks: Sequence[Block],
    activation: Callable[[], nn.Module] = _LEAKY_RELU,
) -> nn.Sequential:
    """Build blocks of convolution, BatchNorm, activation, pooling, then a 1x1 convolution."""
    if len(filters) != len(blocks):
        raise ValueError(
            f"This network has {len(blocks)} convolutions before its last: expected as many "
            f"numbers of filters in hidden_layer_sizes, got {tuple(filters)}."
        )
    channels, *sides = input_shape
    layers: list[nn.Module] = []
    for inputs, outputs, block in zip((channels, *filters), filters, blocks, strict=False):
        layers.append(nn.Conv2d(inputs, outputs, block.kernel, padding="same"))
        if block.normalized:
            layers += [nn.BatchNorm2d(outputs), activation()]
        if block.pooled and min(sides) >= 2:
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
    return nn.Sequential(*layers, nn.Conv2d((channels, *filters)[-1], 1, 1))


def fcn_fashion_mnist(
    input_shape: Sequence[int] = (1, 28, 28), filters: Sequence[int] = (128, 128)
) -> nn.Sequential:
    """Build FCDD's network for Fashion-MNIST: 413,441 parameters, receptive field 16.

    Parameters
    ----------
    input_shape : tuple of int, default=(1, 28, 28)
        (channels, height, width).
    filters : sequence of int, default=(128, 128)
        Filters of the two convolutions before the last.

    Returns
    -------
    nn.Sequential
        Maps (n, c, h, w) to (n, 1, h / 4, w / 4).

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import fcn_fashion_mnist
    >>> fcn_fashion_mnist()(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 1, 7, 7])
    """
    return _fcn(input_shape, filters, _FASHION_MNIST)


def fcn_cifar10(
    input_shape: Sequence[int] = (3, 32, 32), filters: Sequence[int] = (128, 256, 256, 128)
) -> nn.Sequential:
    """Build FCDD's network for CIFAR-10: 1,185,281 parameters, receptive field 22.

    Parameters
    ----------
    input_shape : tuple of int, default=(3, 32, 32)
        (channels, height, width).
    filters : sequence of int, default=(128, 256, 256, 128)
        Filters of the four convolutions before the last.

    Returns
    -------
    nn.Sequential
        Maps (n, c, h, w) to (n, 1, h / 4, w / 4).

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import fcn_cifar10
    >>> fcn_cifar10()(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 1, 8, 8])
    """
    return _fcn(input_shape, filters, _CIFAR10)


def fcn_imagenet(
    input_shape: Sequence[int] = (3, 224, 224),
    filters: Sequence[int] = (64, 128, 256, 256, 512, 512),
    pretrained: nn.Sequential | None = None,
) -> nn.Sequential:
    """Build FCDD's network for large images: 4,504,833 parameters, receptive field 62.

    Parameters
    ----------
    input_shape : tuple of int, default=(3, 224, 224)
        (channels, height, width).
    filters : sequence of int, default=(64, 128, 256, 256, 512, 512)
        Filters of the six convolutions before the last.
    pretrained : nn.Sequential, default=None
        Layers whose first ten replace this network's and are frozen: the ``features`` of
        torchvision's VGG11 with BatchNorm.

    Returns
    -------
    nn.Sequential
        Maps (n, c, h, w) to (n, 1, h / 8, w / 8).

    Raises
    ------
    ValueError
        If the first ten layers of `pretrained` are not of these kinds and sizes.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import fcn_imagenet
    >>> network = fcn_imagenet((3, 64, 64), filters=(4, 4, 8, 8, 8, 8))
    >>> network(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1, 8, 8])
    """
    network = _fcn(input_shape, filters, _IMAGENET, nn.ReLU)
    if pretrained is None:
        return network
    own, theirs = list(network)[:_FROZEN_LAYERS], list(pretrained)[:_FROZEN_LAYERS]
    if _described(own) != _described(theirs):
        raise ValueError(
            f"The first {_FROZEN_LAYERS} layers of pretrained must be of these kinds and sizes: "
            f"{_described(own)}; they are {_described(theirs)}."
        )
    return nn.Sequential(Frozen(*copy.deepcopy(theirs)), *list(network)[_FROZEN_LAYERS:])


def _described(layers: Sequence[nn.Module]) -> list[str]:
    """Name layers with the shapes of their weights."""
    weights = [getattr(layer, "weight", None) for layer in layers]
    shapes = [() if weight is None else tuple(weight.shape) for weight in weights]
    return [f"{type(layer).__name__}{shape}" for layer, shape in zip(layers, shapes, strict=True)]


def fcn_table(input_shape: Sequence[int], filters: Sequence[int] = (32, 32, 32)) -> nn.Sequential:
    """Build a network that maps each row of a table, a one-channel signal, to one value a column.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, 1, columns).
    filters : sequence of int, default=(32, 32, 32)
        Channels of each column's own embedding, then filters of the convolutions, which see up to
        four columns on either side.

    Returns
    -------
    nn.Sequential
        Maps (n, channels, 1, columns) to (n, 1, 1, columns).

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import fcn_table
    >>> fcn_table((1, 1, 9))(torch.zeros(5, 1, 1, 9)).shape
    torch.Size([5, 1, 1, 9])
    """
    channels, _, columns = input_shape
    first, *others = filters
    kernel = (1, 2 * min(columns // 2, 4) + 1)
    blocks = [Block(kernel, True, False)] * len(others)
    start = [ColumnEmbedding(channels, columns, first), nn.BatchNorm2d(first), nn.LeakyReLU(0.1)]
    return nn.Sequential(*start, *_fcn((first, 1, columns), others, blocks))


class ColumnEmbedding(nn.Module):
    """Turn each column of a table into several channels, by weights of its own.

    Columns are of different kinds, unlike pixels, so that a convolution alone would mistake one
    for the other.

    Parameters
    ----------
    channels, columns : int
        Of the rows, (n, channels, 1, columns).
    size : int
        Channels of the result.
    """

    def __init__(self, channels: int, columns: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.own: nn.Module = nn.Conv2d(columns * channels, columns * size, 1, groups=columns)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, 1, columns) to (n, size, 1, columns)."""
        by_column = self.own(x.permute(0, 3, 1, 2).flatten(1)[:, :, None, None])
        by_channel = by_column.view(len(x), -1, self.size, 1).permute(0, 2, 3, 1)
        # Contiguous: of an image one pixel high in any other order, torch 2.13 takes the wrong
        # gradient through BatchNorm.
        return by_channel.contiguous()


class Frozen(nn.Sequential):
    """Layers that are not trained and whose BatchNorm keeps the statistics it has.

    Parameters
    ----------
    *layers : nn.Module
        One after the other.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        return super().train(False)
