"""Fully convolutional data description: a detector whose score is a map of the image."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional

from skdeepad import losses, networks
from skdeepad.base import checks_parameters
from skdeepad.deep import (
    IS_NETWORK,
    NETWORK_IN_WORDS,
    RUFF_SETTINGS,
    DeepDetector,
    Network,
)
from skdeepad.engine import Batch, Objective, Rows, Stage
from skdeepad.inputs import on_host, refuse_masked
from skdeepad.objectives import Preparation, PreparedObjective, secant_radial
from skdeepad.parameters import parameter
from skdeepad.preparation import (
    LabelParameters,
    image_shape,
    preparation,
    stand_ins,
)


class MapObjective(PreparedObjective):
    """A map of each image, zero where it looks normal; its mean is the score.

    Training images may have one more channel: the mask of a labeled anomaly, 1 on its pixels and 0
    on the others, or -1 everywhere where there is none.
    """

    channels: int
    sides: list[int]
    fields: tuple[networks.Field, networks.Field]
    eta: Tensor
    kernel: Tensor

    def __init__(
        self,
        network: nn.Module,
        input_shape: Sequence[int],
        sigma: float | None,
        preparation: Preparation,
        **numbers: float,
    ) -> None:
        super().__init__(network, input_shape, preparation, **numbers)
        self.channels, *self.sides = input_shape
        self.fields = networks.receptive_field(network)
        down, across = (torch.tensor(networks.gaussian(field, sigma)) for field in self.fields)
        self.register_buffer("kernel", torch.outer(down, across)[None, None])

    def map(self, x: Tensor) -> Tensor:
        """Pseudo-Huber norm at each place of the network's output: (n, u, v)."""
        codes = self.network(x[:, : self.channels]).movedim(1, -1)  # (n, u, v, k)
        return losses.pseudo_huber(codes)

    def score(self, x: Tensor) -> Tensor:
        """Mean of the map of each image: (n,)."""
        return self.map(x).flatten(1).mean(1)

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows and reference rows by the secants of the norm: (2n,)."""
        codes = self.network(both).movedim(1, -1)
        return secant_radial(losses.pseudo_huber, codes).flatten(1).mean(1)

    def explain(self, x: Tensor) -> Tensor:
        """Heat map of each image, by algorithm 1: (n, h, w)."""
        return self.upsample(self.map(x))

    def relevance(self, x: Tensor) -> Tensor:
        """Heat map of each image, for each channel, such that all add up to the score."""
        maps = self.map(x)
        heat = self.upsample(maps)
        total = heat.flatten(1).sum(1).clamp(min=torch.finfo(heat.dtype).tiny)
        share = maps.flatten(1).mean(1) / total / self.channels
        return (heat * share[:, None, None])[:, None].expand(-1, self.channels, -1, -1)

    def upsample(self, maps: Tensor) -> Tensor:
        """Spread each number of maps (n, u, v) as a Gaussian around its field's centre."""
        strides = [field.stride for field in self.fields]
        spread = functional.conv_transpose2d(maps[:, None], self.kernel, stride=strides)[:, 0]
        borders = []  # what to add (remove, if negative) on the left, right, top and bottom
        for axis in (1, 0):
            start = self.fields[axis].start
            borders += [start, self.sides[axis] - start - spread.shape[axis + 1]]
        return functional.pad(spread, borders)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each image, by its pixels where they are known: (n,)."""
        maps = self.map(batch.x)  # (n, u, v)
        of_image = losses.hypersphere_classification(
            maps.flatten(1).mean(1), batch.y, **self.numbers()
        )
        if batch.x.shape[1] == self.channels:
            return of_image
        masks = batch.x[:, self.channels]  # (n, h, w)
        # A heat map spreads a number over an area of stride x stride: back to the map's units.
        heat = self.upsample(maps) * (self.fields[0].stride * self.fields[1].stride)
        marked = (masks > 0.5).to(heat.dtype)
        inside, outside = ((heat * part).flatten(1).mean(1) for part in (marked, 1 - marked))
        # One logarithm for all of a defect: one a pixel would weigh it by its area.
        of_pixels = self.eta * (outside + losses.minus_log_one_minus_exp(inside))
        annotated = (batch.y < 0) & (masks[:, 0, 0] >= 0)
        return torch.where(annotated, of_pixels, of_image)

    def _with_masks(self, batch: Batch, masks: Tensor | None) -> Batch:
        if masks is None:
            return batch
        return batch._replace(x=torch.cat([batch.x, masks[:, None]], dim=1))


class FCDD(LabelParameters, DeepDetector):
    r"""Fully convolutional data description: a score for each image, and where it comes from.

    A fully convolutional network :math:`\phi` maps an image to a smaller map, and
    :math:`A(x) = \sqrt{\phi(x)^2 + 1} - 1` at each of its places. With the mean :math:`a(x)` of
    :math:`A(x)` it minimises the mean over unlabeled and labeled images of

    .. math::

        \ell(x, y) = \begin{cases}
            a(x) & y = 0 \\
            \eta \, a(x) & y > 0 \\
            -\eta \log(1 - e^{-a(x)}) & y < 0
        \end{cases}

    plus half of `weight_decay` times the squared norm of the weights. The anomaly score is
    :math:`a(x)`; the thesis sums where this takes the mean. :meth:`explain` gives heat maps of the
    image's size: each number of :math:`A(x)` is spread as a Gaussian around the centre of its
    receptive field, which is computed from the network's layers.

    Where ``fit`` is given masks of labeled anomalies, 1 on their pixels and 0 on the others, the
    loss of an annotated one is

    .. math::

        \eta \, \overline{(1 - M) \, A'} - \eta \log \left( 1 - e^{-\overline{M A'}} \right),

    with the mask :math:`M`, the heat map :math:`A'` in the units of :math:`A`, and means over all
    pixels of the image.

    Without labeled anomalies, synthetic ones stand in, made anew of every second image in each
    batch: confetti, blobs pasted in, whose masks are known (:func:`skdeepad.synthetic.confetti`).

    A row of a table is read as a one-channel signal: the network sees neighboring columns together,
    and :meth:`explain` propagates relevance from the score down to the columns. Without labeled
    anomalies rows with permuted columns stand in, with a warning. Standardize tables first, for
    example with :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    receptive_field_ : tuple of Field
        Size, stride and start of the receptive fields, by height and by width.

    See Also
    --------
    HSC : The same loss on a code of the whole image.
    HeatmapDisplay : Draws heat maps.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 3.1, equation 3.1 and algorithm 1, and
    appendix B.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import FCDD
    >>> X = np.random.default_rng(0).normal(size=(64, 1, 16, 16))
    >>> detector = FCDD(hidden_layer_sizes=(8, 8), n_epochs=20, random_state=0).fit(X)
    >>> image = X[:1].copy()
    >>> image[0, 0, 4:8, 8:12] = 3  # a defect
    >>> heat = detector.explain(image)
    >>> heat.shape
    (1, 16, 16)
    >>> bool(heat[0, 4:8, 8:12].mean() > heat.mean())
    True
    """

    eta: float = parameter(
        default=1.0,
        constraint=[Interval(Real, 0, None, closed="neither")],
        kw_only=False,
        doc="Weight of labeled images against unlabeled ones.",
    )
    sigma: float | Literal["auto"] = parameter(
        default="auto",
        constraint=[Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        kw_only=False,
        doc="""Standard deviation of the Gaussians of heat maps, in pixels. "auto": a quarter of the
            receptive field.""",
    )
    network: Network | None = parameter(
        default=None,
        constraint=IS_NETWORK,
        kind=NETWORK_IN_WORDS,
        doc="""Network of convolutions and pooling that maps images to maps, of one or more
            channels. An instance is copied, its weights included, and never trained in place; a
            class or a function is called, with ``input_shape=`` if it takes a parameter of that
            name. None chooses one of the thesis's by the shape of the image
            (:mod:`skdeepad.networks`).""",
    )
    hidden_layer_sizes: Sequence[int] | None = parameter(
        default=None,
        constraint=["array-like", None],
        kind="tuple of int",
        doc="""Filters of each convolution of the default network but the last. None: the
            thesis's.""",
    )
    lr_schedule = "cosine"

    # The thesis balances batches: 128 normal images and 128 anomalies.
    _paper_settings = {
        **RUFF_SETTINGS,
        "batch_size": 256,
        "anomaly_fraction": 0.5,
    }
    _paper_source = 'Ruff, "Deep One-Class Learning", thesis, section 3.1 and appendix B.2.'
    _paper_note = "Augmentation of images is not among them: pass ``augment``."

    @checks_parameters
    def fit(self, X: ArrayLike, y: ArrayLike | None = None, masks: ArrayLike | None = None) -> FCDD:
        """Learn from unlabeled images, and from whatever labels and masks there are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, or images of shape (n, channels, height, width).
        y : array-like of shape (n_samples,), default=None
            Whole numbers read by their sign: +1 normal, 0 unlabeled, -1 anomalous. None: all rows
            are unlabeled.
        masks : array-like of shape (n_samples, height, width), default=None
            Where labeled anomalies are anomalous: 1 on these pixels, 0 on the others; -1
            everywhere in an image that nobody has annotated. For tables (n_samples, n_features).

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X, y, masks or a parameter is not as documented, or if the receptive field of the
            network cannot be computed. What was fitted before stays as it was.
        """
        return self._fit_rows(X, y, masks=masks)

    def explain(self, X: ArrayLike, reference: ArrayLike | None = None) -> NDArray[np.float64]:
        """Compute heat maps: how much each pixel adds to the score.

        Patches of a table's columns overlap, and a heat map would mark what lies in its middle:
        there relevance is propagated down to the columns, as for other detectors.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to explain, or images of shape (n, channels, height, width).
        reference : array-like of shape (n_reference, n_features), default=None
            Rows of a table to compare with. None: ``reference_``.

        Returns
        -------
        ndarray of shape (n_samples, height, width), dtype float64
            Nonnegative, larger = more anomalous. For tables (n_samples, n_features): they add up to
            the score less that of the reference rows.

        Raises
        ------
        ValueError
            If X or reference is not as in ``fit``, or images are given a reference.
        """
        if getattr(self, "input_shape_", (0, 1))[1] == 1:
            return super().explain(X, reference)[:, 0]
        check_is_fitted(self)
        self._reference_rows(reference)
        return self._by_row(self._validate(X, reset=False), "explain")

    @property
    def _compares(self) -> bool:  # type: ignore[override]  # images have heat maps
        return self.input_shape_[1] == 1

    def _row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) == 1:
            return (1, 1, *shape)
        return image_shape(self, shape, "X[:, :, None]")

    def _placed(
        self, X: NDArray[Any], y: NDArray[np.int8], place: Any = Rows.place, masks: Any = None
    ) -> Rows:
        masks = self._checked_masks(masks, y)
        if masks is None:
            return super()._placed(X, y, place)
        # A mask travels as one more channel: drawn, moved and augmented with its image.
        channels, *sides = self.input_shape_
        X = np.hstack([X, masks.reshape(len(X), -1).astype(X.dtype)])

        def place_with_masks(X: Any, y: Any, shape: Any, *where: Any) -> Rows:
            return place(X, y, (channels + 1, *sides), *where)

        return super()._placed(X, y, place_with_masks)

    def _checked_masks(self, masks: Any, y: NDArray[np.int8]) -> NDArray[Any] | None:
        """Return masks of shape (n, h, w), or None if they say nothing."""
        if masks is None:
            return None
        refuse_masked(masks, "masks")
        masks = np.asarray(on_host(masks))
        sides = self.input_shape_[1:]
        shapes = [(len(y), *sides)] + [(len(y), sides[1])] * (sides[0] == 1)
        if masks.shape not in shapes:
            raise ValueError(
                f"masks must have one mask for each row of X, that is shape {shapes[-1]}; got "
                f"{masks.shape}."
            )
        masks = masks.reshape(len(y), *sides)
        flat = masks.reshape(len(y), -1)
        known = ~(flat == -1).all(axis=1)
        if masks.dtype.kind == "c" or not np.isin(flat[known], (0, 1)).all():
            raise ValueError(
                "masks must hold 0 and 1, or -1 in all pixels of a row that nobody has annotated; "
                f"got values {np.unique(flat[known])[:5]} in annotated rows."
            )
        marked = flat.max(axis=1) > 0
        if (wrong := np.flatnonzero(known & (marked != (y < 0)))).size:
            row = int(wrong[0])
            raise ValueError(
                f"masks and y contradict each other in {len(wrong)} rows, first in row {row}: "
                f"y is {y[row]} and the mask marks {int(flat[row].sum())} pixels. Anomalies (-1) "
                "need at least one marked pixel and other rows none; give rows that nobody has "
                "annotated a mask of -1 in all pixels."
            )
        if not marked.any():
            return None
        if callable(self.augment):
            raise ValueError(
                "masks cannot follow what a function passed as augment does to images. Pass names "
                "of changes, or no masks."
            )
        return masks

    def _stages(self, seeds: dict[str, int], y: NDArray[np.int8]) -> list[Stage]:
        shape = self.input_shape_
        network = networks.build_map_network(
            self.network, shape, self._layer_sizes(), seeds["network"]
        )
        objective = MapObjective(
            network,
            shape,
            None if self.sigma == "auto" else self.sigma,
            preparation(self, stand_ins(self, y, warned_of_images=False)),
            eta=self.eta,
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _keep(self, objective: Objective) -> None:
        super()._keep(objective)
        fields = cast(MapObjective, objective).fields
        self.receptive_field_: tuple[networks.Field, networks.Field] = fields
