"""What users pass as X and y, read once: rows of any shape, and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdeepad.notices import LabelWarning, warn

UNSCALED = 1000
"""How far columns may lie apart before one is warned of them."""
LABELS = "+1 for normal, 0 for unlabeled, -1 for anomalous rows"


def on_host(values: Any) -> Any:
    """Turn a torch tensor into a NumPy array, and leave everything else as it is."""
    if not (hasattr(values, "detach") and hasattr(values, "cpu")):
        return values
    # NumPy has no bfloat16, and half precision is too coarse for what comes next.
    coarse = values.is_floating_point() and values.itemsize < 4
    try:
        values = values.detach().cpu()
        return (values.float() if coarse else values).numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"A tensor of {values.dtype} and layout {values.layout} on {values.device} cannot "
            f"become an array: expected a dense one of numbers. torch said: {error}"
        ) from error


def as_table(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return rows of any shape as flat ones, and the shape of a row if it has more than one axis.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Rows; also a torch tensor, or a list of arrays of one shape.

    Returns
    -------
    rows : array-like of shape (n_samples, n_features)
        What has two dimensions, or fewer, is returned as it is.
    row_shape : tuple of int or None
        Shape of a row; None if X has two dimensions or fewer.

    Raises
    ------
    ValueError
        If X is a list of arrays of several shapes.
    TypeError
        If X holds no rows that can be put together, as a generator or a DataLoader.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.inputs import as_table
    >>> rows, row_shape = as_table([np.zeros((3, 8, 8)), np.ones((3, 8, 8))])
    >>> rows.shape, row_shape
    ((2, 192), (3, 8, 8))
    """
    X = on_host(X)
    rows = hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, Sequence | Real)
    if not rows or isinstance(X, str):
        raise TypeError(
            f"X is a {type(X).__name__}: expected an array, a data frame, a tensor, or a list of "
            "rows. Put its rows together first, for example by torch.stack for a Dataset of torch, "
            "or collect() for a LazyFrame."
        )
    if isinstance(X, list | tuple) and len(X) and len(_shape(X[0])) > 1:
        X = _stacked(X)
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) < 3:
        return X, None
    return np.asarray(X).reshape(shape[0], math.prod(shape[1:])), shape[1:]


def refuse_masked(values: Any, name: str) -> None:
    """Refuse masked values, whose masks would be lost.

    Parameters
    ----------
    values : object
        What was passed as X or y.
    name : str
        "X", "y" or "masks".

    Raises
    ------
    ValueError
        If one is masked.
    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} holds {np.ma.count_masked(values)} masked values, whose masks would be lost: "
            "expected an array without. Fill them, features by an imputer, labels and masks by "
            "filled(0), or leave these rows out."
        )


def refuse_lossy(values: Any, name: str) -> None:
    """Refuse features that would lose their meaning on the way to numbers: masks, dates, text.

    Parameters
    ----------
    values : object
        What was passed as X.
    name : str
        "X".

    Raises
    ------
    ValueError
        If values are masked, or are dates, or columns of text or dates.
    """
    refuse_masked(values, name)
    kind = getattr(getattr(values, "dtype", None), "kind", None)
    if kind == "V":
        raise ValueError(
            f"X is an array of records ({values.dtype}): expected one of numbers. Turn it into one "
            "by numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    if kind in ("m", "M"):
        raise ValueError(
            f"X holds dates or times ({values.dtype}): expected numbers. Turn them into features, "
            "for example seconds since a start, the hour, the day of the week."
        )
    if not (hasattr(values, "columns") and hasattr(values, "dtypes")):
        return
    kinds = zip(values.columns, map(str, values.dtypes), strict=True)
    columns = values.iloc if hasattr(values, "iloc") else values
    strange = [
        f"{name!r} ({kind})"
        for number, (name, kind) in enumerate(kinds)
        if not re.match(r"(?i)(u?int\d|float|double|bool|complex)", kind)
        and not _holds_numbers(columns[:, number])
    ]
    if strange:
        raise ValueError(_no_numbers(strange))


@contextmanager
def told_of_columns(X: Any) -> Iterator[None]:
    """Name the columns that cannot be read as numbers, where the conversion within fails.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        What is converted.

    Raises
    ------
    ValueError, TypeError
        As what is within.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        if not re.search("could not convert|argument must be|array element", str(error)):
            raise
        table = np.array(X, dtype=object)
        strange = [
            f"{number} (such as {column[0]!r:.40})"
            for number, column in enumerate(table.T if table.ndim == 2 else ())
            if not _holds_numbers(column)
        ]
        if not strange:
            raise
        raise type(error)(f"{_no_numbers(strange)} ({error})") from error


def _holds_numbers(column: Any) -> bool:
    """Tell whether a column of objects can be read as numbers."""
    column = np.asarray(column)
    try:
        return column.dtype.kind not in "mM" and bool(column.astype(np.float64).size)
    except (TypeError, ValueError):
        return False


def _no_numbers(columns: list[str]) -> str:
    return (
        f"X has columns that are no numbers, could not convert: {', '.join(columns[:5])}. Encode "
        "them, for example by a ColumnTransformer with OneHotEncoder for text and a "
        "FunctionTransformer for dates."
    )


def warn_of_scales(X: NDArray[Any], columns: NDArray[Any], images: bool, in_float32: bool) -> None:
    """Warn of tables and images that nobody has scaled, and of columns float32 cannot hold.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows as they were passed.
    columns : ndarray of shape (n_features,)
        Names of the columns, or their numbers.
    images : bool
        Whether rows are images.
    in_float32 : bool
        Whether they are computed with in float32.
    """
    if images:
        if X.max() > 16 and not (X % 1).any():
            warn(
                f"X holds images of whole numbers up to {X.max():.0f}: networks learn badly from "
                "them. Divide them, for example by 255."
            )
        return
    deviation, mean = X.std(axis=0), np.abs(X.mean(axis=0))
    largest = np.abs(X).max(axis=0)
    varies = deviation > 1e-12 * largest
    lost = varies & (deviation < 8 * np.finfo(np.float32).eps * largest)
    if in_float32 and lost.any():
        named = ", ".join(map(str, columns[lost][:5]))
        warn(
            f"float32, which networks compute in, cannot hold what varies in columns {named}: "
            "values up to "
            f"{largest[lost].max():.3g} with deviations from {deviation[lost].min():.3g} on. "
            "Standardize them in float64 first, for example with StandardScaler."
        )
        return
    if not varies.any():
        return
    ratio = deviation[varies].max() / deviation[varies].min()
    offset = (mean[varies] / deviation[varies]).max()
    if ratio > UNSCALED or offset > UNSCALED:
        told = (
            f"deviations of columns differ by a factor of {ratio:.3g}"
            if ratio > UNSCALED
            else f"a column's mean is {offset:.3g} times its deviation"
        )
        warn(
            f"X is not scaled: {told}. Distances then depend on few columns. Standardize it first, "
            "for example with StandardScaler in a pipeline."
        )


def _shape(row: Any) -> tuple[int, ...]:
    """Return the shape of a row; of nested lists, that of their first entries."""
    if isinstance(row, list | tuple):
        return (len(row), *_shape(row[0])) if len(row) else (0,)
    # What has no shape may have one as an array, as an image of PIL.
    return tuple(row.shape) if hasattr(row, "shape") else np.shape(row)


def _stacked(rows: list[Any] | tuple[Any, ...]) -> NDArray[Any]:
    try:
        arrays = [np.asarray(on_host(row)) for row in rows]
    except ValueError as error:
        raise ValueError(
            f"X is a list of rows, and one of them has parts of several lengths: {error}. Expected "
            "equal ones. Resize, cut or pad them."
        ) from error
    first = arrays[0].shape
    for number, array in enumerate(arrays):
        if array.shape != first:
            raise ValueError(
                f"X is a list of rows of several shapes: row 0 has {first}, row {number} "
                f"{array.shape}. Expected equal ones. Resize, cut or pad them."
            )
    return np.stack(arrays)


def check_row_shape(
    shape: tuple[int, ...], expected: tuple[int, ...] | None, n_rows: int, said_by: str
) -> None:
    """Refuse rows of another shape, the same numbers in another order of axes among them.

    Parameters
    ----------
    shape : tuple of int
        Shape of a row of X.
    expected : tuple of int or None
        Shape that it must have; None or one number: any, as the order of axes is not known.
    n_rows : int
        Rows of X.
    said_by : str
        Where the expected shape is from, as in "as in fit".

    Raises
    ------
    ValueError
        If the shape is another one.
    """
    if expected is None or len(expected) < 2 or shape == expected:
        return
    if (n_rows, *shape) == expected:
        raise ValueError(
            f"X has the shape {expected} of one row, {said_by}: expected one more axis, for the "
            "rows. Write X[None] for one row alone."
        )
    kind = "images" if len(shape) == len(expected) == 3 else "rows"
    hint = ""
    if sorted(shape) == sorted(expected):
        hint = " These are the same axes in another order: move them, for example by np.moveaxis."
    raise ValueError(f"X holds {kind} of shape {shape}; expected {expected}, {said_by}.{hint}")


def warn_of_channels_last(shape: tuple[int, ...]) -> None:
    """Warn of images (height, width, channels): every method here reads channels first."""
    if len(shape) == 3 and shape[-1] in (1, 3, 4) and min(shape[:2]) > shape[-1]:
        channels, height, width = shape
        warn(
            f"X holds rows of shape {shape}, which are read as images of {channels} channels, "
            f"{height} x {width} pixels. If the last axis holds the channels, pass "
            "np.moveaxis(X, -1, 1)."
        )


def warn_of_other_readings(X: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Warn of rows read as series (channels, time) that may be gray images, texts, or time first.

    These often have as many channels as half of their steps, and texts of word vectors end in
    tokens of zeros, more or fewer of them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Flat rows.
    shape : tuple of int
        Shape of a row, (channels, time).
    """
    channels, time = shape
    known = np.asarray(X.reshape(-1, channels, time).any(axis=2))  # (n, channels)
    lengths = channels - np.argmax(known[:, ::-1], axis=1)  # up to the last that is not all zeros
    if 2 * channels >= time or len(np.unique(lengths)) > 2:
        warn(
            f"X holds rows of shape {shape}, which are read as series of {channels} channels, "
            f"{time} steps. Pass input_shape={shape} if that is what they are. If the first axis "
            "is time, pass np.swapaxes(X, 1, 2); if they are images of one channel, X[:, None]; "
            "texts as word vectors are for CVDD, or a network of your own."
        )


def check_labels(y: Any, n_samples: int, *, for_training: bool = True) -> NDArray[np.int8]:
    """Read partial labels by their sign.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
        Whole numbers: > 0 normal, 0 unlabeled, < 0 anomalous. None means all unlabeled.
    n_samples : int
        Number of rows that y must have.
    for_training : bool, default=True
        Whether a detector is to learn from them: then there must be a row with y >= 0, and labels
        that look as if another convention was meant are warned of.

    Returns
    -------
    ndarray of shape (n_samples,), dtype int8
        The labels: +1, 0, -1.

    Raises
    ------
    ValueError
        If y has another length or dimension, or holds anything but whole numbers (booleans, strings
        and missing values are refused too).

    Warns
    -----
    LabelWarning
        If y holds values beyond -1, 0, +1, or a few +1 among many 0 and no -1, as in the
        convention "1 = anomaly".

    Examples
    --------
    >>> from skdeepad.inputs import check_labels
    >>> check_labels([1, 0, 0, -1], 4)
    array([ 1,  0,  0, -1], dtype=int8)
    """
    if y is None:
        return np.zeros(n_samples, dtype=np.int8)
    refuse_masked(y, "y")
    y = np.asarray(on_host(y))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n_samples,):
        raise ValueError(
            f"y must have one label for each of the {n_samples} rows of X, that is "
            f"shape ({n_samples},); got shape {y.shape}. Pass {LABELS}."
        )
    numbers = _whole_numbers(y)
    labels = np.sign(numbers).astype(np.int8)
    if for_training:
        if not (labels >= 0).any():
            raise ValueError(
                "All rows of y are labeled anomalies; expected at least one normal or unlabeled "
                f"row to learn what is normal from. Pass {LABELS}."
            )
        _warn_of_other_conventions(numbers, labels)
    return labels


def _whole_numbers(y: NDArray[Any]) -> NDArray[np.float64]:
    """Return y as floats, or say why it holds no labels."""
    problem = None
    strange = [] if y.dtype.kind in "iuf" else _no_real_numbers(y)
    if strange and isinstance(strange[0], bool | np.bool_):
        problem = "booleans"
    elif strange:
        problem = f"values such as {strange[0]!r} of type {type(strange[0]).__name__}"
    else:
        numbers = y.astype(np.float64)
        if not np.isfinite(numbers).all():
            problem = "NaN or infinity"
        elif (numbers != np.round(numbers)).any():
            problem = f"fractions such as {numbers[numbers != np.round(numbers)][0]}"
    if problem is not None:
        raise ValueError(f"Unknown label type: y must hold whole numbers, {LABELS}; got {problem}.")
    return numbers


def _no_real_numbers(y: NDArray[Any]) -> list[Any]:
    """Return the values that are no numbers; scalars of NumPy other than booleans are."""
    return [value for value in y if not isinstance(value, Real) or isinstance(value, bool)]


def _warn_of_other_conventions(numbers: NDArray[np.float64], labels: NDArray[np.int8]) -> None:
    if (np.abs(numbers) > 1).any():
        extremes = int(numbers.min()), int(numbers.max())
        warn(
            f"y holds values from {extremes[0]} to {extremes[1]}; they are read by their sign: "
            f"positive is normal, 0 unlabeled, negative anomalous. Pass {LABELS} if these are "
            "class numbers.",
            LabelWarning,
        )
    n_normal, n_unlabeled = int((labels > 0).sum()), int((labels == 0).sum())
    if not (labels < 0).any() and 0 < n_normal < n_unlabeled:
        warn(
            f"y holds {n_normal} rows of +1 among {n_unlabeled} of 0 and none of -1: they are "
            "read as verified normals among unlabeled rows. If 1 meant 'anomaly', pass "
            f"{LABELS}, for example -y.",
            LabelWarning,
        )
