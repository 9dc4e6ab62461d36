"""One model, trained as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from skdeepad.engine.batches import Rows
from skdeepad.engine.loop import (
    Member,
    Model,
    TurnOptimizer,
    is_recorded,
    run,
)
from skdeepad.engine.objective import Batch, Turn, trained_parameters
from skdeepad.engine.stage import Observer, Record, Stage, Training


class Single(Model):
    """One member, trained as it is."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(members)
        [member] = members
        objective = member.objective
        self.forward: Callable[..., Sequence[Tensor]] = (
            torch.compile(objective) if member.stage.compile else objective
        )
        self.turns: list[_SingleTurn] = [
            _SingleTurn(turn, list(named.values()), member)
            for turn, named in trained_parameters(objective)
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
    return train_alone(Training(stage, rows, seed, validation, observer or Observer()))


def train_alone(training: Training) -> Record:
    """Do a training, and raise what goes wrong; returns its record."""
    run([Member(training)], Single)
    if training.record.error is not None:
        raise training.record.error
    return training.record
