"""Word vectors as users have them, read into one array."""

from __future__ import annotations

import codecs
import gzip
import os
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdeepad.notices import warn

# Of a word: itself, its numbers, and where it is from.
Entry = tuple[str, Any, str]


def read_vectors(
    vectors: Any, wanted: Callable[[str], bool]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Read word vectors into one array, whose row 0 is zeros and stands for no word.

    Parameters
    ----------
    vectors : path, mapping or KeyedVectors
        A file in the text format of GloVe or word2vec, also gzipped; {word: vector}; or what has
        ``key_to_index`` and ``vectors`` as gensim's KeyedVectors have.
    wanted : callable
        Takes a word and tells whether to keep it: the others' numbers are not even parsed.

    Returns
    -------
    words : ndarray of shape (1 + n_words,), dtype object
        The word of each row, "" of row 0.
    table : ndarray of shape (1 + n_words, n_dimensions), dtype float32
        Their vectors.

    Raises
    ------
    TypeError, ValueError
        If these are no vectors of one size of finite numbers, or none of the words is wanted.

    Examples
    --------
    >>> from skdeepad.features.vectors import read_vectors
    >>> words, table = read_vectors({"cat": [1, 2], "The": [3, 4]}, str.islower)
    >>> words.tolist(), table.tolist()
    (['', 'cat'], [[0.0, 0.0], [1.0, 2.0]])
    """
    # An array that grows in place: a list of rows would take several times the memory.
    table, rows, size, n_read = array("f"), {"": 0}, 0, 0
    again: list[str] = []
    for word, numbers, place in _entries(vectors):
        n_read += 1
        if not wanted(word):
            continue
        if word in rows:
            again.append(word)
            continue
        vector = _vector(numbers, place)
        if not table:
            size = len(vector)
            table.frombytes(bytes(4 * size))
        elif len(vector) != size:
            raise ValueError(
                f"{place} has {len(vector)} numbers, and those before it have {size}: expected "
                "vectors of one size."
            )
        rows[word] = len(rows)
        table.frombytes(vector.tobytes())
    if not table:
        raise ValueError(
            f"vectors has {n_read} words, and none of them can be a prepared word of a text: "
            "expected some. By default words are lower-case letters, at least min_length of them, "
            "and no stop words: pass vectors of such words, or a tokenizer that gives words as "
            "vectors has them."
        )
    if again:
        warn(
            f"vectors has {len(again)} words twice, the first of them {again[0]!r}: the first "
            "vector of each is used. Remove the others to be rid of this warning."
        )
    return np.array([*rows], dtype=object), np.frombuffer(table, np.float32).reshape(-1, size)


def _vector(numbers: Any, place: str) -> NDArray[np.float32]:
    """Return a vector, or say where numbers are none."""
    try:
        with np.errstate(over="ignore"):  # infinity is refused below
            vector = np.asarray(numbers, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is no vector of numbers: {error}.") from error
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"{place} has shape {vector.shape}: expected a vector of numbers.")
    if not np.isfinite(vector).all():
        raise ValueError(
            f"{place} holds NaN, infinity, or numbers too large for float32: expected finite "
            "ones. Leave this word out, or correct it."
        )
    return vector


def _entries(vectors: Any) -> Iterator[Entry]:
    if isinstance(vectors, str | os.PathLike):
        return _of_file(Path(vectors))
    if hasattr(vectors, "key_to_index") and hasattr(vectors, "vectors"):
        rows = vectors.vectors
        return _of_pairs((word, rows[row]) for word, row in vectors.key_to_index.items())
    if isinstance(vectors, Mapping):
        return _of_pairs(vectors.items())
    raise TypeError(
        "vectors must be a path to a file in the text format of GloVe or word2vec, a mapping of "
        "words to vectors, or gensim's KeyedVectors (of a model: model.wv); got "
        f"{type(vectors).__name__}. Of two arrays make dict(zip(words, vectors))."
    )


def _of_pairs(pairs: Any) -> Iterator[Entry]:
    for word, numbers in pairs:
        if not isinstance(word, str) or not word:
            raise TypeError(
                f"vectors must have words as keys; got {word!r} of type {type(word).__name__}."
            )
        yield str(word), numbers, f"The vector of {word!r}"


def _of_file(path: Path) -> Iterator[Entry]:
    """Yield a file's words; it is read as bytes, as some words hold characters that end lines."""
    if not path.is_file():
        raise FileNotFoundError(
            f"vectors is {str(path)!r}, and there is no such file (looked in {Path.cwd()}). "
            "Download vectors first, for example GloVe's from nlp.stanford.edu/projects/glove, and "
            "unzip them: nothing is downloaded here."
        )
    with _opened(path) as lines:
        first = next(lines, b"").removeprefix(codecs.BOM_UTF8)
        header = re.fullmatch(rb"(\d+)[ \t](\d+)\s*", first)
        size = int(header[2]) if header else _size(first)
        n_words = 0
        rest = lines if header else chain([first], lines)
        for number, line in enumerate(rest, 2 if header else 1):
            if line.strip():
                n_words += 1
                yield _of_line(line, size, f"Line {number} of {path.name}")
    if header and n_words != int(header[1]):
        raise ValueError(
            f"The first line of {path.name} tells of {int(header[1])} words, and {n_words} follow: "
            "expected all of them. Download it again."
        )
    if not n_words:
        raise ValueError(f"{path.name} is empty: expected lines of a word and its numbers.")


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        magic = file.read(2)
    if magic == b"PK":
        raise ValueError(
            f"{path.name} is a zip archive: expected a text file, or one compressed by gzip. Unzip "
            "it, and pass one of the files in it."
        )
    return gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb")


def _size(line: bytes) -> int:
    """Return how many numbers a line ends in; its first part is a word, even if it is a number."""
    parts = line.split()
    words = [place for place, part in enumerate(parts) if place == 0 or not _is_number(part)]
    return len(parts) - 1 - max(words, default=0)


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _of_line(line: bytes, size: int, place: str) -> Entry:
    """Return word and numbers: the last `size` parts of the line, as words may hold spaces."""
    parts = line.rsplit(None, size)
    before = parts[0].split()
    if size < 1 or len(parts) <= size or (len(before) > 1 and _is_number(before[-1])):
        raise ValueError(
            f"{place} has {len(line.split()) - 1} numbers where {max(size, 1)} were expected: a "
            "word and its numbers, as many in every line. Files of word2vec's binary format are no "
            "text: read them by gensim, and pass its KeyedVectors."
        )
    try:
        return parts[0].strip().decode(), parts[1:], place
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{place} has a word that is not UTF-8: {error}. Expected a text file. Correct the "
            "word, or read binary files by gensim, and pass its KeyedVectors."
        ) from error
