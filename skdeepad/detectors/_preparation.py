"""What a detector does to batches before training steps, from its parameters."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad.augmentation import AUGMENTATIONS, ImageAugmentation
from skdeepad.base import LabelWarning
from skdeepad.objectives import Preparation
from skdeepad.synthetic import Confetti, PermutedColumns

TABLE_NOISE = 0.5
"""What input_noise="auto" is for tables."""

TABLE_CONSTRAINTS = {
    "n_branches": [Interval(Integral, 1, None, closed="left")],
    "squash": [Interval(Real, 0, None, closed="neither"), None],
    "input_noise": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
}
LABEL_CONSTRAINTS = {
    "anomaly_fraction": [Interval(Real, 0, 1, closed="neither"), None],
    "augment": [StrOptions({"standard"}), list, tuple, callable, None],
}


def preparation(detector, synthetic=None):
    """Return the preparation that a detector's `input_noise` and `augment` ask for."""
    input_noise = getattr(detector, "input_noise", 0.0)
    if input_noise == "auto":
        input_noise = TABLE_NOISE if _is_table(detector.input_shape_) else 0.0
    return Preparation(input_noise, _augmentation(detector), synthetic)


def _augmentation(detector):
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
    if _is_table(shape):
        raise ValueError(
            f"augment={augment!r} changes images, and X is a table of {shape[-1]} columns. Pass "
            "images (n, channels, height, width), input_shape=(channels, height, width), or "
            "augment=None."
        )
    return ImageAugmentation(names, shape[0])


def _is_table(shape):
    """Tell whether rows of that shape are a table's, or signals, and not images."""
    return len(shape) != 3 or shape[1] == 1


def stand_ins(detector, y, *, warn=True, stacklevel=8):
    """Return what makes anomalies where none are labeled, or None; tell the user of it."""
    if (y < 0).any():
        return None
    images = not _is_table(detector.input_shape_)
    if warn or not images:
        made = (
            "images with blobs pasted in (skdeepad.synthetic.confetti)"
            if images
            else "rows with permuted columns, drawn apart (skdeepad.synthetic.permuted_columns)"
        )
        warnings.warn(
            f"{type(detector).__name__} learns from labeled anomalies, and y has none: {made} "
            "stand in for them. Anomalies of other kinds may go unnoticed; label some with -1, or "
            "use a detector that needs none, for example DeepSVDD.",
            LabelWarning,
            stacklevel=stacklevel,
        )
    return Confetti() if images else PermutedColumns()
