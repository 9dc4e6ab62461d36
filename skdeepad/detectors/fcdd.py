"""Fully convolutional data description: a detector whose score is a map of the image."""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional

from skdeepad import losses, networks
from skdeepad.base import on_host
from skdeepad.deep import DeepDetector, document
from skdeepad.detectors._preparation import LABEL_CONSTRAINTS, preparation, stand_ins
from skdeepad.engine import Rows
from skdeepad.objectives import PreparedObjective


class MapObjective(PreparedObjective):
    """A map of each image, zero where it looks normal; its mean is the score.

    Training images may have one more channel: the mask of a labeled anomaly, 1 on its pixels and 0
    on the others, or -1 everywhere where there is none.
    """

    def __init__(self, network, input_shape, sigma, preparation, **numbers):
        super().__init__(network, input_shape, preparation, **numbers)
        self.channels, *self.sides = input_shape
        self.fields = networks.receptive_field(network)
        down, across = (torch.tensor(networks.gaussian(field, sigma)) for field in self.fields)
        self.register_buffer("kernel", torch.outer(down, across)[None, None])

    def map(self, x):
        """Pseudo-Huber norm at each place of the network's output: (n, u, v)."""
        codes = self.network(x[:, : self.channels]).movedim(1, -1)  # (n, u, v, k)
        return losses.pseudo_huber(codes)

    def score(self, x):
        """Mean of the map of each image: (n,)."""
        return self.map(x).flatten(1).mean(1)

    def explain(self, x):
        """Heat map of each image, by algorithm 1: (n, h, w)."""
        return self.upsample(self.map(x))

    def upsample(self, maps):
        """Spread each number of maps (n, u, v) as a Gaussian around its field's centre."""
        strides = [field.stride for field in self.fields]
        spread = functional.conv_transpose2d(maps[:, None], self.kernel, stride=strides)[:, 0]
        borders = []  # what to add (remove, if negative) on the left, right, top and bottom
        for axis in (1, 0):
            start = self.fields[axis].start
            borders += [start, self.sides[axis] - start - spread.shape[axis + 1]]
        return functional.pad(spread, borders)

    def loss(self, batch):
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
        of_pixels = losses.hypersphere_classification(
            heat, torch.where(masks > 0.5, -1, 1), **self.numbers()
        )
        annotated = (batch.y < 0) & (masks[:, 0, 0] >= 0)
        return torch.where(annotated, of_pixels.flatten(1).mean(1), of_image)

    def _with_masks(self, batch, masks):
        if masks is None:
            return batch
        return batch._replace(x=torch.cat([batch.x, masks[:, None]], dim=1))


@document
class FCDD(DeepDetector):
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

    Where ``fit`` is given masks of labeled anomalies, their loss is the mean over pixels of the
    same terms: :math:`-\eta \log(1 - e^{-A'})` on the anomaly's pixels and :math:`\eta \, A'` on
    the others, :math:`A'` being the heat map in the units of :math:`A`.

    Without labeled anomalies, synthetic ones stand in, made anew of every second image in each
    batch: confetti, blobs pasted in, whose masks are known (:func:`skdeepad.synthetic.confetti`).

    A row of a table is read as a one-channel signal: the network sees neighboring columns together,
    and :meth:`explain` gives a value for each column, of how strange it looks among them. The
    strange one itself stands out only where masks have shown the network which it is. Without
    labeled anomalies rows with permuted columns stand in, with a warning. Standardize tables first,
    for example with :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    eta : float, default=1.0
        Weight of labeled images against unlabeled ones.
    sigma : float or "auto", default="auto"
        Standard deviation of the Gaussians of heat maps, in pixels. "auto": a quarter of the
        receptive field.
    network : torch.nn.Module, class or callable, default=None
        Network of convolutions and pooling that maps images to maps, of one or more channels. An
        instance is copied, its weights included, and never trained in place; a class or a function
        is called, with ``input_shape=`` if it takes a parameter of that name. None chooses one of
        the thesis's by the shape of the image (:mod:`skdeepad.networks`).
    hidden_layer_sizes : tuple of int, default=None
        Filters of each convolution of the default network but the last. None: the thesis's.
    input_shape : tuple of int, default=None
        (channels, height, width) if the rows of X are flattened images.
    {label_parameters}
    {training_parameters}
    {common_parameters}

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

    _parameter_constraints: dict = {
        **DeepDetector._parameter_constraints,
        **LABEL_CONSTRAINTS,
        "eta": [Interval(Real, 0, None, closed="neither")],
        "sigma": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    }
    # The thesis balances batches: 128 normal images and 128 anomalies.
    _paper_settings: dict = {
        **DeepDetector._paper_settings,
        "batch_size": 256,
        "anomaly_fraction": 0.5,
    }

    def __init__(
        self,
        eta=1.0,
        sigma="auto",
        *,
        network=None,
        hidden_layer_sizes=None,
        input_shape=None,
        anomaly_fraction=0.5,
        augment=None,
        n_epochs="auto",
        lr=1e-3,
        lr_schedule="cosine",
        batch_size=128,
        weight_decay=1e-6,
        clip_grad_norm=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=0.0,
        precision="float32",
        cuda_graph=False,
        compile=False,
        stream="auto",
        contamination=0.1,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.eta = eta
        self.sigma = sigma
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.input_shape = input_shape
        self.anomaly_fraction = anomaly_fraction
        self.augment = augment
        self.n_epochs = n_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.precision = precision
        self.cuda_graph = cuda_graph
        self.compile = compile
        self.stream = stream
        self.contamination = contamination
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, masks=None):
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

    def explain(self, X):
        """Compute heat maps: how much each pixel adds to the score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to explain, or images of shape (n, channels, height, width).

        Returns
        -------
        ndarray of shape (n_samples, height, width), dtype float64
            Nonnegative, larger = more anomalous; (n_samples, n_features) for tables.
        """
        check_is_fitted(self)
        maps = self._by_row(self._validate(X, reset=False), "explain")
        return maps[:, 0] if self.input_shape_[1] == 1 else maps

    def _validate(self, X, *, reset):
        X = super()._validate(X, reset=reset)
        if len(self.input_shape_) == 1:
            self.input_shape_ = (1, 1, *self.input_shape_)
        return X

    def _trainings(self, X, y, given, masks=None, place=Rows.place):
        masks = self._checked_masks(masks, y)
        row_shape = self.input_shape_
        if masks is not None:
            # A mask travels as one more channel: drawn, moved and augmented with its image.
            X = np.hstack([X, masks.reshape(len(X), -1).astype(X.dtype)])
            row_shape = (row_shape[0] + 1, *row_shape[1:])
        yield from super()._trainings(X, y, given, row_shape, place)

    def _checked_masks(self, masks, y):
        """Return masks of shape (n, h, w), or None if they say nothing."""
        if masks is None:
            return None
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
        if not np.isin(flat[known], (0, 1)).all():
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

    def _stages(self, seeds, y):
        shape = self.input_shape_
        network = networks.build_map_network(
            self.network, shape, self._layer_sizes(), seeds["network"]
        )
        objective = MapObjective(
            network,
            shape,
            None if self.sigma == "auto" else self.sigma,
            preparation(self, stand_ins(self, y, warn=False, stacklevel=9)),
            eta=self.eta,
        )
        return [self._stage("train", objective, anomaly_fraction=self.anomaly_fraction)]

    def _keep(self, objective):
        super()._keep(objective)
        self.receptive_field_ = objective.fields
