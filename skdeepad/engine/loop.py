"""The only training loop: every stage of every detector runs through it, alone or in a stack."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor

from skdeepad.engine.batches import Rows, Sampler
from skdeepad.engine.graphs import CudaRecorder, ReplayedSteps
from skdeepad.engine.objective import Batch, Objective, Turn
from skdeepad.engine.runtime import (
    autocast,
    cache_folder_unset,
    learning_rate_factor,
    matmul_precision,
    private_generator,
    threads_for,
    told_of_memory,
)
from skdeepad.engine.scoring import held_out_loss, multiplications
from skdeepad.engine.stage import Observer, Record, Stage, Training
from skdeepad.engine.trial import refused_draws, same_memory, try_objective, what_is_not_finite

# Noise is drawn for several steps at once, as many as need about this many numbers.
_NOISE_NUMBERS = 2**18


class Member:
    """A training on its way through the loop: its draws, its best state, its record."""

    stage: Stage
    objective: Objective
    rows: Rows
    validation: Rows | None
    observer: Observer
    record: Record

    def __init__(self, training: Training) -> None:
        self.stage, self.objective = training.stage, training.stage.objective
        self.rows, self.validation = training.rows, training.validation
        self.observer, self.record = training.observer, training.record
        # Two streams: on a CPU the same seed would give order and noise the same numbers.
        self.order: torch.Generator = private_generator(training.seed)
        self.noise: torch.Generator = private_generator(training.seed + 1, self.rows.device)
        stage = self.stage
        self.sampler: Sampler = Sampler(
            self.rows.labels(), stage.batch_size, stage.anomaly_fraction
        )
        self.n_epochs: int = stage.resolved_epochs(self.sampler.steps)
        self.best: _Best = _Best(self.objective, stage.tol)
        n_of_row = multiplications(self.objective, self.rows)
        self.multiplications: float = stage.batch_size * n_of_row
        self.running: bool = True

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the features of a batch."""
        return (self.sampler.batch_size, *self.rows.x.shape[1:])

    def threads(self, n_models: int = 1) -> AbstractContextManager[None]:
        """Threads for steps of that many models; what is fitted between epochs takes those of one.

        Sums over rows depend on the number of threads.
        """
        work = 0.0 if self.stage.one_thread else n_models * self.multiplications
        return threads_for(work, self.rows.device)

    def start(self) -> None:
        """Fit what must be known before the first step."""
        self.objective.eval()
        with self.hook("start"):
            self.objective.start(self.rows)
        self.not_finite: list[str] = what_is_not_finite(self.objective)
        self.n_epochs = self.observer.begins(self.n_epochs)

    @contextmanager
    def hook(self, name: str) -> Iterator[None]:
        """Run what is inside as the objective's hook of that name."""
        draws = refused_draws(type(self.objective).__name__, self.rows.device)
        with torch.no_grad(), self.threads(), draws, same_memory(self.objective, name):
            yield

    def epoch_ends(self, epoch: int, losses: dict[str, float]) -> set[str]:
        """Update what is fitted, and note the epoch; return the turns to be cleared."""
        self.record.n_epochs = epoch + 1
        to_clear: set[str] = set()
        if getattr(self.objective.after_epoch, "__func__", None) is not Objective.after_epoch:
            with self.hook("after_epoch"):
                to_clear = set(self.objective.after_epoch(epoch, self.rows, losses) or ())
        if self.validation is not None:
            with self.threads():
                loss = held_out_loss(self.objective, self.validation)
            losses["validation_loss"] = self.best.update(loss)
        self.record.error = _trouble(losses, self, epoch)
        if self.record.error is not None:
            self.running = False
            return set()
        self.record.append(**losses)
        stopped = self.observer.epoch_ends(self.record)
        if stopped or self.best.epochs_without_progress >= self.stage.n_iter_no_change:
            self.running = False
            self.best.keep()
        return to_clear

    def finish(self) -> None:
        """Restore the best state, and fit what depends on it."""
        if self.record.error is None:
            self.best.restore()
            with self.hook("finish"):
                self.objective.finish(self.rows)


class _Best:
    """The state (all parameters and buffers) at the lowest loss on held-out rows."""

    def __init__(self, objective: Objective, tol: float) -> None:
        self.objective: Objective = objective
        self.tol: float = tol
        self.loss: float = float("inf")
        self.epochs_without_progress: int = 0
        self.state: list[Tensor] = []

    def _tensors(self) -> list[Tensor]:
        return [*self.objective.parameters(), *self.objective.buffers()]

    def _note(self) -> None:
        self.state = [tensor.detach().clone() for tensor in self._tensors()]

    def update(self, loss: float) -> float:
        progress = loss < self.loss - self.tol
        self.epochs_without_progress = 0 if progress else self.epochs_without_progress + 1
        if loss < self.loss:
            self.loss = loss
            self._note()
        return loss

    def keep(self) -> None:
        """Without held-out rows, keep the present state: in a stack training goes on."""
        if not self.state:
            self._note()

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, best in zip(self._tensors(), self.state, strict=False):
            tensor.copy_(best)


class TurnOptimizer(ABC):
    """A turn with its optimiser and, for each member, the epoch's sum of losses.

    Parameters
    ----------
    turn : Turn
        Which loss it lowers.
    members : sequence of Member
        They have the numbers: learning rate, weight decay, longest gradient.
    """

    def __init__(self, turn: Turn, members: Sequence[Member]) -> None:
        self.turn = turn
        self.totals: Tensor = torch.zeros(len(members), device=members[0].rows.device)
        self.taken: int = 0

    def is_due(self, step: int) -> bool:
        """Tell whether the turn is taken at a step."""
        return step % self.turn.every == 0

    @abstractmethod
    def set_rate(self, factor: float) -> None:
        """Make the learning rates their first ones times a factor."""

    @abstractmethod
    def differentiate(self, loss: Tensor, keep_graph: bool) -> None:
        """Compute the gradients that :meth:`descend` follows."""

    @abstractmethod
    def descend(self) -> None:
        """Change the parameters."""

    @abstractmethod
    def clear(self, number: int) -> None:
        """Forget, in place, what the optimiser knows of the member of that number."""

    def mean_losses(self) -> list[float]:
        """Return each member's mean loss since the last call: the epoch's only copy to the host."""
        means = (self.totals / max(self.taken, 1)).tolist()
        self.totals.zero_()
        self.taken = 0
        return means


class Model(ABC):
    """What the loop trains: one member, or a stack of them."""

    turns: Sequence[TurnOptimizer]

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.objective: Objective = members[0].objective

    @abstractmethod
    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels of each step of an epoch."""

    @abstractmethod
    def joined(self, parts: list[Tensor]) -> Tensor:
        """Return as one what has been drawn for each member, each of shape (steps, ...)."""

    @abstractmethod
    def losses(self, batch: Batch, names: Sequence[str]) -> Sequence[Tensor]:
        """Return the mean loss of a batch, or of each member's, for the turns named."""


def run(members: Sequence[Member], as_model: type[Model]) -> None:
    """Take members of equal shapes through all their epochs.

    ``as_model`` makes of them what is trained, once they have been started.
    """
    completed = False
    try:
        # A network may switch gradients off.
        with torch.enable_grad(), told_of_memory(_in_words(members)), cache_folder_unset():
            for member in members:
                member.start()
            try_objective(members[0].objective, members[0].rows)  # the others are like it
            _run_epochs(as_model(members))
            for member in members:
                member.finish()
        completed = True
    finally:
        for member in members:
            member.observer.ends(completed and member.record.error is None)


def _in_words(members: Sequence[Member]) -> str:
    models = "a model" if len(members) == 1 else f"a stack of {len(members)} models"
    return f"A step of {models} with batches of shape {members[0].batch_shape}"


def _run_epochs(model: Model) -> None:
    """Take a model through its epochs, until none of its members goes on."""
    members = model.members
    take: Callable[[Batch, tuple[int, ...]], None] = partial(_take_step, model)
    if is_recorded(members[0]):
        take = ReplayedSteps(take, CudaRecorder(members[0].rows.device))
    for epoch in range(members[0].n_epochs):
        running = [member for member in members if member.running]
        if not running:
            break
        for member in running:
            member.observer.epoch_begins()
        model.objective.train()
        with members[0].threads(len(members)), matmul_precision(members[0].stage.precision):
            _run_epoch(model, take, epoch)
        model.objective.eval()
        by_turn = {turn.turn.loss: turn.mean_losses() for turn in model.turns}
        for number, member in enumerate(members):
            if member.running:
                losses = {name: means[number] for name, means in by_turn.items()}
                to_clear = member.epoch_ends(epoch, losses)
                for turn in model.turns:
                    if turn.turn.loss in to_clear:
                        turn.clear(number)


def is_recorded(member: Member) -> bool:
    """Tell whether steps are recorded as a CUDA graph and replayed."""
    stage = member.stage
    return stage.cuda_graph and not stage.compile and member.rows.device.type == "cuda"


def _run_epoch(model: Model, take: Callable[[Batch, tuple[int, ...]], None], epoch: int) -> None:
    """Take the steps of one epoch."""
    [first, *_] = model.members
    steps = first.sampler.steps
    factor = learning_rate_factor(first.stage.lr_schedule, first.n_epochs)
    step = epoch * steps
    for (x, y), noise in zip(model.batches(), _noise_by_step(model), strict=True):
        rate = factor(step / (first.n_epochs * steps))
        due = tuple(number for number, turn in enumerate(model.turns) if turn.is_due(step))
        for number in due:
            model.turns[number].set_rate(rate)
            model.turns[number].taken += 1
        take(Batch(x, y, noise), due)
        step += 1


def _take_step(model: Model, batch: Batch, due: tuple[int, ...]) -> None:
    """Take those turns that are due: all losses, then all gradients, then all steps."""
    [first, *_] = model.members
    turns = [model.turns[number] for number in due]
    # A schedule or a callback may have switched gradients off.
    with torch.enable_grad(), autocast(first.rows.device, first.stage.precision):
        losses = model.losses(batch, [turn.turn.loss for turn in turns])
    for turn, loss in zip(turns, losses, strict=True):
        # Turns share a graph, so it is kept until the last has gone through it.
        turn.differentiate(loss, keep_graph=turn is not turns[-1])
    for turn, loss in zip(turns, losses, strict=True):
        turn.descend()
        turn.totals += loss.detach()


def _noise_by_step(model: Model) -> Iterator[dict[str, Tensor]]:
    """Draw the noise of an epoch, for several steps at once, and yield that of each step."""
    [first, *_] = model.members
    shapes = model.objective.noise_shapes(first.batch_shape)
    numbers = sum(math.prod(shape) for shape in shapes.values())
    # It depends on one member's numbers alone: in a stack it draws what it draws by itself.
    at_once = max(1, _NOISE_NUMBERS // max(numbers, 1))
    for begun in range(0, first.sampler.steps, at_once):
        count = min(at_once, first.sampler.steps - begun)
        drawn = {
            name: model.joined(
                [
                    torch.randn(count, *shape, generator=member.noise, device=first.rows.device)
                    for member in model.members
                ]
            )
            for name, shape in shapes.items()
        }
        for step in range(count):
            yield {name: values[step] for name, values in drawn.items()}


def _trouble(losses: dict[str, float], member: Member, epoch: int) -> ValueError | None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            stage, already = member.stage, ""
            if member.not_finite:
                already = (
                    f" Before the first step {', '.join(member.not_finite)} was not finite: the "
                    "network may give NaN or infinity in evaluation mode."
                )
            return ValueError(
                f"The {name} of stage {stage.name!r} became {loss} in epoch {epoch + 1}; expected "
                f"a finite number. Usual causes: features of very different or very large scale "
                f"(standardize them, for example with StandardScaler; values go up to "
                f"{member.rows.largest():.3g}) or a learning rate too high (lr={stage.lr}; lower "
                f"it or set clip_grad_norm).{already}"
            )
    return None
