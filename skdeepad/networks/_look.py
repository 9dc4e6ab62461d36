"""Look at what a network is made of: the rows it gives, and what its layers do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from skdeepad.engine import told_of_memory

# With a bound that is not 0: a unit saturated there stands in for a bias.
_BOUNDED = (
    nn.Sigmoid,
    nn.Tanh,
    nn.Softmax,
    nn.Softmax2d,
    nn.Softmin,
    nn.Softsign,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.ELU,
    nn.SELU,
    nn.CELU,
)
# Layers that draw nothing and compute the same for all inputs, by torch's modules.
_PLAIN = frozenset(
    f"torch.nn.modules.{kind}"
    for kind in (
        "activation",
        "batchnorm",
        "container",
        "conv",
        "flatten",
        "linear",
        "normalization",
        "padding",
        "pooling",
        "upsampling",
    )
)
_NOT_PLAIN = (nn.RReLU, nn.MultiheadAttention, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def code_size(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Return how many numbers a row's code has.

    Parameters
    ----------
    network : nn.Module
        Maps rows to codes.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    int
        The numbers in one row of output, whatever their shape.

    Raises
    ------
    ValueError
        If the network cannot take rows of that shape.

    Examples
    --------
    >>> from skdeepad.networks import code_size, lenet_mnist
    >>> code_size(lenet_mnist(), (1, 28, 28))
    32
    """
    return math.prod(code_shape(network, input_shape))


def code_shape(network: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a row's code.

    Parameters
    ----------
    network : nn.Module
        Maps rows to codes; on the CPU.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    tuple of int
        Shape of one row of output.

    Raises
    ------
    ValueError
        If the network cannot take rows of that shape.

    Examples
    --------
    >>> from skdeepad.networks import code_shape, lenet_mnist
    >>> code_shape(lenet_mnist(), (1, 28, 28))
    (32,)
    """
    return tuple(probe(network, input_shape, "network"))


@torch.no_grad()
def probe(network: nn.Module, input_shape: Sequence[int], role: str) -> torch.Size:
    """Return the shape of one row of output, from a pass of zeros in eval mode."""
    training = network.training
    try:
        with told_of_memory(f"The {role} for two rows of shape {tuple(input_shape)}"):
            output = network.eval()(torch.zeros(2, *input_shape))
    except MemoryError:
        raise
    except Exception as error:
        remedy = "Give it an input layer of that shape, or pass input_shape to the detector"
        if "dtype" in str(error):
            remedy = f"Make its weights float32, by {role}.float()"
        raise ValueError(
            f"The {role} cannot take rows of shape {tuple(input_shape)}: {error}. {remedy}."
        ) from error
    finally:
        network.train(training)
    rows = isinstance(output, torch.Tensor) and output.dim() > 1 and len(output) == 2
    if not rows or not output.numel():
        came = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ValueError(
            f"The {role} must return one tensor with a row of numbers for each row it is given, so "
            f"of shape (2, ...) for 2 rows; it returned {came}. Change what its forward returns."
        )
    return output.shape[1:]


def n_branches(network: nn.Module) -> int:
    """Return how many branches a network has, whose codes lie one behind the other.

    Parameters
    ----------
    network : nn.Module
        Maps rows to codes.

    Returns
    -------
    int
        Its attribute ``n_branches``, if that is an int, as in an :class:`MLP`; else 1.

    Examples
    --------
    >>> from torch import nn
    >>> from skdeepad.networks import MLP, n_branches
    >>> n_branches(MLP((21,), n_branches=4)), n_branches(nn.Linear(21, 8))
    (4, 1)
    """
    number = getattr(network, "n_branches", 1)
    return number if isinstance(number, int) else 1


def collapse_risks(network: nn.Module) -> list[str]:
    """List what lets a network map all rows to one point: bias terms and bounded activations.

    Parameters
    ----------
    network : nn.Module
        Maps rows to codes.

    Returns
    -------
    list of str
        One for each layer that has such a thing.

    References
    ----------
    Ruff, "Deep One-Class Learning", thesis, section 2.2.2, propositions 2 and 3.

    Examples
    --------
    >>> from torch import nn
    >>> from skdeepad.networks import collapse_risks, lenet_mnist
    >>> collapse_risks(nn.Sequential(nn.Linear(4, 8), nn.Sigmoid()))
    ['bias of Linear 0', 'bounded activation Sigmoid 1']
    >>> collapse_risks(lenet_mnist())
    []
    """
    risks = []
    for name, module in network.named_modules():
        where = f"{type(module).__name__} {name}".strip()
        if any(name.startswith("bias") for name, _ in module.named_parameters(recurse=False)):
            risks.append(f"bias of {where}")
        if isinstance(module, _BOUNDED):
            risks.append(f"bounded activation {where}")
    return risks


def draws_nothing(network: nn.Module | Callable[..., nn.Module]) -> bool:
    """Tell whether a network surely neither draws random numbers nor decides by what it sees.

    So do those of this package, as instances, classes or functions, and instances made of nothing
    but torch's plain layers.

    Parameters
    ----------
    network : nn.Module or callable
        A network, or what makes one.

    Returns
    -------
    bool
        False if it may.

    Examples
    --------
    >>> from torch import nn
    >>> from skdeepad.networks import MLP, draws_nothing
    >>> draws_nothing(MLP), draws_nothing(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    (True, True)
    >>> draws_nothing(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)))
    False
    """
    if isinstance(network, partial):
        return draws_nothing(network.func)
    if isinstance(network, nn.Module):
        return all(_is_plain(module) for module in network.modules())
    return getattr(network, "__module__", "").startswith("skdeepad.networks")


def _is_plain(module: nn.Module) -> bool:
    kind = type(module)
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if getattr(module, "momentum", 0.0) is None:
        return False  # BatchNorm that reads a number from a tensor
    own = kind.__module__.startswith("skdeepad.networks")
    return own or (kind.__module__ in _PLAIN and kind not in _NOT_PLAIN)
