"""Generators that map images to images, and the discriminators that judge them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skdeepad.networks._mlp import dense_blocks


def encoder_decoder(
    input_shape: Sequence[int] = (1, 32, 32), filters: Sequence[int] = (64, 128, 256, 100)
) -> nn.Sequential:
    """Build AGAD's naive encoder-decoder: 2,134,629 parameters for one channel.

    Convolutions with 4x4 filters and stride 2, BatchNorm and LeakyReLU between them, then
    transposed ones with ReLU; the first layer, the code and the output have no BatchNorm.

    Parameters
    ----------
    input_shape : tuple of int, default=(1, 32, 32)
        (channels, height, width); height and width multiples of 2 to the number of filters.
    filters : sequence of int, default=(64, 128, 256, 100)
        Filters of each convolution; the last number is that of the code.

    Returns
    -------
    nn.Sequential
        Maps (n, c, h, w) to the same shape.

    References
    ----------
    Shi and Zhang, "AGAD: Adversarial Generative Anomaly Detection", appendix A.2, table 7.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import encoder_decoder
    >>> encoder_decoder((3, 32, 32), filters=(4, 8, 8))(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 3, 32, 32])
    """
    channels = input_shape[0]
    layers: list[nn.Module] = []
    down = (channels, *filters)
    for place, (inputs, outputs) in enumerate(pairwise(down), 1):
        layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
        if 1 < place < len(filters):
            layers.append(nn.BatchNorm2d(outputs))
        if place < len(filters):
            layers.append(nn.LeakyReLU(0.2))
    for inputs, outputs in pairwise(down[:0:-1]):
        layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    layers.append(nn.ConvTranspose2d(filters[0], channels, 4, stride=2, padding=1))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    r"""UNet or UNet++: 7,762,465 and 9,045,249 parameters for one channel.

    At level i, 0 the finest, with :math:`f_i` filters, the node :math:`x^{i,0}` is two 3x3
    convolutions over the max-pooled :math:`x^{i-1,0}`. A node :math:`x^{i,j}` is two over
    :math:`x^{i+1,j-1}`, brought to twice its size by a transposed convolution, beside
    :math:`x^{i,0}` in a UNet and beside all of :math:`x^{i,0}, \dots, x^{i,j-1}` in a UNet++. A
    UNet has of those nodes only the last of each level. The output is a 1x1 convolution.

    Parameters
    ----------
    input_shape : tuple of int, default=(1, 32, 32)
        (channels, height, width); height and width multiples of 2 to the number of levels less one.
    filters : sequence of int, default=(32, 64, 128, 256, 512)
        Filters of each level.
    nested : bool, default=False
        Whether it is a UNet++.

    References
    ----------
    Ronneberger et al., "U-Net", MICCAI 2015; Zhou et al., "UNet++", IEEE TMI 2020.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import UNet
    >>> UNet((3, 32, 32), filters=(4, 8, 16), nested=True)(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 32, 32),
        filters: Sequence[int] = (32, 64, 128, 256, 512),
        nested: bool = False,
    ) -> None:
        super().__init__()
        channels = input_shape[0]
        self.depth: int = len(filters)
        self.nested = nested
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.nodes: nn.ModuleDict = nn.ModuleDict()
        self.up: nn.ModuleDict = nn.ModuleDict()
        for level, (inputs, outputs) in enumerate(pairwise((channels, *filters))):
            self.nodes[f"{level} 0"] = _double_convolution(inputs, outputs)
        for level, place in self._upward():
            size = filters[level]
            self.up[f"{level} {place}"] = nn.ConvTranspose2d(filters[level + 1], size, 2, stride=2)
            beside = place if nested else 1
            self.nodes[f"{level} {place}"] = _double_convolution((beside + 1) * size, size)
        self.output: nn.Module = nn.Conv2d(filters[0], channels, 1)

    def _upward(self) -> list[tuple[int, int]]:
        """List level and place of the nodes over a coarser one, each before it is needed.

        Of one place the finer level comes first: it needs the coarser level's node of the place
        before, which then is the last one there.
        """
        return [
            (level, place)
            for place in range(1, self.depth)
            for level in range(self.depth - place)
            if self.nested or level == self.depth - 1 - place
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) to the same shape."""
        of_level: list[list[Tensor]] = []  # the nodes of each level so far
        for level in range(self.depth):
            x = self.nodes[f"{level} 0"](self.pool(x) if level else x)
            of_level.append([x])
        for level, place in self._upward():
            above = self.up[f"{level} {place}"](of_level[level + 1][-1])
            x = self.nodes[f"{level} {place}"](torch.cat([*of_level[level], above], dim=1))
            of_level[level].append(x)
        return self.output(x)


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, outputs):
        layers += [
            nn.Conv2d(size, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class Discriminator(nn.Module):
    """Two blocks of layers that give features, and a last layer that gives a logit from them.

    For images a block is a convolution with 4x4 filters and stride 2, BatchNorm and LeakyReLU, and
    the last layer a convolution over what is left; for tables it is linear layers instead.

    Parameters
    ----------
    input_shape : tuple of int
        (features,), or (channels, height, width) with height and width multiples of 4.
    units : tuple of int, default=(64, 128)
        Filters, or units, of the two blocks.
    """

    def __init__(self, input_shape: Sequence[int], units: Sequence[int] = (64, 128)) -> None:
        super().__init__()
        first, second = units
        if len(input_shape) == 1:
            self.features: nn.Sequential = nn.Sequential(
                *dense_blocks((input_shape[0], first, second, 1), True)
            )
            self.classifier: nn.Module = self.features.pop(-1)
            return
        channels, height, width = input_shape
        if min(height, width) < 4:
            raise ValueError(
                "The discriminator halves images twice: expected sides of at least 4 pixels, got "
                f"images of shape {tuple(input_shape)}. Pass larger images, or a table."
            )
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, first), (first, second)):
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(second, 1, (height // 4, width // 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of being real (n,) and the features (n, d) of rows."""
        features = self.features(x)
        return self.classifier(features).flatten(), features.flatten(1)
