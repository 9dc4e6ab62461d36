"""Context vector data description, for texts."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn
from torch.nn import functional

from skdeepad import losses, networks
from skdeepad.deep import DeepDetector
from skdeepad.engine import Batch, Objective, Rows, Stage
from skdeepad.notices import warn
from skdeepad.objectives import UNCHANGED, Preparation, PreparedObjective
from skdeepad.parameters import parameter
from skdeepad.preparation import LabelParameters
from skdeepad.synthetic import RandomWords

MOST_WORDS = 2**24
"""Ids from here on are not all whole numbers in float32."""


class ContextObjective(PreparedObjective):
    """Cosine distances of a text's mean word vectors, one a head, to as many contexts."""

    apart_from_losses: tuple[str, ...] = ("seed", "combination", "alphas", "n_epochs")

    network: networks.SelfAttention
    vectors: Tensor | None
    alpha: Tensor
    orthogonality: Tensor
    eta: Tensor

    def __init__(
        self,
        network: networks.SelfAttention,
        vectors: Tensor | None,
        seed: int,
        combination: str | int,
        alphas: Sequence[float],
        n_epochs: int,
        preparation: Preparation = UNCHANGED,
        **numbers: float,
    ) -> None:
        super().__init__(network, (), preparation, alpha=alphas[0], **numbers)
        self.seed, self.combination = seed, combination
        self.alphas, self.n_epochs = tuple(alphas), n_epochs
        self.contexts = nn.Parameter(torch.zeros(network.n_heads, network.vector_size))
        self.register_buffer("vectors", vectors)

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Word vectors (n, l, d) of texts, and how much each head attends to them: (n, l, r)."""
        if self.vectors is None:
            vectors = x if x.dim() == 3 else x[:, None]  # a text of one word
            return vectors, self.network.logits(vectors)
        ids = x.long()
        vectors = functional.embedding(ids, self.vectors)
        # A head thinks the same of a word in all texts: where they are many, once is enough.
        if len(self.vectors) < ids.numel():
            return vectors, self.network.logits(self.vectors)[ids]
        return vectors, self.network.logits(vectors)

    def codes(self, x: Tensor) -> Tensor:
        """Mean word vectors, of length 1, one after the other: (n, r d)."""
        return functional.normalize(self.network.means(*self.embed(x)), dim=-1).flatten(1)

    def attention(self, x: Tensor) -> Tensor:
        """Weight of each word for each context: (n, l, r)."""
        return self.network.weights(self.embed(x)[1])

    def context_scores(self, x: Tensor) -> Tensor:
        """Cosine distance to each context: (n, r)."""
        means = self.network.means(*self.embed(x))
        # Squares overflow, or vanish, long before directions do.
        size = means.detach().abs().amax(-1, keepdim=True)
        units = means / torch.where(size > 0, size, 1.0)
        return 0.5 * (1.0 - torch.cosine_similarity(units, self.contexts, dim=-1))

    def relevance(self, x: Tensor) -> Tensor:
        """Share of each word in the score: (n, l)."""
        vectors, logits = self.embed(x)
        weights, means = self.network.weights(logits), self.network.means(vectors, logits)
        size = means.abs().amax(-1, keepdim=True)  # (n, r, 1)
        size = torch.where(size > 0, size, 1.0)
        lengths = (means / size).norm(dim=-1)[:, None]  # (n, 1, r)
        along = (vectors @ functional.normalize(self.contexts, dim=1).T) / size[:, None, :, 0]
        # Weights add up to 1, and what they weigh in brackets to 1 less the cosine.
        by_context = 0.5 * weights * (1.0 - along / torch.where(lengths > 0, lengths, 1.0))
        if self.combination == "mean":
            return by_context.mean(-1)
        k: Any = self.combination
        if k == "min":
            nearest = by_context.sum(1).argmin(-1)  # (n,)
            return by_context.gather(2, nearest.view(-1, 1, 1).expand(-1, len(x[0]), 1))[..., 0]
        return by_context[..., k]

    def score(self, x: Tensor) -> Tensor:
        """Mean or least distance to the contexts, or that to one of them: (n,)."""
        distances = self.context_scores(x)
        if isinstance(self.combination, int):
            return distances[:, self.combination]
        return distances.mean(1) if self.combination == "mean" else distances.amin(1)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each text, with that of contexts that are alike: (n,)."""
        distances = self.context_scores(batch.x)
        shares = torch.softmax(-self.alpha * distances, 1)
        of_texts = losses.context_description((shares * distances).sum(1), batch.y, self.eta)
        return of_texts + self.orthogonality * self.overlap()

    def overlap(self) -> Tensor:
        r"""Squared Frobenius norm of :math:`C^\top C - I`: 0-dim."""
        products = self.contexts @ self.contexts.T
        return (products - torch.eye(len(products), device=products.device)).square().sum()

    def start(self, rows: Rows) -> None:
        """Start the contexts from centres of the texts' mean word vectors, of unit length."""
        from sklearn.cluster import KMeans  # slow to import
        from threadpoolctl import threadpool_limits

        means = self._mean_vectors(rows)
        n_contexts = len(self.contexts)
        clustering = KMeans(min(n_contexts, len(means)), n_init=1, random_state=self.seed % 2**31)
        # Sums by several threads differ in their last bits. Where texts are alike, so are contexts.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            centers = clustering.fit(means).cluster_centers_
        repeated = torch.from_numpy(np.resize(centers, (n_contexts, means.shape[1])))
        self.contexts.copy_(functional.normalize(repeated))

    def _mean_vectors(self, rows: Rows) -> NDArray[np.float32]:
        """Mean word vectors (m, d), to scale, of all texts with words but labeled anomalies."""
        means = []
        for x, y, count in rows.slices():
            vectors, _ = self.embed(x)
            words = vectors.any(-1, keepdim=True)
            shares = words / words.sum(1, keepdim=True).clamp(min=1)  # before they add up to inf
            means.append((shares * vectors).sum(1)[:count][y[:count] >= 0])
        found = torch.cat(means).cpu().numpy()
        found = found[found.any(axis=1)]
        if not len(found):  # a table of zeros, which tells nothing apart
            found = np.ones((1, found.shape[1]), dtype=np.float32)
        return found / np.abs(found).max()

    def after_epoch(self, epoch: int, rows: Rows, losses: dict[str, float]) -> None:
        """Take the next alpha: each holds for an equal part of the epochs."""
        part = (epoch + 1) * len(self.alphas) // self.n_epochs
        self.alpha.fill_(self.alphas[min(part, len(self.alphas) - 1)])


class CVDD(LabelParameters, DeepDetector):
    r"""Context vector data description: what texts have in common, as a few contexts.

    A text is a matrix :math:`H` of the vectors of its words, which stay as they are. Self-attention
    weighs the words once for each of :math:`r` contexts, :math:`A = \operatorname{softmax}(
    \tanh(H^\top W_1) W_2)`, and each column of :math:`M = H A` is compared with its context
    :math:`c_k` by the cosine distance

    .. math:: d_k = \frac{1}{2} \left( 1 - \cos(c_k, m_k) \right) \in [0, 1].

    With :math:`\bar d = \sum_k \sigma_k d_k`, where :math:`\sigma` is the softmax of
    :math:`-\alpha d_k` over the contexts, :math:`W_1`, :math:`W_2` and the contexts :math:`C`
    minimise the mean over unlabeled and labeled texts of

    .. math::

        \ell(H, y) = \lambda \lVert C^\top C - I \rVert_F^2 + \begin{cases}
            \bar d & y = 0 \\
            \eta \, \bar d & y > 0 \\
            -\eta \log \bar d & y < 0
        \end{cases}

    plus half of `weight_decay` times the squared norm of the weights. Contexts start from the
    centres of a clustering (k-means++) of the texts' mean word vectors. The thesis has no labels;
    the last two cases are this package's, after the hypersphere classifier: :math:`\bar d` stands
    for the probability of an anomaly. Of the forms tried on 20 Newsgroups with 20 labels (a hinge,
    a reciprocal, a linear one, cross-entropy on both sides, a logarithm for each context) none was
    better by more than chance.

    Texts of random words are taken for anomalies, too: in each batch every word of every third
    text is replaced by one of the vocabulary, all alike. Attention then weighs what tells these
    texts from the language's words. Without, by `random_texts=False` as in the thesis, it tends to
    weigh whatever words are in all texts of any kind.

    The anomaly score is the mean of :math:`d_k`, or what `combination` says. A text without a known
    word has a distance of 1/2 to each context, as one at right angles to it has, and a warning
    tells of it.

    X holds

    - word vectors (n_texts, n_words, d), filled up with rows of zeros
      (:class:`~skdeepad.features.WordVectors` makes them of texts);
    - ids (n_texts, n_words), where `vectors` is the table of their vectors: a fraction of the
      memory;
    - texts, where `vectors` is a :class:`~skdeepad.features.WordVectors`;
    - or a table, each of whose rows is then a text of one word, with a warning: attention has
      nothing to choose there, and the contexts alone are trained.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    contexts_ : ndarray of shape (n_contexts, d)
        The context vectors.
    word_vectors_ : WordVectors
        Fitted to the texts, where `vectors` is one.
    {attributes}

    See Also
    --------
    skdeepad.features.WordVectors : Turns texts into vectors or ids.
    TextDisplay : Texts with their words shaded by weight.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import CVDD
    >>> from skdeepad.features import WordVectors
    >>> rng = np.random.default_rng(0)
    >>> themes = {"sun": "sunny warm bright sky", "rain": "wet cloudy storm sky"}
    >>> vectors = {word: rng.normal(size=8) for words in themes.values() for word in words.split()}
    >>> texts = ["warm sunny sky", "bright sunny warm", "cloudy wet sky", "storm wet cloudy"] * 20
    >>> vectors |= {"debt": -np.ones(8), "tax": -np.ones(8)}
    >>> detector = CVDD(WordVectors(vectors), n_contexts=2, random_state=0).fit(texts)
    >>> new = ["wet sky", "tax debt"]
    >>> bool(detector.score_samples(new)[0] > detector.score_samples(new)[1])
    True
    >>> detector.attention(new).shape  # texts, words, contexts
    (2, 3, 2)
    """

    vectors: Any = parameter(
        default=None,
        constraint=["array-like", HasMethods(["fit", "transform", "tokenize"]), None],
        kind="array-like of shape (n_words, d) or WordVectors",
        kw_only=False,
        doc="""Vectors of the words whose ids X holds, the first one zeros: id 0 is padding. A
            :class:`~skdeepad.features.WordVectors`: X holds texts. None: X holds vectors.""",
    )
    n_contexts: int = parameter(
        default=3,
        constraint=[Interval(Integral, 1, None, closed="left")],
        kw_only=False,
        doc="r, the number of contexts, each with an attention head.",
    )
    combination: Literal["mean", "min"] | int = parameter(
        default="mean",
        constraint=[StrOptions({"mean", "min"}), Interval(Integral, 0, None, closed="left")],
        kind='{"mean", "min"} or int',
        doc="""What of the distances to the contexts is the score: their mean, the least, or that to
            the context of this number, from 0 on.""",
    )
    eta: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="neither")],
        doc=r":math:`\eta`, weight of labeled texts against unlabeled ones.",
    )
    orthogonality: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="left")],
        doc=r":math:`\lambda`, weight of contexts at right angles; the thesis has 1 and 10.",
    )
    alphas: Sequence[float] = parameter(
        default=(0.0, 1e-4, 1e-3, 1e-2, 1e-1),
        constraint=["array-like"],
        kind="tuple of float",
        doc=r""":math:`\alpha`, how much nearer contexts count for more, in equal parts of the
            training one after the other. ``(0.0,)``: all count the same.""",
    )
    attention_size: int = parameter(
        default=150,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc=":math:`d_a`, number of units between word vectors and attention.",
    )
    random_texts: bool = parameter(
        default=True,
        constraint=["boolean"],
        doc="""Whether texts of random words are taken for anomalies. The words are those of
            `vectors`: without it, there are none.""",
    )
    n_epochs: int = parameter(
        default=30,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="Passes over the data.",
    )
    network: ClassVar[None] = None  # type: ignore[misc]
    hidden_layer_sizes: ClassVar[None] = None  # type: ignore[misc]
    augment: ClassVar[None] = None  # type: ignore[misc]
    anomaly_fraction = 0.25
    lr = 0.003
    lr_schedule = "two-phase"
    batch_size = 64
    clip_grad_norm = 0.5

    _wants_scaled_rows = False
    _reads_series = False
    _compares = False
    _collapse = "texts of one and the same word, or far too few of them"
    _paper_settings = {
        "random_texts": False,
        "n_epochs": 100,
        "lr": 0.01,
        "batch_size": 64,
        "clip_grad_norm": 0.5,
    }
    _paper_source = 'Ruff, "Deep One-Class Learning", thesis, section 3.2.2.'
    _paper_note = (
        "The thesis has word vectors as they are, ``WordVectors(center=False)``, and also 10 for "
        "``orthogonality`` and 0 for all of ``alphas``."
    )

    def context_scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Cosine distance of each text to each context.

        Parameters
        ----------
        X : array-like
            Texts, as for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_texts, n_contexts), dtype float64
            In [0, 1], larger = more anomalous.
        """
        check_is_fitted(self)
        return self._by_row(self._validate(X, reset=False), "context_scores")

    def explain(self, X: ArrayLike, reference: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Say how much each word adds to the anomaly score of its text.

        As attention adds up to 1, so does

        .. math::

            d_k = \sum_j R_{jk}, \quad
            R_{jk} = \frac{A_{jk}}{2} \left(
                1 - \frac{h_j^\top c_k}{\lVert m_k \rVert \, \lVert c_k \rVert} \right),

        exactly. A word that a context attends to and that points elsewhere adds to the distance;
        one that points the same way takes from it.

        Parameters
        ----------
        X : array-like
            Texts, as for :meth:`fit`.
        reference : None
            Not used: words are compared with the contexts.

        Returns
        -------
        ndarray of shape (n_texts, n_words), dtype float64
            Relevance, 0 for padding. A text's sum is its score, but for one without words.
        """
        return super().explain(X, reference)

    def _in_place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values

    def attention(self, X: ArrayLike) -> NDArray[np.float64]:
        """Weight of each word of each text for each context.

        They say by which words a text is compared with what is normal, not what makes it anomalous.

        Parameters
        ----------
        X : array-like
            Texts, as for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_texts, n_words, n_contexts), dtype float64
            They sum to 1 over the words, and are 0 for padding.
        """
        check_is_fitted(self)
        return self._by_row(self._validate(X, reset=False), "attention")

    def top_words(
        self,
        X: ArrayLike,
        tokens: Sequence[Sequence[str]] | None = None,
        *,
        n_words: int = 10,
        n_texts: int = 100,
    ) -> list[list[str]]:
        """Words that stand for each context.

        Of the texts nearest to a context, the words that it attends to most are counted.

        Parameters
        ----------
        X : array-like
            Texts, as for :meth:`fit`.
        tokens : list of list of str, default=None
            Words of each row of X, as ``WordVectors.tokenize(texts)`` gives them. None: X holds
            texts.
        n_words : int, default=10
            Number of words of each text, and of each context.
        n_texts : int, default=100
            Number of texts near each context.

        Returns
        -------
        list of list of str
            By context, the most frequent first.

        Raises
        ------
        ValueError
            If the words are not known, or are not those of X.
        """
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        tokens = self._tokens(X, tokens, len(rows))
        distances = self._by_row(rows, "context_scores")
        found = []
        for k in range(self.n_contexts):
            nearest = np.argsort(distances[:, k], kind="stable")[:n_texts]
            weights = self._by_row(rows[nearest], "attention")[:, :, k]
            counts: Counter[str] = Counter()
            for row, of_row in zip(nearest, weights, strict=True):
                words = tokens[row][: len(of_row)]
                heaviest = np.argsort(-of_row[: len(words)], kind="stable")
                counts.update(list(dict.fromkeys(words[i] for i in heaviest))[:n_words])
            found.append([word for word, _ in counts.most_common(n_words)])
        return found

    def _takes_texts(self) -> bool:
        return hasattr(self.vectors, "tokenize")

    def _checked(
        self, X: Any, y: Any, rows: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int8]]:
        if isinstance(self.combination, Integral) and self.combination >= self.n_contexts:
            raise ValueError(
                f"combination={self.combination} is no context: expected a number below "
                f"n_contexts={self.n_contexts}, 'mean' or 'min'."
            )
        alphas = np.asarray(self.alphas)
        if alphas.ndim != 1 or not alphas.size or alphas.dtype.kind not in "fiu":
            raise ValueError(f"alphas must be one or more numbers; got {self.alphas!r}.")
        if not (np.isfinite(alphas) & (alphas >= 0)).all():
            raise ValueError(f"alphas must be finite and at least 0; got {self.alphas!r}.")
        return super()._checked(X, y, rows)

    def _validate(self, X: Any, *, reset: bool) -> NDArray[Any]:
        if self._takes_texts():
            if reset:
                words = clone(self.vectors).set_params(output="ids")
                X = words.fit_transform(X)
                self.word_vectors_: Any = words
            else:
                X = self.word_vectors_.transform(X)
        elif _are_texts(X):
            raise TypeError(
                "X holds texts, and CVDD takes word vectors, or ids where vectors is a table: "
                "pass vectors=WordVectors(...), or put a WordVectors before it in a pipeline."
            )
        rows = super()._validate(X, reset=reset)
        if self.vectors is not None:
            _check_ids(
                rows, len(self._table() if reset else cast(Tensor, self._contexts().vectors))
            )
        if self.vectors is None and len(self.input_shape_) == 1:
            return rows
        known = rows.any(axis=1)
        if reset and not known.any():
            raise ValueError(
                "No text of X holds a word, only padding: expected vectors, or ids, other than 0. "
                "See that words are written as they are among those that have vectors."
            )
        if not known.all() and not self._takes_texts():  # else WordVectors has told of it
            warn(
                f"{int((~known).sum())} of {len(rows)} texts hold no word, only padding, first row "
                f"{int(np.argmin(known))}: their distance to each context counts as 1/2."
            )
        return rows

    def _table(self) -> NDArray[np.float32]:
        """Return the vectors of all words, or say what is wrong with them."""
        if isinstance(self.vectors, Mapping):
            raise TypeError(
                "vectors must be an array, one row a word, or a WordVectors; got a mapping. Pass "
                "WordVectors(vectors), and texts as X."
            )
        given = self.word_vectors_.vectors_ if self._takes_texts() else self.vectors
        table: NDArray[np.float32] = check_array(
            given, dtype=np.float32, input_name="vectors", ensure_min_samples=2
        )
        if table[0].any() or len(table) > MOST_WORDS:
            raise ValueError(
                "vectors must begin with a row of zeros, the one of padding, and have at most "
                f"{MOST_WORDS:,} rows; got {len(table):,}, the first one {table[0][:3]}... Write "
                "np.vstack([np.zeros(d), vectors]), with ids from 1 on."
            )
        return table

    def _row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        wanted = 2 if self.vectors is None else 1
        if len(shape) == 1 < wanted:
            warn(
                "X is a table, and CVDD takes each row for a text of one word: attention has "
                "nothing to choose, and the contexts alone are trained. Pass vectors of words "
                "(n_texts, n_words, d), or vectors=, or another detector."
            )
        elif len(shape) != wanted:
            of_rows = "word vectors (n_texts, n_words, d)" if wanted == 2 else "ids of words"
            raise ValueError(
                f"CVDD takes {of_rows}{' (n_texts, n_words)' * (wanted == 1)}; X holds rows of "
                f"shape {shape}."
            )
        return shape

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        vectors = None if self.vectors is None else torch.tensor(self._table())
        size = self.input_shape_[-1] if vectors is None else vectors.shape[1]
        objective = ContextObjective(
            networks.build_attention(size, self.attention_size, self.n_contexts, seeds["network"]),
            vectors,
            seeds["head"],
            self.combination,
            self.alphas,
            self.n_epochs,
            self._preparation(vectors),
            orthogonality=self.orthogonality,
            eta=self.eta,
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _preparation(self, vectors: Tensor | None) -> Preparation:
        if vectors is None or not self.random_texts:
            return UNCHANGED
        return Preparation(synthetic=RandomWords(len(vectors) - 1))

    def _contexts(self) -> ContextObjective:
        return cast(ContextObjective, self._objective_)

    def _keep(self, objective: Objective) -> None:
        super()._keep(objective)
        self.contexts_: NDArray[np.float32] = self._contexts().contexts.detach().cpu().numpy()

    def _tokens(self, X: Any, tokens: Any, n: int) -> Sequence[Sequence[str]]:
        """Return the words of each text."""
        if tokens is None and not self._takes_texts():
            raise ValueError(
                "X holds numbers, and the words that they stand for are not known: expected "
                "tokens=, a list of words for each text. Pass WordVectors.tokenize(texts)."
            )
        tokens = self.word_vectors_.tokenize(X) if tokens is None else tokens
        if len(tokens) != n:
            raise ValueError(f"tokens must be of the {n} texts of X; got {len(tokens)}.")
        return tokens


def _are_texts(X: Any) -> bool:
    """Tell whether X is a list, array or series of texts, or one of them."""
    one_axis = isinstance(X, Iterable) and getattr(X, "ndim", 1) == 1 and not hasattr(X, "columns")
    return one_axis and isinstance(next(iter(X), None), str)


def _check_ids(rows: NDArray[Any], n_words: int) -> None:
    """Refuse what are no ids of so many words."""
    wrong = (rows < 0) | (rows >= n_words) | (rows != np.floor(rows))
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise ValueError(
            f"X must hold ids of words, whole numbers from 0 to {n_words - 1} as vectors has "
            f"{n_words} rows; got {rows[row, place]:g} in row {row}."
        )
