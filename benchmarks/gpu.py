"""What a GPU makes of the engine: steps, stacks, and a column of the Deep SAD paper's table 3.

Run as ``python -m benchmarks.gpu`` on a machine with CUDA; ``--device cpu`` runs the same code, for
what that is worth. Medians of paired ratios go to ``benchmarks/results/gpu.json``.

steps: the engine's training over a bare loop, with and without a CUDA graph, and over the same loop
captured by hand.
members: 32 models, stacked, over one.

``--parts table3`` trains DeepSAD as in scenario (i) of the paper on MNIST: 10 normal classes, 9
classes that labeled anomalies are of, 5 shares of labeled anomalies, 450 trainings, the nine of a
class and share as one. Results are appended to ``benchmarks/results/table3.jsonl`` as they come and
not run again; ``--minutes`` ends the run in time. ``--report`` writes ``table3.rst``. ``--images``
and ``--epochs`` make it small.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.images import read
from benchmarks.overhead import alternate, paired_ratio
from benchmarks.running import RESULTS, load, mean_and_deviation, table_rst
from benchmarks.stacked import members
from skdeepad import DeepSAD, losses
from skdeepad.engine import Rows, Stage, private_generator, train
from skdeepad.networks import MLP, lenet_mnist
from skdeepad.objectives import DistanceObjective
from skdeepad.stacking import Fit, fit_together

SHARES = (0.0, 0.01, 0.05, 0.1, 0.2)
# Deep SAD paper, table 3, MNIST.
PAPER = {0.0: "92.8±4.9", 0.01: "96.4±2.7", 0.05: "96.7±2.4", 0.1: "96.9±2.3", 0.2: "96.9±2.4"}
TABLE3 = RESULTS / "table3.jsonl"


class BareLoop:
    """Deep SAD as one would write it by hand, every step launched, or captured once."""

    def __init__(self, objective, x, batch_size, captured):
        self.network, self.center = objective.network, objective.center
        self.x, self.batch_size = x, batch_size
        cuda = x.device.type == "cuda"
        self.adam = torch.optim.Adam(
            self.network.parameters(), lr=1e-4, weight_decay=1e-6, fused=True, capturable=cuda
        )
        self.batch = x[:batch_size].clone()
        self.replay = self.capture() if captured else None

    def step(self, batch):
        distance = (self.network(batch) - self.center).square().sum(1)
        self.adam.zero_grad()
        distance.mean().backward()
        self.adam.step()

    def capture(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(self.batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self.step(self.batch)
        return graph.replay

    def epoch(self):
        order = torch.randperm(len(self.x)).to(self.x.device)
        for index in order.view(-1, self.batch_size):
            if self.replay is None:
                self.step(self.x[index])
            else:
                torch.index_select(self.x, 0, index, out=self.batch)
                self.replay()
        if self.x.device.type == "cuda":
            torch.cuda.synchronize()


def steps(blocks, device):
    """Time of an epoch of the engine over that of bare loops: MLP 32-16-8, batches of 128."""
    x = torch.randn(128 * 500, 36, generator=private_generator(0)).to(device)
    rows = Rows(x, torch.zeros(len(x), dtype=torch.int8, device=device), x.device, streamed=False)

    def objective():
        made = DistanceObjective(MLP((36,), (32, 16, 8)), (36,), 8, losses.deep_sad, eta=1.0)
        made.to(device).start = lambda rows: None  # the bare loop has its centre given, too
        return made

    def engine(cuda_graph):
        stage = Stage("train", objective(), 1, lr=1e-4, weight_decay=1e-6, cuda_graph=cuda_graph)
        return lambda: train(stage, rows, seed=0)

    contenders = {"engine": engine(False), "bare": BareLoop(objective(), x, 128, False).epoch}
    if x.device.type == "cuda":
        contenders["engine, graph"] = engine(True)
        contenders["bare, graph"] = BareLoop(objective(), x, 128, True).epoch
    seconds = alternate(contenders, blocks)
    return {
        "ms_per_step": {key: 2 * statistics.median(values) for key, values in seconds.items()},
        "ratios": {
            f"{ours} / {bare}": paired_ratio(seconds, ours, bare)
            for ours in contenders
            for bare in contenders
            if ours.startswith("engine") and bare.startswith("bare")
        },
    }


def run_table3(arguments):
    """Train what is missing, nine models at a time, until the time is up."""
    started = time.perf_counter()
    done = {
        (result["normal"], result["share"]) for result in load(TABLE3) if fits(result, arguments)
    }
    images, labels, test_images, test_labels, _ = read("mnist")
    images, test_images = (each.astype(np.float32) / 255 for each in (images, test_images))
    longest = 0.0
    for normal in range(10):
        for share in SHARES:
            left = 60 * arguments.minutes - (time.perf_counter() - started)
            if (normal, share) in done or left < 1.2 * longest:
                continue
            piece = time.perf_counter()
            results = one_stack(images, labels, test_images, test_labels, normal, share, arguments)
            longest = max(longest, time.perf_counter() - piece)
            with TABLE3.open("a") as file:
                file.writelines(json.dumps(result) + "\n" for result in results)
            mean = np.mean([result["auc"] for result in results])
            print(f"{normal} {share}: {mean:.1f} ({longest:.0f} s)", flush=True)


def fits(result, arguments):
    """Tell whether a result is of the size that is asked for."""
    return (result["images"], result["epochs"]) == (arguments.images, arguments.epochs)


def one_stack(images, labels, test_images, test_labels, normal, share, arguments):
    """Train with labeled anomalies of each other class in turn; return nine results."""
    started = time.perf_counter()
    own = np.flatnonzero(labels == normal)[: arguments.images]
    count = round(share / (1 - share) * len(own))
    rng = np.random.default_rng(normal)
    kinds = [kind for kind in range(10) if kind != normal]
    jobs = []
    for kind in kinds:
        known = rng.choice(np.flatnonzero(labels == kind), count, replace=False)
        rows = np.concatenate([own, known])
        y = np.r_[np.zeros(len(own)), -np.ones(count)].astype(np.int8)
        detector = DeepSAD.with_paper_settings(
            n_epochs=arguments.epochs,
            pretrain_n_epochs=arguments.epochs,
            batch_size=128,
            network=lenet_mnist,
            device=arguments.device,
            cuda_graph=arguments.cuda_graph,
            random_state=kind,
        )
        jobs.append(Fit(detector, images, y, rows))
    fit_together(jobs)
    seconds = (time.perf_counter() - started) / len(jobs)
    results = []
    for kind, job in zip(kinds, jobs, strict=True):
        if job.error is not None:
            raise job.error
        auc = roc_auc_score(test_labels != normal, job.estimator.anomaly_score(test_images))
        results.append(
            {
                "normal": normal,
                "share": share,
                "kind": kind,
                "auc": 100 * auc,
                "seconds": seconds,
                "images": arguments.images,
                "epochs": arguments.epochs,
                "device": arguments.device,
                "torch": torch.__version__,
            }
        )
    return results


def report(arguments):
    """Write the table beside the paper's."""
    results = [result for result in load(TABLE3) if fits(result, arguments)]
    rows = []
    for share in SHARES:
        aucs = [result["auc"] for result in results if result["share"] == share]
        rows.append((share, PAPER[share], mean_and_deviation(aucs, 90), len(aucs)))
    text = table_rst(("labeled anomalies", "paper", "skdeepad", "trainings"), rows)
    (RESULTS / "table3.rst").write_text(text + "\n")
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["steps", "members"])
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cuda-graph", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--images", type=int, default=6742)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments)
        return
    measured = {"steps": steps, "members": members}
    path = RESULTS / "gpu.json"
    for part in arguments.parts:
        if part == "table3":
            run_table3(arguments)
            continue
        results = json.loads(path.read_text()) if path.exists() else {}
        made_with = {"torch": torch.__version__, "device": arguments.device}
        results[part] = made_with | measured[part](arguments.blocks, arguments.device)
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps(results[part], indent=1))


if __name__ == "__main__":
    main()
