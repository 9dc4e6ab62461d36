"""Images as people have them: a folder for each kind, and masks of what is wrong."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
_SPLITS = ("train", "test")
_LABELS = {"good": 1, "unlabeled": 0}
_EXPECTED = (
    "train/good, test/good and test/KIND with images, and ground_truth/KIND with their masks"
)


class _File(NamedTuple):
    path: Path
    split: str
    kind: str


def load_image_folder(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    color: Literal["rgb", "gray"] = "rgb",
) -> Bunch:
    """Read images, labels and masks from folders as those of MVTec-AD are.

    ::

        path/train/good/000.png            normal
        path/train/unlabeled/000.png       nobody has looked
        path/test/scratch/000.png          an anomaly of the kind "scratch"
        path/ground_truth/scratch/000.png  its mask, or 000_mask.png: not 0 where the scratch is

    Kinds other than "good" and "unlabeled" are anomalies, in ``train`` as well as in ``test``.
    Masks of anomalies in ``train`` are searched for in ``ground_truth``, too; names of files of one
    kind should then differ between both. It needs pillow: ``pip install "skdeepad[images]"``.

    Parameters
    ----------
    path : str or path
        The folder.
    size : (int, int), default=None
        Height and width to which images and masks are resized. None: as they are, which must be
        the same for all.
    color : {"rgb", "gray"}, default="rgb"
        Whether images have three channels or one.

    Returns
    -------
    Bunch
        ``X`` : ndarray of shape (n, channels, height, width), dtype float32, in [0, 1]

        ``y`` : ndarray of shape (n,), +1 normal, 0 unlabeled, -1 anomalous

        ``masks`` : ndarray of shape (n, height, width), dtype int8: 1 where an anomaly is, 0
        elsewhere and in normal images; -1 everywhere in anomalies without a mask and in unlabeled
        images

        ``kind``, ``split`` and ``path`` : of each image, ndarrays of str and a list of Path

    Raises
    ------
    ImportError
        If pillow is not installed.
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no images in that order, or an image or mask cannot be read or has another size.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skdeepad.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for place in ("train/good", "test/good", "test/hole"):
    ...         (Path(folder) / place).mkdir(parents=True)
    ...         Image.new("RGB", (8, 6)).save(Path(folder) / place / "0.png")
    ...     images = load_image_folder(folder)
    >>> images.X.shape, images.y.tolist(), images.kind.tolist()
    ((3, 3, 6, 8), [1, 1, -1], ['good', 'good', 'hole'])
    """
    folder = Path(path)
    if color not in ("rgb", "gray"):
        raise ValueError(f"color={color!r}: expected 'rgb' or 'gray'.")
    files = _files(folder)
    images = [_read(file.path, "RGB" if color == "rgb" else "L", size) for file in files]
    _check_sizes(images, files)
    shape = images[0].shape[:2]
    masks = np.stack([_mask(folder, file, shape, size) for file in files])
    X = np.stack(images).astype(np.float32) / 255
    kinds = np.array([file.kind for file in files])
    return Bunch(
        X=X[:, None] if color == "gray" else np.ascontiguousarray(np.moveaxis(X, -1, 1)),
        y=np.array([_LABELS.get(kind, -1) for kind in kinds]),
        masks=masks,
        kind=kinds,
        split=np.array([file.split for file in files]),
        path=[file.path for file in files],
    )


def _files(folder: Path) -> list[_File]:
    """List images in order of split, kind and name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: expected one with {_EXPECTED}.")
    files = [
        _File(image, split, kind.name)
        for split in _SPLITS
        for kind in sorted((folder / split).glob("*/"))
        for image in sorted(kind.iterdir())
        if image.suffix.lower() in _SUFFIXES
    ]
    if not files:
        found = sorted(entry.name for entry in folder.iterdir())[:10]
        raise ValueError(
            f"{folder} holds no images where they are expected: {_EXPECTED}; found {found}."
        )
    return files


def _read(path: Path, mode: str, size: Sequence[int] | None, *, smooth: bool = True) -> Any:
    """Return an image as an array of bytes, (height, width) or (height, width, 3)."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "load_image_folder needs pillow: pip install 'skdeepad[images]'."
        ) from error
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith("I;16"):
                raise ValueError("16 bits a channel, expected 8: convert it")
            image = opened.convert(mode)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from error
    if size is not None:
        height, width = size
        resampling = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        image = image.resize((width, height), resampling)
    return np.asarray(image)


def _check_sizes(images: list[NDArray[np.uint8]], files: list[_File]) -> None:
    for image, file in zip(images, files, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{file.path} is of size {image.shape[:2]}, {files[0].path} of "
                f"{images[0].shape[:2]}: expected the same for all. Pass size=(height, width)."
            )


def _mask(
    folder: Path, file: _File, shape: tuple[int, ...], size: Sequence[int] | None
) -> NDArray[np.int8]:
    """Return where an image is anomalous: 0 for normal ones, -1 where nobody has said."""
    if file.kind in _LABELS:
        return np.full(shape, 0 if file.kind == "good" else -1, dtype=np.int8)
    of_kind = folder / "ground_truth" / file.kind
    names = [f"{file.path.stem}{end}" for end in ("_mask", "")]
    places = [of_kind / f"{name}{suffix}" for name in names for suffix in sorted(_SUFFIXES)]
    found = [place for place in places if place.exists()]
    if not found:
        return np.full(shape, -1, dtype=np.int8)
    mask = _read(found[0], "L", size, smooth=False)
    if mask.shape != shape:
        raise ValueError(
            f"{found[0]} is of size {mask.shape}, its image {file.path} of {shape}: expected the "
            "same. Pass size=(height, width), or mend the mask."
        )
    return (mask > 0).astype(np.int8)
