"""Random changes of training images that leave them normal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHIFT = 1 / 8
"""Farthest shift of "crop", in parts of the side."""
JITTER = 0.1
"""Standard deviation of brightness and contrast in "color"."""
PIXEL_NOISE = 0.02
"""Standard deviation of "noise"."""


class ImageAugmentation:
    """Flip, shift, recolour images and add noise, as pure functions of given random numbers.

    Parameters
    ----------
    names : sequence of str
        Of "flip", "crop", "color" and "noise"; they are taken in this order.
    channels : int
        Channels of the image. Further ones, a mask, are flipped and shifted with it and keep
        their values.
    """

    def __init__(self, names: Sequence[str], channels: int) -> None:
        self.names: list[str] = [name for name in AUGMENTATIONS if name in names]
        self.channels = channels

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Shapes of the standard normal numbers that a batch of shape ``x_shape`` needs."""
        n, _, *side = x_shape
        shapes = {"flip": (n,), "crop": (n, 2), "color": (n, 2), "noise": (n, self.channels, *side)}
        return {name: shapes[name] for name in self.names}

    def __call__(self, x: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """Change each image of a batch (n, c, h, w) in its own way."""
        for name in self.names:
            change, with_mask = AUGMENTATIONS[name]
            if with_mask:
                x = change(x, noise[name])
            else:
                changed = change(x[:, : self.channels], noise[name])
                x = torch.cat([changed, x[:, self.channels :]], dim=1)
        return x


def flip(x: Tensor, noise: Tensor) -> Tensor:
    """Mirror every second image or so, left to right; noise is (n,)."""
    return torch.where((noise > 0)[:, None, None, None], x.flip(-1), x)


def crop(x: Tensor, noise: Tensor) -> Tensor:
    """Shift images by up to an eighth of a side or a pixel, mirrored at the border.

    Noise is (n, 2).
    """
    uniform = torch.special.ndtr(noise)  # (n, 2)
    for axis, side in ((2, x.shape[2]), (3, x.shape[3])):
        farthest = min(max(int(SHIFT * side), 1), side - 1)
        shift = (uniform[:, axis - 2] * (2 * farthest + 1)).floor().long().clamp(max=2 * farthest)
        places = torch.arange(side, device=x.device) + (shift - farthest)[:, None]  # (n, side)
        places = (side - 1) - ((side - 1) - places.abs()).abs()
        shape = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)
        x = x.gather(axis, places.view(shape).expand_as(x))
    return x


def color(x: Tensor, noise: Tensor) -> Tensor:
    """Vary brightness and contrast, in units of each image's own deviation; noise is (n, 2)."""
    contrast, brightness = JITTER * noise.T[:, :, None, None, None]  # each (n, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return x + contrast * (x - mean) + brightness * _deviation(x)


def pixel_noise(x: Tensor, noise: Tensor) -> Tensor:
    """Add noise to pixels, in units of each image's own deviation; noise is that of x."""
    return x + PIXEL_NOISE * _deviation(x) * noise


def _deviation(x: Tensor) -> Tensor:
    return x.std((1, 2, 3), correction=0, keepdim=True)


# What each name does, and whether a mask goes along.
AUGMENTATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "flip": (flip, True),
    "crop": (crop, True),
    "color": (color, False),
    "noise": (pixel_noise, False),
}
