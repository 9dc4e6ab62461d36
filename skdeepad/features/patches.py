"""Images as maps of features of their patches, from a network that was trained on others."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Literal, Self

import joblib
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn
from torch.nn import functional

from skdeepad.engine import resolve_device, told_of_memory, undisturbed
from skdeepad.inputs import on_host
from skdeepad.parameters import Parametrized, parameter

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Means by channel of the images that most pretrained networks have seen, in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Their standard deviations."""


class PatchFeatures(TransformerMixin, Parametrized):
    r"""Turn images into maps of features, those of a pretrained network.

    The network is copied, frozen and kept in evaluation mode: nothing is trained. Images are
    resized, gray ones repeated to three channels, and normalized. Outputs of the `layers`, maps of
    different sizes, are averaged over `neighborhood` places a side, resized to one grid, that of
    the first layer, and put one behind the other: each place of the grid has features of the patch
    around it, at several scales [1]_. `n_components` projects them by a random matrix :math:`P`
    with independent entries :math:`P_{ij} \sim N(0, 1/k)`, which keeps distances on average [2]_.

    Nothing is downloaded: pass a network that has its weights, for example::

        network = torchvision.models.resnet18()
        network.load_state_dict(torch.load("resnet18.pth", weights_only=True))
        PatchFeatures(network, ["layer2", "layer3"])

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    network_ : torch.nn.Module
        The frozen copy.
    projection_ : ndarray of shape (n_features, n_components) or None
        The random matrix.
    map_shape_ : tuple of int
        Shape of a row that :meth:`transform` returns: (features, height, width) of the grid.
    device_ : torch.device
        Where the network is.

    See Also
    --------
    skdeepad.datasets.load_image_folder : Reads images.

    References
    ----------
    .. [1] Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, sections
       3.1 and 3.2.
    .. [2] Johnson and Lindenstrauss, "Extensions of Lipschitz Mappings into a Hilbert Space", 1984.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from skdeepad.features import PatchFeatures
    >>> network = nn.Sequential(  # stands in for a pretrained one
    ...     nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
    >>> images = np.random.default_rng(0).random((5, 1, 32, 32))
    >>> PatchFeatures(network, ["1", "3"]).fit_transform(images).shape
    (5, 24, 15, 15)
    """

    network: nn.Module | Callable[[], nn.Module] = parameter(
        constraint=[nn.Module, callable],
        kind="torch.nn.Module or callable",
        kw_only=False,
        doc="Network with its weights, or what returns one without being given anything.",
    )
    layers: Sequence[str] = parameter(
        constraint=["array-like"],
        kind="list of str",
        kw_only=False,
        doc="Names of the layers whose outputs are taken, as in ``network.named_modules()``.",
    )
    image_size: Sequence[int] | None = parameter(
        default=None,
        constraint=["array-like", None],
        kind="(int, int) or None",
        doc="Height and width that images are resized to. None: as they are.",
    )
    mean: Sequence[float] = parameter(
        default=IMAGENET_MEAN,
        constraint=["array-like"],
        kind="tuple of float",
        doc="What is subtracted from each channel of images in [0, 1].",
    )
    std: Sequence[float] = parameter(
        default=IMAGENET_STD,
        constraint=["array-like"],
        kind="tuple of float",
        doc="What each channel is divided by then.",
    )
    neighborhood: int = parameter(
        default=3,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="Places a side, an odd number, that features are averaged over. 1: they are not.",
    )
    n_components: int | None = parameter(
        default=None,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        doc="Features that are left, k. None: all of them, as they are.",
    )
    dtype: Literal["float32", "float16"] = parameter(
        default="float32",
        constraint=[StrOptions({"float32", "float16"})],
        doc="Type of the result; float16 takes half the memory.",
    )
    memory: Any = parameter(
        default=None,
        constraint=[str, joblib.Memory, None],
        kind="str, joblib.Memory or None",
        doc="""Where maps are kept on disk, by the content of the image and of all that they depend
            on. A str is a folder. ``memory.reduce_size(bytes_limit=...)`` makes it smaller.""",
    )
    batch_size: int = parameter(
        default=32,
        constraint=[Interval(Integral, 1, None, closed="left")],
        doc="Images that are computed at once.",
    )
    device: str | torch.device = parameter(
        default="auto",
        constraint=[str, torch.device],
        kind="str or torch.device",
        doc='"auto": CUDA if there is one, else MPS, else the CPU.',
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=0,
        constraint=["random_state"],
        kind="int, RandomState instance or None",
        doc="Determines the projection.",
    )

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Copy the network, and try it on an image; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, channels, height, width)
            Images of one channel or three, in [0, 1].
        y : object, default=None
            Ignored.

        Returns
        -------
        PatchFeatures
            Itself.

        Raises
        ------
        ValueError
            If X, a parameter or a layer is not as documented, or the network cannot take the
            images.
        """
        self._validate_params()
        images = self._checked(X)
        self._check_numbers()
        network = self.network if isinstance(self.network, nn.Module) else self.network()
        known = dict(network.named_modules())
        unknown = [layer for layer in self.layers if layer not in known or not layer]
        if unknown or not len(self.layers):
            raise ValueError(
                f"layers must name one or more of the network's; {list(unknown)} are not among "
                f"them: {', '.join(list(known)[1:40])}..."
            )
        self.device_: torch.device = resolve_device(self.device)
        self.network_: nn.Module = copy.deepcopy(network).eval().requires_grad_(False)
        self.network_.to(self.device_)
        self.projection_: NDArray[np.float32] | None = None
        with undisturbed():
            first = self._maps(images[:1])
            if self.n_components is not None:
                rng = check_random_state(self.random_state)
                entries = rng.standard_normal((first.shape[1], self.n_components))
                self.projection_ = (entries / np.sqrt(self.n_components)).astype(np.float32)
        n_features = first.shape[1] if self.n_components is None else self.n_components
        self.map_shape_: tuple[int, ...] = (n_features, *first.shape[2:])
        self._input_shape_ = images.shape[1:]
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Compute maps of features.

        Parameters
        ----------
        X : array-like of shape (n_samples, channels, height, width)
            Images, as for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, features, height, width)
            A map for each image.

        Raises
        ------
        ValueError
            If X is not as in ``fit``.
        """
        check_is_fitted(self)
        images = self._checked(X)
        if images.shape[1:] != self._input_shape_:
            raise ValueError(
                f"X holds images of shape {images.shape[1:]}, and those in fit were of shape "
                f"{self._input_shape_}: expected the same."
            )
        memory = joblib.Memory(self.memory, verbose=0) if _is_place(self.memory) else self.memory
        stored = memory.cache(_stored, ignore=["made"])
        key = self._key() if memory.location else ""
        maps = np.empty((len(images), *self.map_shape_), dtype=self.dtype)
        for first in range(0, len(images), self.batch_size):
            batch = images[first : first + self.batch_size]
            keys = [key + joblib.hash(image) for image in batch] if key else [""] * len(batch)
            known = [bool(key) and stored.check_call_in_cache(each, None) for each in keys]
            made = iter(self._computed(batch[~np.array(known)]))
            for place, (each, in_cache) in enumerate(zip(keys, known, strict=True)):
                own = None if in_cache else next(made)
                maps[first + place] = stored(each, own) if key else own
        return maps

    def _checked(self, X: ArrayLike) -> NDArray[np.float32]:
        images: NDArray[np.float32] = check_array(
            on_host(X), dtype=np.float32, ensure_2d=False, allow_nd=True, input_name="X"
        )
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                "X must hold images of shape (n_samples, channels, height, width) with one channel "
                f"or three; got shape {images.shape}."
            )
        if images.min() < 0 or images.max() > 1:
            raise ValueError(
                f"X must hold images in [0, 1]; got values from {images.min():.3g} to "
                f"{images.max():.3g}. Divide those of 8 bits by 255."
            )
        return images

    def _check_numbers(self) -> None:
        """Refuse sizes and numbers by channel that are not as documented."""
        if self.neighborhood % 2 == 0:
            raise ValueError(f"neighborhood={self.neighborhood} must be an odd number.")
        size = None if self.image_size is None else tuple(self.image_size)
        whole = size is None or all(isinstance(side, Integral) and side >= 1 for side in size)
        if not whole or (size is not None and len(size) != 2):
            raise ValueError(
                f"image_size must be height and width, two whole numbers, or None; got {size!r}."
            )
        for name in ("mean", "std"):
            numbers = np.asarray(getattr(self, name), dtype=np.float64)
            if numbers.shape != (3,) or (name == "std" and not (numbers > 0).all()):
                raise ValueError(
                    f"{name} must be three numbers, one a channel"
                    f"{', above 0' * (name == 'std')}; got {getattr(self, name)!r}."
                )

    def _computed(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Compute maps of a few images, in the type that they are kept in."""
        if not len(images):
            return np.empty((0, *self.map_shape_), dtype=self.dtype)
        with undisturbed():
            maps = self._maps(images)
            if self.projection_ is not None:
                projection = torch.from_numpy(self.projection_).to(maps)
                maps = torch.einsum("nchw,ck->nkhw", maps, projection)
            return maps.cpu().numpy().astype(self.dtype)

    @torch.no_grad()
    def _maps(self, images: NDArray[np.float32]) -> Tensor:
        """Return outputs of the layers on one grid: (n, c, h, w)."""
        x = torch.from_numpy(images).to(self.device_)
        if self.image_size is not None and tuple(self.image_size) != images.shape[2:]:
            size = [int(side) for side in self.image_size]
            x = functional.interpolate(x, size, mode="bilinear", antialias=True)
        x = x.expand(-1, 3, -1, -1)
        mean, std = (x.new_tensor(list(each)).view(3, 1, 1) for each in (self.mean, self.std))
        with told_of_memory(f"Features of {len(images)} images", "lower batch_size"):
            outputs = self._outputs((x - mean) / std)
        reach = self.neighborhood
        averaged = [
            functional.avg_pool2d(each, reach, 1, reach // 2, count_include_pad=False)
            for each in outputs
        ]
        grid = averaged[0].shape[2:]
        return torch.cat(
            [functional.interpolate(each, grid, mode="bilinear") for each in averaged], dim=1
        )

    def _outputs(self, x: Tensor) -> list[Tensor]:
        """Return what the layers give, maps of places each."""
        with _watched(self.network_, self.layers) as outputs:
            try:
                self.network_(x)
            except RuntimeError as error:
                raise ValueError(
                    f"The network cannot take images of shape {tuple(x.shape[1:])}: {error}. Pass "
                    "image_size, the one that it was trained on."
                ) from error
        for layer in self.layers:
            output = outputs.get(layer)
            if not isinstance(output, Tensor) or output.dim() != 4:
                came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else "no tensor"
                raise ValueError(
                    f"Layer {layer!r} must give a map, (n, channels, height, width), for a batch "
                    f"of images; it gave {came}. Name one before the network pools or flattens."
                )
        return [outputs[layer].float() for layer in self.layers]

    def _key(self) -> str:
        """Return a hash of all that a map depends on but the image."""
        digest = hashlib.sha256(repr(self.network_).encode())
        for name, tensor in self.network_.state_dict().items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        settings = ("layers", "image_size", "mean", "std", "neighborhood", "dtype")
        digest.update(repr([list(np.atleast_1d(getattr(self, s))) for s in settings]).encode())
        if self.projection_ is not None:
            digest.update(self.projection_.tobytes())
        return digest.hexdigest()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


@contextmanager
def _watched(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Collect what layers give while the network runs."""
    outputs: dict[str, Any] = {}
    hooks = []
    for layer in layers:

        def note(_: nn.Module, __: Any, output: Any, layer: str = layer) -> None:
            outputs[layer] = output

        hooks.append(network.get_submodule(layer).register_forward_hook(note))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _stored(key: str, made: Any) -> Any:
    """Return what was made: the cache keeps it by its key."""
    return made


def _is_place(memory: Any) -> bool:
    return memory is None or isinstance(memory, str)
