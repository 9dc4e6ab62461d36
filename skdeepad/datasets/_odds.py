"""Tables of the ODDS library, read from a local folder."""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import matfile_version
from sklearn.utils import Bunch

from skdeepad.datasets._embedded import Arrays

_SITE = "http://odds.cs.stonybrook.edu"
# Neither a file nor what it unpacks to is larger; the largest table takes 4 MB.
_MOST_BYTES = 2**25
# The type of a compressed element in a MATLAB file.
_COMPRESSED = 15

# Shapes and kinds of the arrays of a file, and what reads these.
_Headers = dict[str, tuple[tuple[int, ...], str]]
_Reader = Callable[[], dict[str, NDArray[Any]]]


class _Table(NamedTuple):
    """The published size of a table, and what its anomalies are."""

    n_rows: int
    n_features: int
    n_anomalies: int
    anomalies: str


Name = Literal["arrhythmia", "cardio", "satellite", "satimage-2", "shuttle", "thyroid"]
Home = str | os.PathLike[str] | None

_TABLES = {
    "arrhythmia": _Table(452, 274, 66, "the eight smallest diagnosis classes"),
    "cardio": _Table(1831, 21, 176, "pathologic cardiotocograms; suspect ones are left out"),
    "satellite": _Table(6435, 36, 2036, "the three smallest soil classes (2, 4 and 5)"),
    "satimage-2": _Table(5803, 36, 71, "soil class 2, sampled down to 71 rows"),
    "shuttle": _Table(49097, 9, 3511, "classes 2, 3, 5, 6 and 7; class 4 is left out"),
    "thyroid": _Table(3772, 6, 93, "the hyperfunction class"),
}


@overload
def load_odds(
    name: Name, data_home: Home = None, *, return_X_y: Literal[False] = False
) -> Bunch: ...
@overload
def load_odds(name: Name, data_home: Home = None, *, return_X_y: Literal[True]) -> Arrays: ...
def load_odds(name: Name, data_home: Home = None, *, return_X_y: bool = False) -> Bunch | Arrays:
    """Load one of six benchmark tables of the ODDS library from a local folder.

    ===========  ======  ========  =========
    name           rows  features  anomalies
    ===========  ======  ========  =========
    arrhythmia      452       274         66
    cardio        1,831        21        176
    satellite     6,435        36      2,036
    satimage-2    5,803        36         71
    shuttle      49,097         9      3,511
    thyroid       3,772         6         93
    ===========  ======  ========  =========

    Nothing is downloaded: get ``<name>.mat`` from the ODDS site [1]_ and put it in a folder of
    your own. The file's shape and number of anomalies are checked against the table above.
    The features are those of the file and are not scaled.

    Parameters
    ----------
    name : {"arrhythmia", "cardio", "satellite", "satimage-2", "shuttle", "thyroid"}
        The table.
    data_home : str or path-like, default=None
        The folder that holds ``<name>.mat`` or ``<name>.npz``, itself or in its subfolder
        ``odds``. With None, the environment variable ``SKDEEPAD_DATA`` names the folder.
        Either file has the arrays `X` and `y`, where `y` is 0 for normal and 1 for anomalous.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_samples, n_features), dtype float64
            The features.
        target : ndarray of shape (n_samples,), dtype int64
            The ground truth: +1 normal, -1 anomaly. To train on some of it, see
            :func:`make_partial_labels`.
        target_names : ndarray of shape (2,)
            The names of -1 and +1, in this order.
        DESCR : str
            What the table is.
        filename : str
            The file that was read.
    (data, target) : tuple of ndarray
        If `return_X_y` is True.

    Raises
    ------
    ValueError
        If the name is unknown, or the file cannot be read or is not the published table.
    FileNotFoundError
        If no folder is given, or it does not hold the file.

    References
    ----------
    .. [1] Rayana, S. (2016). ODDS Library. Stony Brook University, Department of Computer
       Science. http://odds.cs.stonybrook.edu

    Examples
    --------
    Here a table of zeros stands in for the file that you would download.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdeepad.datasets import load_odds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     truth = np.arange(3772) < 93
    ...     np.savez(Path(folder, "thyroid.npz"), X=np.zeros((3772, 6)), y=truth)
    ...     X, y = load_odds("thyroid", data_home=folder, return_X_y=True)
    >>> X.shape, int((y == -1).sum())
    ((3772, 6), 93)
    """
    if name not in _TABLES:
        raise ValueError(f"name must be one of {', '.join(_TABLES)}. Got {name!r} instead.")
    path = _find(name, data_home)
    X, y = _check(name, *_read(name, path), path)
    if return_X_y:
        return X, y
    return Bunch(
        data=X,
        target=y,
        target_names=np.array(["anomaly", "normal"]),
        DESCR=_describe(name),
        filename=str(path),
    )


def _find(name: str, data_home: Home) -> Path:
    """Return the path of the table's file, or say where it was looked for."""
    remedy = (
        f"Download {name}.mat from ODDS (Outlier Detection DataSets, Stony Brook University, "
        f"{_SITE}), put it in a folder of your own, and give that folder as data_home or in the "
        "environment variable SKDEEPAD_DATA."
    )
    home = os.environ.get("SKDEEPAD_DATA") if data_home is None else data_home
    if not home:  # unset and empty mean the same in a shell
        raise FileNotFoundError(
            f"No folder to look for {name} in: data_home is None and SKDEEPAD_DATA is not set. "
            + remedy
        )
    home = Path(home).expanduser()
    folders = (home, home / "odds")
    for folder in folders:
        for file in (f"{name}.mat", f"{name}.npz"):
            if (folder / file).is_file():
                return folder / file
    raise FileNotFoundError(
        f"Neither {name}.mat nor {name}.npz is in {folders[0]} or {folders[1]}. " + remedy
    )


def _read(name: str, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays X and y of a .mat or .npz file, if they are what the table has.

    Shapes are compared before anything is read: a small file can unpack to gigabytes, or claim to.
    """
    with _told_of_broken_file(path):
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, more than any of the tables")
        headers, read = _open_mat(path) if path.suffix == ".mat" else _open_npz(path)
    missing = [key for key in ("X", "y") if key not in headers]
    if missing:
        raise ValueError(
            f"{path} has no array {' and no array '.join(missing)}. Expected the arrays X and y; "
            f"download {path.stem}.mat again from {_SITE}."
        )
    _check_headers(name, headers, path)
    with _told_of_broken_file(path):
        arrays = read()
    # What is complex is known only now.
    _check_headers(name, {key: (arrays[key].shape, arrays[key].dtype.name) for key in "Xy"}, path)
    return arrays["X"], arrays["y"]


@contextmanager
def _told_of_broken_file(path: Path) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is a MATLAB v7.3 file, which SciPy cannot read. In MATLAB, save X and y "
            "again with the option -v7; or read them with h5py, which shows them transposed, "
            f"and write them to {path.stem}.npz with numpy.savez."
        ) from error
    # A parser fails on a broken file in more ways than can be listed; a saved web page in
    # place of the file is the usual reason.
    except Exception as error:
        raise ValueError(
            f"{path} could not be read ({error or type(error).__name__}). Expected a {path.suffix} "
            f"file with the arrays X and y; download {path.stem}.mat again from {_SITE}."
        ) from error


def _open_mat(path: Path) -> tuple[_Headers, _Reader]:
    file = _unpacked(path)
    # Of several arrays of a name, SciPy reads the first.
    headers = {key: (shape, kind) for key, shape, kind in reversed(whosmat(file))}
    return headers, lambda: loadmat(file, variable_names=["X", "y"])


def _unpacked(path: Path) -> io.BytesIO:
    """Return a MATLAB file with the compressed elements unpacked, up to a number of bytes."""
    data = path.read_bytes()
    if matfile_version(path)[0] != 1:  # only version 5, counted as 1 there, has such elements
        return io.BytesIO(data)
    order = "<" if data[126:128] == b"IM" else ">"
    parts, at, room = [data[:128]], 128, _MOST_BYTES
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        part = data[at : at + 8 + size]
        if len(part) < 8 + size:
            raise ValueError("it is cut off within an array")
        if kind == _COMPRESSED:
            part = zlib.decompressobj().decompress(part[8:], room)
            room -= len(part)
            if room <= 0:
                raise ValueError(f"it unpacks to {_MOST_BYTES} bytes or more")
        parts.append(part)
        at += 8 + size
    return io.BytesIO(b"".join(parts))


def _open_npz(path: Path) -> tuple[_Headers, _Reader]:
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        members = {key: f"{key}.npy" for key in "Xy" if f"{key}.npy" in sizes}
        if sum(sizes[member] for member in members.values()) > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        # Never more than those sizes, whatever there is.
        content = {key: archive.read(member) for key, member in members.items()}
    headers = {}
    for key, data in content.items():
        file = io.BytesIO(data)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{key} is no plain array of version 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        headers[key] = shape, dtype.name
    return headers, lambda: {
        key: np.lib.format.read_array(io.BytesIO(data)) for key, data in content.items()
    }


def _check_headers(name: str, headers: _Headers, path: Path) -> None:
    """Compare shapes and kinds of X and y with the published table."""
    table = _TABLES[name]
    remedy = f"Download {name}.mat again from {_SITE}."
    (X_shape, _), (y_shape, _) = headers["X"], headers["y"]
    n_labels = math.prod(y_shape)
    if X_shape != (table.n_rows, table.n_features) or n_labels != table.n_rows:
        raise ValueError(
            f"{name} must have X of shape ({table.n_rows}, {table.n_features}) and {table.n_rows} "
            f"labels. Got X of shape {X_shape} and {n_labels} labels from {path}. {remedy}"
        )
    for key in "Xy":
        kind = headers[key][1]
        if not re.fullmatch(r"double|single|logical|bool|float\d+|u?int\d+", kind):
            raise ValueError(
                f"{name} must hold real numbers. Got {key} of kind {kind} from {path}. {remedy}"
            )


def _check(name: str, X: NDArray[Any], y: NDArray[Any], path: Path) -> Arrays:
    """Compare labels with the published table; return float64 X, and y with -1 for anomalies."""
    table = _TABLES[name]
    remedy = f"Download {name}.mat again from {_SITE}."
    y = y.ravel()
    is_anomaly = y == 1
    if not np.all(is_anomaly | (y == 0)):
        raise ValueError(
            f"{name} must have labels 0 (normal) and 1 (anomalous). Got the values "
            f"{np.unique(y)[:10].tolist()} from {path}. {remedy}"
        )
    if is_anomaly.sum() != table.n_anomalies:
        raise ValueError(
            f"{name} must have {table.n_anomalies} anomalies. Got {is_anomaly.sum()} "
            f"from {path}. {remedy}"
        )
    # MATLAB files hold columns together, and some tables are kept as small integers
    return np.array(X, dtype=np.float64, order="C"), np.where(is_anomaly, -1, 1)


def _describe(name: str) -> str:
    """Return the short text for DESCR."""
    table = _TABLES[name]
    return (
        f"{name}: {table.n_rows} rows, {table.n_features} features, {table.n_anomalies} anomalies "
        f"({table.n_anomalies / table.n_rows:.1%}). Anomalies are {table.anomalies}. "
        "From the ODDS library (Rayana, 2016, Stony Brook University), made from a table of the "
        "UCI Machine Learning Repository; features as in the file, not scaled."
    )
