"""An objective is tried on a few rows before it is trained, so that nothing is wrong in silence."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from skdeepad.engine.batches import Rows
from skdeepad.engine.objective import Batch, Objective, tensors_of, trained_parameters
from skdeepad.engine.runtime import (
    borrowed_global_rng,
    global_rng_is_borrowed,
    private_generator,
)
from skdeepad.engine.scoring import draw_noise

# Enough to tell (n,) from (n, n) and (1,), and to normalise a batch.
_ROWS = 3


def try_objective(objective: Objective, rows: Rows) -> None:
    """Compute losses and scores of a few rows, and refuse what would be wrong in silence.

    Parameters
    ----------
    objective : Objective
        Started; its state stays as it is.
    rows : Rows
        What it is to be trained on.

    Raises
    ------
    ValueError
        If a loss or the score is not one real number a row, or does not depend on what is trained;
        if they draw from global generators, write to the batch, or put another tensor where a
        fitted one is; or if a tensor of the objective lies on another device than the rows.
    """
    name = type(objective).__name__
    turns = trained_parameters(objective)
    _check_devices(objective, rows.device)
    batch = _first_batch(objective, rows)
    training = objective.training
    losses, scores = _computed(objective, batch, [turn.loss for turn, _ in turns])
    objective.train(training)
    for (turn, parameters), loss in zip(turns, losses, strict=True):
        what = f"{name}.{turn.loss}(batch)"
        _check_shape(what, loss, batch.x)
        _check_gradient(what, loss, list(parameters.values()))
    if scores is not None:
        _check_shape(f"{name}.score(x)", scores, batch.x)


def _computed(
    objective: Objective, batch: Batch, names: list[str]
) -> tuple[list[Tensor], Tensor | None]:
    """Compute losses and scores; the state stays as it is."""
    name, device = type(objective).__name__, batch.x.device
    x, scores = batch.x.clone(), None
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    for _ in range(3):  # other threads may draw meanwhile
        before = _states_of_the_host()
        state = {key: buffer.clone() for key, buffer in objective.named_buffers()}
        put_in = dict(state)
        with refused_draws(name, device), torch.enable_grad():
            losses = functional_call(objective.train(), state, ("row_losses", batch, names))
        for key, tensor in put_in.items():
            _check_same(f"{name}.loss", key, state[key] is tensor)
        if type(objective).score is not Objective.score:  # pretraining need not score
            with refused_draws(name, device), torch.no_grad(), same_memory(objective, "score"):
                scores = objective.eval()("score", batch.x)
        if device.type != "meta" and not torch.equal(batch.x, x):
            raise ValueError(
                f"A loss or score of {name} writes to the rows that it is given: expected it to "
                "leave them as they are. Use x + 1 instead of x.add_(1), and layers without "
                "inplace=True at the beginning."
            )
        if global_rng_is_borrowed() or before == _states_of_the_host():
            return losses, scores
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    raise ValueError(
        f"A loss or score of {name} draws from the global generator of NumPy or Python: expected "
        "losses and scores without. Ask for noise in noise_shapes(x_shape); it arrives as "
        "batch.noise."
    )


def _states_of_the_host() -> tuple[Any, ...]:
    """Return the states of the global generators of NumPy and Python."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), numpy[1].tobytes(), numpy[2:]


def why_not_vectorized(objectives: Sequence[Objective], rows: Rows) -> str | None:
    """Say why torch cannot compute the losses of several models at once, or return None.

    Parameters
    ----------
    objectives : sequence of Objective
        Alike.
    rows : Rows
        What one of them is to be trained on.

    Returns
    -------
    str or None
        What ``torch.func.vmap`` said: of a branch on data, of random numbers, or of
        ``torch.autograd.grad``.
    """
    first = objectives[0]
    batch = _first_batch(first, rows)
    names = [turn.loss for turn in first.turns()]
    parameters = {
        name: torch.stack([each.get_parameter(name).detach() for each in objectives])
        for name, _ in first.named_parameters()
    }
    buffers = {
        name: torch.stack([each.get_buffer(name) for each in objectives])
        for name, _ in first.named_buffers()
    }
    training = first.training
    try:
        with torch.enable_grad():
            trained = [each.requires_grad_() for each in parameters.values()]
            losses = vmap(
                partial(mean_losses, first.train(), names), in_dims=(0, None, None, None)
            )(parameters | buffers, batch.x, batch.y, batch.noise)
            torch.autograd.grad(torch.stack(losses).sum(), trained, allow_unused=True)
    except Exception as error:  # whatever it is, they are trained one by one
        return f"torch cannot compute its losses for several models at once: {_in_words(error)}"
    finally:
        first.train(training)
    return None


# What torch says, and what that means; it would also ask to report it.
_MEANINGS = {
    "data-dependent control flow": "they decide by data, for example by an if on a tensor",
    ".item()": "they copy numbers to the host, for example by .item() or float()",
    "random operation": "they draw random numbers",
    "requires_grad": "they use torch.autograd.grad; torch.func.grad can be computed so",
    "dynamic shape": "a shape depends on data, for example of x[mask]",
}


def _in_words(error: Exception) -> str:
    text = str(error).strip()
    for sign, meaning in _MEANINGS.items():
        if sign in text:
            return meaning
    return text.splitlines()[0].partition("lease file")[0].rstrip(" .pP,") if text else repr(error)


def mean_losses(
    objective: Objective,
    names: Sequence[str],
    state: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    noise: dict[str, Tensor],
) -> tuple[Tensor, ...]:
    """Compute the mean losses of a batch with the tensors of ``state`` for the objective's own."""
    return tuple(functional_call(objective, state, ("mean_losses", Batch(x, y, noise), names)))


@contextmanager
def same_memory(objective: Objective, hook: str) -> Iterator[None]:
    """Refuse that a hook puts another tensor where a fitted one was.

    Stacks and recorded steps hold on to its memory.
    """
    before = {name: (each, each.data_ptr()) for name, each in tensors_of(objective).items()}
    yield
    after = tensors_of(objective)
    for name, (tensor, address) in before.items():
        same = after.get(name) is tensor and tensor.data_ptr() == address
        _check_same(f"{type(objective).__name__}.{hook}", name, same)
        if tensor.grad_fn is not None:
            tensor.detach_()  # a network may switch gradients on


def _check_same(what: str, name: str, same: bool) -> None:
    if not same:
        raise ValueError(
            f"{what} put another tensor in the place of {name!r}: expected the same one with other "
            f"values. Write self.{name}.copy_(values)."
        )


def _first_batch(objective: Objective, rows: Rows) -> Batch:
    positions = torch.arange(min(_ROWS, len(rows)))[None]
    x, y = next(rows.batches(positions))
    return Batch(x, y, draw_noise(objective, x, private_generator(0, rows.device)))


def _check_shape(what: str, values: Any, x: Tensor) -> None:
    n = len(x)
    real = isinstance(values, Tensor) and values.is_floating_point()
    if real and values.shape == (n,):
        return
    came = type(values).__name__
    if isinstance(values, Tensor):
        came = f"{tuple(values.shape)}" if real else f"{tuple(values.shape)} of {values.dtype}"
    raise ValueError(
        f"{what} must return one number for each row, so a tensor of shape ({n},) for {n} rows; "
        f"got {came}. Sum or average over the other axes, for example by .flatten(1).sum(1), or "
        "drop an axis of length 1 by .squeeze(1)."
    )


def _check_gradient(what: str, loss: Tensor, parameters: list[Tensor]) -> None:
    gradients: Sequence[Tensor | None] = [None]
    if loss.requires_grad:
        gradients = torch.autograd.grad(
            loss.sum(), parameters, retain_graph=True, allow_unused=True
        )
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            f"{what} does not depend on the parameters that its turn trains: expected a loss that "
            "has a gradient. Do not detach it or switch gradients off, and name the parameters it "
            "is of in turns()."
        )


def _check_devices(objective: Objective, device: torch.device) -> None:
    for prefix, module in objective.named_modules():
        own = {**vars(module), **vars(module)["_parameters"], **vars(module)["_buffers"]}
        for name, value in own.items():
            if isinstance(value, Tensor) and value.device.type != device.type:
                full_name = f"{prefix}.{name}".lstrip(".")
                raise ValueError(
                    f"{type(objective).__name__}.{full_name} is a tensor on "
                    f"{value.device.type!r}, and the rows are on {device.type!r}: expected one "
                    f"device. Register it: self.register_buffer({name!r}, ...) moves along."
                )


def what_is_not_finite(objective: Objective) -> list[str]:
    """Return the names of fitted tensors that are not finite."""
    return [
        name
        for name, buffer in objective.named_buffers()
        if buffer.is_floating_point()
        and buffer.device.type != "meta"
        and not torch.isfinite(buffer).all()
    ]


class _Draws(TorchDispatchMode):
    """Refuses operations that draw from torch's global generators, in this thread alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name: str = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [*args, *kwargs.values()]
        draws = torch.Tag.nondeterministic_seeded in func.tags
        # On the meta device, where networks are built, nothing is drawn.
        if draws and not any(
            isinstance(each, torch.Generator) or _is_on_meta(each) for each in given
        ):
            raise ValueError(
                f"{self.name} draws random numbers from torch's global generator "
                f"({str(func).removeprefix('aten.')}): expected losses and scores without. Ask for "
                "noise in noise_shapes(x_shape); it arrives as batch.noise."
            )
        return func(*args, **kwargs)


def _is_on_meta(argument: Any) -> bool:
    if isinstance(argument, Tensor):
        return argument.device.type == "meta"
    return isinstance(argument, torch.device) and argument.type == "meta"


def refused_draws(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """Refuse draws from global generators, except where they are seeded for foreign code.

    There, what is drawn here is not missing later: all of them are put back.
    """
    return borrowed_global_rng(0, device) if global_rng_is_borrowed() else _Draws(name)
