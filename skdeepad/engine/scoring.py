"""Rows go through a method of an objective, in slices, with one copy back."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from skdeepad.engine.batches import Rows
from skdeepad.engine.objective import Batch, Objective
from skdeepad.engine.runtime import (
    private_generator,
    threads_for,
    told_of_memory,
    undisturbed,
)

# What a few rows cost little more than one: as many as take about this many multiplications,
# at most.
_FREE_MULTIPLICATIONS = 2**22
_FREE_ROWS = 32


def score(
    objective: Objective, rows: Rows, method: str = "score", one_thread: bool = False
) -> Tensor:
    """Return what a method of the objective gives for each row, on the host, in eval mode.

    Where float32 overflows, or divides infinity by itself, a row is computed anew in float64.

    Parameters
    ----------
    objective : Objective
        On the device of the rows.
    rows : Rows
        What to score.
    method : str, default="score"
        Name of a method that takes rows (n, ...) and returns (n, ...).
    one_thread : bool, default=False
        Whether to keep to one thread on a CPU, whatever the network's size.

    Returns
    -------
    Tensor of shape (n, ...)
        On the host; float64 if some rows needed it.

    Examples
    --------
    >>> import torch
    >>> from skdeepad import losses
    >>> from skdeepad.engine import Rows, score
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import DistanceObjective
    >>> X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).numpy()
    >>> rows = Rows.place(X, None, (4,), torch.device("cpu"))
    >>> objective = DistanceObjective(MLP((4,), (8, 2)), (4,), 2, losses.one_class)
    >>> score(objective, rows).shape
    torch.Size([200])
    """
    what = f"Scoring slices of {rows.slice_size} rows of shape {tuple(rows.x.shape[1:])}"
    threads = threads_for(0.0 if one_thread else math.inf, rows.device)
    with undisturbed(), torch.inference_mode(), threads, told_of_memory(what):
        return _scored(objective, rows, method)


def _scored(objective: Objective, rows: Rows, method: str) -> Tensor:
    result = _in_slices(objective, rows, method).cpu()  # one copy back
    overflown = ~torch.isfinite(result.flatten(1) if result.dim() > 1 else result[:, None]).all(1)
    if overflown.any():
        again = _in_float64(objective, rows.select(overflown.nonzero()[:, 0]), method)
        if again is not None:
            result = result.double()
            result[overflown] = again
    return result


def _in_slices(objective: Objective, rows: Rows, method: str) -> Tensor:
    objective.eval()
    per_row = multiplications(objective, rows)
    least = min(_FREE_ROWS, max(1, _FREE_MULTIPLICATIONS // max(int(per_row), 1)))
    result = torch.empty(0)
    first = 0
    with threads_for(min(len(rows), rows.slice_size) * per_row, rows.device):
        for x, _, count in rows.slices(least):
            part = objective(method, x)[:count]
            if not first:
                # In one piece: small parts kept between large ones would hold on to their memory.
                result = part.new_empty(len(rows), *part.shape[1:])
            result[first : first + count] = part
            first += count
    return result


def _in_float64(objective: Objective, rows: Rows, method: str) -> Tensor | None:
    """Compute on the host, or return None if the objective takes no float64."""
    cpu = torch.device("cpu")
    x = rows.x.index_select(0, rows.positions(torch.arange(len(rows))).to(rows.x.device))
    exact = Rows(x.cpu().double(), torch.zeros(len(rows), dtype=torch.int8), cpu, streamed=False)
    try:
        return _in_slices(copy.deepcopy(objective).to(cpu, torch.float64), exact, method)
    except RuntimeError:
        return None


def multiplications(objective: Objective, rows: Rows) -> float:
    """Bound those of a row's forward pass: for images as if no layer made them smaller."""
    weights = sum(weight.numel() for weight in objective.parameters())
    return weights * math.prod(rows.x.shape[2:])


def draw_noise(objective: Objective, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the noise an objective needs for the batch ``x``."""
    shapes = objective.noise_shapes(x.shape)
    return {
        name: torch.randn(*shape, generator=generator, device=x.device)
        for name, shape in shapes.items()
    }


@torch.no_grad()
def held_out_loss(objective: Objective, rows: Rows) -> float:
    """Mean loss of held-out rows; the noise is the same at each call, so that epochs compare."""
    generator = private_generator(0, rows.device)
    total = torch.zeros((), device=rows.device)
    for x, y, count in rows.slices():
        x, y = x[:count], y[:count]  # synthetic anomalies are made of true rows alone
        batch = Batch(x, y, draw_noise(objective, x, generator))
        total += objective("validation_loss", batch).sum()
    return float(total) / len(rows)
