"""Choose a network for an input shape, and build it reproducibly."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from skdeepad.engine import borrowed_global_rng, private_generator
from skdeepad.networks._adversarial import Discriminator, UNet, encoder_decoder
from skdeepad.networks._attention import SelfAttention
from skdeepad.networks._fcn import fcn_cifar10, fcn_fashion_mnist, fcn_imagenet, fcn_table
from skdeepad.networks._lenet import LeNet
from skdeepad.networks._look import code_size, probe
from skdeepad.networks._mlp import MLP, BranchLinear

_Built = TypeVar("_Built", bound=nn.Module)

MLP_SIZES = (128, 64, 32)
"""Default layers of an MLP; the last is the size of the code."""
SHORTEST_SERIES = 8
"""Least number of steps of the series that have a default network."""


def build_encoder(
    network: nn.Module | Callable[..., nn.Module] | None,
    input_shape: Sequence[int],
    hidden_layer_sizes: Sequence[int] | None,
    bias: bool,
    seed: int,
    n_branches: int = 1,
    squash: float | None = None,
) -> nn.Module:
    """Build the network that maps rows to codes.

    Parameters
    ----------
    network : nn.Module, class, factory or None
        An instance is copied, weights included. A class or a factory is called, with
        ``input_shape=`` if it takes a parameter of that name. None: an :class:`MLP` for tables and
        for images of less than 4 pixels a side, else a :class:`LeNet`, for images and for series of
        at least 8 steps.
    input_shape : tuple of int
        Shape of one row: (features,), (channels, height, width) or (channels, time).
    hidden_layer_sizes : tuple of int or None
        Layers of the default MLP, or dense layers of the default LeNet; the last is the size of the
        code. None: what the input shape asks for.
    bias : bool
        Whether the default networks have bias terms.
    seed : int
        Of the weights.
    n_branches, squash : int, float or None
        Of the default MLP.

    Returns
    -------
    nn.Module
        On the CPU.

    Raises
    ------
    ValueError
        If there is no default network for rows of that shape, or the factory returns none.

    Examples
    --------
    >>> from skdeepad.networks import build_encoder
    >>> encoder = build_encoder(None, (1, 28, 28), None, bias=False, seed=0)
    >>> encoder.filters, encoder.dense
    ((16, 32), (64, 32))
    """
    if network is None:
        return _from_own(
            lambda: _default(input_shape, hidden_layer_sizes, bias, n_branches, squash), seed
        )
    return _from_user(network, "network", seed, input_shape=tuple(input_shape))


def build_map_network(
    network: nn.Module | Callable[..., nn.Module] | None,
    input_shape: Sequence[int],
    filters: Sequence[int] | None,
    seed: int,
) -> nn.Module:
    """Build the network that maps images to smaller maps, place by place.

    Parameters
    ----------
    network : nn.Module, class, factory or None
        As for :func:`build_encoder`. None: by the size of the image :func:`fcn_fashion_mnist`,
        :func:`fcn_cifar10` or :func:`fcn_imagenet`; :func:`fcn_table` for images of height 1.
    input_shape : tuple of int
        (channels, height, width).
    filters : tuple of int or None
        Filters of the default network's convolutions; None: the paper's.
    seed : int
        Of the weights.

    Returns
    -------
    nn.Module
        On the CPU.

    Raises
    ------
    ValueError
        If the network does not give a map for each image.
    """
    if network is None:
        sizes = () if filters is None else (filters,)
        built = _from_own(lambda: _default_fcn(input_shape)(input_shape, *sizes), seed)
    else:
        built = _from_user(network, "network", seed, input_shape=tuple(input_shape))
    shape = probe(built, input_shape, "network")
    if len(shape) != 3:
        raise ValueError(
            "The network must map images (n, channels, height, width) to maps (n, k, u, v); it "
            f"returned {('n', *shape)}. Leave out layers that flatten or pool the whole image."
        )
    return built


def build_decoder(
    decoder: nn.Module | Callable[..., nn.Module] | None,
    encoder: nn.Module,
    input_shape: Sequence[int],
    seed: int,
) -> nn.Module | None:
    """Build the network that maps codes back to rows.

    Parameters
    ----------
    decoder : nn.Module, class, factory or None
        As for :func:`build_encoder`; a class or a factory may take ``code_size=`` and
        ``input_shape=``. None: what the encoder's method ``decoder()`` returns, if it has one.
    encoder : nn.Module
        The network the decoder belongs to. A method ``decoder()`` of its class that needs no
        arguments, as :class:`MLP` and :class:`LeNet` have, makes a new network that maps codes back
        to rows; a submodule of that name is a part of the encoder, and does not count.
    input_shape : tuple of int
        Shape of one row.
    seed : int
        Of the weights.

    Returns
    -------
    nn.Module or None
        On the CPU; None if there is no decoder to be had.

    Raises
    ------
    ValueError
        If the decoder does not give back as many numbers a row as there are features.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import MLP, build_decoder
    >>> decoder = build_decoder(None, MLP((21,), (16, 8)), (21,), seed=0)
    >>> decoder(torch.zeros(5, 8)).shape
    torch.Size([5, 21])
    """
    if decoder is None:
        mirror = _mirror(encoder)
        if mirror is None:
            return None
        own = mirror.__module__.startswith("skdeepad.networks")
        built = _from_own(mirror, seed) if own else _from_user(mirror, "decoder", seed)
    else:
        size = code_size(encoder, input_shape)
        built = _from_user(decoder, "decoder", seed, code_size=size, input_shape=tuple(input_shape))
    shape = probe(nn.Sequential(encoder, built), input_shape, "decoder")
    if tuple(shape) != tuple(input_shape):
        raise ValueError(
            f"The decoder must give back rows of shape {tuple(input_shape)}; it gives "
            f"{tuple(shape)}. Change its last layer."
        )
    return built


def build_generator(
    generator: str | nn.Module | Callable[..., nn.Module],
    input_shape: Sequence[int],
    hidden_layer_sizes: Sequence[int] | None,
    seed: int,
) -> nn.Module:
    """Build the network that maps rows to rows.

    Parameters
    ----------
    generator : {"naive", "unet", "unet++"}, nn.Module, class or factory
        Of images :func:`encoder_decoder`, :class:`UNet` or a nested one; of tables, for "naive", an
        :class:`MLP` and its decoder. Others as for :func:`build_encoder`.
    input_shape : tuple of int
        Shape of one row; of images for the named generators height and width multiples of 16.
    hidden_layer_sizes : tuple of int or None
        Filters of the named generator, or layers of the MLP; None: the papers', or
        :data:`MLP_SIZES`.
    seed : int
        Of the weights.

    Returns
    -------
    nn.Module
        On the CPU.

    Raises
    ------
    ValueError
        If there is no such generator for that shape, or it gives rows of another shape.
    """
    if isinstance(generator, str):
        return _from_own(lambda: _own_generator(generator, input_shape, hidden_layer_sizes), seed)
    built = _from_user(generator, "generator", seed, input_shape=tuple(input_shape))
    shape = probe(built, input_shape, "generator")
    if tuple(shape) != tuple(input_shape):
        raise ValueError(
            f"The generator must map rows to rows of the same shape, {tuple(input_shape)}; it "
            f"gives {tuple(shape)}. Change its last layer."
        )
    return built


def build_discriminator(input_shape: Sequence[int], seed: int) -> nn.Module:
    """Build a :class:`Discriminator` for rows of a shape.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one row.
    seed : int
        Of the weights.

    Returns
    -------
    nn.Module
        Maps (n, *input_shape) to logits (n,) and features (n, d); on the CPU.
    """
    return _from_own(lambda: Discriminator(input_shape), seed)


def build_attention(
    vector_size: int, attention_size: int, n_heads: int, seed: int
) -> SelfAttention:
    """Build a :class:`SelfAttention` for word vectors of a size.

    Parameters
    ----------
    vector_size, attention_size, n_heads : int
        As there.
    seed : int
        Of the weights.

    Returns
    -------
    SelfAttention
        Maps texts (n, l, vector_size) to (n, n_heads, vector_size); on the CPU.
    """
    return _from_own(lambda: SelfAttention(vector_size, attention_size, n_heads), seed)


def build_head(size: int, seed: int, outputs: int = 1) -> nn.Sequential:
    """Build what turns codes into a few numbers each: LeakyReLU and a linear layer.

    Parameters
    ----------
    size : int
        Size of a code.
    seed : int
        Of the weights.
    outputs : int, default=1
        How many numbers.

    Returns
    -------
    nn.Sequential
        Maps (n, size) to (n, outputs); on the CPU.
    """
    return _from_own(lambda: nn.Sequential(nn.LeakyReLU(0.1), nn.Linear(size, outputs)), seed)


def is_series(input_shape: Sequence[int]) -> bool:
    """Tell whether the default network reads rows of a shape as series (channels, time).

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    bool
        Whether there are two axes, and steps enough.
    """
    return len(input_shape) == 2 and input_shape[1] >= SHORTEST_SERIES


def _default(
    input_shape: Sequence[int],
    hidden_layer_sizes: Sequence[int] | None,
    bias: bool,
    n_branches: int,
    squash: float | None,
) -> nn.Module:
    if len(input_shape) == 1 or (len(input_shape) == 3 and min(input_shape[1:]) < 4):
        return MLP(input_shape, hidden_layer_sizes or MLP_SIZES, bias, n_branches, squash)
    if is_series(input_shape):
        # By measurement: narrower and deeper ones found less, and so did dense layers between.
        return LeNet(input_shape, (32, 64), hidden_layer_sizes or (128,), bias)
    if len(input_shape) != 3:
        raise ValueError(_no_default(tuple(input_shape)))
    channels, height, width = input_shape
    filters, dense = ((16, 32), (64, 32)) if channels == 1 else ((32, 64, 128), (128,))
    blocks = min(len(filters), int(math.log2(min(height, width))))
    return LeNet(input_shape, filters[:blocks], hidden_layer_sizes or dense, bias)


def _no_default(shape: tuple[int, ...]) -> str:
    """Return why there is no default network for rows of a shape, and what to do."""
    rows = ", ".join(["n", *map(str, shape)])
    meaning = (
        "are neither those of a table (features,) nor images (channels, height, width) nor series "
        "(channels, time)"
    )
    order = ""
    if len(shape) == 2:
        meaning = (
            f"are read as series of {shape[0]} channels and {shape[1]} steps, and at least "
            f"{SHORTEST_SERIES} steps are expected"
        )
        order = " If the last axis holds the channels, write np.swapaxes(X, 1, 2)."
    return (
        f"Rows of shape {shape} {meaning}: there is no default network for them. Pass network=, a "
        f"module that maps rows ({rows}) to codes, or flatten them with X.reshape(len(X), -1)."
        f"{order}"
    )


def _mirror(encoder: nn.Module) -> Callable[[], nn.Module] | None:
    """Return the method of a network's class that makes its decoder, if there is one."""
    # Of the class: a submodule called decoder can be called as well.
    if not inspect.isroutine(getattr(type(encoder), "decoder", None)):
        return None
    method: Any = encoder.decoder
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    return None if needed else method  # one that needs codes is a decoder rather than makes one


def _own_generator(name: str, input_shape: Sequence[int], sizes: Sequence[int] | None) -> nn.Module:
    if len(input_shape) == 1:
        if name != "naive":
            raise ValueError(
                f"generator={name!r} is for images, and X is a table of {input_shape[0]} columns. "
                "Pass generator='naive' for an MLP, a module of your own, or images."
            )
        encoder = MLP(input_shape, sizes or MLP_SIZES, bias=True)
        return nn.Sequential(encoder, encoder.decoder())
    filters = {} if sizes is None else {"filters": sizes}
    most = 4 if name == "naive" else 5  # a side of 16 is halved four times
    if sizes is not None and len(sizes) > most:
        raise ValueError(
            f"generator={name!r} has {most} levels at most: expected as many numbers in "
            f"hidden_layer_sizes or fewer, got {tuple(sizes)}. Pass fewer, or a module of your own."
        )
    if name == "naive":
        return encoder_decoder(input_shape, **filters)
    return UNet(input_shape, nested=name == "unet++", **filters)


def _default_fcn(input_shape: Sequence[int]) -> Callable[..., nn.Module]:
    channels, height, width = input_shape
    if height == 1:
        return fcn_table
    if max(height, width) >= 128:
        return fcn_imagenet
    return fcn_fashion_mnist if channels == 1 and max(height, width) <= 32 else fcn_cifar10


_Weighted = (
    nn.Linear | nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d | nn.ConvTranspose2d | BranchLinear
)


def _from_own(factory: Callable[[], _Built], seed: int) -> _Built:
    """Build one of our networks without touching any global random state."""
    with torch.device("meta"):
        network = factory()
    network = network.to_empty(device="cpu")
    generator = private_generator(seed)
    for module in network.modules():
        if isinstance(module, _Weighted):
            _uniform_weights(module, generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()  # ones and zeros: nothing is drawn
    return network


@torch.no_grad()
def _uniform_weights(module: _Weighted, generator: torch.Generator) -> None:
    """Draw weights as torch does by default, U(-1, 1) / sqrt(fan in), biases likewise."""
    weight = module.weight[0] if isinstance(module, BranchLinear) else module.weight
    bound = 1 / math.sqrt(weight[0].numel())
    for parameter in module.parameters(recurse=False):
        parameter.uniform_(-bound, bound, generator=generator)


def _from_user(
    network: nn.Module | Callable[..., nn.Module], role: str, seed: int, **shapes: object
) -> nn.Module:
    """Copy an instance, or call a class or a factory with those ``shapes`` it has names for."""
    if isinstance(network, nn.Module):
        return copy.deepcopy(network).cpu()
    wanted: dict[str, object] = {}
    try:
        signature = inspect.signature(network)
        wanted = {name: shape for name, shape in shapes.items() if name in signature.parameters}
        signature.bind(**wanted)
    except (TypeError, ValueError) as error:  # of what is built in, no signature may be known
        raise ValueError(
            f"{role}={network!r} cannot be called with {wanted}: {error}. Expected a class or "
            f"function whose parameters, other than {', '.join(shapes)}, all have defaults. "
            "Pass an instance, or functools.partial with the others."
        ) from error
    with borrowed_global_rng(seed):
        built = network(**wanted)
    if not isinstance(built, nn.Module):
        raise ValueError(
            f"{role} must be a torch.nn.Module, or a class or function that returns one; "
            f"got {type(built).__name__} from {network!r}."
        )
    return built.cpu()
