"""Look at what detectors give: heat maps next to their images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdeepad.inputs import on_host

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure


class HeatmapDisplay:
    """Images, their heat maps and, where there are any, masks side by side: one row an image.

    Use :meth:`from_estimator` or :meth:`from_maps`, which draw at once; :meth:`plot` draws again.
    All heat maps share one color scale, unless ``scale="row"`` gives each its own. Images are
    rescaled, all by the same numbers, so that the least value of `X` is black and the greatest
    white: what is drawn depends on all of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, channels, height, width)
        Images of one channel (gray) or three (red, green, blue), of any range of values.
    maps : array-like of shape (n_samples, height, width)
        Heat map of each image, larger = more anomalous.
    masks : array-like of shape (n_samples, height, width), default=None
        Where the anomalies are: 1 on their pixels, 0 on the others; a mask that is -1 everywhere
        stands for an image that nobody has annotated, and is left blank. None: no masks are drawn.
    scores : array-like of shape (n_samples,), default=None
        Anomaly score of each image, its title. None: there are none.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure.
    axes_ : ndarray of shape (n_samples, 2) or (n_samples, 3)
        Axes of image, heat map and mask.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or X or maps are not finite.

    See Also
    --------
    FCDD : A detector with heat maps.
    ExplanationDisplay : The same for tables.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import FCDD, HeatmapDisplay
    >>> X = np.random.default_rng(0).normal(size=(64, 1, 16, 16))
    >>> detector = FCDD(hidden_layer_sizes=(8, 8), n_epochs=5, random_state=0).fit(X)
    >>> display = HeatmapDisplay.from_estimator(detector, X[:4])
    >>> display.axes_.shape
    (4, 2)
    """

    def __init__(
        self,
        X: ArrayLike,
        maps: ArrayLike,
        *,
        masks: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> None:
        self.X: NDArray[Any] = np.asarray(on_host(X))
        self.maps: NDArray[Any] = np.asarray(on_host(maps))
        self.masks: NDArray[Any] | None = None if masks is None else np.asarray(on_host(masks))
        self.scores: NDArray[Any] | None = None if scores is None else np.asarray(on_host(scores))
        if self.X.ndim != 4 or self.X.shape[1] not in (1, 3) or not self.X.size:
            raise ValueError(
                "X must hold images of shape (n_samples, channels, height, width) with one channel "
                f"or three; got shape {self.X.shape}. Pass X[:, :1], for example, to draw one "
                "channel of several."
            )
        n, _, *sides = self.X.shape
        for name, shape in (("maps", (n, *sides)), ("masks", (n, *sides)), ("scores", (n,))):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} must have shape {shape}, to go with X of shape {self.X.shape}; got "
                    f"{value.shape}. Pass {name} of the same images, in the same order."
                )
        if not (np.isfinite(self.X).all() and np.isfinite(self.maps).all()):
            raise ValueError(
                "X and maps must be finite, as one scale is to hold for all of them; got NaN or "
                "infinity. Leave these images out."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        masks: ArrayLike | None = None,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "inferno",
        im_kw: dict[str, Any] | None = None,
        fig: Figure | SubFigure | None = None,
    ) -> Self:
        """Draw the heat maps that a fitted detector gives for images.

        Parameters
        ----------
        estimator : object
            Fitted detector that has ``explain``, for example :class:`FCDD`, or a pipeline that
            ends with one. The pipeline's other steps transform X for the detector; images are
            drawn as given.
        X : array-like of shape (n_samples, channels, height, width)
            Images, or flat rows (n_samples, n_features) if the detector was told their
            ``input_shape``.
        masks : array-like of shape (n_samples, height, width), default=None
            Where the anomalies are, as for the class.
        scale : {"shared", "row"}, default="shared"
            Scale of colors, as for :meth:`plot`.
        cmap : str or matplotlib Colormap, default="inferno"
            Colors of heat maps.
        im_kw : dict, default=None
            Further keywords of :func:`matplotlib.pyplot.imshow` for heat maps, for example
            ``{"vmax": 1}`` to compare figures.
        fig : matplotlib Figure or SubFigure, default=None
            Where to draw. None makes a new one.

        Returns
        -------
        HeatmapDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``explain``.
        ValueError
            If X is a table, or the shapes do not fit together.
        """
        detector, features = estimator, X
        steps = getattr(estimator, "steps", None)
        if steps:
            detector = steps[-1][1]
            if len(steps) > 1 and hasattr(detector, "explain"):
                features = estimator[:-1].transform(X)
        if not hasattr(detector, "explain"):
            raise TypeError(
                "HeatmapDisplay.from_estimator draws what explain(X) of a fitted detector gives; "
                f"{type(detector).__name__} has no such method. Pass a detector that has it, such "
                "as FCDD, or a pipeline that ends with one, or maps of your own to from_maps."
            )
        maps = np.asarray(detector.explain(features))
        scores = -detector.score_samples(features)
        images = _images(X, maps, detector)
        display = cls(images, maps, masks=masks, scores=scores)
        return display.plot(scale=scale, cmap=cmap, im_kw=im_kw, fig=fig)

    @classmethod
    def from_maps(
        cls,
        X: ArrayLike,
        maps: ArrayLike,
        *,
        masks: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "inferno",
        im_kw: dict[str, Any] | None = None,
        fig: Figure | SubFigure | None = None,
    ) -> Self:
        """Draw given heat maps.

        Parameters
        ----------
        X : array-like of shape (n_samples, channels, height, width)
            Images.
        maps : array-like of shape (n_samples, height, width)
            Heat map of each image.
        masks : array-like of shape (n_samples, height, width), default=None
            Where the anomalies are, as for the class.
        scores : array-like of shape (n_samples,), default=None
            Anomaly score of each image, its title.
        scale : {"shared", "row"}, default="shared"
            Scale of colors, as for :meth:`plot`.
        cmap : str or matplotlib Colormap, default="inferno"
            Colors of heat maps.
        im_kw : dict, default=None
            Further keywords of :func:`matplotlib.pyplot.imshow` for heat maps.
        fig : matplotlib Figure or SubFigure, default=None
            Where to draw. None makes a new one.

        Returns
        -------
        HeatmapDisplay
            The display, drawn.
        """
        return cls(X, maps, masks=masks, scores=scores).plot(
            scale=scale, cmap=cmap, im_kw=im_kw, fig=fig
        )

    def plot(
        self,
        *,
        scale: Literal["shared", "row"] = "shared",
        cmap: str | Colormap = "inferno",
        im_kw: dict[str, Any] | None = None,
        fig: Figure | SubFigure | None = None,
    ) -> Self:
        """Draw all images.

        Parameters
        ----------
        scale : {"shared", "row"}, default="shared"
            With "shared", one color is one value in all heat maps, from 0, or the least value if
            that is negative, to the greatest. With "row", each heat map has all colors, from its
            own least value to its own greatest, so that a bright one does not leave the others
            black; heat maps cannot be compared then, and there is no color bar.
        cmap : str or matplotlib Colormap, default="inferno"
            Colors of heat maps. For values below and above 0, as relevances are, a diverging one
            is easier to read: ``cmap="RdBu_r", im_kw={"vmin": -1, "vmax": 1}`` has 0 in white.
        im_kw : dict, default=None
            Further keywords of :func:`matplotlib.pyplot.imshow` for heat maps; ``vmin`` and
            ``vmax``, if they are here, are the ends of every map's scale.
        fig : matplotlib Figure or SubFigure, default=None
            Where to draw. None makes a new one.

        Returns
        -------
        HeatmapDisplay
            The display itself.

        Raises
        ------
        ValueError
            If scale is neither.
        """
        from sklearn.utils._optional_dependencies import check_matplotlib_support

        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if scale not in ("shared", "row"):
            raise ValueError(
                f"scale={scale!r}: expected 'shared', one scale of colors for all heat maps, or "
                "'row', one for each."
            )
        n, _, height, width = self.X.shape
        names = ["image", "heat map", *(["mask"] * (self.masks is not None))]
        if fig is None:
            of_bar = 0.8 if scale == "shared" else 0.0
            size = (2 * len(names) + of_bar, (2 * height / width + 0.3) * n)
            fig = plt.figure(figsize=size, layout="constrained")
        self.figure_: Figure | SubFigure = fig
        self.axes_: NDArray[Any] = fig.subplots(n, len(names), squeeze=False)
        ends = {"vmin": min(0, self.maps.min()), "vmax": self.maps.max()}
        # Left to themselves, heat maps go from their own least values to their own greatest.
        how = (ends if scale == "shared" else {}) | {"cmap": cmap} | (im_kw or {})
        for row, image in enumerate(_for_display(self.X)):
            axes = self.axes_[row]
            axes[0].imshow(image, cmap="gray", vmin=0, vmax=1)
            drawn = axes[1].imshow(self.maps[row], **how)
            if self.scores is not None:
                axes[0].set_title(f"score {self.scores[row]:.3g}")
            if self.masks is not None and (self.masks[row] != -1).any():
                axes[2].imshow(self.masks[row], cmap="gray", vmin=0, vmax=1)
        for axis, name in zip(self.axes_[0], names, strict=True):
            axis.set_title(axis.get_title() or name)
        for axis in self.axes_.flat:
            axis.set(xticks=[], yticks=[], frame_on=bool(axis.images))
        if scale == "shared":
            fig.colorbar(drawn, ax=self.axes_.ravel().tolist(), aspect=20 * n)
        return self


def _images(X: ArrayLike, maps: NDArray[Any], detector: Any) -> NDArray[Any]:
    """Return X as images to go with heat maps."""
    if maps.ndim != 3:
        raise ValueError(
            f"HeatmapDisplay draws images, and explain(X) gives values of shape {maps.shape}, as "
            "for a table. Pass images (n_samples, channels, height, width) of more than one pixel "
            "in height; ExplanationDisplay.from_values draws values of a table's columns."
        )
    X = np.asarray(on_host(X))
    if X.ndim != 2:
        return X
    shape = tuple(detector.input_shape_)
    if X[0].size != np.prod(shape):
        raise ValueError(
            f"The rows of X have {X.shape[1]} numbers, the detector's images {shape}. Rows that a "
            "pipeline turns into images of another size cannot be drawn: pass images to from_maps."
        )
    return X.reshape(len(X), *shape)


def _for_display(X: NDArray[Any]) -> NDArray[np.float64]:
    """Return images (n, h, w, c) between 0 and 1, as matplotlib draws them; c = 1 is left out."""
    X = X.astype(np.float64)
    least, greatest = X.min(), X.max()
    X = (X - least) / ((greatest - least) or 1)
    return X[:, 0] if X.shape[1] == 1 else np.moveaxis(X, 1, -1)
