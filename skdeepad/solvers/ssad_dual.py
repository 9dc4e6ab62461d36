r"""The dual of kernel SSAD, solved by decomposition.

In signed coefficients :math:`\beta_i = y_i \alpha_i` (unlabeled rows have y = 1) the dual is

.. math::

    \min_\beta \tfrac12 \beta^\top K \beta \quad\text{s.t.}\quad \sum_i \beta_i = 1,\;
    \sum_i e_i \beta_i \ge \kappa,\; \beta_i \in [0, C_i] \text{ or, if anomalous, } [-C_i, 0],

with e = 0 for unlabeled, 1 for normal and -1 for anomalous rows: an SVM's dual with one more
constraint. Let :math:`f = K\beta` and :math:`\rho, \gamma \ge 0` be the constraints' multipliers.
Then :math:`\beta` is optimal if :math:`f_i \ge \rho + \gamma e_i` wherever :math:`\beta_i` may
grow and :math:`\le` wherever it may shrink.

Each step moves two or three coefficients so that both constraints stay met, along the direction
whose slope is steepest, as far as the objective falls. A pair does it within a group of equal e, or
between groups while the second constraint allows; otherwise two units of an unlabeled row are
exchanged for one of a normal and one of an anomalous row. The second row of a pair is chosen by its
gain, as in LIBSVM (Fan, Chen, Lin, JMLR 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from skdeepad.solvers.kernel_columns import KernelColumns
from skdeepad.solvers.kernels import Floats

Labels = NDArray[np.signedinteger]
Move = tuple[list[int], list[float], int | None]
"""Rows, what is added to each in proportion, and the group of a better second row."""

_GROUPS = (0, 1, -1)
# The range of f changes slowly; it is looked at once in so many steps.
_RANGE_EVERY = 64
# With all rows on the margin, or w = 0, the range vanishes; this share of the first one does not.
_LEAST_RANGE = 1e-3
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SSADDual:
    """A solution of the dual.

    Attributes
    ----------
    beta : ndarray of shape (n,)
        Signed coefficients.
    f : ndarray of shape (n,)
        Kernel matrix times ``beta``.
    rho, gamma : float
        Offset and margin.
    gap : float
        Primal less dual objective.
    violation : float
        By how much the optimality conditions are missed, in units of ``f``.
    tolerance : float
        By how much they may be.
    n_iter : int
        Steps taken.
    converged : bool
        Whether the violation is at most the tolerance.
    degenerate : bool
        Whether w is 0 or the kernel constant, but for rounding and the tolerance.
    """

    beta: Floats
    f: Floats
    rho: float
    gamma: float
    gap: float
    violation: float
    tolerance: float
    n_iter: int
    converged: bool
    degenerate: bool


def _most(y: Labels, costs: Floats) -> tuple[float, float, float]:
    """Return the largest sum of each group's coefficients, of anomalous ones with the others'."""
    unlabeled, normal, anomalous = (float(costs[y == group].sum()) for group in _GROUPS)
    return unlabeled, normal, min(anomalous, max(unlabeled + normal - 1, 0.0))


def largest_kappa(y: Labels, costs: Floats) -> float:
    """Return the largest kappa for which there are coefficients that meet the constraints."""
    _, normal, anomalous = _most(y, costs)
    return anomalous + min(normal, 1 + anomalous)


def solve_ssad(
    kernel: Callable[[NDArray[np.intp]], Floats],
    diagonal: Floats,
    y: Labels,
    costs: Floats,
    kappa: float,
    tol: float = 1e-4,
    max_iter: int = -1,
    max_bytes: float = 2e8,
) -> SSADDual:
    """Solve the dual of kernel SSAD.

    Parameters
    ----------
    kernel : callable
        ``kernel(indices)`` gives columns of the kernel matrix, as an array (len(indices), n).
    diagonal : ndarray of shape (n,)
        Diagonal of the kernel matrix.
    y : ndarray of shape (n,)
        Labels, sorted: first all 0, then all 1, then all -1. So each group is a slice, and no
        step gathers rows.
    costs : ndarray of shape (n,)
        Largest size of each coefficient, C.
    kappa : float
        Least sum of the sizes of labeled rows' coefficients; counts as 0 if there are none.
    tol : float
        Largest violation of the optimality conditions, as a share of the range of ``f``.
    max_iter : int
        Largest number of steps; -1 for 100,000 or 100 n, whichever is more.
    max_bytes : float
        Memory for kernel columns.

    Returns
    -------
    SSADDual
        The solution, or the last state if it did not converge.

    Raises
    ------
    ValueError
        If no coefficients meet the constraints.
    """
    state = _State(KernelColumns(kernel, len(y), max_bytes), diagonal, y, costs, kappa)
    limit = max(100_000, 100 * len(y)) if max_iter == -1 else max_iter
    n_iter, moved = 0, True
    first_range = np.ptp(state.f)
    while True:
        if n_iter % _RANGE_EVERY == 0:
            # Both ranges stay as they are when a constant is added to the kernel; so does beta.
            scale = max(np.ptp(state.f), _LEAST_RANGE * first_range)
            rounding = 16 * np.finfo(np.float64).eps * diagonal.max() * np.abs(state.beta).sum()
            tolerance = max(tol * scale, rounding)
        violation, move = state.steepest()
        converged = violation <= tolerance
        if converged or n_iter == limit or not moved:
            break
        moved = state.step(*move)
        n_iter += 1
    rho, gamma = state.multipliers()
    nothing = 10 * min(tolerance, 1e-3 * scale) * np.abs(state.beta).sum()
    return SSADDual(
        beta=state.beta,
        f=state.f,
        rho=rho,
        gamma=gamma,
        gap=state.gap(rho, gamma),
        violation=float(max(violation, 0.0)),
        tolerance=float(tolerance),
        n_iter=n_iter,
        converged=bool(converged),
        degenerate=bool(first_range <= rounding or abs(state.beta @ state.f) <= nothing),
    )


class _State:
    """Coefficients that meet the constraints, rows sorted by group."""

    def __init__(
        self, columns: KernelColumns, diagonal: Floats, y: Labels, costs: Floats, kappa: float
    ) -> None:
        self.columns, self.diagonal = columns, diagonal
        self.e, self.costs = y, costs
        self.kappa = kappa if (y != 0).any() else 0.0
        self.lower, self.upper = np.where(y < 0, -costs, 0.0), np.where(y < 0, 0.0, costs)
        ends = np.cumsum([0, *((y == group).sum() for group in _GROUPS)])
        self.groups = {
            group: slice(first, last)
            for group, first, last in zip(_GROUPS, ends[:-1], ends[1:], strict=True)
            if first < last
        }
        self.beta = self._start()
        self.slack = max(float(y @ self.beta) - self.kappa, 0.0)
        self.f = columns.dot(self.beta)
        # Added to f these leave out coefficients that must not grow, or not shrink.
        self.no_growth, self.no_shrinking = np.empty_like(self.f), np.empty_like(self.f)
        self._put(np.arange(len(y)), self.beta)
        self.f_growing, self.f_shrinking = np.empty_like(self.f), np.empty_like(self.f)

    def _start(self) -> Floats:
        """Fill up coefficients in order, as few labeled anomalies' as the constraints allow."""
        most_unlabeled, most_normal, most_anomalous = _most(self.e, self.costs)
        if most_unlabeled + most_normal < 1 - _ROUNDING:
            raise ValueError(
                "The costs of all rows that are not labeled anomalies must sum to at least 1; they "
                f"sum to {most_unlabeled + most_normal:.6g}. Raise the costs or the sample weights."
            )
        largest = largest_kappa(self.e, self.costs)
        if self.kappa > largest * (1 + _ROUNDING):
            raise ValueError(
                f"kappa={self.kappa:.6g} is larger than the costs allow: with these labels and "
                f"costs it can be {largest:.6g} at most. Lower kappa or nu, or raise the costs."
            )
        anomalous = min(most_anomalous, max(0.0, self.kappa - most_normal, (self.kappa - 1) / 2))
        normal = max(0.0, self.kappa - anomalous, 1 + anomalous - most_unlabeled)
        normal = min(normal, most_normal, 1 + anomalous)
        beta = np.zeros(len(self.e))
        for group, total in ((0, 1 + anomalous - normal), (1, normal), (-1, anomalous)):
            if group in self.groups:
                costs = self.costs[self.groups[group]]
                room = np.maximum(total - np.cumsum(costs) + costs, 0.0)
                # What rounding leaves of a full cost would count as between the bounds.
                filled = np.where(room >= costs * (1 - _ROUNDING), costs, room)
                filled[room < costs * _ROUNDING] = 0.0
                beta[self.groups[group]] = -filled if group < 0 else filled
        return beta

    def _put(self, rows: list[int] | NDArray[np.intp], beta: Floats) -> None:
        """Set coefficients and what they may do next."""
        self.beta[rows] = beta
        self.no_growth[rows] = np.where(beta < self.upper[rows], 0.0, np.inf)
        self.no_shrinking[rows] = np.where(beta > self.lower[rows], 0.0, -np.inf)

    def steepest(self) -> tuple[float, Move]:
        """Return by how much optimality is missed, and the move that is missing most.

        A move is the rows of which it takes the first, what it adds to each in proportion, and the
        group in which to look for a better second row (None: the second row is settled).
        """
        np.add(self.f, self.no_growth, out=self.f_growing)
        np.add(self.f, self.no_shrinking, out=self.f_shrinking)
        growing: dict[int, int] = {}
        shrinking: dict[int, int] = {}
        for group, rows in self.groups.items():
            growing[group] = rows.start + int(self.f_growing[rows].argmin())
            shrinking[group] = rows.start + int(self.f_shrinking[rows].argmax())
        low = {group: self.f_growing[i] for group, i in growing.items()}
        high = {group: self.f_shrinking[i] for group, i in shrinking.items()}
        violation = -np.inf
        move: Move = [], [], None
        for up, down in product(growing, shrinking):
            if (up >= down or self.slack > 0) and high[down] - low[up] > violation:
                violation = high[down] - low[up]
                move = [growing[up], shrinking[down]], [1.0, -1.0], down
        if self.slack == 0 and len(self.groups) == 3:
            # Two units of an unlabeled row for one of each other, either way.
            triples = [
                (
                    high[1] + high[-1] - 2 * low[0],
                    [growing[0], shrinking[1], shrinking[-1]],
                    [2.0, -1.0, -1.0],
                ),
                (
                    2 * high[0] - low[1] - low[-1],
                    [shrinking[0], growing[1], growing[-1]],
                    [-2.0, 1.0, 1.0],
                ),
            ]
            for missed, chosen, direction in triples:
                missed /= np.sqrt(3)  # in units of a pair's, by the length of the direction
                if missed > violation:
                    violation, move = missed, (chosen, direction, None)
        return violation, move

    def step(self, rows: list[int], direction: list[float], group: int | None) -> bool:
        """Move along a direction as far as the objective falls; False if nothing changed."""
        columns = [self.columns.get(rows[0], self._likely)]
        if group is not None:
            rows[1] = self._partner(rows[0], columns[0], self.groups[group])
        columns += [self.columns.get(row, self._likely) for row in rows[1:]]
        along = np.array(direction)
        slope = along @ self.f[rows]
        curvature = along @ np.array([column[rows] for column in columns]) @ along
        bounds = np.where(along > 0, self.upper[rows], self.lower[rows])
        before = self.beta[rows]
        limits = (bounds - before) / along
        # A kernel that is not positive definite may curve the other way: then to the end.
        length = min(-slope / max(curvature, 1e-12 * self.diagonal.max()), limits.min())
        slack_change = float(along @ self.e[rows])
        if slack_change < 0 and length >= -self.slack / slack_change:
            length, self.slack = -self.slack / slack_change, 0.0
        else:
            self.slack += length * slack_change
        after = np.where(limits <= length * (1 + _ROUNDING), bounds, before + length * along)
        self._put(rows, after)
        for change, column in zip(after - before, columns, strict=True):
            self.f += change * column
        return bool((after != before).any())

    def _likely(self) -> list[int]:
        """Return rows that the next steps are likely to take: those that miss optimality most."""
        missing, count = self.columns.missing, min(len(self.f), self.columns.block)
        growing = np.where(missing, self.f_growing, np.inf).argpartition(count - 1)
        shrinking = np.where(missing, -self.f_shrinking, np.inf).argpartition(count - 1)
        return np.stack([growing[:count], shrinking[:count]], axis=1).ravel().tolist()

    def _partner(self, first: int, column: Floats, rows: slice) -> int:
        """Return the row that, shrinking while ``first`` grows, lowers the objective most."""
        miss = np.maximum(self.f_shrinking[rows] - self.f[first], 0.0)
        curvature = self.diagonal[first] + self.diagonal[rows] - 2 * column[rows]
        gain = miss**2 / np.maximum(curvature, 1e-12 * self.diagonal[first])
        return rows.start + int(gain.argmax())

    def multipliers(self) -> tuple[float, float]:
        r"""Return :math:`\rho` and :math:`\gamma`.

        From the rows whose coefficient is within its bounds, averaged; what they leave open is in
        the middle of what the others allow.
        """
        may_grow, may_shrink = self.beta < self.upper, self.beta > self.lower
        free = may_grow & may_shrink
        means = {g: self.f[r][free[r]].mean() for g, r in self.groups.items() if free[r].any()}
        low = {g: self.f[r][may_shrink[r]].max(initial=-np.inf) for g, r in self.groups.items()}
        high = {g: self.f[r][may_grow[r]].min(initial=np.inf) for g, r in self.groups.items()}
        gamma = 0.0
        if self.slack == 0 and len(self.groups) > 1:
            if len(means) > 1:
                counts = [free[self.groups[g]].sum() for g in means]
                slope = np.polyfit(list(means), list(means.values()), 1, w=np.sqrt(counts))[0]
                gamma = max(slope, 0.0)
            else:
                gamma = self._margin_between(low, high)
        if means:
            rho = (self.f - gamma * self.e)[free].mean()
        else:
            rho = _middle(
                max(low[g] - gamma * g for g in low), min(high[g] - gamma * g for g in high)
            )
        return float(rho), float(gamma)

    def _margin_between(self, low: dict[int, float], high: dict[int, float]) -> float:
        """Return a margin for which some offset satisfies all groups."""
        pairs = [(a, b) for a, b in product(low, high) if a != b]
        least = max([0.0, *((low[a] - high[b]) / (a - b) for a, b in pairs if a > b)])
        most = min([np.inf, *((high[b] - low[a]) / (b - a) for a, b in pairs if a < b)])
        return max(_middle(least, most), 0.0)

    def gap(self, rho: float, gamma: float) -> float:
        """Return the primal objective at these multipliers less the dual."""
        margin = rho + gamma * self.e - self.f
        missed = np.maximum(np.where(self.e < 0, -margin, margin), 0.0)
        squared_norm = self.beta @ self.f
        return float(squared_norm - rho - self.kappa * gamma + self.costs @ missed)


def _middle(low: float, high: float) -> float:
    """Return the middle of an interval, or its finite end."""
    if np.isinf(high):
        return low
    return high if np.isinf(low) else (low + high) / 2
