"""How many models fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from skdeepad.engine.objective import Batch

if TYPE_CHECKING:
    from skdeepad.engine.loop import Member

# Stacks may take this share of the free memory.
_MEMORY_SHARE = 0.5
# Linux tells here how much memory is free; where the system does not, this much is supposed.
_MEMORY_FILE = Path("/proc/meminfo")
_FREE_BYTES = 2**31
# What a training step needs beside what it keeps for the backward pass, as a factor of that.
_TEMPORARY = 2


def affordable(member: Member) -> int:
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
