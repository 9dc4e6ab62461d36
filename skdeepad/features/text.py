"""Texts as rows of word vectors: one vector a word, or one a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from copy import copy
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin, _clone_parametrized
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skdeepad.features.vectors import read_vectors
from skdeepad.notices import warn
from skdeepad.parameters import Parametrized, parameter

MANY_UNKNOWN = 0.5
"""Share of words without a vector beyond which one is warned."""
MANY_CUT = 0.1
"""Share of texts cut beyond which one is warned."""

# Vocabularies such as GloVe's have "do" and "n't". The apostrophe may be a typographer's.
_NOT = re.compile("n['\u2019]t\\b")
# Letters of any alphabet.
_WORD = re.compile(r"[^\W\d_]+")

# Of the vectors of a text's words (l, d) and their weights (l,).
_POOLS: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    "mean": lambda vectors, weights: vectors.mean(axis=0),
    "tfidf": lambda vectors, weights: np.average(vectors, axis=0, weights=weights),
    "max": lambda vectors, weights: vectors.max(axis=0),
}

_Method = TypeVar("_Method", bound=Callable[..., Any])
# Without names of columns scikit-learn leaves rows as they are: three axes fit into no data frame.
_if_pooled: Callable[[_Method], _Method] = available_if(lambda self: self.output in _POOLS)


class _Found(NamedTuple):
    """The known words of texts, as rows of the vectors, and how many words had no vector."""

    rows: list[NDArray[np.int32]]
    n_words: int
    n_unknown: int


class WordVectors(TransformerMixin, Parametrized):
    r"""Turn texts into word vectors, one a word or one a text.

    A text is prepared as in [1]_: lower case; whatever is no letter separates words; stop words and
    words of fewer than `min_length` letters are left out. "Don't" is "do" and "n't", "Ann's" is
    "Ann" and "s", as in the vocabularies of pretrained vectors. Words that have no vector are left
    out then, and told of in `unknown_share_`. With the vectors :math:`h_1, \dots, h_l` of the
    others, less the mean vector of all words if `center` is, and in the text's order, `output` is

    - "sequence": :math:`(h_1, \dots, h_l, 0, \dots, 0)`, rows of zeros filling up to `n_tokens_`;
    - "ids": their places in `vectors_`, which is a matrix, 0 filling up. ``vectors_[ids]`` is
      "sequence", and ids take a `d`-th of the memory;
    - "mean": :math:`\frac{1}{l} \sum_i h_i`;
    - "tfidf": :math:`\sum_i w_i h_i / \sum_i w_i`, where :math:`w = 1 + \ln \frac{1 + n}{1 + n_w}`
      for a word that is in :math:`n_w` of the `n` training texts: the mean weighted by term
      frequency times inverse document frequency, as frequent words occur in the sum repeatedly;
    - "max": the maximum over the words, in each dimension.

    "sequence" and "ids" rows hold the first `n_tokens_` known words of a text. The other outputs
    are of all its known words. A text without any is zeros, and a warning says so: it is scored,
    but not for what it says.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    vectors_ : ndarray of shape (1 + n_words, n_dimensions), dtype float32
        Vector of each word that a text can have; words that the preparation never gives, such as
        numbers, are left out. Row 0 is zeros, and stands for no word.
    words_ : ndarray of shape (1 + n_words,), dtype object
        These words, "" at 0.
    n_tokens_ : int or None
        Words in a row of "sequence" and "ids": as many as the longest training text has, at most
        `max_tokens`. None for the other outputs.
    unknown_share_ : float
        Share of the prepared words of the training texts that had no vector. Repeated words count
        as often as they occur.
    idf_ : ndarray of shape (1 + n_words,)
        Weights w of these words, as "tfidf" uses them.

    Raises
    ------
    TypeError, ValueError
        In ``fit``: if X is not a list, array or series of str, `vectors` cannot be read, no word of
        X has a vector, or a parameter is not what it may be.

    Warns
    -----
    UserWarning
        In ``fit`` and ``transform``: if more than half of the words have no vector, texts have none
        that has one, or more than a tenth of the texts were cut.

    See Also
    --------
    DeepSVDD : Takes "mean", "tfidf" and "max" rows, as all detectors of tables do.
    sklearn.svm.OneClassSVM : On unit vectors its linear kernel is the cosine kernel.

    Notes
    -----
    The baseline of [1]_, a one-class SVM with a cosine kernel, is::

        make_pipeline(
            WordVectors(vectors, output="mean", center=False),
            Normalizer(),
            OneClassSVM(kernel="linear"),
        )

    A file is read in every ``fit``. Where there are many, as in a search, read it once::

        read = WordVectors("glove.6B.300d.txt", center=False).fit(texts)
        vectors = dict(zip(read.words_[1:], read.vectors_[1:]))

    ``clone`` shares `vectors`, and does not copy them. A fitted transformer is pickled with its
    `vectors_`, and with `vectors` unless that is a path.

    References
    ----------
    .. [1] Ruff et al., "Self-Attentive, Multi-Context One-Class Classification for Unsupervised
       Anomaly Detection on Text", ACL 2019; Ruff, "Deep One-Class Learning", TU Berlin, 2021,
       section 3.2.
    .. [2] Mu and Viswanath, "All-but-the-Top: Simple and Effective Postprocessing for Word
       Representations", ICLR 2018.

    Examples
    --------
    >>> from skdeepad import WordVectors
    >>> vectors = {"cat": [1.0, 0.0], "dog": [0.0, 1.0], "sleeps": [1.0, 1.0]}
    >>> texts = ["The cat sleeps.", "A DOG!"]
    >>> transformer = WordVectors(vectors, center=False).fit(texts)
    >>> transformer.transform(texts)
    array([[[1., 0.],
            [1., 1.]],
           [[0., 1.],
            [0., 0.]]], dtype=float32)
    >>> transformer.tokenize(texts)
    [['cat', 'sleeps'], ['dog']]
    >>> WordVectors(vectors, output="ids").fit_transform(texts)
    array([[1, 3],
           [2, 0]], dtype=int32)
    >>> WordVectors(vectors, output="mean", center=False).fit_transform(texts)
    array([[1. , 0.5],
           [0. , 1. ]], dtype=float32)
    """

    vectors: Any = parameter(
        kind="path, mapping of str to array, or KeyedVectors",
        kw_only=False,
        doc="""Word vectors: a file of lines "word number number ...", as GloVe has them, or with a
            line "words dimensions" before them, as word2vec's text format has, also compressed by
            gzip; a mapping; or gensim's KeyedVectors. Of a word that is in a file twice the first
            vector is used, with a warning.""",
    )
    output: Literal["sequence", "ids", "mean", "tfidf", "max"] = parameter(
        default="sequence",
        constraint=[StrOptions({"sequence", "ids", "mean", "tfidf", "max"})],
        doc="""What a row is: see above. "sequence" has shape (n_tokens, n_dimensions), "ids"
            (n_tokens,), the others (n_dimensions,).""",
    )
    tokenizer: Callable[[str], Iterable[str]] | None = parameter(
        default=None,
        constraint=[callable, None],
        kind="callable or None",
        doc="""Takes a text, as it is, and returns its words, a list of str. It stands in for all of
            the preparation: `stop_words` and `min_length` are not applied, nor are words made lower
            case. What remains: words without a vector are left out, and long texts cut. None: the
            preparation above.""",
    )
    stop_words: Literal["english"] | Collection[str] | None = parameter(
        default="english",
        constraint=[StrOptions({"english"}), list, tuple, set, frozenset, np.ndarray, None],
        kind='"english", collection of str or None',
        doc="""Words to leave out. "english": scikit-learn's list. None: no words.""",
    )
    min_length: int = parameter(
        default=3,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="Letters that a word must have.",
    )
    max_tokens: int | None = parameter(
        default=256,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        doc="""Known words that a row of "sequence" or "ids" holds at most: of longer texts the
            first. None: as many as the longest training text has.""",
    )
    center: bool = parameter(
        default=True,
        constraint=["boolean"],
        doc="""Whether the mean vector of all words that a text can have, each counted once, is
            subtracted from theirs, if there are two or more. Pretrained vectors share a direction,
            which makes all cosines alike [2]_.""",
    )

    def fit(self, X: Any, y: Any = None) -> Self:
        """Read the vectors, and learn from the texts how long they are and which words they have.

        Parameters
        ----------
        X : list, array or series of str, of shape (n_samples,)
            Texts.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : object
            This transformer, fitted.
        """
        self._learn(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """Fit, and return the rows of the training texts, which are prepared only once.

        Parameters
        ----------
        X : list, array or series of str, of shape (n_samples,)
            Texts.
        y : object, default=None
            Ignored.

        Returns
        -------
        ndarray
            As of ``transform``.
        """
        return self._rows(self._learn(X))

    def transform(self, X: Any) -> NDArray[Any]:
        """Turn texts into rows.

        Parameters
        ----------
        X : list, array or series of str, of shape (n_samples,)
            Texts.

        Returns
        -------
        ndarray of shape (n_samples, n_tokens, n_dimensions), (n_samples, n_tokens) or \
                (n_samples, n_dimensions)
            Rows, by `output`: float32, ids int32.
        """
        check_is_fitted(self)
        found = _look_up(_texts(X), self._prepare, self._index)
        self._warn(found)
        return self._rows(found)

    def tokenize(self, X: Any) -> list[list[str]]:
        """Return the words that the rows of ``transform`` hold, in their order.

        Parameters
        ----------
        X : list, array or series of str, of shape (n_samples,)
            Texts.

        Returns
        -------
        list of list of str
            Of each text, prepared and known words; as many as the row holds.
        """
        check_is_fitted(self)
        found = _look_up(_texts(X), self._prepare, self._index)
        return [self.words_[row[: self.n_tokens_]].tolist() for row in found.rows]

    @_if_pooled
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Name the dimensions: ``"wordvectors0"`` and so on. Not for "sequence" and "ids".

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of str objects
            Names.
        """
        check_is_fitted(self)
        names = [f"wordvectors{number}" for number in range(self.vectors_.shape[1])]
        return np.array(names, dtype=object)

    def _learn(self, X: Any) -> _Found:
        """Fit, and return what was found in the training texts."""
        self._validate_params()
        prepare = self._preparation()
        texts = _texts(X)
        words, vectors = read_vectors(
            self.vectors,
            (lambda word: True) if self.tokenizer else (lambda word: prepare(word) == [word]),
        )
        index = {word: row for row, word in enumerate(words) if row}
        found = _look_up(texts, prepare, index)
        longest = max(map(len, found.rows))
        if not longest:
            raise ValueError(
                f"None of the {found.n_words} prepared words of X has a vector: expected texts "
                f"whose words are among those of vectors, such as {', '.join(words[1:4])}. See "
                "that both have one language, and one way to write words."
            )
        if self.center and len(words) > 2:
            vectors[1:] -= vectors[1:].mean(axis=0)
        self.words_, self.vectors_ = words, vectors
        self._prepare, self._index = prepare, index
        self.unknown_share_ = found.n_unknown / found.n_words
        self.n_tokens_ = None
        if self.output not in _POOLS:
            self.n_tokens_ = min(longest, self.max_tokens or longest)
        each_once = np.concatenate([np.unique(row) for row in found.rows])
        n_with = np.bincount(each_once, minlength=len(words))
        self.idf_ = 1 + np.log((1 + len(texts)) / (1 + n_with))
        self._warn(found)
        return found

    def _preparation(self) -> Callable[[str], Iterable[str]]:
        """Return what gives the words of a text."""
        if self.tokenizer is not None:
            if not isinstance(self.stop_words, str) or self.min_length != 3:
                warn(
                    "A tokenizer stands in for all of the preparation: stop_words and min_length "
                    "are not applied. Leave out words in the tokenizer, and these parameters."
                )
            return partial(_own_words, self.tokenizer)
        if isinstance(self.stop_words, str):
            return partial(_prepared, stop_words=ENGLISH_STOP_WORDS, min_length=self.min_length)
        stop_words = [] if self.stop_words is None else list(self.stop_words)
        strange = [word for word in stop_words if not isinstance(word, str)]
        if strange:
            raise TypeError(f"stop_words must hold str; got {strange[0]!r}.")
        lower = frozenset(word.lower() for word in stop_words)
        return partial(_prepared, stop_words=lower, min_length=self.min_length)

    def _warn(self, found: _Found) -> None:
        """Warn where rows hold little of the texts."""
        n_texts = len(found.rows)
        if found.n_unknown > MANY_UNKNOWN * found.n_words:
            warn(
                f"{found.n_unknown} of the {found.n_words} prepared words of X, "
                f"{found.n_unknown / found.n_words:.0%}, have no vector and are left out. Pass "
                "vectors of more words, or see that words are written as they are in vectors."
            )
        empty = [place for place, row in enumerate(found.rows) if not len(row)]
        if empty:
            more = ", ..." * (len(empty) > 5)
            warn(
                f"{len(empty)} of {n_texts} texts have no word that has a vector, at positions "
                f"{', '.join(map(str, empty[:5]))}{more}: their rows are zeros, and a detector's "
                "scores of them mean nothing. Leave them out."
            )
        n_cut = sum(len(row) > (self.n_tokens_ or len(row)) for row in found.rows)
        if n_cut > MANY_CUT * n_texts:
            warn(
                f"{n_cut} of {n_texts} texts, {n_cut / n_texts:.0%}, have more than n_tokens_ = "
                f"{self.n_tokens_} known words, and were cut. Raise max_tokens and have longer "
                "texts in fit, split long texts, or use an output of all words, such as 'mean'."
            )

    def _rows(self, found: _Found) -> NDArray[Any]:
        if self.n_tokens_ is None:
            return self._pooled(found)
        ids = np.zeros((len(found.rows), self.n_tokens_), dtype=np.int32)
        for place, known in enumerate(found.rows):
            ids[place, : len(known)] = known[: self.n_tokens_]
        return ids if self.output == "ids" else self.vectors_[ids]

    def _pooled(self, found: _Found) -> NDArray[np.float32]:
        pool = _POOLS[self.output]
        pooled = np.zeros((len(found.rows), self.vectors_.shape[1]), dtype=np.float32)
        for place, known in enumerate(found.rows):
            if len(known):
                pooled[place] = pool(self.vectors_[known], self.idf_[known])
        return pooled

    def __sklearn_clone__(self) -> Self:
        # Vectors are read and never changed: copies in every candidate of a search would add up.
        without = copy(self)
        without.vectors = None
        cloned = _clone_parametrized(without)
        cloned.vectors = self.vectors
        return cloned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _look_up(
    texts: list[str], prepare: Callable[[str], Iterable[str]], index: Mapping[str, int]
) -> _Found:
    rows, n_words = [], 0
    for text in texts:
        words = [index.get(word, 0) for word in prepare(text)]
        n_words += len(words)
        rows.append(np.array([row for row in words if row], dtype=np.int32))
    return _Found(rows, n_words, n_words - sum(map(len, rows)))


def _prepared(text: str, stop_words: Set[str], min_length: int) -> list[str]:
    """Return the words of a text, as the thesis prepares them."""
    # One of the two ways to write an accented letter, that of the vocabularies.
    lower = unicodedata.normalize("NFC", text.lower())
    words = _WORD.findall(_NOT.sub(" ", lower))
    return [word for word in words if len(word) >= min_length and word not in stop_words]


def _own_words(tokenizer: Callable[[str], Iterable[str]], text: str) -> list[str]:
    """Return the words that a user's tokenizer gives."""
    told = tokenizer(text)
    words = list(told) if isinstance(told, Iterable) and not isinstance(told, str) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise TypeError(
            f"tokenizer must return a list of str; got {told!r} for the text {text[:50]!r}."
        )
    return words


def _texts(X: Any) -> list[str]:
    """Return texts as a list, or say why X holds none."""
    if isinstance(X, str | bytes):
        raise TypeError("X is one text; expected a list of them. Write [text] for one alone.")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(
            f"X has shape {tuple(shape)}; expected one axis, of texts. Pass one column: "
            "X['text'] of a data frame, X[:, 0] of an array, its name alone to a ColumnTransformer."
        )
    if not isinstance(X, Iterable) or not hasattr(X, "__len__") or isinstance(X, Set | Mapping):
        raise TypeError(f"X must be a list, array or series of str; got {type(X).__name__}.")
    texts = list(X)
    if not texts:
        raise ValueError("X holds no texts: found 0 samples while a minimum of 1 is required.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"X must hold str; got {text!r} of type {type(text).__name__} at position {place}."
                + _HINTS.get(type(text), " Fill in '' for texts that are missing.")
            )
    return texts


_HINTS: dict[type, str] = {
    bytes: " Decode it, for example by text.decode().",
    list: " Join words that are split by ' '.join(words), and pass tokenizer=str.split.",
}
