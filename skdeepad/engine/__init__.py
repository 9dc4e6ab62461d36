"""The training engine: it knows tensors, batches and optimisers, no method and no network."""

from skdeepad.engine.batches import Rows, Sampler
from skdeepad.engine.loop import Record, Stage, Training, score, train
from skdeepad.engine.objective import Batch, Objective, Turn
from skdeepad.engine.runtime import borrowed_global_rng, private_generator, resolve_device
from skdeepad.engine.stacked import train_together

__all__ = [
    "Batch",
    "Objective",
    "Record",
    "Rows",
    "Sampler",
    "Stage",
    "Training",
    "Turn",
    "borrowed_global_rng",
    "private_generator",
    "resolve_device",
    "score",
    "train",
    "train_together",
]
