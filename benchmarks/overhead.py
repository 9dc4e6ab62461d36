"""Cost of the engine against a bare hand-written loop of the same network, in one run.

Run as ``python -m benchmarks.overhead``. Blocks of steps of the two loops alternate, so that both
see the same machine; medians of the blocks' times are compared. Writes
``benchmarks/results/overhead.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from skdeepad import DeepSAD, losses
from skdeepad.engine import Rows, Sampler, Stage, private_generator, train
from skdeepad.networks import MLP, lenet_mnist
from skdeepad.objectives import DistanceObjective

RESULTS = Path(__file__).parent / "results"


def networks_and_data():
    """Return name, network, data, batch size and steps in an epoch of the two cases."""
    generator = private_generator(0)
    return [
        ("mlp", MLP((36,), (32, 16, 8)), torch.randn(12800, 36, generator=generator), 128),
        ("lenet", lenet_mnist(), torch.randn(4000, 1, 28, 28, generator=generator), 200),
    ]


def bare_loop(network, center, x, y, batch_size, n_epochs, fused):
    """Deep SAD as one would write it by hand."""
    generator = private_generator(0)
    adam = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-6, fused=fused)
    network.train()
    for _ in range(n_epochs):
        order = torch.randperm(len(x), generator=generator)
        for index in order.view(-1, batch_size):
            xb, yb = x[index], y[index]
            distance = ((network(xb) - center) ** 2).sum(dim=1)
            loss = torch.where(yb == 0, distance, (distance + 1e-6) ** yb.float()).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()


def step_overhead(blocks):
    """Time of the engine's epochs over that of the bare loop's, median of paired blocks."""
    results = {}
    for name, network, x, batch_size in networks_and_data():
        y = torch.zeros(len(x), dtype=torch.int8)
        y[: len(x) // 100] = -1
        objective = DistanceObjective(
            network, x.shape[1:], network(x[:2]).shape[1], losses.deep_sad, eta=1.0
        )
        rows = Rows(x, y, torch.device("cpu"), streamed=False)
        with torch.no_grad():
            objective.eval().start(rows)
        objective.start = lambda rows: None  # the bare loop has its centre given, too
        steps = Sampler(y, batch_size).steps
        n_epochs = 2 if name == "mlp" else 1
        stage = Stage(
            "train", objective, n_epochs, lr=1e-4, batch_size=batch_size, weight_decay=1e-6
        )
        contenders = {
            "engine": lambda: train(stage, rows, seed=0),
            "bare": lambda: bare_loop(network, objective.center, x, y, batch_size, n_epochs, None),
            "bare_fused": lambda: bare_loop(
                network, objective.center, x, y, batch_size, n_epochs, True
            ),
        }
        seconds = alternate(contenders, blocks)
        results[name] = {
            "ms_per_step": {
                key: 1e3 * statistics.median(values) / (steps * n_epochs)
                for key, values in seconds.items()
            },
            "engine_over_bare": paired_ratio(seconds, "engine", "bare"),
            "engine_over_bare_fused": paired_ratio(seconds, "engine", "bare_fused"),
        }
    return results


def alternate(contenders, blocks):
    """Run the contenders in turn, ``blocks`` times after one for warming up."""
    seconds = {name: [] for name in contenders}
    for block in range(blocks + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if block:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def paired_ratio(seconds, numerator, denominator):
    pairs = zip(seconds[numerator], seconds[denominator], strict=True)
    return statistics.median(a / b for a, b in pairs)


def scoring_overhead(blocks, n_rows=1_000_000):
    """Time of ``score_samples`` on a million rows over that of the bare forward pass in slices."""
    X = np.random.default_rng(0).standard_normal((n_rows, 36), dtype=np.float32)
    detector = DeepSAD(hidden_layer_sizes=(32, 16, 8), n_epochs=1, pretrain=False, device="cpu")
    detector.fit(X[:2000])
    network, center = detector.network_, detector._objective_.center
    size = Rows.place(X, None, (36,), torch.device("cpu")).slice_size

    def bare():
        x = torch.from_numpy(X)
        with torch.inference_mode():
            parts = [((network(part) - center) ** 2).sum(1) for part in x.split(size)]
            return torch.cat(parts).numpy()

    assert np.allclose(bare(), detector.anomaly_score(X), rtol=1e-5)
    seconds = alternate({"skdeepad": lambda: detector.score_samples(X), "bare": bare}, blocks)
    return {
        "rows": n_rows,
        "slice": size,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "ratio": paired_ratio(seconds, "skdeepad", "bare"),
    }


def fit_memory(dtype):
    """Peak memory of fit, data included, above what the process held before it.

    In a process of its own. The goal is 1.2 times the data and one float32 copy of it.
    """
    code = f"""
import numpy as np, psutil
from skdeepad import DeepSAD
def peak():  # getrusage would count what the parent held before it became this process
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024
small = np.random.default_rng(0).standard_normal((1000, 100))
DeepSAD(n_epochs=1, pretrain_n_epochs=1, device="cpu").fit(small)
before = psutil.Process().memory_info().rss
X = np.empty((1_000_000, 100), dtype="{dtype}")
rng = np.random.default_rng(0)
for start in range(0, len(X), 10_000):
    X[start : start + 10_000] = rng.standard_normal((10_000, 100))
DeepSAD(n_epochs=1, pretrain_n_epochs=1, batch_size=2000, device="cpu").fit(X)
print(X.nbytes, peak() - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    data, peak = map(int, output.stdout.split())
    allowed = 1.2 * data + data * 4 / np.dtype(dtype).itemsize  # and one float32 copy
    return {"data": data, "peak": peak, "peak_over_allowed": peak / allowed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=15)
    arguments = parser.parse_args()
    results = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "step": step_overhead(arguments.blocks),
        "scoring": scoring_overhead(max(3, arguments.blocks // 3)),
        "memory": {dtype: fit_memory(dtype) for dtype in ("float32", "float64")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
