"""Many models as one: those of one architecture take their steps together."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from skdeepad.engine.batches import Rows
from skdeepad.engine.loop import (
    Member,
    Model,
    Single,
    Training,
    TurnOptimizer,
    run,
    trained_parameters,
)
from skdeepad.engine.objective import Batch, Objective, Turn

# Of Adam, as torch has them by default.
_BETAS = 0.9, 0.999
_EPSILON = 1e-8
# Stacks may take this share of the free memory.
_MEMORY_SHARE = 0.5
# Linux tells here how much memory is free; where the system does not, this much is supposed.
_MEMORY_FILE = Path("/proc/meminfo")
_FREE_BYTES = 2**31
# What a training step needs beside what it keeps for the backward pass, as a factor of that.
_TEMPORARY = 2
# What every module has; the rest of its attributes tells it from others of its class.
_OF_ALL_MODULES = frozenset(vars(nn.Module()))


def train_together(trainings: Sequence[Training], max_models: int | None = None) -> None:
    """Train several models, each as it would be by itself, with those alike in one stack.

    Models are alike if they have one architecture, and batches, numbers of epochs and steps, places
    for labeled anomalies and schedules of the learning rate are equal. Everything else is each
    one's own: rows, labels, seed, learning rate, weight decay, numbers of the loss, early stopping.

    Parameters
    ----------
    trainings : sequence of Training
        Their records are filled. What goes wrong is noted there: a loss that stops being finite
        ends its own training alone, anything else that of its stack.
    max_models : int, optional
        Most models in a stack; by default as many as half the free memory holds.
    """
    alike: dict[Hashable, list[Member]] = {}
    for member in map(Member, trainings):
        key = _shape(member) if len(trainings) > 1 else None
        alike.setdefault(key, []).append(member)
    for members in alike.values():
        most = max_models or (_affordable(members[0]) if len(members) > 1 else 1)
        n_stacks = math.ceil(len(members) / most)
        for number in range(n_stacks):
            stack = members[number::n_stacks]
            try:
                _train_stack(stack)
            except Exception as error:  # what is wrong with one is wrong with those like it
                for member in stack:
                    member.record.error = member.record.error or error


def _train_stack(members: Sequence[Member]) -> None:
    started = time.perf_counter()
    run(members, Single if len(members) == 1 else Stack)
    for member in members:
        member.record.seconds = (time.perf_counter() - started) / len(members)
        if len(members) > 1:  # a model that is kept must not keep the whole stack
            for tensor in (*member.objective.parameters(), *member.objective.buffers()):
                tensor.data = tensor.data.clone()


class Stack(Model):
    """K members trained as one.

    Their parameters and buffers lie in tensors with K in front, and each member's own are views of
    them: what changes a member between steps (a centre, a radius, weights that are restored)
    changes the stack, and the other way round.

    Parameters
    ----------
    members : sequence of Member
        Alike, on one device.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members)
        self.state: dict[str, Tensor] = {}
        self.turns: list[_StackedTurn] = []
        tensors = [dict(_tensors(member.objective)) for member in members]
        for turn, named in trained_parameters(self.objective):
            own = [{name: of_member[name] for name in named} for of_member in tensors]
            self.turns.append(_StackedTurn(turn, own, members))
            self.state |= self.turns[-1].parameters
        for name in tensors[0].keys() - self.state.keys():
            self.state[name] = torch.stack([of_member[name].detach() for of_member in tensors])
            for of_member, part in zip(tensors, self.state[name], strict=True):
                of_member[name].data = part
        self.rows, self.starts = _joined_rows([member.rows for member in members])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features (K, batch, *input_shape) and labels (K, batch) of each step."""
        positions = [
            member.rows.positions(member.sampler.epoch(member.order)) for member in self.members
        ]
        labels = [
            member.rows.y[own.to(member.rows.device)]
            for member, own in zip(self.members, positions, strict=True)
        ]
        joined = [own + start for own, start in zip(positions, self.starts, strict=True)]
        features = self.rows.features(torch.stack(joined, 1))
        return zip(features, torch.stack(labels, 1).unbind(0), strict=True)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """Return what has been drawn for all members: (steps, K, ...)."""
        return torch.stack(parts, 1)

    def losses(self, batch: Batch, names: Sequence[str]) -> Sequence[Tensor]:
        """Return the mean losses of the members' batches for the turns named, each (K,)."""
        # The objective is called with the stacked tensors in place of its own.
        of_member = partial(_losses, self.objective, names)
        return vmap(of_member)(self.state, batch.x, batch.y, batch.noise)


class _StackedTurn(TurnOptimizer):
    """A turn of K models; its Adam has a rate, a decay and a longest gradient for each.

    The parameters of a member are a row of one matrix, and the stacked ones are columns of it, so
    that a step of Adam is a few operations on the whole.

    Parameters
    ----------
    turn : Turn
        Which loss it lowers.
    tensors : list of dict of str to Tensor
        Each member's parameters; they become views of the matrix.
    members : sequence of Member
        They have the numbers.
    """

    def __init__(
        self, turn: Turn, tensors: list[dict[str, Tensor]], members: Sequence[Member]
    ) -> None:
        super().__init__(turn, members)
        self.flat = torch.stack(
            [torch.cat([t.detach().flatten() for t in own.values()]) for own in tensors]
        )  # (K, P)
        self.parameters: dict[str, Tensor] = {}
        column = 0
        for name, first in tensors[0].items():
            columns = slice(column, column + first.numel())
            for own, row in zip(tensors, self.flat, strict=True):
                own[name].data = row[columns].view(first.shape)
            stacked = self.flat[:, columns].view(-1, *first.shape)  # (K, *shape)
            self.parameters[name] = stacked.detach().requires_grad_()
            column = columns.stop
        self.gradients, self.mean, self.square, self.step_sizes = (
            torch.zeros_like(self.flat) for _ in range(4)
        )
        stages = [member.stage for member in members]
        self.lr = self._numbers([stage.lr for stage in stages])
        self.weight_decay = self._numbers([stage.weight_decay for stage in stages])
        self.decays = any(stage.weight_decay for stage in stages)
        longest = [stage.clip_grad_norm for stage in stages]
        self.clips = any(length is not None for length in longest)
        self.longest = self._numbers([math.inf if each is None else each for each in longest])
        self.rate = self.lr.clone()
        self.steps = torch.zeros_like(self.lr)

    def _numbers(self, of_members: list[float]) -> Tensor:
        return torch.tensor(of_members, device=self.flat.device)[:, None]  # (K, 1)

    def differentiate(self, loss: Tensor, keep_graph: bool) -> None:
        parameters = list(self.parameters.values())
        found = torch.autograd.grad(
            loss, parameters, torch.ones_like(loss), retain_graph=keep_graph, materialize_grads=True
        )
        rows = [gradient.reshape(len(self.flat), -1) for gradient in found]
        torch.cat(rows, 1, out=self.gradients)

    def set_rate(self, factor: float) -> None:
        torch.mul(self.lr, factor, out=self.rate)

    @torch.no_grad()
    def descend(self) -> None:
        gradient = self.gradients
        if self.clips:
            norm = gradient.norm(dim=1, keepdim=True)
            shortened = (self.longest / (norm + 1e-6)).clamp(max=1.0)
            gradient.mul_(shortened.nan_to_num(nan=1.0))  # an endless one of any length allowed
        if self.decays:
            gradient.addcmul_(self.flat, self.weight_decay)
        self.steps += 1
        # 1 - beta^t without cancellation
        of_mean, of_square = (-torch.expm1(self.steps * math.log(beta)) for beta in _BETAS)
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        size = torch.div(self.square, of_square, out=self.step_sizes).sqrt_().add_(_EPSILON)
        torch.div(self.mean, size, out=size)
        self.flat.addcmul_(size, -self.rate / of_mean)

    def clear(self, number: int) -> None:
        for tensor in (self.mean, self.square, self.steps):
            tensor[number] = 0


def _losses(
    objective: Objective,
    names: Sequence[str],
    state: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    noise: dict[str, Tensor],
) -> tuple[Tensor, ...]:
    return tuple(functional_call(objective, state, ("mean_losses", Batch(x, y, noise), names)))


def _tensors(objective: Objective) -> Iterator[tuple[str, Tensor]]:
    yield from objective.named_parameters()
    yield from objective.named_buffers()


def _joined_rows(parts: Sequence[Rows]) -> tuple[Rows, list[int]]:
    """Put features that are not the same one behind the other, and tell where each part's begin."""
    distinct = list({id(part.x): part.x for part in parts}.values())
    starts, start = {}, 0
    for x in distinct:
        starts[id(x)] = start
        start += len(x)
    first = parts[0]
    x = distinct[0] if len(distinct) == 1 else torch.cat(distinct)
    return Rows(x, first.y, first.device, first.streamed), [starts[id(part.x)] for part in parts]


def _shape(member: Member) -> Hashable:
    """Return what must be equal in models that are trained as one."""
    stage, rows, sampler = member.stage, member.rows, member.sampler
    if stage.compile or stage.precision == "bfloat16":
        # A graph of its own; some layers do not mix bfloat16 and float32 in a stack.
        return id(member)
    schedule = stage.lr_schedule if isinstance(stage.lr_schedule, str) else id(stage.lr_schedule)
    return (
        architecture(member.objective),
        member.batch_shape,
        (sampler.steps, sampler.places, member.n_epochs),
        (schedule, stage.precision, stage.cuda_graph, rows.device, rows.streamed),
    )


def architecture(objective: Objective) -> Hashable:
    """Return all that an objective is but for the values of its tensors, to compare by ``==``."""
    apart = objective.apart_from_losses
    modules = tuple(
        (name, type(module), _frozen(_own_attributes(module, apart if not name else ())))
        for name, module in objective.named_modules()
    )
    tensors = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
        for name, tensor in _tensors(objective)
    )
    return modules, tensors


def _own_attributes(module: nn.Module, apart: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _OF_ALL_MODULES and name not in apart
    }


def _frozen(value: Any) -> Hashable:
    """Return something to compare by ``==`` that is equal for values that mean the same."""
    if isinstance(value, dict):
        return type(value), tuple((name, _frozen(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_frozen(each) for each in value)
    own = type(value)
    # An object that compares by identity and is no more than its attributes; functions are more.
    plain = own.__eq__ is object.__eq__ and own.__reduce__ is object.__reduce__
    if plain and hasattr(value, "__dict__") and not isinstance(value, type | FunctionType):
        return own, _frozen(value.__reduce_ex__(4)[2])  # the state that a copy would have
    return value if isinstance(value, Hashable) else id(value)


def _affordable(member: Member) -> int:
    """Return how many models like this one a share of the free memory holds."""
    try:
        kept = _kept_bytes(member)
    except Exception:  # it will be raised again, and noted, when they are trained
        return 1
    weights = sum(t.numel() * t.element_size() for t in member.objective.parameters())
    # Weights, gradients and Adam's two moments; what a step keeps, and as much again on its way.
    needed = 4 * weights + (1 + _TEMPORARY) * kept
    return max(1, int(_MEMORY_SHARE * _free_bytes(member.rows.device) / needed))


def _kept_bytes(member: Member) -> int:
    """Measure what a step of one model keeps for its backward pass."""
    objective, device = member.objective, member.rows.device
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    shape = member.batch_shape
    noise = {
        name: torch.zeros(*size, device=device)
        for name, size in objective.noise_shapes(shape).items()
    }
    x, y = torch.zeros(shape, device=device), torch.zeros(shape[0], dtype=torch.int8, device=device)
    state = {name: tensor.detach().clone() for name, tensor in objective.named_buffers()}
    objective.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        names = [turn.loss for turn in objective.turns()]
        losses = functional_call(objective, state, ("mean_losses", Batch(x, y, noise), names))
    objective.eval()
    del losses
    return sum(kept.values()) + x.nbytes


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if _MEMORY_FILE.exists():
        entries = dict(line.split(":") for line in _MEMORY_FILE.read_text().splitlines())
        return 1024 * int(entries["MemAvailable"].split()[0])
    return _FREE_BYTES
