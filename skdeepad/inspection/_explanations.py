"""By which columns rows of a table are anomalous: bars for one row, a heat map for several."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdeepad.inputs import on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

_LONGEST = 48
"""Letters of a name or value that are written."""
_LETTER = 0.08
"""Inches that a figure grows by for each letter of its longest label, to draw no smaller."""
_MOST_LABELS = 40
"""Rows of a heat map that have a label each; of more of them, every second or third has one."""
_STRONG = 0.15
"""How far from the ends of the color map the colors of bars are; at the ends they are too dark."""


class ExplanationDisplay:
    """Relevances of a table's columns: bars for one row, a heat map for several.

    Use :meth:`from_estimator` or :meth:`from_values`, which draw at once; :meth:`plot` draws again.
    A relevance above 0 has made the row more anomalous, one below 0 less.

    Parameters
    ----------
    values : array-like of shape (n_samples, n_features)
        Relevance of each column for the anomaly score of each row.
    feature_names : list of str, default=None
        Names of the columns. None: those of `X` if it is a data frame, and else x0, x1 and so on.
    X : array-like of shape (n_samples, n_features), default=None
        What the rows hold, numbers or not, missing values too. It is written beside the names of
        one row's columns. None: nothing is.
    scores : array-like of shape (n_samples,), default=None
        Anomaly score of each row, a part of its title. None: there are none.
    titles : list of str, default=None
        What each row is called. None: by its number, where there are several.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure.
    ax_ : matplotlib.axes.Axes
        Its axes.
    bars_ : matplotlib.container.BarContainer
        The bars; only of one row.
    im_ : matplotlib.image.AxesImage
        The heat map; only of several rows.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or values are not finite.

    See Also
    --------
    HeatmapDisplay : The same for images.
    TextDisplay : The same for texts.

    Examples
    --------
    >>> from skdeepad import ExplanationDisplay
    >>> display = ExplanationDisplay.from_values(
    ...     [[0.2, -0.4, 1.5]], feature_names=["age", "balance", "amount"], X=[[31, 80.5, 912.0]]
    ... )
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['amount = 912', 'balance = 80.5', 'age = 31']
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        X: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.values: NDArray[np.float64] = np.asarray(on_host(values), dtype=np.float64)
        if self.values.ndim != 2 or not self.values.size:
            raise ValueError(
                "values must hold relevances of a table, of shape (n_samples, n_features), at "
                f"least one; got shape {self.values.shape}. Pass values[None] for one row alone; "
                "HeatmapDisplay draws those of images, TextDisplay those of texts."
            )
        if not np.isfinite(self.values).all():
            raise ValueError("values must be finite; got NaN or infinity. Leave these rows out.")
        n, d = self.values.shape
        if feature_names is None:
            feature_names = getattr(X, "columns", [f"x{number}" for number in range(d)])
        self.feature_names: list[str] = [str(name) for name in feature_names]
        # As objects, numbers beside strings stay what they are.
        self.X: NDArray[Any] | None = None if X is None else np.asarray(on_host(X), dtype=object)
        self.scores: NDArray[Any] | None = None if scores is None else np.asarray(on_host(scores))
        self.titles: list[str] | None = None if titles is None else list(titles)
        expected: dict[str, tuple[int, ...]] = {
            "feature_names": (d,),
            "X": (n, d),
            "scores": (n,),
            "titles": (n,),
        }
        for name, shape in expected.items():
            given = getattr(self, name)
            got = (len(given),) if isinstance(given, list) else getattr(given, "shape", shape)
            if got != shape:
                raise ValueError(
                    f"{name} must have shape {shape}, to go with values of shape {(n, d)}; got "
                    f"{got}. Pass {name} of the same table as values."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        background: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        max_columns: int = 10,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "RdBu_r",
        ax: Axes | None = None,
    ) -> Self:
        """Draw by which columns a fitted detector finds rows anomalous.

        Parameters
        ----------
        estimator : object
            Fitted detector, or a pipeline that ends with one.
        X : array-like of shape (n_samples, n_features)
            Rows to explain, as for its ``fit``.
        background : array-like of shape (n_background, n_features), default=None
            Rows to compare with, as for :func:`skdeepad.inspection.explain`.
        feature_names : list of str, default=None
            Names of the columns. None: those that the explanation has.
        titles : list of str, default=None
            What each row is called. None: by its number, where there are several.
        max_columns : int, default=10
            Columns drawn on their own, as for :meth:`plot`.
        scale : {"shared", "row"}, default="shared"
            Scale of several rows, as for :meth:`plot`.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colors, as for :meth:`plot`.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        ExplanationDisplay
            The display, drawn.
        """
        from skdeepad.inspection._explain import explain

        explanation = explain(estimator, X, background=background)
        display = cls(
            explanation.values,
            feature_names=explanation.feature_names if feature_names is None else feature_names,
            X=X,
            scores=explanation.scores,
            titles=titles,
        )
        return display.plot(max_columns=max_columns, scale=scale, cmap=cmap, ax=ax)

    @classmethod
    def from_values(
        cls,
        values: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        X: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        titles: Sequence[str] | None = None,
        max_columns: int = 10,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "RdBu_r",
        ax: Axes | None = None,
    ) -> Self:
        """Draw given relevances.

        Parameters
        ----------
        values : array-like of shape (n_samples, n_features)
            Relevance of each column for the anomaly score of each row.
        feature_names : list of str, default=None
            Names of the columns, as for the class.
        X : array-like of shape (n_samples, n_features), default=None
            What the rows hold, as for the class.
        scores : array-like of shape (n_samples,), default=None
            Anomaly score of each row.
        titles : list of str, default=None
            What each row is called. None: by its number, where there are several.
        max_columns : int, default=10
            Columns drawn on their own, as for :meth:`plot`.
        scale : {"shared", "row"}, default="shared"
            Scale of several rows, as for :meth:`plot`.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colors, as for :meth:`plot`.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        ExplanationDisplay
            The display, drawn.
        """
        display = cls(values, feature_names=feature_names, X=X, scores=scores, titles=titles)
        return display.plot(max_columns=max_columns, scale=scale, cmap=cmap, ax=ax)

    def plot(
        self,
        *,
        max_columns: int = 10,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "RdBu_r",
        ax: Axes | None = None,
    ) -> Self:
        """Draw one row as bars, or several as a heat map.

        Parameters
        ----------
        max_columns : int, default=10
            Columns drawn on their own: those of the largest absolute relevance, on average over
            the rows. What the others add up to is drawn last.
        scale : {"shared", "row"}, default="shared"
            Colors of several rows. With "shared", one color is one relevance in all rows. With
            "row", what is drawn of each row is divided by its largest absolute value, so that a
            row of large relevances does not leave the others white; rows cannot be compared then.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colors from negative relevances to positive ones, the middle standing for 0. Bars have
            two of them.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        ExplanationDisplay
            The display itself.

        Raises
        ------
        ValueError
            If max_columns or scale is none of these.
        """
        from sklearn.utils._optional_dependencies import check_matplotlib_support

        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if not isinstance(max_columns, Integral) or max_columns < 1:
            raise ValueError(
                f"max_columns={max_columns!r}: expected a whole number, at least 1, of columns to "
                "draw on their own."
            )
        if scale not in ("shared", "row"):
            raise ValueError(
                f"scale={scale!r}: expected 'shared', one scale of colors for all rows, or 'row', "
                "one for each."
            )
        names, values = self._most_relevant(max_columns)
        labels = self._labels()
        if ax is None:
            _, ax = plt.subplots(figsize=_size(names, labels), layout="constrained")
        self.ax_: Axes = ax
        self.figure_: Figure | SubFigure = ax.figure
        if len(labels) == 1:
            self._draw_bars(names, values[0], plt.get_cmap(cmap), labels[0])
            for others in self.bars_[max_columns:]:
                others.set_alpha(0.5)  # paler: it is no column
        else:
            self._draw_heat_map(names, values, plt.get_cmap(cmap), labels, scale)
        return self

    def _most_relevant(self, max_columns: int) -> tuple[list[str], NDArray[np.float64]]:
        """Return names and values of what is drawn: columns, and then the sum of the others."""
        order = np.argsort(-np.abs(self.values).mean(axis=0), kind="stable")
        columns, others = order[:max_columns], order[max_columns:]
        names = [_shortened(self.feature_names[column]) for column in columns]
        if self.X is not None and len(self.X) == 1:
            held = [_written(value) for value in self.X[0, columns]]
            names = [f"{name} = {value}" for name, value in zip(names, held, strict=True)]
        values = self.values[:, columns]
        if len(others):
            names.append(f"{len(others)} other column{'s' * (len(others) > 1)}")
            values = np.c_[values, self.values[:, others].sum(axis=1)]
        return names, values

    def _draw_bars(
        self, names: list[str], values: NDArray[np.float64], colors: Colormap, title: str
    ) -> None:
        places = np.arange(len(values))
        shades = [colors(1 - _STRONG if value > 0 else _STRONG) for value in values]
        self.bars_: BarContainer = self.ax_.barh(places, values, color=shades)
        self.ax_.bar_label(self.bars_, fmt="{:+.3g}", padding=3, fontsize="small")
        self.ax_.axvline(0, color="black", linewidth=0.8)
        self.ax_.margins(x=0.15)  # room for the numbers at the ends of bars
        self.ax_.set_yticks(places, names, parse_math=False)
        self.ax_.set_ylim(len(values) - 0.4, -0.6)  # the largest on top
        self.ax_.set_xlabel("relevance (above 0: more anomalous)")
        self.ax_.set_title(title, parse_math=False)
        self.ax_.spines[["top", "right"]].set_visible(False)

    def _draw_heat_map(
        self,
        names: list[str],
        values: NDArray[np.float64],
        colors: Colormap,
        labels: list[str],
        scale: Literal["shared", "row"],
    ) -> None:
        of_colors = "relevance (above 0: more anomalous)"
        if scale == "row":
            largest = np.abs(values).max(axis=1, keepdims=True)
            values = values / np.where(largest > 0, largest, 1)
            of_colors = "relevance / largest of the row"
        limit = np.abs(values).max() or 1.0
        self.im_: AxesImage = self.ax_.imshow(
            values, cmap=colors, vmin=-limit, vmax=limit, aspect="auto"
        )
        rows = np.arange(0, len(values), -(-len(values) // _MOST_LABELS))
        self.ax_.set_yticks(rows, [labels[row] for row in rows], parse_math=False)
        slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        self.ax_.set_xticks(np.arange(len(names)), names, parse_math=False, **slanted)
        self.figure_.colorbar(self.im_, ax=self.ax_, label=of_colors)

    def _labels(self) -> list[str]:
        """Return what each row is called, and its score."""
        n = len(self.values)
        labels = self.titles or ([f"row {row}" for row in range(n)] if n > 1 else [""])
        if self.scores is None:
            return labels
        scores = [f"score {score:.3g}" for score in self.scores]
        return [
            f"{label}, {score}" if label else score
            for label, score in zip(labels, scores, strict=True)
        ]


def _size(names: list[str], labels: list[str]) -> tuple[float, float]:
    """Return width and height of a figure in inches, for names of columns and labels of rows."""
    of_names = _LETTER * max(map(len, names))
    if len(labels) == 1:
        return 4.5 + of_names, 0.35 * len(names) + 1.2
    # Names are slanted: they reach down, and to the left of the first column.
    slanted, of_labels = 0.7 * of_names, _LETTER * max(map(len, labels))
    # The least height is what the label of the color bar takes.
    height = max(0.32 * min(len(labels), _MOST_LABELS), 3.0) + slanted + 0.3
    return 0.5 * len(names) + max(slanted, of_labels) + 2.0, height


def _written(value: Any) -> str:
    """Return a value as a person reads it: four digits, but all of those before the point."""
    if isinstance(value, float | np.floating):
        value = float(value)
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.7g}"
    return _shortened(str(value))


def _shortened(text: str) -> str:
    """Leave out the middle of a long text: names of one table often begin with the same words."""
    half = (_LONGEST - 1) // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"
