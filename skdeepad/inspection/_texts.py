"""Texts with their words shaded by weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Line height and margin, in sizes of the font.
_LINE = 1.7
_MARGIN = 1.0
_DARKEST = 0.75
"""Share of a color map that is used, so that black letters can be read on it."""

_RED, _BLUE = "214, 39, 40", "31, 119, 180"
"""Colors of positive and negative weights in HTML."""


class TextDisplay:
    """Texts, one below the other, their words shaded by weight.

    Use :meth:`from_estimator` or :meth:`from_weights`. In a notebook the display shows itself as
    HTML, for which Matplotlib is not needed; :meth:`plot` makes a figure. The word of the largest
    absolute weight is darkest in each text: weights of different texts are not compared. Words of
    positive weight are red, those of negative weight blue.

    Parameters
    ----------
    tokens : list of list of str
        Words of each text.
    weights : array-like of shape (n_texts, n_words)
        Weight of each word, of either sign. It may have more columns than a text has words; what
        is beyond is left out.
    titles : list of str, default=None
        What is written above each text. None: nothing.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, once :meth:`plot` has drawn one.
    ax_ : matplotlib.axes.Axes
        Its axes.

    Raises
    ------
    ValueError
        If the numbers of texts or words do not fit together, or weights are not finite.

    See Also
    --------
    CVDD : A detector that weighs words.
    ExplanationDisplay : The same for tables.

    Examples
    --------
    >>> from skdeepad import TextDisplay
    >>> display = TextDisplay.from_weights([["warm", "sunny", "day"]], [[0.2, 0.7, 0.1]])
    >>> display.plot().figure_.axes[0].texts[1].get_text()
    'sunny'
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[str]],
        weights: Any,
        *,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.tokens: list[list[str]] = [list(words) for words in tokens]
        self.weights: list[NDArray[np.float64]] = [
            np.asarray(of_text, dtype=np.float64) for of_text in weights
        ]
        self.titles: list[str] | None = None if titles is None else list(titles)
        n = len(self.tokens)
        of_others = {"weights": len(self.weights), "titles": n if titles is None else len(titles)}
        for name, count in of_others.items():
            if count != n:
                raise ValueError(f"{name} must be of the {n} texts of tokens; got {count}.")
        for number, (words, of_text) in enumerate(zip(self.tokens, self.weights, strict=True)):
            if of_text.ndim != 1 or len(of_text) < len(words):
                raise ValueError(
                    f"Text {number} has {len(words)} words, and weights of shape {of_text.shape}: "
                    "expected at least one weight a word."
                )
            if not np.isfinite(of_text).all():
                raise ValueError(
                    f"Weights of text {number} must be finite; got NaN or infinity. Leave this "
                    "text out."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        tokens: Sequence[Sequence[str]] | None = None,
        context: int | None = None,
        values: Literal["attention", "relevance"] = "attention",
    ) -> Self:
        """Show which words a fitted :class:`CVDD` looks at, or finds anomalous.

        Parameters
        ----------
        estimator : CVDD or Pipeline
            Fitted detector, or a pipeline of a :class:`~skdeepad.features.WordVectors` and one.
        X : array-like
            Texts, or word vectors or ids of them, as for its ``fit``.
        tokens : list of list of str, default=None
            Words of each text. None: X holds texts.
        context : int, default=None
            Number of the context whose attention is shown. None: each text's nearest.
        values : {"attention", "relevance"}, default="attention"
            With "attention", words are the darker the more they weigh where a text is compared
            with a context, be they usual or strange. With "relevance", what the detector's
            ``explain`` gives: words that make the text more anomalous are red, those that make it
            less so are blue.

        Returns
        -------
        TextDisplay
            The display; the score is each text's title.

        Raises
        ------
        TypeError
            If the estimator has no ``attention``, or no ``explain`` for "relevance".
        ValueError
            If the words are not known, values are neither, or a context is none of the detector's
            or is asked for with "relevance".
        """
        if values not in ("attention", "relevance"):
            raise ValueError(f"values={values!r}: expected 'attention' or 'relevance'.")
        if values == "relevance" and context is not None:
            raise ValueError(
                f"context={context} does not go with values='relevance', which is of the score and "
                "so of all contexts. Leave it out, or pass values='attention'."
            )
        steps = [step for _, step in getattr(estimator, "steps", [])]
        detector = steps[-1] if steps else estimator
        method = "attention" if values == "attention" else "explain"
        if not hasattr(detector, method):
            raise TypeError(
                f"TextDisplay.from_estimator draws what {method}(X) of a fitted CVDD gives; "
                f"{type(detector).__name__} has no such method. Pass a CVDD, a pipeline that ends "
                "with one, or weights of your own to from_weights."
            )
        check_is_fitted(detector)
        features = estimator[:-1].transform(X) if len(steps) > 1 else X
        if tokens is None:
            tokens = _words(X, detector, steps)
        titles = [f"score {score:.3g}" for score in -detector.score_samples(features)]
        if values == "relevance":
            return cls(tokens, detector.explain(features), titles=titles)
        weights, contexts = _attention(detector, features, context)
        titles = [f"{title}, context {k}" for title, k in zip(titles, contexts, strict=True)]
        return cls(tokens, weights, titles=titles)

    @classmethod
    def from_weights(
        cls,
        tokens: Sequence[Sequence[str]],
        weights: Any,
        *,
        titles: Sequence[str] | None = None,
    ) -> Self:
        """Show given weights.

        Parameters
        ----------
        tokens : list of list of str
            Words of each text.
        weights : array-like of shape (n_texts, n_words)
            Weight of each word, of either sign.
        titles : list of str, default=None
            What is written above each text.

        Returns
        -------
        TextDisplay
            The display.
        """
        return cls(tokens, weights, titles=titles)

    def plot(
        self,
        *,
        cmap: str | Colormap = "Reds",
        negative_cmap: str | Colormap = "Blues",
        width: float = 7.0,
        fontsize: float = 10.0,
    ) -> Self:
        """Draw all texts in a new figure.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="Reds"
            Colors of words of positive weight, from no weight on.
        negative_cmap : str or matplotlib Colormap, default="Blues"
            Colors of words of negative weight, from no weight on.
        width : float, default=7.0
            Width of the figure in inches; its height is what the texts need.
        fontsize : float, default=10.0
            Size of the letters in points.

        Returns
        -------
        TextDisplay
            The display itself.
        """
        from sklearn.utils._optional_dependencies import check_matplotlib_support

        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt
        from matplotlib.patches import Rectangle

        placed = list(self._placed(72 * width / fontsize - 2 * _MARGIN, fontsize))
        n_lines = 1 + max((line for *_, line in placed), default=0)
        height = n_lines * _LINE + 2 * _MARGIN
        figure = plt.figure(figsize=(width, height * fontsize / 72))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        # Coordinates are in sizes of the font.
        axes.set(xlim=(0, 72 * width / fontsize), ylim=(height, 0))
        axes.axis("off")
        colors, of_negative = plt.get_cmap(cmap), plt.get_cmap(negative_cmap)
        for word, share, left, length, line in placed:
            left, middle = _MARGIN + left, _MARGIN + (line + 0.5) * _LINE
            if share is not None:
                color = (colors if share >= 0 else of_negative)(_DARKEST * abs(share))
                corner = left - 0.2, middle - 0.65
                axes.add_patch(Rectangle(corner, length + 0.4, 1.3, color=color, linewidth=0))
            style = "bold" if share is None else "normal"
            # A dollar sign is one, and not the beginning of a formula.
            axes.text(
                left, middle, word, size=fontsize, va="center", weight=style, parse_math=False
            )
        self.figure_: Figure = figure
        self.ax_: Axes = axes
        return self

    def _shares(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Yield each text's title, and its words with their shares of the largest weight."""
        titles = self.titles or [""] * len(self.tokens)
        for title, words, weights in zip(titles, self.tokens, self.weights, strict=True):
            of_words = weights[: len(words)]
            largest = np.abs(of_words).max(initial=0.0) or 1.0
            yield title, list(zip(words, of_words / largest, strict=True))

    def _placed(
        self, width: float, fontsize: float
    ) -> Iterator[tuple[str, float | None, float, float, int]]:
        """Yield words, shares (None: a title's), places from the left, lengths and lines."""
        from matplotlib.textpath import TextPath

        def length(word: str) -> float:
            return float(TextPath((0, 0), word, size=fontsize).get_extents().width) / fontsize

        line = 0
        for title, words in self._shares():
            if title:
                yield title, None, 0.0, length(title), line
                line += 1
            left = 0.0
            for word, share in words:
                wide = length(word)
                if left and left + wide > width:
                    line, left = line + 1, 0.0
                yield word, share, left, wide, line
                left += wide + 0.6
            line += 2

    def _repr_html_(self) -> str:
        """Return the texts as HTML, for notebooks."""
        blocks = []
        for title, words in self._shares():
            spans = " ".join(
                f'<span style="background: rgba({_RED if share >= 0 else _BLUE}, '
                f'{_DARKEST * abs(share):.3f})">'
                f"{escape(word)}</span>"
                for word, share in words
            )
            blocks.append(f"<p><b>{escape(title)}</b><br>{spans}</p>")
        return "\n".join(blocks)


def _words(X: Any, detector: Any, steps: list[Any]) -> Sequence[Sequence[str]]:
    """Return the words of texts, by what has turned them into vectors."""
    tokenizers = [step for step in steps[:1] if hasattr(step, "tokenize")]
    tokenizers += [getattr(detector, "word_vectors_", None)] * (not tokenizers)
    if tokenizers[0] is None:
        raise ValueError(
            "X holds numbers, and the words that they stand for are not known: expected "
            "tokens=, a list of words for each text. Pass WordVectors.tokenize(texts)."
        )
    tokens: Sequence[Sequence[str]] = tokenizers[0].tokenize(X)
    return tokens


def _attention(
    detector: Any, features: Any, context: int | None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return weights of words for a context or each text's nearest, and the contexts' numbers."""
    distances = detector.context_scores(features)
    if context is not None and not 0 <= context < distances.shape[1]:
        raise ValueError(
            f"context={context} is no context of the detector, which has "
            f"{distances.shape[1]}: expected a number from 0 on, below that, or None."
        )
    chosen = distances.argmin(axis=1) if context is None else np.full(len(distances), context)
    return detector.attention(features)[np.arange(len(chosen)), :, chosen], chosen
