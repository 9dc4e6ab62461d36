"""Kernels of scikit-learn's support vector machines, without the cost of checking each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Rows whose kernel matrix with themselves is computed for its diagonal.
_DIAGONAL_BLOCK = 64


@dataclass(eq=False)
class Kernel:
    """A kernel between the rows of two matrices.

    Parameters
    ----------
    kind : {"rbf", "linear", "poly", "sigmoid"} or callable
        As in :class:`~sklearn.svm.SVC`; a callable takes two matrices of rows and gives the matrix
        of their kernels.
    gamma, degree, coef0 : float
        Numbers of the named kernels.
    """

    kind: Literal["rbf", "linear", "poly", "sigmoid"] | Callable[[Floats, Floats], ArrayLike]
    gamma: float
    degree: float
    coef0: float

    def __call__(self, A: Floats, B: Floats, squared_norms: Floats | None = None) -> Floats:
        """Return the kernels of rows of A and of B, whose squared norms may be known."""
        if callable(self.kind):
            return _checked(self.kind(A, B), A, B)
        K = A @ B.T
        if self.kind == "rbf":
            if squared_norms is None:
                squared_norms = np.einsum("ij,ij->i", B, B)
            K *= -2
            K += squared_norms
            K += np.einsum("ij,ij->i", A, A)[:, None]
            np.maximum(K, 0, out=K)  # squared distances; rounding may make them negative
            K *= -self.gamma
            return np.exp(K, out=K)
        if self.kind == "linear":
            return K
        K *= self.gamma
        K += self.coef0
        return K**self.degree if self.kind == "poly" else np.tanh(K, out=K)

    def diagonal(self, A: Floats) -> Floats:
        """Return the kernel of each row with itself."""
        blocks = (A[first : first + _DIAGONAL_BLOCK] for first in range(0, len(A), _DIAGONAL_BLOCK))
        return np.concatenate([self(block, block).diagonal() for block in blocks])


def _checked(called: ArrayLike, A: Floats, B: Floats) -> Floats:
    """Return what a callable has given for rows of A and of B, or refuse it."""
    K = np.asarray(called, dtype=np.float64)
    if K.shape != (len(A), len(B)) or not np.isfinite(K).all():
        raise ValueError(
            f"A callable kernel must give finite numbers of shape ({len(A)}, {len(B)}) for "
            f"matrices of that many rows; got shape {K.shape}, finite: {np.isfinite(K).all()}."
        )
    return K
