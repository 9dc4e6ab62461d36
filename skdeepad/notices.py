"""Warnings of this package, and where they point."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Frames of these are on the way from the user's line to ours.
_BETWEEN = ("skdeepad", "sklearn", "joblib", "contextlib")


class LabelWarning(UserWarning):
    """Labels that are legal but probably do not mean what the detector will read."""


class CollapseWarning(UserWarning):
    """A network that maps, or is likely to map, all rows to nearly the same score."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and point at the line that called this package, however deep below it we are.

    Parameters
    ----------
    message : str
        What is amiss, and what to do.
    category : type of Warning, default=UserWarning
        Its class.

    Examples
    --------
    >>> import warnings
    >>> from skdeepad.notices import warn
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("mind the gap")
    >>> str(caught[0].message)
    'mind the gap'
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def warned_once() -> Iterator[None]:
    """Give each warning of what is inside once, however many models give it, at the user's line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text, category in dict.fromkeys((str(each.message), each.category) for each in caught):
        warn(text, category)


def _is_between(module: str) -> bool:
    return module.partition(".")[0] in _BETWEEN
