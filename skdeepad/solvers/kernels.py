"""Kernels of scikit-learn's support vector machines, without the cost of checking each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
NAMED = Literal["rbf", "linear", "poly", "sigmoid"]

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

    kind: NAMED | Callable[[Floats, Floats], ArrayLike]
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
        return self._of_arguments(K, out=K)

    def multipliers(
        self, X: Floats, reference: Floats, vectors: Floats, coefficients: Floats
    ) -> Floats:
        r"""Share a difference of :math:`f(x) = \sum_j \beta_j k(x, u_j)` out among the columns.

        A named kernel is a function of the squared distance, or of the product, of two rows, and
        both are sums over columns. With the slope of that function's secant,

        .. math:: f(x) - f(r) = \sum_i M_i (x_i - r_i).

        Parameters
        ----------
        X, reference : ndarray of shape (n, d)
            Rows x, and the reference r of each.
        vectors : ndarray of shape (m, d)
            Rows u.
        coefficients : ndarray of shape (m,)
            Their coefficients.

        Returns
        -------
        ndarray of shape (n, d)
            M.
        """
        of_x, of_reference = self._arguments(X, vectors), self._arguments(reference, vectors)
        apart = of_x - of_reference
        near = np.abs(apart) <= 1e-9 * (np.abs(of_x) + np.abs(of_reference))
        change = self._of_arguments(of_x) - self._of_arguments(of_reference)
        slope = np.where(near, self._derivative(of_x), change / np.where(near, 1.0, apart))
        weights = slope * coefficients
        if self.kind != "rbf":
            return weights @ vectors
        return (X + reference) * weights.sum(axis=1, keepdims=True) - 2 * weights @ vectors

    def _arguments(self, A: Floats, B: Floats) -> Floats:
        """Return what a named kernel is a function of: squared distances, or products."""
        return cdist(A, B, "sqeuclidean") if self.kind == "rbf" else A @ B.T

    def _of_arguments(self, value: Floats, out: Floats | None = None) -> Floats:
        """Return the kernels, and write to ``out`` on the way if there is one."""
        if self.kind == "rbf":
            return np.exp(np.multiply(value, -self.gamma, out=out), out=out)
        if self.kind == "linear":
            return value
        inner = np.add(np.multiply(value, self.gamma, out=out), self.coef0, out=out)
        return inner**self.degree if self.kind == "poly" else np.tanh(inner, out=out)

    def _derivative(self, value: Floats) -> Floats:
        if self.kind == "rbf":
            return -self.gamma * np.exp(-self.gamma * value)
        if self.kind == "linear":
            return np.ones_like(value)
        inner = self.gamma * value + self.coef0
        if self.kind == "poly":
            return self.gamma * self.degree * inner ** (self.degree - 1)
        return self.gamma * (1 - np.tanh(inner) ** 2)

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
