"""What the training loop knows of a method: a module with losses, a score and a few hooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from skdeepad.engine.batches import Rows


class Batch(NamedTuple):
    """The rows of one step, on the device.

    Parameters
    ----------
    x : Tensor of shape (batch, ...)
        Features, float32.
    y : Tensor of shape (batch,)
        Labels, int8: +1 normal, 0 unlabeled, -1 anomaly.
    noise : dict of str to Tensor, default={}
        Standard normal noise of the shapes that :meth:`Objective.noise_shapes` asked for.
    shared : object, default=None
        What :meth:`Objective.shared` returned for this batch.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.engine import Batch
    >>> batch = Batch(torch.zeros(2, 4), torch.tensor([0, -1]))
    >>> batch._replace(x=batch.x + 1).x.sum()  # as in Objective.prepare
    tensor(8.)
    """

    x: Tensor
    y: Tensor
    noise: dict[str, Tensor] = {}
    shared: Any = None


@dataclass(frozen=True)
class Turn:
    """One optimiser: which loss it lowers, over which parameters, and how often.

    Parameters
    ----------
    loss : str, default="loss"
        Name of a method of the objective that takes a batch and returns one value a row.
    parameters : tuple of str, default=("",)
        Prefixes of parameter names, as in ``named_parameters()``. ``("",)`` means all of them.
    every : int, default=1
        The turn is taken at every ``every``-th step.

    Examples
    --------
    >>> from skdeepad.engine import Turn
    >>> turns = Turn("generator_loss", ("generator.",)), Turn("critic_loss", ("critic.",), every=2)
    """

    loss: str = "loss"
    parameters: tuple[str, ...] = ("",)
    every: int = 1


class Objective(nn.Module):
    """Base class: what a method minimises, and how it scores.

    A subclass owns its networks and every fitted tensor (centre, radius) as parameters or buffers,
    calls the network that comes of training ``network``, and defines ``loss`` and ``score``;
    everything else has a default. A number that a grid may vary
    is a 0-dim buffer. Losses and scores give one value a row, ``(n,)``, and are pure functions of
    their arguments and of the module's state: no sampling (noise comes with the batch), no branch
    on data, no copy to the host. Fitted tensors are changed by ``copy_``, never rebound.

    The loop calls ``objective("loss", batch)``: one entry, :meth:`forward`, because that is all
    that ``torch.func.functional_call`` and ``torch.compile`` reach.

    Parameters
    ----------
    *args, **kwargs : object
        There are none: subclasses have an ``__init__`` of their own.

    Examples
    --------
    >>> import torch
    >>> from skdeepad.engine import Batch, Objective
    >>> class Length(Objective):
    ...     def __init__(self, network):
    ...         super().__init__()
    ...         self.network = network
    ...
    ...     def score(self, x):
    ...         return self.network(x).abs().sum(-1)
    ...
    ...     def loss(self, batch):
    ...         return self.score(batch.x)
    >>> objective = Length(torch.nn.Linear(4, 2))
    >>> objective("loss", Batch(torch.zeros(3, 4), torch.zeros(3))).shape
    torch.Size([3])
    """

    network: nn.Module

    early_stopping_refusal: str | None = None
    """Why early stopping makes no sense for this objective, or None where it does."""
    apart_from_losses: tuple[str, ...] = ()
    """Attributes, no tensors, that no loss reads: they may differ in models trained as one."""

    def forward(self, name: str, *args: Any) -> Any:
        """Call the method ``name``."""
        return getattr(self, name)(*args)

    def turns(self) -> Sequence[Turn]:
        """Optimisers in the order they step; by default one, over all parameters."""
        return (Turn(),)

    def noise_shapes(self, x_shape: Sequence[int]) -> dict[str, Sequence[int]]:
        """Shapes of the standard normal noise a batch of shape ``x_shape`` needs, by name."""
        return {}

    def prepare(self, batch: Batch) -> Batch:
        """Change a batch before a training step: augmentation, noise, synthetic anomalies."""
        return batch

    def shared(self, batch: Batch) -> Any:
        """Compute once a step what several turns need; arrives as ``batch.shared``."""
        return None

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row, of shape (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(batch) -> (n,).")

    def score(self, x: Tensor) -> Tensor:
        """Anomaly score of each row, of shape (n,): larger = more anomalous."""
        raise NotImplementedError(f"{type(self).__name__} must define score(x) -> (n,).")

    def codes(self, x: Tensor) -> Tensor:
        """Return what rows are told apart by: (n, d)."""
        codes: Tensor = self.network(x)
        return codes.flatten(1)

    def explained_score(self, both: Tensor) -> Tensor:
        """Score rows and, behind them, as many reference rows, as relevance is propagated: (2n,).

        A score that does more with a network's output than add it up says here by which secants
        its relevance goes down; see :mod:`skdeepad.relevance`.
        """
        return self.score(both)

    def row_losses(self, batch: Batch, names: Sequence[str]) -> list[Tensor]:
        """Prepare a batch and compute each of the losses named, of shape (batch,)."""
        batch = self.prepare(batch)
        batch = batch._replace(shared=self.shared(batch))
        return [getattr(self, name)(batch) for name in names]

    def mean_losses(self, batch: Batch, names: Sequence[str]) -> list[Tensor]:
        """Prepare a batch and compute the mean over its rows of each of the losses named."""
        return [loss.float().mean() for loss in self.row_losses(batch, names)]

    def validation_loss(self, batch: Batch) -> Tensor:
        """Loss of each held-out row, of shape (batch,), for early stopping; nothing is prepared."""
        return self(self.turns()[0].loss, batch)

    def start(self, rows: Rows) -> None:
        """Fit what must be known before the first step (a centre, say). Runs in eval mode."""

    def after_epoch(self, epoch: int, rows: Rows, losses: dict[str, float]) -> Iterable[str] | None:
        """Update fitted tensors after an epoch, in eval mode.

        ``losses`` holds the epoch's mean loss of each turn; figures that are added to it go into
        the history.

        Returns
        -------
        iterable of str or None
            Losses of the turns whose optimiser state is to be cleared.
        """
        return None

    def finish(self, rows: Rows) -> None:
        """Fit what depends on the final weights, in eval mode."""


def tensors_of(objective: Objective) -> dict[str, Tensor]:
    """Return parameters and buffers by name."""
    return {**dict(objective.named_parameters()), **dict(objective.named_buffers())}


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
            prefixes = " or ".join(f"{each}*" for each in turn.parameters if each)
            raise ValueError(
                f"{type(objective).__name__} has nothing to train{prefixes and f' in {prefixes}'}: "
                "expected parameters that require a gradient. Give it a network that has some."
            )
        found.append((turn, named))
    names = [name for _, named in found for name in named]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Turns of {type(objective).__name__} share parameters: expected each parameter in one "
            "turn only, so that its gradients stay apart. Give the turns disjoint prefixes."
        )
    return found
