"""What the benchmarks share: results appended as they come, resumed, and laid out in tables."""

from __future__ import annotations

import json
import time
from pathlib import Path

import joblib
import numpy as np

RESULTS = Path(__file__).parent / "results"


def load(path):
    """Return the results in a file of JSON lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_missing(run, tasks, key, path, n_jobs):
    """Run those tasks that have no result yet; ``key(result)`` is the task it belongs to."""
    done = {key(result) for result in load(path)}
    tasks = [task for task in tasks if task not in done]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
    path.parent.mkdir(exist_ok=True)
    start = time.perf_counter()
    for number, result in enumerate(parallel(joblib.delayed(run)(*task) for task in tasks), 1):
        with path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        left = (time.perf_counter() - start) / number * (len(tasks) - number)
        print(
            f"{number}/{len(tasks)} {' '.join(map(str, key(result)))}: {result['auc']:.1f} "
            f"({result['seconds']:.0f} s; {left / 60:.0f} min left)",
            flush=True,
        )


def mean_and_deviation(values, full=None):
    """Lay out mean ± standard deviation, and the number of values where it is not ``full``."""
    if not values:
        return ""
    spread = f"±{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    count = f" ({len(values)})" if full and len(values) < full else ""
    return f"{np.mean(values):.1f}{spread}{count}"


def table_rst(header, rows):
    """Lay out a reStructuredText table."""
    cells = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    rule = " ".join("=" * width for width in widths)
    lines = [
        " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])
