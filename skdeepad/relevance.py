"""How much each number of a row adds to an output of a network, against a reference row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skdeepad.engine import Objective
from skdeepad.networks import BranchLinear, Scale, Squash
from skdeepad.notices import warn

# Inputs nearer to each other than this share of their size have no line to speak of between them.
_NEAR = 1e-5
_STEPS = 32
# Pairs of a row and a reference that are propagated at once, and numbers in their rows.
_PAIRS = 2**12
_NUMBERS = 2**18
# What may be lost on the way, as a share of all relevance without its signs.
_LOST = 1e-3

ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Softsign,
    Squash,
)
POOLS = (nn.MaxPool1d, nn.MaxPool2d)
# In evaluation mode, and but for what they add.
LINEAR = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.Upsample,
    nn.ZeroPad2d,
    nn.Sequential,  # an empty one
    BranchLinear,
    Scale,
)


def secant(function: Callable[[Tensor], Tensor], both: Tensor) -> Tensor:
    """Apply an elementwise function whose slope is that of the line from reference to row.

    Parameters
    ----------
    function : callable
        Maps each number by itself.
    both : Tensor of shape (2 n, ...)
        Of rows and, behind them, of as many reference rows.

    Returns
    -------
    Tensor of shape (2 n, ...)
        The function's values. Gradients with respect to the rows' are those of the line.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.relevance import secant
    >>> both = torch.tensor([3.0, 1.0], requires_grad=True)
    >>> secant(torch.square, both)[0].backward()
    >>> both.grad  # (9 - 1) / (3 - 1)
    tensor([4., 0.])
    """
    return _on_lines(both, function(both))


def _on_lines(both: Tensor, values: Tensor) -> Tensor:
    n = len(both) // 2
    x, reference = both[:n].detach(), both[n:].detach()
    y, y_reference = values[:n].detach(), values[n:].detach()
    apart = x - reference
    near = apart.abs() <= _NEAR * (x.abs() + reference.abs())
    slope = (y - y_reference) / torch.where(near, 1.0, apart)
    # The sum in brackets is 0, and has the gradient.
    line = y + slope * (both[:n] - x)
    return torch.cat([torch.where(near, values[:n], line), values[n:]])


def _pooled(pool: nn.Module, both: Tensor, values: Tensor) -> Tensor:
    """Send relevance to the winner of a pool: the row's if it is more than the reference's.

    Its own change is then at least as large as the pool's, and of the same sign.
    """
    n = len(both) // 2
    with_indices: Any = copy.copy(pool)
    with_indices.return_indices = True
    winners = with_indices.forward(both.detach())[1]  # past the hooks of the pool
    y, y_reference = values[:n].detach(), values[n:].detach()
    winner = torch.where(y >= y_reference, winners[:n], winners[n:])
    sides = -1 if isinstance(pool, nn.MaxPool1d) else -2
    inputs, places = both.flatten(sides), winner.flatten(sides)
    own, of_reference = inputs[:n].gather(-1, places), inputs[n:].gather(-1, places)
    own, of_reference = own.view_as(y), of_reference.detach().view_as(y)
    apart = own.detach() - of_reference
    share = torch.where(apart == 0, 1.0, (y - y_reference) / torch.where(apart == 0, 1.0, apart))
    return torch.cat([y + share * (own - own.detach()), values[n:]])


@contextmanager
def secants(network: nn.Module) -> Iterator[None]:
    """Within it, a network takes rows and reference rows, and its layers have secants for slopes.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, and of the caller alone: another thread must not use it meanwhile.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skdeepad.relevance import propagated, secants
    >>> network = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> _ = nn.init.ones_(network[0].weight), nn.init.zeros_(network[0].bias)
    >>> x, reference = torch.tensor([[3.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    >>> with secants(network):  # from 0 to 3
    ...     propagated(network, x, reference)
    tensor([[3., 0.]])
    """
    hooks = []
    for module in network.modules():
        if isinstance(module, ELEMENTWISE):
            hooks.append(
                module.register_forward_hook(lambda _, given, values: _on_lines(given[0], values))
            )
        elif isinstance(module, POOLS):
            hooks.append(
                module.register_forward_hook(
                    lambda pool, given, values: _pooled(pool, given[0], values)
                )
            )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def propagated(function: Callable[[Tensor], Tensor], x: Tensor, reference: Tensor) -> Tensor:
    r"""Propagate a difference of outputs down to the inputs, by slopes of secants.

    Layer-wise relevance propagation from a reference point: a linear layer passes relevance in
    proportion to how much each input's change adds to the output's, an elementwise function passes
    what it gets, a max-pool passes it to the winner. What layers add, :math:`b`, cancels, and

    .. math:: \sum_i R_i = f(x) - f(\tilde x).

    Parameters
    ----------
    function : callable
        Maps (2 n, ...), rows and reference rows, to one number each. It calls a network within
        :func:`secants`.
    x, reference : Tensor of shape (n, ...)
        Rows, and the reference of each.

    Returns
    -------
    Tensor of shape (n, ...)
        The relevance of each input.

    References
    ----------
    Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation", PLOS ONE 2015; with a reference, Shrikumar et al., "Learning Important
    Features Through Propagating Activation Differences", ICML 2017, the rescale rule.
    """
    both = torch.cat([x, reference]).requires_grad_()
    with torch.enable_grad():
        total = function(both)[: len(x)].sum()
    (slopes,) = torch.autograd.grad(total, both)
    return slopes[: len(x)] * (x - reference)


def integrated(
    function: Callable[[Tensor], Tensor], x: Tensor, reference: Tensor, n_steps: int = _STEPS
) -> Tensor:
    """Integrate gradients along the line from reference to row, whatever the function is made of.

    Parameters
    ----------
    function : callable
        Maps (n, ...) to (n,).
    x, reference : Tensor of shape (n, ...)
        Rows, and the reference of each.
    n_steps : int, default=32
        Points of the midpoint rule: the sum is the difference of the outputs but for its error.

    Returns
    -------
    Tensor of shape (n, ...)
        The relevance of each input.

    References
    ----------
    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.relevance import integrated
    >>> x = torch.tensor([[3.0, 1.0]])
    >>> integrated(lambda x: x.square().sum(1), x, torch.zeros(1, 2)).round(decimals=3)
    tensor([[9., 1.]])
    """
    total = torch.zeros_like(x)
    for step in range(n_steps):
        point = torch.lerp(reference, x, (step + 0.5) / n_steps).requires_grad_()
        with torch.enable_grad():
            value = function(point).sum()
        total += torch.autograd.grad(value, point)[0]
    return total / n_steps * (x - reference)


def unknown_layers(network: nn.Module) -> list[str]:
    """List the layers that relevance cannot be propagated through.

    Parameters
    ----------
    network : nn.Module
        Made of layers.

    Returns
    -------
    list of str
        Kind and place of each.

    Examples
    --------
    >>> from torch import nn
    >>> from skdeepad.relevance import unknown_layers
    >>> unknown_layers(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU()))
    ['LayerNorm 1']
    """
    known = (*ELEMENTWISE, *POOLS, *LINEAR)
    return [
        f"{type(module).__name__} {name}".strip()
        for name, module in network.named_modules()
        if not [*module.children()] and not isinstance(module, known)
    ]


def explain(objective: Objective, X: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """Propagate the scores of rows down to their numbers, against each of some reference rows.

    Where that loses some of the score, because there are layers that it knows no rule for,
    gradients are integrated instead, and a warning names the layers.

    Parameters
    ----------
    objective : Objective
        In evaluation mode, and of the caller alone.
    X, reference : ndarray of shape (n, ...) and (m, ...)
        Rows, and reference rows.

    Returns
    -------
    ndarray of shape (n, d), dtype float64
        The mean over the reference rows. A row's sum is its score less the mean score of these.
    """
    first = next(objective.parameters())
    x, references = (torch.from_numpy(np.asarray(rows)).to(first) for rows in (X, reference))
    with secants(objective):
        values = _over_pairs(propagated, objective.explained_score, x, references)
    flat = values.flatten(1)

    def score(x: Tensor) -> Tensor:
        return objective.explained_score(torch.cat([x, x]))[: len(x)]

    with torch.no_grad():
        scores = score(x)
        lost = (flat.sum(1) - scores + score(references).mean()).abs()
    if bool((lost > _LOST * (flat.abs().sum(1) + scores.abs())).any()):
        names = unknown_layers(objective.network) or ["operations outside of layers"]
        warn(
            f"Relevance cannot be propagated through {', '.join(names)}; gradients along the way "
            f"from the reference rows are integrated instead, in {_STEPS} steps."
        )
        flat = _over_pairs(integrated, score, x, references).flatten(1)
    return flat.double().cpu().numpy()


def _over_pairs(
    method: Callable[..., Tensor],
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    references: Tensor,
) -> Tensor:
    """Explain each row against each reference row, a few pairs at a time, and take the mean."""
    values, m = torch.zeros_like(x), len(references)
    pairs = torch.arange(len(x) * m, device=x.device)
    for some in pairs.split(max(1, min(_PAIRS, _NUMBERS // x[0].numel()))):
        rows = some // m
        values.index_add_(0, rows, method(function, x[rows], references[some % m]) / m)
    return values
