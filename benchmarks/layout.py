"""How figures are laid out: tables in reStructuredText, means and deviations, marks, tests."""

from __future__ import annotations

import numpy as np
from scipy.stats import wilcoxon

# Points of AUC from which a difference to a published figure is marked.
NOTABLE = 2.0


def table_rst(header, rows):
    """Lay out a reStructuredText table."""
    cells = [[str(cell) or "\\" for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    rule = " ".join("=" * width for width in widths)
    lines = [
        " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def mean_and_deviation(values, full=None):
    """Lay out mean ± standard deviation, and the number of values where it is not ``full``."""
    if not len(values):
        return ""
    spread = f"±{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    count = f" [{len(values)}]" if full and len(values) < full else ""
    return f"{np.mean(values):.1f}{spread}{count}"


def beside_paper(values, published, full=None):
    """Lay out our figure, a mark where it is notably off, and the published one in brackets."""
    ours = mean_and_deviation(values, full)
    if published is None or not ours:
        return ours
    difference = np.mean(values) - published
    mark = " ▲" if difference >= NOTABLE else " ▼" if difference <= -NOTABLE else ""
    return f"{ours}{mark} ({published:.1f})"


def first_against_second(by_method):
    """Return the two best methods and the p-value of Wilcoxon's signed-rank test between them.

    ``by_method`` has a dict of AUC by run for each method; runs that both have are paired. The
    p-value is nan where there are fewer than six pairs, with which it cannot be below 0.05, or no
    difference.
    """
    means = {method: np.mean(list(runs.values())) for method, runs in by_method.items() if runs}
    first, second = [*sorted(means, key=means.get, reverse=True), "", ""][:2]
    if not second:
        return first, second, float("nan")
    both = sorted(by_method[first].keys() & by_method[second].keys())
    pairs = [(by_method[first][run], by_method[second][run]) for run in both]
    if len(pairs) < 6 or all(a == b for a, b in pairs):
        return first, second, float("nan")
    return first, second, float(wilcoxon(*zip(*pairs, strict=True)).pvalue)
