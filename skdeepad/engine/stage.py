"""What is trained on what: a stage, its rows, who watches, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from skdeepad.engine.batches import Rows
from skdeepad.engine.objective import Objective


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
    lr_schedule : {"constant", "two-phase", "cosine"}, tuple of int or callable, default="constant"
        Factor on the rate, by progress in [0, 1), or epochs after which it is a tenth.
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
    one_thread : bool, default=False
        Whether to keep to one thread on a CPU, whatever the network's size.
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
    lr_schedule: str | tuple[int, ...] | Callable[[float], float] = "constant"
    batch_size: int = 128
    anomaly_fraction: float | None = None
    weight_decay: float = 0.0
    clip_grad_norm: float | None = None
    n_iter_no_change: int = 10
    tol: float = 0.0
    precision: str = "float32"
    cuda_graph: bool = False
    compile: bool = False
    one_thread: bool = False
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
    why_alone : str, default=None
        Why it could not be trained as one with others.
    apart : str, default=None
        In what it differs from most of those that it was given along with, and is trained apart.

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
    why_alone: str | None = None
    apart: str | None = None

    def append(self, **values: float) -> None:
        """Add one epoch's values."""
        for name, value in values.items():
            self.losses.setdefault(name, []).append(value)


class Observer:
    """Is told how far a stage is; this one does nothing."""

    def begins(self, n_epochs: int) -> int:
        """Note that the stage begins; return how many of its epochs are to be run."""
        return n_epochs

    def epoch_begins(self) -> None:
        """Note that an epoch begins."""

    def epoch_ends(self, record: Record) -> bool:
        """Note that an epoch ended; True ends the stage."""
        return False

    def ends(self, completed: bool) -> None:
        """Note that the stage is over, whether completed or not."""


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
