"""Many models as one: those of one architecture take their steps together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap

from skdeepad.engine.alike import differences, traits
from skdeepad.engine.batches import Rows
from skdeepad.engine.loop import Member, Model, TurnOptimizer, run
from skdeepad.engine.memory import affordable
from skdeepad.engine.objective import Batch, Turn, tensors_of, trained_parameters
from skdeepad.engine.single import Single
from skdeepad.engine.stage import Training
from skdeepad.engine.trial import mean_losses, try_objective, why_not_vectorized

# Of Adam, as torch has them by default.
_BETAS = 0.9, 0.999
_EPSILON = 1e-8


def train_together(trainings: Sequence[Training], max_models: int | None = None) -> None:
    """Train several models, each as it would be by itself, with those alike in one stack.

    Models are alike if they have one architecture, and batches, numbers of epochs and steps, places
    for labeled anomalies and schedules of the learning rate are equal. Everything else is each
    one's own: rows, labels, seed, learning rate, weight decay, numbers of the loss, early stopping.
    What torch cannot compute for several models at once is trained one by one.

    Parameters
    ----------
    trainings : sequence of Training
        Their records are filled. What goes wrong is noted there: a loss that stops being finite
        ends its own training alone, anything else that of its stack.
    max_models : int, optional
        Most models in a stack; by default as many as half the free memory holds.
    """
    members = [Member(training) for training in trainings]
    for group in _alike(members):
        most = max_models or (affordable(group[0]) if len(group) > 1 else 1)
        n_stacks = math.ceil(len(group) / most)
        for number in range(n_stacks):
            stack = group[number::n_stacks]
            try:
                _train_stack(stack)
            except Exception as error:  # what is wrong with one is wrong with those like it
                for member in stack:
                    member.record.error = member.record.error or error


def why_not_together(trainings: Sequence[Training]) -> str | None:
    """Say why trainings cannot be done as one, or return None if they can.

    Parameters
    ----------
    trainings : sequence of Training
        Not done yet.

    Returns
    -------
    str or None
        The reason.
    """
    try:
        for training in trainings:
            try_objective(training.stage.objective, training.rows)
    except ValueError as error:
        return f"it is refused: {error}"
    groups = _alike([Member(training) for training in trainings])
    records = [training.record for training in trainings]
    reasons = [record.why_alone or record.apart for record in records]
    return None if len(groups) == 1 else next(filter(None, reasons), "they are not alike")


def _alike(members: Sequence[Member]) -> list[list[Member]]:
    """Group members that can be trained as one, and note why others cannot."""
    if len(members) == 1:
        return [list(members)]
    groups: dict[frozenset[tuple[str, object]], list[Member]] = {}
    for member in members:
        groups.setdefault(frozenset(traits(member).items()), []).append(member)
    largest = max(groups, key=lambda key: len(groups[key]))
    result: list[list[Member]] = []
    for key, group in groups.items():
        reason = None
        if len(group) > 1:
            try:
                reason = why_not_vectorized([each.objective for each in group[:2]], group[0].rows)
            except Exception:  # it will be raised again, and noted, when they are trained
                reason = None
        if key != largest and (apart := differences(dict(key), dict(largest))):
            n = len(groups[largest])
            others = "another one" if n == 1 else f"{n} others"
            for member in group:
                member.record.apart = f"different from {others} in {', '.join(apart)}"
        if reason is None:
            result.append(group)
            continue
        for member in group:
            member.record.why_alone = reason
        result += [[member] for member in group]
    return result


def _train_stack(members: Sequence[Member]) -> None:
    started = time.perf_counter()
    run(members, Single if len(members) == 1 else Stack)
    for member in members:
        member.record.seconds = (time.perf_counter() - started) / len(members)
        if len(members) > 1:  # a model that is kept must not keep the whole stack
            for tensor in tensors_of(member.objective).values():
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

    rows: Rows
    starts: list[int]

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members)
        self.state: dict[str, Tensor] = {}
        self.turns: list[_StackedTurn] = []
        tensors = [tensors_of(member.objective) for member in members]
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
            member.rows.y[own].to(member.rows.device)
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
        of_member = partial(mean_losses, self.objective, names)
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
