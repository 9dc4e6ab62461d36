"""Rows on their way to the network: where they lie, which make a batch, how they are streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from skdeepad.engine.runtime import told_of_memory

# A slice for scoring holds about this many numbers: on a CPU what its caches hold, on a GPU what
# keeps it busy.
_SLICE_NUMBERS = {"cpu": 2**16, "cuda": 2**23, "mps": 2**21}
# Narrow rows come in fewer: codes are wider than they are.
_SLICE_ROWS = {"cpu": 2048, "cuda": 8192, "mps": 8192}
# Streamed batches travel in chunks of about this many bytes.
_CHUNK_BYTES = 2**26
# Data stay on the device if they take at most this share of its free memory.
_RESIDENT_SHARE = 0.6


class Rows:
    """The rows of one model: features where they fit, labels on the host.

    :meth:`place` makes them of an array.

    Parameters
    ----------
    x : Tensor of shape (N, ...)
        Features, float32, on the device or, to be streamed, on the host.
    y : Tensor of shape (N,)
        Labels on the host, int8.
    device : torch.device
        Where batches are wanted.
    streamed : bool
        Whether batches are copied from the host in chunks.
    index : Tensor of shape (n,), optional
        Positions in ``x`` of the rows of this model, on the host; by default all of them. Stages
        and held-out parts share ``x`` through it without copies.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skdeepad.engine import Rows
    >>> X = np.zeros((200, 64), dtype=np.float32)
    >>> y = np.repeat(np.array([0, -1], dtype=np.int8), [190, 10])
    >>> rows = Rows.place(X, y, (1, 8, 8), torch.device("cpu"))
    >>> len(rows), len(rows.select(torch.arange(190)))
    (200, 190)
    >>> for x, y, count in rows.slices():  # all of one size, the last one filled up
    ...     print(tuple(x.shape), count)
    (1024, 1, 8, 8) 200
    """

    x: Tensor
    y: Tensor
    device: torch.device
    streamed: bool
    index: Tensor | None

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        device: torch.device,
        streamed: bool,
        index: Tensor | None = None,
    ) -> None:
        self.x, self.y, self.device, self.streamed, self.index = x, y, device, streamed, index

    @classmethod
    def place(
        cls,
        array: np.ndarray,
        y: np.ndarray | None,
        input_shape: tuple[int, ...],
        device: torch.device,
        stream: bool | str = "auto",
    ) -> Rows:
        """Put flat rows (n, d) on the device, or leave them on the host to be streamed."""
        x = _as_tensor(array).view(len(array), *input_shape)
        streamed = not _fits(array.nbytes, device) if stream == "auto" else bool(stream)
        labels = torch.from_numpy(np.zeros(len(x), dtype=np.int8) if y is None else y)
        remedy = "pass fewer rows, or compute=Compute(stream=True)"
        with told_of_memory(f"X of shape {tuple(x.shape)} on {device}", remedy):
            return cls(x if streamed else x.to(device), labels, device, streamed)

    def __len__(self) -> int:
        return len(self.x) if self.index is None else len(self.index)

    def select(self, positions: Tensor) -> Rows:
        """Return the rows at ``positions`` (on the host), sharing the features."""
        index = positions if self.index is None else self.index[positions]
        return Rows(self.x, self.y, self.device, self.streamed, index)

    def labeled(self, y: np.ndarray, index: np.ndarray | None = None) -> Rows:
        """Return the rows at ``index``, by default all, sharing the features, with labels y."""
        if index is None:
            positions, labels = None, torch.from_numpy(y)
        else:
            positions = torch.from_numpy(index)
            labels = torch.zeros(len(self.x), dtype=torch.int8)
            labels[positions] = torch.from_numpy(y)
        return Rows(self.x, labels, self.device, self.streamed, positions)

    def largest(self) -> float:
        """Return the largest absolute value of these rows."""
        x = self.x if self.index is None else self.x[self.index.to(self.x.device)]
        return float(x.abs().max())

    def labels(self) -> Tensor:
        """Labels of these rows, of shape (n,)."""
        return self.y if self.index is None else self.y[self.index]

    def positions(self, order: Tensor) -> Tensor:
        """Return where in ``x`` the rows of these numbers lie, both on the host."""
        return order if self.index is None else self.index[order]

    def batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and labels by the numbers in ``order``, of shape (steps, batch)."""
        positions = self.positions(order)
        labels = self.y[positions].to(self.device)  # (steps, batch): one copy an epoch
        yield from zip(self.features(positions), labels.unbind(0), strict=True)

    def features(self, positions: Tensor) -> Iterator[Tensor]:
        """Yield features ``(*batch, *input_shape)`` for each of positions ``(steps, *batch)``."""
        if self.streamed:
            yield from self._streamed(positions)
            return
        shape = (*positions.shape[1:], *self.x.shape[1:])
        for step in positions.to(self.device).flatten(1).unbind(0):
            yield self.x.index_select(0, step).view(shape)

    def _streamed(self, positions: Tensor) -> Iterator[Tensor]:
        """Copy a few steps' rows at once, from two buffers in turn.

        On CUDA the buffers are pinned, so that the copy runs beside the computation; a buffer is
        filled again only when its last copy is done, which is what the event waits for.
        """
        batch = positions[0].numel()
        row_bytes = self.x[0].numel() * self.x.element_size()
        steps = max(1, _CHUNK_BYTES // (batch * row_bytes))
        cuda = self.device.type == "cuda"
        shape = (min(steps, len(positions)) * batch, *self.x.shape[1:])
        buffers = [torch.empty(shape, pin_memory=cuda) for _ in range(2)]
        copied: list[torch.cuda.Event | None] = [None, None]
        for turn, chosen in enumerate(positions.split(steps)):
            which = turn % 2
            event = copied[which]
            if event is not None:
                event.synchronize()
            chunk = buffers[which][: chosen.numel()]
            torch.index_select(self.x, 0, chosen.flatten(), out=chunk)
            # On a CPU the copy keeps batches apart from the buffer that is filled next.
            on_device = chunk.to(self.device, non_blocking=cuda, copy=True)
            if cuda:
                copied[which] = torch.cuda.Event()
                copied[which].record()  # type: ignore[union-attr]
            yield from on_device.view(*chosen.shape, *self.x.shape[1:]).unbind(0)

    def slices(self, least: int | None = None) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield features, labels and the number of true rows, in order, in slices of fixed sizes.

        The last slice is filled up with rows of zeros (label 0): to the full size or, where
        ``least`` is given, to that times a power of 4. With a few sizes for all, no row's value
        depends on what others are computed with it: matrix products of other sizes take other
        kernels, whose last bits differ.
        """
        for first in range(0, len(self), self.slice_size):
            count = min(self.slice_size, len(self) - first)
            if self.index is None:
                # A copy: x may be the user's memory, and a layer may write to what it is given.
                x, y = self.x[first : first + count].clone(), self.y[first : first + count]
            else:
                positions = self.index[first : first + count]
                x = self.x.index_select(0, positions.to(self.x.device))
                y = self.y[positions]
            missing = self._padded(count, least) - count
            x, y = x.to(self.device), y.to(self.device)
            if missing:
                x = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
                y = torch.cat([y, y.new_zeros(missing)])
            yield x, y, count

    def _padded(self, count: int, least: int | None) -> int:
        """Return the size to which so many rows are filled up."""
        size = self.slice_size if least is None else least
        while size < count:
            size *= 4
        return min(size, self.slice_size)

    @property
    def slice_size(self) -> int:
        """Rows in a slice; it depends on the input shape and the kind of device alone."""
        kind = self.device.type if self.device.type in _SLICE_NUMBERS else "cpu"
        width = math.prod(self.x.shape[1:])
        rows = 2 ** round(math.log2(_SLICE_NUMBERS[kind] / width))
        return min(max(rows, 64), _SLICE_ROWS[kind])


class Sampler:
    """Which rows make the batches of an epoch; every batch has the same size.

    Parameters
    ----------
    y : Tensor of shape (n,)
        Labels on the host.
    batch_size : int
        Rows in a batch; n if there are fewer.
    anomaly_fraction : float or None
        Share of places in a batch that cycle through reshuffled labeled anomalies; the other places
        pass once an epoch over all other rows. None draws all rows alike. The last batch is
        filled up from the epoch's first rows, so that nothing is dropped.
    """

    def __init__(self, y: Tensor, batch_size: int, anomaly_fraction: float | None = None) -> None:
        self.batch_size: int = min(batch_size, len(y))
        self.rest: Tensor = torch.arange(len(y))
        self.anomalies: Tensor = self.rest[:0]
        self.places: int = 0
        labeled = y < 0
        if anomaly_fraction is not None and labeled.any() and not labeled.all():
            self.anomalies, self.rest = self.rest[labeled], self.rest[~labeled]
            wanted = round(anomaly_fraction * self.batch_size)
            self.places = min(max(wanted, 1), self.batch_size - 1)
        self.steps: int = math.ceil(len(self.rest) / (self.batch_size - self.places))

    def epoch(self, generator: torch.Generator) -> Tensor:
        """Draw the positions of one epoch, of shape (steps, batch_size), anomalies last."""
        rest = _shuffled(self.rest, 1, generator)
        wanted = self.steps * (self.batch_size - self.places)
        rest = rest[torch.arange(wanted) % len(rest)].view(self.steps, -1)
        if not self.places:
            return rest
        wanted = self.steps * self.places
        rounds = math.ceil(wanted / len(self.anomalies))
        anomalies = _shuffled(self.anomalies, rounds, generator)[:wanted]
        return torch.cat([rest, anomalies.view(self.steps, -1)], dim=1)


def _shuffled(positions: Tensor, rounds: int, generator: torch.Generator) -> Tensor:
    """Shuffle ``positions`` ``rounds`` times, one order behind the other."""
    orders = [torch.randperm(len(positions), generator=generator) for _ in range(rounds)]
    return positions[torch.cat(orders)]


def _as_tensor(array: np.ndarray) -> Tensor:
    """View an array as a tensor without copying it, read-only memory (a memmap) included.

    torch warns of read-only arrays because it could write to them; features are never written to.
    """
    if not array.flags.writeable:
        array = np.asarray(_WritableView(array))
    return torch.from_numpy(array)


class _WritableView:
    """Offers an array's memory as if it could be written to, and keeps the array alive."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _fits(n_bytes: int, device: torch.device) -> bool:
    """Say whether data of that size may stay on the device. A CPU uses the array where it is."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= _RESIDENT_SHARE * free
