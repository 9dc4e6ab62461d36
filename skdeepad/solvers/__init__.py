"""Solvers of the kernel methods; they know NumPy alone."""

from skdeepad.solvers.kernels import Kernel
from skdeepad.solvers.ssad_dual import SSADDual, largest_kappa, solve_ssad

__all__ = ["Kernel", "SSADDual", "largest_kappa", "solve_ssad"]
