"""BatchNorm that leaves some rows out, and copies of a network's BatchNorm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class LeftOutOfBatchNorm(TorchFunctionMode):
    """Context in which BatchNorm, in training, learns nothing of some rows.

    They take no part in the statistics of a batch, nor in the running ones, and are normalized by
    the running ones, as in evaluation. Networks are the same, a user's among them.

    Parameters
    ----------
    left_out : Tensor of bool, of shape (n,)
        Which rows these are, in batches of n rows.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.networks import LeftOutOfBatchNorm
    >>> norm, x = torch.nn.BatchNorm1d(1), torch.tensor([[0.0], [2.0], [50.0]])
    >>> with LeftOutOfBatchNorm(torch.tensor([False, False, True])):
    ...     made = norm(x)
    >>> made[:2, 0].round().tolist(), norm.running_mean
    ([-1.0, 1.0], tensor([0.1000]))
    """

    def __init__(self, left_out: Tensor) -> None:
        super().__init__()
        self.left_out = left_out

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return _batch_norm(self.left_out, *args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    left_out: Tensor,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize x (n, c, ...) by the mean and variance of the rows that are not left out."""
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    if len(x) != len(left_out):
        raise ValueError(
            f"BatchNorm is to leave some of {len(left_out)} rows out, and was given {len(x)}: "
            "expected as many. Let your network keep rows apart, or use batch_norm='shared'."
        )
    given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
    axes, by_channel = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    counted = ~left_out.view(-1, *[1] * (x.dim() - 1))
    number = (counted.sum() * x[0, 0].numel()).to(x.dtype)
    some = number.clamp(min=1)
    mean = torch.where(counted, x, 0.0).sum(axes) / some
    apart = x - mean.view(by_channel)
    var = torch.where(counted, apart, 0.0).square().sum(axes) / some
    made = apart / (var + eps).sqrt().view(by_channel)
    if running_mean is not None and running_var is not None:
        as_known = (x - running_mean.view(by_channel)) / (running_var + eps).sqrt().view(by_channel)
        made = torch.where(counted, made, as_known)
        with torch.no_grad():
            share = momentum * (number > 0).to(x.dtype)
            unbiased = var * (some / (some - 1).clamp(min=1))
            running_mean.add_(share * (mean - running_mean))
            running_var.add_(share * (unbiased - running_var))
    if weight is not None and bias is not None:
        made = made * weight.view(by_channel) + bias.view(by_channel)
    return made.to(given)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers that are BatchNorm."""


def copied_norms(network: nn.Module) -> dict[str, nn.Module]:
    """Return copies of a network's BatchNorm layers, by the names that these have in it.

    Parameters
    ----------
    network : nn.Module
        Stays as it is.

    Returns
    -------
    dict of str to nn.Module
        Empty if there are none.
    """
    return {
        name: copy.deepcopy(layer)
        for name, layer in network.named_modules()
        if isinstance(layer, BATCH_NORMS)
    }
