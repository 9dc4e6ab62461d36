"""Which pixels of an image a number of a network's output depends on, read from its layers."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import fx, nn

from skdeepad.networks._fcn import ColumnEmbedding

# Leave each place to itself.
_POINTWISE = (
    ColumnEmbedding,
    nn.BatchNorm2d,
    nn.CELU,
    nn.Dropout,
    nn.Dropout2d,
    nn.ELU,
    nn.GELU,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
)
_SLIDING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_tracing = threading.Lock()  # two at a time would undo each other's changes of torch
_POINTWISE_FUNCTIONS = {
    *("add", "iadd", "sub", "mul", "imul", "truediv", "neg", "cat", "concat", "clone"),
    *("relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus"),
    *("dropout", "square", "sqrt", "abs", "exp", "log1p", "contiguous"),
}


def _after_fork() -> None:
    global _tracing
    _tracing = threading.Lock()  # a thread that is not here may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Field(NamedTuple):
    """Receptive fields along one side of an image.

    Output number i depends on the pixels from ``start + i * stride`` on, ``size`` of them, some of
    which may lie beyond the border.

    Attributes
    ----------
    size : int
        Pixels in a field.
    stride : int
        Pixels from one field to the next.
    start : int
        First pixel of the first field.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @property
    def center(self) -> float:
        """Middle of the first field; between two pixels if the size is even."""
        return self.start + (self.size - 1) / 2

    def slid(self, kernel: int, stride: int, padding: int, dilation: int) -> Field:
        """Return the fields of a layer that slides a kernel over this one's output."""
        return Field(
            self.size + dilation * (kernel - 1) * self.stride,
            self.stride * stride,
            self.start - padding * self.stride,
        )

    def joined(self, other: Field) -> Field:
        """Return the fields of a sum of two outputs of the same stride."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, self.stride, start)


def receptive_field(network: nn.Module) -> tuple[Field, Field]:
    """Compute the receptive fields of a convolutional network's output, by height and by width.

    Parameters
    ----------
    network : nn.Module
        Of convolutions, pooling, and what acts on each place alone (activations, BatchNorm),
        in any order, sums and concatenations included.

    Returns
    -------
    tuple of Field
        By height and by width.

    Raises
    ------
    ValueError
        If a layer mixes places in another way (dense layers, global pooling, upsampling), or the
        network's forward cannot be followed. The message names the layer.

    Examples
    --------
    >>> from skdeepad.networks import fcn_cifar10, receptive_field
    >>> height, width = receptive_field(fcn_cifar10())
    >>> height
    Field(size=22, stride=4, start=-9)
    >>> height.center
    1.5
    """
    if isinstance(network, _POINTWISE + _SLIDING):
        network = nn.Sequential(network)  # a layer alone would be followed into its functions
    try:
        with _tracing:
            graph = _Tracer().trace(network)
    except Exception as error:
        raise ValueError(
            f"The layers of {type(network).__name__} cannot be followed to compute its receptive "
            f"field: {error} Expected a forward without branches on data, best a Sequential."
        ) from error
    fields: dict[fx.Node, tuple[Field, Field] | None] = {}
    result = None
    for node in graph.nodes:
        if node.op == "placeholder":
            fields[node] = (Field(), Field())
        elif node.op == "get_attr":  # a parameter, the same for all images
            fields[node] = None
        elif node.op == "output":
            result = _joined(node, fields)
        else:
            fields[node] = _after(node, _joined(node, fields), network)
    if result is None:
        raise ValueError(f"The output of {type(network).__name__} does not depend on its input.")
    return result


class _Tracer(fx.Tracer):
    """Follows the calls of its own thread: while it does, torch hands it those of all threads."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _POINTWISE + _SLIDING) or super().is_leaf_module(module, name)


def _after(
    node: fx.Node, before: tuple[Field, Field] | None, network: nn.Module
) -> tuple[Field, Field] | None:
    """Return the fields behind one layer or function."""
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        if isinstance(layer, _POINTWISE):
            return before
        around = getattr(layer, "padding_mode", None) == "circular"  # joins opposite borders
        if isinstance(layer, _SLIDING) and before is not None and not around:
            return _slid(layer, before)
        name = f"layer {node.target!r}, {type(layer).__name__}"
    else:
        target: Any = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if name in _POINTWISE_FUNCTIONS:
            return before
        name = f"function {name!r}"
    raise ValueError(
        f"The receptive field of a network cannot be computed through its {name}: expected "
        "convolutions (Conv2d), pooling (MaxPool2d, AvgPool2d), and layers that act on each place "
        "alone, such as BatchNorm2d and LeakyReLU. Replace it, or leave it out."
    )


def _slid(layer: nn.Module, before: tuple[Field, Field]) -> tuple[Field, Field]:
    kernel, stride = _both(layer.kernel_size), _both(layer.stride)
    dilation = _both(getattr(layer, "dilation", 1))
    padding: Any = layer.padding
    if padding == "valid":
        padding = 0
    if padding == "same":  # torch puts an odd one behind
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    padding = _both(padding)
    height, width = (
        field.slid(kernel[axis], stride[axis], padding[axis], dilation[axis])
        for axis, field in enumerate(before)
    )
    return height, width


def _both(value: Any) -> tuple[int, ...]:
    """Return a layer's number for height and width."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _joined(
    node: fx.Node, fields: dict[fx.Node, tuple[Field, Field] | None]
) -> tuple[Field, Field] | None:
    """Return the fields of all that goes into a node."""
    result: tuple[Field, Field] | None = None
    for source in node.all_input_nodes:
        field = fields[source]
        if field is None or result is None:
            result = result or field
            continue
        if [axis.stride for axis in field] != [axis.stride for axis in result]:
            raise ValueError(
                f"{node.name!r} joins maps of strides {[axis.stride for axis in result]} and "
                f"{[axis.stride for axis in field]}; expected equal strides."
            )
        result = result[0].joined(field[0]), result[1].joined(field[1])
    return result


def gaussian(field: Field, sigma: float | None = None) -> list[float]:
    """Compute the normal density at the pixels of a field, around its centre.

    Parameters
    ----------
    field : Field
        The receptive field.
    sigma : float, default=None
        Standard deviation in pixels; None takes a quarter of the field.

    Returns
    -------
    list of float
        One value for each pixel; 1 for a field of one pixel, which needs no spreading.
    """
    if field.size == 1:
        return [1.0]
    sigma = field.size / 4 if sigma is None else sigma
    offsets = [pixel - (field.size - 1) / 2 for pixel in range(field.size)]
    scale = 1 / (math.sqrt(2 * math.pi) * sigma)
    return [scale * math.exp(-0.5 * (offset / sigma) ** 2) for offset in offsets]
