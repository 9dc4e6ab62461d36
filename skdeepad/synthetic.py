"""Synthetic anomalies made from normal rows, where no anomaly has been labeled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["confetti", "permuted_columns"]

N_BLOBS = 6
"""Most blobs in an image."""
BLOB_SIZES = (0.03, 0.3)
"""Least and greatest diameter of a blob, in parts of the image's shorter side."""
SPREAD = 10.0
"""Farthest that rows with permuted columns are drawn away from the mean, as a factor."""
# Random numbers of a blob besides its color: centre (2), diameters (2), angle, opacity, presence.
_N_NUMBERS = 7


def confetti(
    X: ArrayLike, *, random_state: int | np.random.RandomState | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Paste colored blobs into images.

    One to six ellipses lie in each image, at random places and angles, 3% to 30% of the shorter
    side across, more or less opaque, of colors between the least and the greatest value of each
    channel of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, channels, height, width)
        Normal images.
    random_state : int, RandomState instance or None, default=None
        Determines the blobs.

    Returns
    -------
    X_anomalous : ndarray of shape (n_samples, channels, height, width), dtype float32
        The images with blobs.
    masks : ndarray of shape (n_samples, height, width), dtype int8
        1 where a blob is, else 0.

    Raises
    ------
    ValueError
        If `X` does not hold images.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 3.1.2, "confetti noise".

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.synthetic import confetti
    >>> X = np.zeros((5, 3, 32, 32))
    >>> X[:, :, 16:] = 1
    >>> X_anomalous, masks = confetti(X, random_state=0)
    >>> X_anomalous.shape, masks.shape
    ((5, 3, 32, 32), (5, 32, 32))
    """
    x = _features(X, ndim=4, expected="images of shape (n_samples, channels, height, width)")
    maker = Confetti()
    x, masks = maker(x, _standard_normal(maker.noise_shape(x.shape), random_state))
    return x.numpy(), masks.to(torch.int8).numpy()


def permuted_columns(
    X: ArrayLike,
    *,
    spread: float = SPREAD,
    random_state: int | np.random.RandomState | None = None,
) -> NDArray[np.float32]:
    """Shuffle each column by itself, then draw rows away from the mean.

    Single values stay likely, their combinations do not. A row that is moved away from the mean by
    a factor between 1 and `spread`, drawn evenly over its logarithm, stands for anomalies beyond
    the normal rows: without these a detector would take rows of many extreme values, which
    shuffling does not make, for the most normal ones.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Normal rows.
    spread : float, default=10.0
        Largest factor. 1 moves no row: then each column keeps its values.
    random_state : int, RandomState instance or None, default=None
        Determines the order of each column and the factors.

    Returns
    -------
    ndarray of shape (n_samples, n_features), dtype float32
        Synthetic anomalies.

    Raises
    ------
    ValueError
        If `X` is not a table, or `spread` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.synthetic import permuted_columns
    >>> X = np.repeat(np.arange(5.0)[:, None], 3, axis=1)
    >>> permuted = permuted_columns(X, spread=1, random_state=0)
    >>> bool((np.sort(permuted, axis=0) == X).all()), bool((permuted == X).all())
    (True, False)
    """
    if not spread >= 1:
        raise ValueError(f"spread must be a number of at least 1; got {spread!r}.")
    x = _features(X, ndim=2, expected="rows of shape (n_samples, n_features)")
    maker = PermutedColumns(spread)
    x, _ = maker(x, _standard_normal(maker.noise_shape(x.shape), random_state))
    return x.numpy()


class Confetti:
    """Pastes blobs into a batch of images, as a pure function of given random numbers."""

    every = 2
    """In a batch every second row is one of these."""

    def noise_shape(self, x_shape: Sequence[int]) -> Sequence[int]:
        """Shape of the standard normal numbers that a batch of shape ``x_shape`` needs."""
        n, channels, *_ = x_shape
        return (n, N_BLOBS, _N_NUMBERS + channels)

    def __call__(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (n, c, h, w) with blobs, and masks (n, h, w), 1 where they are."""
        uniform = torch.special.ndtr(noise)  # (n, blobs, numbers)
        least, greatest = x.amin((0, 2, 3)), x.amax((0, 2, 3))  # (c,)
        colors = least + uniform[..., _N_NUMBERS:] * (greatest - least)  # (n, blobs, c)
        masks = x.new_zeros(len(x), *x.shape[2:])
        for blob in range(N_BLOBS):
            numbers = uniform[:, blob].T[:, :, None, None]  # (numbers, n, 1, 1)
            inside = _ellipse(numbers, x.shape[2], x.shape[3])  # (n, h, w)
            if blob > 0:  # the first is always there
                inside = inside * (numbers[6] < 0.5)
            opacity = (0.3 + 0.7 * numbers[5]) * inside  # (n, h, w)
            x = torch.lerp(x, colors[:, blob, :, None, None], opacity[:, None])
            masks = torch.maximum(masks, inside)
        return x, masks


def _ellipse(numbers: Tensor, height: int, width: int) -> Tensor:
    """Draw an ellipse from uniform numbers (7, n, 1, 1): (n, h, w), 1 inside, else 0."""
    down, right, long, wide, angle = numbers[:5]
    # The centre is a pixel's, so that an ellipse holds at least that one.
    down, right = (down * height).floor(), (right * width).floor()
    y = torch.arange(height, device=numbers.device)[:, None] - down.clamp(max=height - 1)
    x = torch.arange(width, device=numbers.device) - right.clamp(max=width - 1)
    turn = math.pi * angle
    along = torch.cos(turn) * x + torch.sin(turn) * y  # (n, h, w)
    across = torch.cos(turn) * y - torch.sin(turn) * x
    least, greatest = (size * min(height, width) / 2 for size in BLOB_SIZES)
    # Radii are spread evenly over their logarithms; 0.5 keeps thin ones connected.
    a, b = (0.5 + least * (greatest / least) ** number for number in (long, wide))
    return ((along / a).square() + (across / b).square() <= 1).to(numbers.dtype)


class PermutedColumns:
    """Shuffles columns and draws rows apart, as a pure function of given random numbers."""

    every = 2

    def __init__(self, spread: float = SPREAD) -> None:
        self.spread = spread

    def noise_shape(self, x_shape: Sequence[int]) -> Sequence[int]:
        """Shape of the standard normal numbers that a batch of shape ``x_shape`` needs."""
        return (x_shape[0], math.prod(x_shape[1:]) + 1)

    def __call__(self, x: Tensor, noise: Tensor) -> tuple[Tensor, None]:
        """Return rows whose columns are put in the order of the noise; there are no masks."""
        permuted = x.gather(0, noise[:, :-1].view_as(x).argsort(0))
        mean = x.mean(0)
        beyond = self.spread ** torch.special.ndtr(noise[:, -1]) - 1.0  # (n,)
        return permuted + beyond.view(-1, *[1] * (x.dim() - 1)) * (permuted - mean), None


class RandomWords:
    """Draws each word of texts of ids anew, as a pure function of given random numbers."""

    every = 3

    def __init__(self, n_words: int) -> None:
        self.n_words = n_words

    def noise_shape(self, x_shape: Sequence[int]) -> Sequence[int]:
        """Shape of the standard normal numbers that a batch of shape ``x_shape`` needs."""
        return x_shape

    def __call__(self, x: Tensor, noise: Tensor) -> tuple[Tensor, None]:
        """Return texts (n, l) as long as they were, of any of the words from 1 on, all alike."""
        drawn = (self.n_words * torch.special.ndtr(noise)).ceil().clamp(1, self.n_words)
        return torch.where(x > 0, drawn, x), None


def _features(X: ArrayLike, ndim: int, expected: str) -> Tensor:
    array = np.asarray(X, dtype=np.float32, order="C")
    if array.ndim != ndim or not array.size:
        raise ValueError(f"X must hold {expected}; got shape {array.shape}.")
    return torch.tensor(array)  # a copy: torch shares no memory that cannot be written to


def _standard_normal(
    shape: Sequence[int], random_state: int | np.random.RandomState | None
) -> Tensor:
    from sklearn.utils import check_random_state

    values = check_random_state(random_state).standard_normal(tuple(shape))
    return torch.from_numpy(values.astype(np.float32))
