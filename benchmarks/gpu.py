"""What a GPU makes of the engine: steps, and models trained as one.

Run as ``python -m benchmarks gpu`` on a machine with CUDA; ``--device cpu`` runs the same code, for
what that is worth. Medians of paired ratios go to ``benchmarks/results/gpu.json``.

steps: the engine's training over a bare loop, with and without a CUDA graph, and over the same loop
captured by hand.
members: 32 models, stacked, over one.

Images and seeds are measured by ``python -m benchmarks mnist --sizes full --device cuda``, which
resumes and trains nine models as one.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch

from benchmarks.overhead import alternate, paired_ratio
from benchmarks.running import RESULTS
from benchmarks.stacked import members
from skdeepad import losses
from skdeepad.engine import Rows, Stage, private_generator, train
from skdeepad.networks import MLP
from skdeepad.objectives import DistanceObjective


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
    rows = Rows(x, torch.zeros(len(x), dtype=torch.int8), x.device, streamed=False)

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["steps", "members"])
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    measured = {"steps": steps, "members": members}
    path = RESULTS / "gpu.json"
    for part in arguments.parts:
        results = json.loads(path.read_text()) if path.exists() else {}
        made_with = {"torch": torch.__version__, "device": arguments.device}
        results[part] = made_with | measured[part](arguments.blocks, arguments.device)
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps(results[part], indent=1))


if __name__ == "__main__":
    main()
