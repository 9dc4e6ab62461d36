"""The only training loop: every stage of every detector runs through :func:`train`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from skdeepad.engine.batches import Rows, Sampler
from skdeepad.engine.objective import Batch, Objective, Turn
from skdeepad.engine.runtime import (
    autocast,
    learning_rate_factor,
    private_generator,
    threads_for,
)


@dataclass
class Stage:
    """An objective with its training numbers.

    Attributes
    ----------
    name : str
        Shown in progress and in the history.
    objective : Objective
        On the device already.
    n_epochs : int or None
        Passes over the data; None takes as many as ``n_steps`` steps need.
    n_steps : int
        Steps wanted where ``n_epochs`` is None.
    labeled_anomalies : bool
        Whether rows with y < 0 take part.
    """

    name: str
    objective: Objective
    n_epochs: int | None = None
    n_steps: int = 500
    lr: float = 1e-3
    lr_schedule: str | Callable[[float], float] = "constant"
    batch_size: int = 128
    anomaly_fraction: float | None = None
    weight_decay: float = 0.0
    clip_grad_norm: float | None = None
    n_iter_no_change: int = 10
    tol: float = 0.0
    autocast: bool = False
    compile: bool = False
    labeled_anomalies: bool = True

    def resolved_epochs(self, steps_per_epoch: int) -> int:
        """Epochs this stage runs for at most."""
        if self.n_epochs is not None:
            return self.n_epochs
        return max(1, round(self.n_steps / steps_per_epoch))


@dataclass
class Record:
    """What a stage left behind: per-epoch losses, and how many epochs it ran."""

    losses: dict[str, list[float]] = field(default_factory=dict)
    n_epochs: int = 0

    def append(self, **values: float) -> None:
        """Add one epoch's values."""
        for name, value in values.items():
            self.losses.setdefault(name, []).append(value)


class Observer:
    """Is told how far a stage is; this one does nothing."""

    def begins(self, n_epochs: int) -> None:
        """Note that the stage begins and has at most ``n_epochs`` epochs."""

    def epoch_begins(self) -> None:
        """Note that an epoch begins."""

    def epoch_ends(self, record: Record) -> bool:
        """Note that an epoch ended; True ends the stage."""
        return False


class _TurnOptimizer:
    """A turn with its parameters, its Adam and the epoch's sum of losses."""

    def __init__(self, turn: Turn, stage: Stage, device: torch.device) -> None:
        named = [
            parameter
            for name, parameter in stage.objective.named_parameters()
            if parameter.requires_grad and name.startswith(turn.parameters)
        ]
        if not named:
            raise ValueError(
                f"{type(stage.objective).__name__} has no trainable parameter whose name begins "
                f"with one of {turn.parameters}: expected at least one. Give it a network with "
                "parameters that require gradients."
            )
        self.turn, self.stage, self.parameters = turn, stage, named
        # One fused kernel a step; elsewhere torch chooses.
        fused = True if device.type in ("cpu", "cuda") else None
        self.adam = torch.optim.Adam(
            named, lr=stage.lr, weight_decay=stage.weight_decay, fused=fused
        )
        self.total = torch.zeros((), device=device)
        self.taken = 0

    def is_due(self, step: int) -> bool:
        return step % self.turn.every == 0

    def set_rate(self, factor: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self.stage.lr * factor

    def step(self, loss: Tensor) -> None:
        if self.stage.clip_grad_norm is not None:
            clip_grad_norm_(self.parameters, self.stage.clip_grad_norm)
        self.adam.step()
        self.adam.zero_grad()
        self.total += loss.detach()
        self.taken += 1

    def mean_loss(self) -> float:
        """Return the mean loss since the last call: the epoch's only copy to the host."""
        mean = float(self.total) / max(self.taken, 1)
        self.total.zero_()
        self.taken = 0
        return mean


class _Best:
    """The state (all parameters and buffers) at the lowest loss on held-out rows."""

    def __init__(self, objective: Objective, tol: float) -> None:
        self.objective, self.tol = objective, tol
        self.loss = float("inf")
        self.epochs_without_progress = 0
        self.state: list[Tensor] = []

    def _tensors(self) -> list[Tensor]:
        return [*self.objective.parameters(), *self.objective.buffers()]

    def update(self, loss: float) -> float:
        progress = loss < self.loss - self.tol
        self.epochs_without_progress = 0 if progress else self.epochs_without_progress + 1
        if loss < self.loss:
            self.loss = loss
            self.state = [tensor.detach().clone() for tensor in self._tensors()]
        return loss

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, best in zip(self._tensors(), self.state, strict=False):
            tensor.copy_(best)


def train(
    stage: Stage,
    rows: Rows,
    seed: int,
    validation: Rows | None = None,
    observer: Observer | None = None,
) -> Record:
    """Train a stage's objective on ``rows``.

    Parameters
    ----------
    stage : Stage
        The objective and its numbers.
    rows : Rows
        What to train on.
    seed : int
        All random numbers of the stage come from generators seeded with it.
    validation : Rows, optional
        Held-out rows. If given, training stops when their loss has not fallen by more than
        ``stage.tol`` for ``stage.n_iter_no_change`` epochs, and the best epoch's state is restored.
    observer : Observer, optional
        Is told of each epoch, and may end the stage.

    Returns
    -------
    Record
        Mean loss of each turn by epoch, and the loss on held-out rows.

    Raises
    ------
    ValueError
        If a loss stops being finite.
    """
    objective = stage.objective
    # Two streams: on a CPU the same seed would give order and noise the same numbers.
    generators = private_generator(seed), private_generator(seed + 1, rows.device)
    sampler = Sampler(rows.labels(), stage.batch_size, stage.anomaly_fraction)
    n_epochs = stage.resolved_epochs(sampler.steps)
    # What is fitted between epochs, too: sums over rows depend on the number of threads.
    threads = threads_for(_multiplications(stage, rows), rows.device)
    with torch.no_grad(), threads:
        objective.eval().start(rows)
    turns = _optimizers(stage, rows.device)
    forward = torch.compile(objective) if stage.compile else objective
    record, best = Record(), _Best(objective, stage.tol)
    observer = observer or Observer()
    observer.begins(n_epochs)
    for epoch in range(n_epochs):
        observer.epoch_begins()
        objective.train()
        with threads:
            _run_epoch(stage, forward, turns, rows, sampler, generators, epoch, n_epochs)
        objective.eval()
        record.n_epochs = epoch + 1
        losses = {turn.turn.loss: turn.mean_loss() for turn in turns}
        with threads:
            _update_fitted(objective, turns, epoch, rows, losses)
        if validation is not None:
            losses["validation_loss"] = best.update(_held_out_loss(objective, validation))
        record.append(**_finite(losses, stage, epoch))
        if observer.epoch_ends(record) or best.epochs_without_progress >= stage.n_iter_no_change:
            break
    best.restore()
    with torch.no_grad(), threads:
        objective.finish(rows)
    return record


def _optimizers(stage: Stage, device: torch.device) -> list[_TurnOptimizer]:
    turns = [_TurnOptimizer(turn, stage, device) for turn in stage.objective.turns()]
    owned = [id(parameter) for turn in turns for parameter in turn.parameters]
    if len(set(owned)) < len(owned):
        raise ValueError(
            f"Turns of {type(stage.objective).__name__} share parameters: expected each parameter "
            "in one turn only, so that its gradients stay apart. Give the turns disjoint prefixes."
        )
    return turns


def _run_epoch(
    stage: Stage,
    forward: Callable[..., Any],
    turns: list[_TurnOptimizer],
    rows: Rows,
    sampler: Sampler,
    generators: tuple[torch.Generator, torch.Generator],
    epoch: int,
    n_epochs: int,
) -> None:
    """Take the steps of one epoch."""
    order, noise = generators
    factor = learning_rate_factor(stage.lr_schedule)
    step = epoch * sampler.steps
    for x, y in rows.batches(sampler.epoch(order)):
        rate = factor(step / (n_epochs * sampler.steps))
        due = [turn for turn in turns if turn.is_due(step)]
        with autocast(rows.device, stage.autocast):
            batch = Batch(x, y, draw_noise(stage.objective, x, noise))
            batch = forward("prepare", batch)
            batch = batch._replace(shared=forward("shared", batch))
            losses = [forward(turn.turn.loss, batch).float().mean() for turn in due]
        for turn, loss in zip(due, losses, strict=True):
            # Turns share a graph, so it is kept until the last has gone through it.
            loss.backward(inputs=turn.parameters, retain_graph=turn is not due[-1])
        for turn, loss in zip(due, losses, strict=True):
            turn.set_rate(rate)
            turn.step(loss)
        step += 1


def _multiplications(stage: Stage, rows: Rows) -> float:
    """Bound those of a forward pass: for images as if no layer made them smaller."""
    weights = sum(weight.numel() for weight in stage.objective.parameters())
    return stage.batch_size * weights * math.prod(rows.x.shape[2:])


def draw_noise(objective: Objective, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the noise an objective needs for the batch ``x``."""
    shapes = objective.noise_shapes(x.shape)
    return {
        name: torch.randn(*shape, generator=generator, device=x.device)
        for name, shape in shapes.items()
    }


def _finite(losses: dict[str, float], stage: Stage, epoch: int) -> dict[str, float]:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise ValueError(
                f"The {name} of stage {stage.name!r} became {loss} in epoch {epoch + 1}; expected "
                f"a finite number. Usual causes: features of very different or very large scale "
                f"(standardize them, for example with StandardScaler) or a learning rate too high "
                f"(lr={stage.lr}; lower it or set clip_grad_norm)."
            )
    return losses


@torch.no_grad()
def _update_fitted(
    objective: Objective,
    turns: list[_TurnOptimizer],
    epoch: int,
    rows: Rows,
    losses: dict[str, float],
) -> None:
    to_clear = set(objective.after_epoch(epoch, rows, losses) or ())
    for turn in turns:
        if turn.turn.loss in to_clear:
            turn.adam.state.clear()


@torch.no_grad()
def _held_out_loss(objective: Objective, rows: Rows) -> float:
    """Mean loss of held-out rows; the noise is the same at each call, so that epochs compare."""
    generator = private_generator(0, rows.device)
    total = torch.zeros((), device=rows.device)
    for x, y, count in rows.slices():
        x, y = x[:count], y[:count]  # synthetic anomalies are made of true rows alone
        batch = Batch(x, y, draw_noise(objective, x, generator))
        total += objective("validation_loss", batch).sum()
    return float(total) / len(rows)


@torch.inference_mode()
def score(objective: Objective, rows: Rows, method: str = "score") -> Tensor:
    """Return what ``method`` of the objective gives for each row, on the host, in eval mode."""
    objective.eval()
    parts = [objective(method, x)[:count] for x, _, count in rows.slices()]
    return torch.cat(parts).cpu()  # one copy back
