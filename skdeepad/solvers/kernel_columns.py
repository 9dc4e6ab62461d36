"""Columns of a kernel matrix, computed when they are asked for and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from skdeepad.solvers.kernels import Floats

# Columns computed at once: one matrix product for all of them.
_BLOCK = 8
_PRODUCT_BLOCK = 128


class KernelColumns:
    """A symmetric kernel matrix that is never held as a whole.

    Parameters
    ----------
    kernel : callable
        ``kernel(indices)`` gives the columns at ``indices``, as an array (len(indices), n).
    n : int
        Number of rows of the matrix.
    max_bytes : float
        Memory for columns; at least four are kept.
    """

    def __init__(
        self, kernel: Callable[[NDArray[np.intp]], Floats], n: int, max_bytes: float
    ) -> None:
        self.kernel = kernel
        self.capacity: int = int(min(n, max(4, max_bytes // (8 * n))))
        # A column that was asked for outlives the next two misses, so that three can be used.
        self.block: int = max(1, min(_BLOCK, self.capacity // 4))
        self._columns = np.empty((self.capacity, n))  # takes memory only where it is filled
        self._places: OrderedDict[int, int] = OrderedDict()  # the longest unused first
        self.missing: NDArray[np.bool_] = np.ones(n, dtype=bool)

    def get(self, index: int, likely: Callable[[], Iterable[int]]) -> Floats:
        """Return a column; if it is missing, compute the missing ones of ``likely()`` beside it.

        It stays valid until two more that were missing have been asked for.
        """
        if self.missing[index]:
            others = [i for i in dict.fromkeys(likely()) if i != index and self.missing[i]]
            self._compute([*others[: self.block - 1], index])
        self._places.move_to_end(index)
        return self._columns[self._places[index]]

    def _compute(self, indices: Sequence[int]) -> None:
        for index, column in zip(indices, self.kernel(np.array(indices)), strict=True):
            place = len(self._places)
            if place == self.capacity:
                longest_unused, place = self._places.popitem(last=False)
                self.missing[longest_unused] = True
            self._columns[place] = column
            self._places[index] = place
            self.missing[index] = False

    def dot(self, weights: Floats) -> Floats:
        """Return the matrix times a sparse vector, past the cache."""
        product = np.zeros(self._columns.shape[1])
        support = np.flatnonzero(weights)
        for first in range(0, len(support), _PRODUCT_BLOCK):
            indices = support[first : first + _PRODUCT_BLOCK]
            product += weights[indices] @ self.kernel(indices)
        return product
