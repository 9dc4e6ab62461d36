"""Digits corrupted in 15 ways, made by hand after the description of MNIST-C (Mu and Gilmer, 2019).

A corruption is a function of an image (28, 28) in [0, 1] and of a random number generator, and
returns another image in [0, 1]. Strengths are fixed and chosen by eye, so these are like MNIST-C
and not the same. What a corruption changed, :func:`truth`, is where an anomaly is.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIDE = 28
CENTRE = (SIDE - 1) / 2
STRIPE = 7  # pixels wide


def brightness(image, rng):
    """Add the same to all pixels."""
    return image + 0.4


def canny_edges(image, rng):
    """Leave nothing but edges: crests of the gradient that are steep, or touch a steep one."""
    smooth = ndimage.gaussian_filter(image, 1)
    slope = np.stack([ndimage.sobel(smooth, axis) for axis in (0, 1)])
    height = np.hypot(*slope)
    # A crest is no lower than what lies a pixel up and a pixel down the slope.
    step = slope / np.maximum(height, 1e-9)
    places = np.indices(image.shape)
    ahead, behind = (
        ndimage.map_coordinates(height, places + sign * step, order=1) for sign in (1, -1)
    )
    crest = (height >= ahead) & (height >= behind) & (height > 0.4)
    parts, _ = ndimage.label(crest, np.ones((3, 3)))
    steep = np.unique(parts[crest & (height > 0.8)])
    return np.isin(parts, steep[steep > 0]).astype(float)


def dotted_line(image, rng):
    """Draw bright dots along a straight line through the digit."""
    start, end = ends(rng)
    n_dots = int(np.linalg.norm(end - start) // 3)
    dots = np.linspace(start, end, n_dots)
    return np.maximum(image, strokes(dots, dots, width=2))


def fog(image, rng):
    """Mix with clouds: noise as strong at each scale as the scale is long."""
    clouds = np.zeros_like(image)
    for scale in (1, 2, 4, 8):
        noise = ndimage.gaussian_filter(rng.normal(size=image.shape), scale, mode="wrap")
        clouds += scale * noise / noise.std()
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    return 0.6 * image + 0.6 * clouds


def glass_blur(image, rng):
    """Let each pixel show one that is near, as behind frosted glass."""
    places = np.indices(image.shape) + rng.integers(-2, 3, size=(2, *image.shape))
    shown = image[tuple(places.clip(0, SIDE - 1))]
    return ndimage.gaussian_filter(shown, 0.7)


def impulse_noise(image, rng):
    """Make pixels black or white here and there."""
    hit = rng.random(image.shape) < 0.15
    return np.where(hit, rng.integers(2, size=image.shape), image)


def motion_blur(image, rng):
    """Smear along a line of 8 pixels in any direction."""
    angle = rng.uniform(0, np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    return np.mean(
        [ndimage.shift(image, t * direction, order=1) for t in np.linspace(-4, 4, 9)], axis=0
    )


def rotate(image, rng):
    """Turn by 30 to 50 degrees, either way."""
    angle = np.deg2rad(either_way(rng, 30, 50))
    cosine, sine = np.cos(angle), np.sin(angle)
    return warped(image, [[cosine, -sine], [sine, cosine]])


def scale(image, rng):
    """Make smaller by a third to a half."""
    return warped(image, np.eye(2) / rng.uniform(0.5, 0.65))


def shear(image, rng):
    """Push the top one way and the bottom the other."""
    return warped(image, [[1, 0], [either_way(rng, 0.5, 0.8), 1]])


def shot_noise(image, rng):
    """Count few photons in each pixel."""
    return rng.poisson(3 * image) / 3


def spatter(image, rng):
    """Splash with bright drops."""
    drops = ndimage.gaussian_filter(rng.normal(size=image.shape), 1.2, mode="wrap")
    return np.maximum(image, np.clip(2 * drops / drops.std() - 2.5, 0, 1))


def stripe(image, rng):
    """Invert a stripe on the left and one on the right."""
    made = image.copy()
    for part in (np.s_[:, :STRIPE], np.s_[:, -STRIPE:]):
        made[part] = 1 - image[part]
    return made


def translate(image, rng):
    """Move by 4 to 6 pixels up or down and left or right."""
    return ndimage.shift(image, [round(either_way(rng, 4, 6)) for _ in range(2)], order=0)


def zigzag(image, rng):
    """Draw a bright line through the digit that turns every 3 pixels."""
    start, end = ends(rng)
    length = np.linalg.norm(end - start)
    corners = np.linspace(start, end, int(length // 3) + 1)
    across = np.array([start[1] - end[1], end[0] - start[0]]) / length
    corners += 2 * np.where(np.arange(len(corners)) % 2, 1, -1)[:, None] * across
    return np.maximum(image, strokes(corners[:-1], corners[1:], width=1))


CORRUPTIONS = {
    "brightness": brightness,
    "canny edges": canny_edges,
    "dotted line": dotted_line,
    "fog": fog,
    "glass blur": glass_blur,
    "impulse noise": impulse_noise,
    "motion blur": motion_blur,
    "rotate": rotate,
    "scale": scale,
    "shear": shear,
    "shot noise": shot_noise,
    "spatter": spatter,
    "stripe": stripe,
    "translate": translate,
    "zigzag": zigzag,
}


def corrupted(images, name, seed):
    """Return images (n, 28, 28) in [0, 1] after a corruption, the same for the same seed."""
    rng = np.random.default_rng(seed)
    made = np.empty(images.shape)
    for row, image in enumerate(images):
        made[row] = CORRUPTIONS[name](image.astype(float), rng)
    return made.clip(0, 1)


def truth(images, made):
    """Return how much a corruption changed each pixel."""
    return np.abs(made - images)


def either_way(rng, least, most):
    """Draw a number of that size and of either sign."""
    return rng.choice([-1, 1]) * rng.uniform(least, most)


def ends(rng):
    """Draw a line through the middle: two points opposite each other, each moved a little."""
    angle = rng.uniform(0, 2 * np.pi)
    arm = 12 * np.array([np.sin(angle), np.cos(angle)])
    start, end = CENTRE + np.stack([arm, -arm]) + rng.uniform(-3, 3, size=(2, 2))
    return start, end


def strokes(starts, ends, width):
    """Draw straight strokes of that width: white on black, gray at their borders."""
    pixels = np.indices((SIDE, SIDE)).reshape(2, 1, -1)  # beside (2, strokes, 1)
    starts, along = starts.T[:, :, None], (ends - starts).T[:, :, None]
    squared = np.maximum((along**2).sum(0), 1e-9)
    # The point of each stroke that is nearest to a pixel, as a share of its length.
    share = (((pixels - starts) * along).sum(0) / squared).clip(0, 1)
    distance = np.hypot(*(pixels - starts - share * along)).min(axis=0)
    return (width / 2 + 0.5 - distance).clip(0, 1).reshape(SIDE, SIDE)


def warped(image, matrix):
    """Let each pixel show the place that the matrix moves it to, seen from the centre."""
    matrix = np.asarray(matrix)
    offset = CENTRE - matrix @ [CENTRE, CENTRE]
    return ndimage.affine_transform(image, matrix, offset, order=1)
