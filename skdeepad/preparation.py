"""What a detector does to batches before training steps, and the parameters that say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad.augmentation import AUGMENTATIONS, ImageAugmentation
from skdeepad.deep import DeepDetector
from skdeepad.notices import LabelWarning, warn
from skdeepad.objectives import Preparation
from skdeepad.parameters import Parametrized, parameter
from skdeepad.synthetic import Confetti, PermutedColumns

TABLE_NOISE = 0.5
"""What input_noise="auto" is for tables."""


class BranchParameters(Parametrized):
    """Parameters of the default network for tables, and of the noise in its training."""

    n_branches: int = parameter(
        default=8,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="""Number of networks of these sizes beside each other in the default network for
            tables; a distance is the mean of theirs. More vary less from seed to seed and cost more
            time.{branches_learn}""",
    )
    squash: float | None = parameter(
        default=2.0,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc="""Limit beyond which features grow by their logarithm only, in the default network for
            tables: heavy tails would otherwise rule the distances. None leaves features as they
            are.""",
    )
    input_noise: float | Literal["auto"] = parameter(
        default="auto",
        constraint=[Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        doc="""Standard deviation of the normal noise added to features in training, in units of
            each feature's own standard deviation. 0 adds none. "auto": 0.5 for tables, 0 for other
            rows.""",
    )
    _branches_learn = ""


class LabelParameters(Parametrized):
    """Parameters of how labeled anomalies, and changed images, come into batches."""

    anomaly_fraction: float | None = parameter(
        default=0.5,
        constraint=[Interval(Real, 0, 1, closed="neither"), None],
        doc="""Share of places in each batch that cycle through the labeled anomalies, if there are
            any: they are few, and would seldom be drawn. It multiplies their weight. None draws all
            rows alike.""",
    )
    augment: str | Sequence[str] | Callable[[torch.Tensor], torch.Tensor] | None = parameter(
        default=None,
        constraint=[StrOptions({"standard"}), list, tuple, callable, None],
        kind='{"standard"}, list of str, callable or None',
        doc="""Random changes of images that leave them what they are, in training but not in
            pretraining: of "flip" (left to right), "crop" (shifts by up to an eighth of a side, or
            a pixel), "color" (brightness and contrast) and "noise" (on pixels); "standard" is all
            four. A callable takes a batch of rows, such as (n, channels, height, width) or
            (n, features), on the device and returns one of that shape, as torchvision's transforms
            do; the global generators are seeded for it. None changes nothing.""",
    )


def preparation(
    detector: DeepDetector, synthetic: Confetti | PermutedColumns | None = None
) -> Preparation:
    """Return the preparation that a detector's `input_noise` and `augment` ask for."""
    input_noise = getattr(detector, "input_noise", 0.0)
    if input_noise == "auto":
        input_noise = TABLE_NOISE if is_table(detector.input_shape_) else 0.0
    return Preparation(input_noise, _augmentation(detector), synthetic)


def _augmentation(detector: DeepDetector) -> Any:
    augment = getattr(detector, "augment", None)
    if augment is None or callable(augment):
        return augment
    names = list(AUGMENTATIONS) if augment == "standard" else list(augment)
    known = list(AUGMENTATIONS)  # a name may be anything, hashable or not
    if not names or not all(name in known for name in names):
        raise ValueError(
            f"augment must name one or more of {known}, be 'standard' for all of "
            f"them, a function of a batch, or None; got {augment!r}."
        )
    shape = detector.input_shape_
    if len(shape) != 3 or is_table(shape):
        kind = f"a table of {shape[-1]} columns" if is_table(shape) else f"of rows {shape}"
        raise ValueError(
            f"augment={augment!r} changes images, and X is {kind}. Pass images (n, channels, "
            "height, width), input_shape=(channels, height, width), or augment=None."
        )
    return ImageAugmentation(names, shape[0])


def is_table(shape: Sequence[int]) -> bool:
    """Tell whether rows of that shape are a table's; a signal one pixel high counts as one."""
    return len(shape) == 1 or (len(shape) == 3 and shape[1] == 1)


def image_shape(detector: DeepDetector, shape: tuple[int, ...], series_as: str) -> tuple[int, ...]:
    """Return the shape of an image, or refuse rows that are none and say how series are passed."""
    if len(shape) != 3:
        hint = ""
        if len(shape) == 2:
            hint = f" Write X[:, None] for images of one channel, {series_as} for series."
        raise ValueError(
            f"{type(detector).__name__} takes tables and images (n, channels, height, width); X "
            f"holds rows of shape {shape}.{hint}"
        )
    return shape


def stand_ins(
    detector: DeepDetector, y: NDArray[Any], *, warned_of_images: bool = True
) -> Confetti | PermutedColumns | None:
    """Return what makes anomalies where none are labeled, or None; tell the user of it."""
    if (y < 0).any():
        return None
    shape = detector.input_shape_
    images = len(shape) == 3 and not is_table(shape)
    if warned_of_images or not images:
        made = (
            "images with blobs pasted in (skdeepad.synthetic.confetti)"
            if images
            else "rows with permuted columns, drawn apart (skdeepad.synthetic.permuted_columns)"
        )
        warn(
            f"{type(detector).__name__} learns from labeled anomalies, and y has none: {made} "
            "stand in for them. Anomalies of other kinds may go unnoticed; label some with -1, or "
            "use a detector that needs none, for example DeepSVDD.",
            LabelWarning,
        )
    return Confetti() if images else PermutedColumns()
