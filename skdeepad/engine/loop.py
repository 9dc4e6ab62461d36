"""The only training loop: every stage of every detector runs through it, alone or in a stack."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from skdeepad.engine.batches import Rows, Sampler
from skdeepad.engine.graphs import CudaRecorder, ReplayedSteps
from skdeepad.engine.objective import Batch, Objective, Turn
from skdeepad.engine.runtime import (
    autocast,
    learning_rate_factor,
    matmul_precision,
    private_generator,
    threads_for,
)

# Noise is drawn for several steps at once, as many as need about this many numbers.
_NOISE_NUMBERS = 2**18


@dataclass
class Stage:
    """An objective with its training numbers.

    Parameters
    ----------
    name : str
        Shown in progress and in the history.
    objective : Objective
        On the device already.
    n_epochs : int, default=None
        Passes over the data; None takes as many as ``n_steps`` steps need.
    n_steps : int, default=500
        Steps wanted where ``n_epochs`` is None.
    lr : float, default=1e-3
        Learning rate of Adam.
    lr_schedule : {"constant", "two-phase", "cosine"} or callable, default="constant"
        Factor on the rate, by progress in [0, 1).
    batch_size : int, default=128
        Rows in a batch; all rows if there are fewer.
    anomaly_fraction : float, default=None
        Share of places in a batch that cycle through labeled anomalies; None draws all rows alike.
    weight_decay : float, default=0.0
        Factor of half the squared norm of all weights, added to the loss.
    clip_grad_norm : float, default=None
        Longest gradient.
    n_iter_no_change : int, default=10
        Epochs without a fall of the loss on held-out rows that end the stage.
    tol : float, default=0.0
        Least fall that counts.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        What is computed in.
    cuda_graph : bool, default=False
        Whether a step is recorded on CUDA once and replayed.
    compile : bool, default=False
        Whether to train through ``torch.compile``.
    labeled_anomalies : bool, default=True
        Whether rows with y < 0 take part. Detectors leave them out of the rows; :func:`train` does
        not look at it.

    Examples
    --------
    >>> from skdeepad import losses
    >>> from skdeepad.engine import Stage
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import DistanceObjective
    >>> objective = DistanceObjective(MLP((4,), (8, 2)), (4,), 2, losses.one_class)
    >>> Stage("train", objective, n_steps=100).resolved_epochs(steps_per_epoch=8)
    12
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
    precision: str = "float32"
    cuda_graph: bool = False
    compile: bool = False
    labeled_anomalies: bool = True

    def resolved_epochs(self, steps_per_epoch: int) -> int:
        """Epochs this stage runs for at most."""
        if self.n_epochs is not None:
            return self.n_epochs
        return max(1, round(self.n_steps / steps_per_epoch))


@dataclass
class Record:
    """What a stage left behind.

    Parameters
    ----------
    losses : dict of str to list of float
        By epoch.
    n_epochs : int, default=0
        How many it ran.
    seconds : float, default=0.0
        How long it took; in a stack, this model's share.
    error : Exception, default=None
        What went wrong.

    Examples
    --------
    >>> from skdeepad.engine import Record
    >>> record = Record()
    >>> record.append(loss=0.5)
    >>> record.append(loss=0.25)
    >>> record.losses
    {'loss': [0.5, 0.25]}
    """

    losses: dict[str, list[float]] = field(default_factory=dict)
    n_epochs: int = 0
    seconds: float = 0.0
    error: Exception | None = None

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


@dataclass
class Training:
    """A stage with what it is trained on.

    Attributes
    ----------
    stage : Stage
        The objective and its numbers.
    rows : Rows
        What to train on.
    seed : int
        All random numbers of the stage come from generators seeded with it.
    validation : Rows or None
        Held-out rows. If given, training stops when their loss has not fallen by more than
        ``stage.tol`` for ``stage.n_iter_no_change`` epochs, and the best epoch's state is restored.
    observer : Observer
        Is told of each epoch, and may end the stage.
    record : Record
        What comes of it.
    """

    stage: Stage
    rows: Rows
    seed: int
    validation: Rows | None = None
    observer: Observer = field(default_factory=Observer)
    record: Record = field(default_factory=Record)


class Member:
    """A training on its way through the loop: its draws, its best state, its record."""

    def __init__(self, training: Training) -> None:
        self.stage, self.objective = training.stage, training.stage.objective
        self.rows, self.validation = training.rows, training.validation
        self.observer, self.record = training.observer, training.record
        # Two streams: on a CPU the same seed would give order and noise the same numbers.
        self.order = private_generator(training.seed)
        self.noise = private_generator(training.seed + 1, self.rows.device)
        stage = self.stage
        self.sampler = Sampler(self.rows.labels(), stage.batch_size, stage.anomaly_fraction)
        self.n_epochs = stage.resolved_epochs(self.sampler.steps)
        self.best = _Best(self.objective, stage.tol)
        self.multiplications = stage.batch_size * _multiplications(self.objective, self.rows)
        self.running = True

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the features of a batch."""
        return (self.sampler.batch_size, *self.rows.x.shape[1:])

    def threads(self, n_models: int = 1) -> AbstractContextManager[None]:
        """Threads for steps of that many models; what is fitted between epochs takes those of one.

        Sums over rows depend on the number of threads.
        """
        return threads_for(n_models * self.multiplications, self.rows.device)

    def start(self) -> None:
        """Fit what must be known before the first step."""
        with torch.no_grad(), self.threads():
            self.objective.eval().start(self.rows)
        self.observer.begins(self.n_epochs)

    def epoch_ends(self, epoch: int, losses: dict[str, float]) -> set[str]:
        """Update what is fitted, and note the epoch; return the turns to be cleared."""
        self.record.n_epochs = epoch + 1
        with torch.no_grad(), self.threads():
            to_clear = set(self.objective.after_epoch(epoch, self.rows, losses) or ())
        if self.validation is not None:
            loss = _held_out_loss(self.objective, self.validation)
            losses["validation_loss"] = self.best.update(loss)
        self.record.error = _trouble(losses, self.stage, epoch)
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
            with torch.no_grad(), self.threads():
                self.objective.finish(self.rows)


class _Best:
    """The state (all parameters and buffers) at the lowest loss on held-out rows."""

    def __init__(self, objective: Objective, tol: float) -> None:
        self.objective, self.tol = objective, tol
        self.loss = float("inf")
        self.epochs_without_progress = 0
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
        self.totals = torch.zeros(len(members), device=members[0].rows.device)
        self.taken = 0

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


class _SingleTurn(TurnOptimizer):
    """A turn of one model, with torch's Adam."""

    def __init__(self, turn: Turn, parameters: list[Tensor], member: Member) -> None:
        super().__init__(turn, [member])
        self.parameters, self.stage = parameters, member.stage
        device, recorded = member.rows.device, is_recorded(member)
        self.adam = torch.optim.Adam(
            parameters,
            # A recorded step reads the rate from where it was.
            lr=torch.tensor(self.stage.lr, device=device) if recorded else self.stage.lr,
            weight_decay=self.stage.weight_decay,
            capturable=recorded,
            # One fused kernel a step; elsewhere torch chooses.
            fused=True if device.type in ("cpu", "cuda") else None,
        )

    def set_rate(self, factor: float) -> None:
        [group] = self.adam.param_groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(self.stage.lr * factor)
        else:
            group["lr"] = self.stage.lr * factor

    def differentiate(self, loss: Tensor, keep_graph: bool) -> None:
        loss.backward(inputs=self.parameters, retain_graph=keep_graph)

    def descend(self) -> None:
        if self.stage.clip_grad_norm is not None:
            clip_grad_norm_(self.parameters, self.stage.clip_grad_norm)
        self.adam.step()
        self.adam.zero_grad()

    @torch.no_grad()
    def clear(self, number: int) -> None:
        for state in self.adam.state.values():
            for tensor in state.values():
                tensor.zero_()


class Model(ABC):
    """What the loop trains: one member, or a stack of them."""

    turns: Sequence[TurnOptimizer]

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.objective = members[0].objective

    @abstractmethod
    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels of each step of an epoch."""

    @abstractmethod
    def joined(self, parts: list[Tensor]) -> Tensor:
        """Return as one what has been drawn for each member, each of shape (steps, ...)."""

    @abstractmethod
    def losses(self, batch: Batch, names: Sequence[str]) -> Sequence[Tensor]:
        """Return the mean loss of a batch, or of each member's, for the turns named."""


class Single(Model):
    """One member, trained as it is."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members)
        [member] = members
        self.forward = torch.compile(member.objective) if member.stage.compile else member.objective
        self.turns = [
            _SingleTurn(turn, list(named.values()), member)
            for turn, named in trained_parameters(member.objective)
        ]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features (batch, *input_shape) and labels (batch,) of each step."""
        [member] = self.members
        return member.rows.batches(member.sampler.epoch(member.order))

    def joined(self, parts: list[Tensor]) -> Tensor:
        """Return what has been drawn."""
        return parts[0]

    def losses(self, batch: Batch, names: Sequence[str]) -> Sequence[Tensor]:
        """Return the mean loss of a batch for the turns named, each of shape ()."""
        return self.forward("mean_losses", batch, names)


def trained_parameters(objective: Objective) -> list[tuple[Turn, dict[str, Tensor]]]:
    """Return the turns of an objective with the parameters that each trains, by name."""
    found = []
    for turn in objective.turns():
        named: dict[str, Tensor] = {
            name: parameter
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad and name.startswith(turn.parameters)
        }
        if not named:
            raise ValueError(
                f"{type(objective).__name__} has no trainable parameter whose name begins with one "
                f"of {turn.parameters}: expected at least one. Give it a network with parameters "
                "that require gradients."
            )
        found.append((turn, named))
    names = [name for _, named in found for name in named]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Turns of {type(objective).__name__} share parameters: expected each parameter in one "
            "turn only, so that its gradients stay apart. Give the turns disjoint prefixes."
        )
    return found


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
    validation : Rows, default=None
        Held-out rows for early stopping, as in :class:`Training`.
    observer : Observer, default=None
        Is told of each epoch, and may end the stage.

    Returns
    -------
    Record
        Mean loss of each turn by epoch, and the loss on held-out rows.

    Raises
    ------
    ValueError
        If a loss stops being finite.

    Examples
    --------
    >>> import torch
    >>> from skdeepad import losses
    >>> from skdeepad.engine import Rows, Stage, train
    >>> from skdeepad.networks import MLP
    >>> from skdeepad.objectives import DistanceObjective
    >>> X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).numpy()
    >>> rows = Rows.place(X, None, (4,), torch.device("cpu"))
    >>> objective = DistanceObjective(MLP((4,), (8, 2)), (4,), 2, losses.one_class)
    >>> record = train(Stage("train", objective, n_epochs=5), rows, seed=0)
    >>> record.losses["loss"][-1] < record.losses["loss"][0]
    True
    """
    training = Training(stage, rows, seed, validation, observer or Observer())
    run([Member(training)], Single)
    if training.record.error is not None:
        raise training.record.error
    return training.record


def run(members: Sequence[Member], as_model: type[Model]) -> None:
    """Take members of equal shapes through all their epochs.

    ``as_model`` makes of them what is trained, once they have been started.
    """
    for member in members:
        member.start()
    model = as_model(members)
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
    for member in members:
        member.finish()


def is_recorded(member: Member) -> bool:
    """Tell whether steps are recorded as a CUDA graph and replayed."""
    stage = member.stage
    return stage.cuda_graph and not stage.compile and member.rows.device.type == "cuda"


def _run_epoch(model: Model, take: Callable[[Batch, tuple[int, ...]], None], epoch: int) -> None:
    """Take the steps of one epoch."""
    [first, *_] = model.members
    steps, factor = first.sampler.steps, learning_rate_factor(first.stage.lr_schedule)
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
    with autocast(first.rows.device, first.stage.precision):
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


def _trouble(losses: dict[str, float], stage: Stage, epoch: int) -> ValueError | None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            return ValueError(
                f"The {name} of stage {stage.name!r} became {loss} in epoch {epoch + 1}; expected "
                f"a finite number. Usual causes: features of very different or very large scale "
                f"(standardize them, for example with StandardScaler) or a learning rate too high "
                f"(lr={stage.lr}; lower it or set clip_grad_norm)."
            )
    return None


def _multiplications(objective: Objective, rows: Rows) -> float:
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
    """Return what a method of the objective gives for each row, on the host, in eval mode.

    Parameters
    ----------
    objective : Objective
        On the device of the rows.
    rows : Rows
        What to score.
    method : str, default="score"
        Name of a method that takes rows (n, ...) and returns (n, ...).

    Returns
    -------
    Tensor of shape (n, ...)
        On the host.

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
    objective.eval()
    with threads_for(rows.slice_size * _multiplications(objective, rows), rows.device):
        parts = [objective(method, x)[:count] for x, _, count in rows.slices()]
    return torch.cat(parts).cpu()  # one copy back
