"""How much each number of a row adds to an output of a network, against a reference row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
_STEPS, _MOST_STEPS = 32, 512
# Pairs of a row and a reference that are propagated at once, and numbers in their rows.
_PAIRS = 2**12
_NUMBERS = 2**18
# What may be lost on the way, as a share of all relevance without its signs, and how much more, in
# units of the rounding of the score.
_LOST, _LOST_BY_STEPS, _ROUNDING = 1e-3, 1e-2, 100

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
    return _on_lines(None, both, function(both))


def _on_lines(layer: nn.Module | None, both: Tensor, values: Tensor) -> Tensor:
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
def secants(network: nn.Module, n_pairs: int) -> Iterator[None]:
    """Within it, a network takes rows and reference rows, and its layers have secants for slopes.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, and of the caller alone: another thread must not use it meanwhile.
    n_pairs : int
        Number of rows, and of reference rows. A layer that is given anything else along the first
        axis keeps its own slope.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skdeepad.relevance import propagated, secants
    >>> network = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> _ = nn.init.ones_(network[0].weight), nn.init.zeros_(network[0].bias)
    >>> x, reference = torch.tensor([[3.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    >>> with secants(network, 1):  # from 0 to 3
    ...     propagated(network, x, reference)
    tensor([[3., 0.]])
    """

    def straighten(module: nn.Module, given: tuple[Any, ...], values: Any) -> Tensor | None:
        both = given[0] if given else None
        if not isinstance(both, Tensor) or not isinstance(values, Tensor):
            return None
        if not both.dim() or len(both) % (2 * n_pairs):
            return None
        return (_pooled if isinstance(module, POOLS) else _on_lines)(module, both, values)

    in_place: list[Any] = [m for m in network.modules() if getattr(m, "inplace", False)]
    for module in in_place:  # it would write over what it is given
        module.inplace = False
    hooks = [
        module.register_forward_hook(straighten)
        for module in network.modules()
        if isinstance(module, (*ELEMENTWISE, *POOLS))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in in_place:
            module.inplace = True


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
        total = function(both.clone())[: len(x)].sum()  # a copy, which layers may write to
    return _slopes(total, both)[: len(x)] * (x - reference)


def _slopes(total: Tensor, given: Tensor) -> Tensor:
    """Differentiate; what is cut off from what was given has a slope of 0."""
    if not total.requires_grad:
        return torch.zeros_like(given)
    (slopes,) = torch.autograd.grad(total, given, allow_unused=True)
    return torch.zeros_like(given) if slopes is None else slopes


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
            value = function(point.clone()).sum()
        total += _slopes(value, point)
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


def explain(
    objective: Objective, X: NDArray[Any], reference: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Propagate the scores of rows down to their numbers, against each of some reference rows.

    Where that loses some of the score, because there are layers that it knows no rule for,
    gradients are integrated instead, in more steps as long as need be, and a warning names the
    layers.

    Parameters
    ----------
    objective : Objective
        In evaluation mode, and of the caller alone.
    X, reference : ndarray of shape (n, ...) and (m, ...)
        Rows, and reference rows.

    Returns
    -------
    values : ndarray of shape (n, d), dtype float64
        The mean over the reference rows. A row's sum is its score less the mean score of these.
    lost : ndarray of shape (n,), dtype bool
        Rows of which that is not so, whatever was tried.
    """
    first = next(objective.parameters())
    x, references = (torch.from_numpy(np.asarray(rows)).to(first) for rows in (X, reference))

    def score(x: Tensor) -> Tensor:
        return objective.explained_score(torch.cat([x, x]))[: len(x)]

    def by_secants(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> Tensor:
        with secants(objective, len(x)):
            return propagated(function, x, other)

    with torch.no_grad():
        scores = torch.cat([score(some) for some in x.split(_at_once(x))])
        differences = scores - score(references).mean()
    rounding = _ROUNDING * torch.finfo(scores.dtype).eps * scores.abs()

    def lost(values: Tensor, share: float) -> Tensor:
        missing = (values.flatten(1).sum(1) - differences).abs()
        return missing > share * values.flatten(1).abs().sum(1) + rounding

    values = _over_pairs(by_secants, objective.explained_score, x, references)
    if not lost(values, _LOST).any():
        return _on_host(values), np.zeros(len(x), dtype=bool)
    names = unknown_layers(objective.network) or ["operations outside of layers"]
    warn(
        f"Relevance cannot be propagated through {', '.join(names)}; gradients along the way from "
        "the reference rows are integrated instead."
    )
    wrong, n_steps = torch.arange(len(x), device=x.device), _STEPS
    while len(wrong) and n_steps <= _MOST_STEPS:
        method = partial(integrated, n_steps=n_steps)
        values[wrong] = _over_pairs(method, score, x[wrong], references)
        wrong = lost(values, _LOST_BY_STEPS).nonzero()[:, 0]
        n_steps *= 4
    return _on_host(values), lost(values, _LOST_BY_STEPS).cpu().numpy()


def _on_host(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.flatten(1).double().cpu().numpy()
    return array


def _at_once(x: Tensor) -> int:
    return max(1, min(_PAIRS, _NUMBERS // x[0].numel()))


def _over_pairs(
    method: Callable[..., Tensor],
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    references: Tensor,
) -> Tensor:
    """Explain each row against each reference row, a few pairs at a time, and take the mean."""
    values, m = torch.zeros_like(x), len(references)
    pairs = torch.arange(len(x) * m, device=x.device)
    for some in pairs.split(_at_once(x)):
        rows = some // m
        values.index_add_(0, rows, method(function, x[rows], references[some % m]) / m)
    return values
