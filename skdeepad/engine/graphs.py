"""Training steps that are recorded on CUDA once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from skdeepad.notices import warn

# Steps before one is recorded: by then Adam has its state, and libraries have chosen their kernels.
WARM_UP = 3


class CudaRecorder:
    """Runs functions on a stream of its own, and records there what they launch."""

    def __init__(self, device: torch.device) -> None:
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Launch what is inside on the stream, after what came before and before what comes."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what a function launches, without running it; return what runs it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            function()
        return graph.replay


class ReplayedSteps:
    """Takes a few steps as they are, records one, and replays it for all others.

    A recording holds addresses. Batches are copied to where the recorded step found its own, and
    all that steps change is changed in place.

    Parameters
    ----------
    take : callable
        ``take(batch, due)`` takes a step: a batch of tensors, and the numbers of the turns due.
    recorder : CudaRecorder
        Or anything that has its methods.
    """

    def __init__(self, take: Callable[[Any, Any], None], recorder: CudaRecorder) -> None:
        self.take: Callable[[Any, Any], None] = take
        self.recorder: CudaRecorder = recorder
        self.taken: dict[Hashable, int] = {}
        self.recorded: dict[Hashable, tuple[Any, Callable[[], None]]] = {}
        self.possible: bool = True

    def __call__(self, batch: Any, due: Hashable) -> None:
        """Take a step."""
        if due in self.recorded:
            held, replay = self.recorded[due]
            for place, value in zip(tree_leaves(held), tree_leaves(batch), strict=True):
                if isinstance(place, Tensor):
                    place.copy_(value)
            replay()
            return
        with self.recorder.aside():
            self.take(batch, due)
        self.taken[due] = self.taken.get(due, 0) + 1
        if self.possible and self.taken[due] == WARM_UP:
            self._record(batch, due)

    def _record(self, batch: Any, due: Hashable) -> None:
        held = tree_map_only(Tensor, torch.clone, batch)
        try:
            replay = self.recorder.record(lambda: self.take(held, due))
        except RuntimeError as error:
            self.possible = False
            warn(
                "A training step could not be recorded as a CUDA graph, and training goes on "
                f"without: {str(error).splitlines()[0]} Pass cuda_graph=False.",
                RuntimeWarning,
            )
        else:
            self.recorded[due] = held, replay
