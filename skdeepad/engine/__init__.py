"""The training engine: it knows tensors, batches and optimisers, no method and no network."""

from skdeepad.engine.batches import Rows, Sampler
from skdeepad.engine.objective import Batch, Objective, Turn
from skdeepad.engine.runtime import (
    borrowed_global_rng,
    private_generator,
    refuse_other_types,
    resolve_device,
    threads_for,
    told_of_memory,
    undisturbed,
)
from skdeepad.engine.scoring import score
from skdeepad.engine.single import train, train_alone
from skdeepad.engine.stack import train_together, why_not_together
from skdeepad.engine.stage import Observer, Record, Stage, Training

__all__ = [
    "Batch",
    "Objective",
    "Observer",
    "Record",
    "Rows",
    "Sampler",
    "Stage",
    "Training",
    "Turn",
    "borrowed_global_rng",
    "private_generator",
    "refuse_other_types",
    "resolve_device",
    "score",
    "threads_for",
    "told_of_memory",
    "train",
    "train_alone",
    "train_together",
    "undisturbed",
    "why_not_together",
]
