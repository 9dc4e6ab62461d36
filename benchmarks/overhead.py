"""Cost of the engine against a bare hand-written loop of the same network, in one run.

Run as ``python -m benchmarks overhead``. Blocks of steps of the two loops alternate, so that both
see the same machine; medians of the blocks' times are compared. Writes
``benchmarks/results/overhead.json``; ``--parts`` measures some parts anew and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from skdeepad import AGAD, CVDD, SSDGM, DeepSAD, losses
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


def bare_agad(objective, x, y, batch_size, n_epochs):
    """AGAD as one would write it by hand: losses of a batch, two optimisers."""
    shuffling = private_generator(0)
    generator, discriminator = objective.network, objective.discriminator
    parameters = [list(network.parameters()) for network in (generator, discriminator)]
    adams = [torch.optim.Adam(own, lr=2e-4, fused=True) for own in parameters]
    objective.train()
    for _ in range(n_epochs):
        order = torch.randperm(len(x), generator=shuffling)
        for index in order.view(-1, batch_size):
            xb, anomalous = x[index], y[index] < 0
            normal = ~anomalous
            made = generator(xb)
            change = (made - generator(made)).abs().flatten(1).mean(1)
            logit, features = discriminator(xb)
            made_logit, made_features = discriminator(made)
            latent = (features - made_features).flatten(1).norm(dim=1)
            of_normal = (
                functional.softplus(-made_logit)
                + 50 * (xb - made).abs().flatten(1).mean(1)
                - 15 * change
                + 5 * latent
            )
            n_anomalies = anomalous.sum().clamp(min=1)
            of_anomalies = (
                1 / ((functional.softplus(made_logit) * anomalous).sum() / n_anomalies + 1e-3)
                + 15 / ((change * anomalous).sum() / n_anomalies + 1e-3)
                + 5 / ((latent * anomalous).sum() / n_anomalies + 1e-3)
            )
            generator_loss = torch.where(anomalous, of_anomalies, of_normal).mean()
            discriminator_loss = (
                functional.softplus(torch.where(anomalous, logit, -logit))
                + functional.softplus(made_logit) * normal
            ).mean()
            generator_loss.backward(inputs=parameters[0], retain_graph=True)
            discriminator_loss.backward(inputs=parameters[1])
            for adam in adams:
                adam.step()
                adam.zero_grad()


def bare_ssdgm(objective, x, y, batch_size, n_epochs):
    """M2 as one would write it by hand, with anomalies alone labeled."""
    shuffling, noise = private_generator(0), private_generator(1)
    adam = torch.optim.Adam(objective.parameters(), lr=1e-3, weight_decay=1e-6, fused=True)
    classes = torch.tensor([-1.0, 1.0]).expand(batch_size, 2)[..., None]
    log_prior = torch.tensor([math.log(0.9), math.log(0.1)])
    objective.train()
    for _ in range(n_epochs):
        order = torch.randperm(len(x), generator=shuffling)
        for index in order.view(-1, batch_size):
            xb, anomalous = x[index], y[index] < 0
            hidden = objective.network(xb)
            logit = objective.classifier(hidden)[:, 0]
            log_q = functional.logsigmoid(torch.stack([-logit, logit], 1))
            mean, log_variance = objective.posterior(hidden).view(batch_size, 2, -1).chunk(2, -1)
            log_variance = log_variance.clamp(-20, 20)
            drawn = torch.randn(mean.shape, generator=noise)
            z = mean + torch.exp(0.5 * log_variance) * drawn
            decoded = objective.decoder(objective.entry(torch.cat([z, classes], -1).flatten(0, 1)))
            spread = objective.log_variance.clamp(min=math.log(1e-3))
            squared = (xb.repeat_interleave(2, 0) - decoded) ** 2 * torch.exp(-spread)
            density = -0.5 * (squared + spread + math.log(2 * math.pi)).sum(1).view(-1, 2)
            kl = 0.5 * (mean**2 + torch.exp(log_variance) - 1 - log_variance).sum(-1)
            bounds = kl - density - log_prior
            unlabeled = (log_q.exp() * (bounds + log_q)).sum(1)
            bound = torch.where(anomalous, bounds[:, 1], unlabeled)
            loss = (bound - torch.where(anomalous, log_q[:, 1], log_q[:, 0])).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()


def bare_cvdd(objective, x, y, batch_size, n_epochs):
    """CVDD as one would write it by hand, without labels; attention to each word once a step."""
    shuffling = private_generator(0)
    parameters = list(objective.parameters())
    adam = torch.optim.Adam(parameters, lr=3e-3, fused=True)
    table, network, contexts = objective.vectors, objective.network, objective.contexts
    eye, ids = torch.eye(len(contexts)), x.long()
    for _ in range(n_epochs):
        order = torch.randperm(len(x), generator=shuffling)
        for index in order.view(-1, batch_size):
            of_batch = ids[index]
            logits = network.heads(torch.tanh(network.hidden(table)))[of_batch]
            word = (of_batch > 0)[..., None]
            weights = logits.masked_fill(~word, -1e30).softmax(1) * word
            means = weights.transpose(1, 2) @ table[of_batch]
            distances = 0.5 * (1 - torch.cosine_similarity(means, contexts, dim=-1))
            overlap = (contexts @ contexts.T - eye).square().sum()
            loss = distances.mean() + overlap
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            adam.step()


def texts(n=1280, n_words=4000):
    """Return ids of texts of 20 to 256 words, and a table of vectors."""
    draws = np.random.default_rng(0)
    ids = draws.integers(1, n_words, (n, 256))
    ids[np.arange(256) >= draws.integers(20, 257, (n, 1))] = 0
    vectors = draws.normal(size=(n_words, 50)).astype(np.float32)
    vectors[0] = 0
    return torch.from_numpy(ids).float(), vectors


def method_overhead(blocks):
    """Compare the same for AGAD, on a table and on images, for SSDGM, and for CVDD."""
    draws = private_generator(0)
    table = torch.randn(12800, 36, generator=draws)
    images = torch.randn(640, 1, 32, 32, generator=draws)
    filters = (16, 32, 64, 50)
    cases = {
        "agad, table": (AGAD(), table, 256, bare_agad),
        "agad, images": (AGAD(hidden_layer_sizes=filters), images, 64, bare_agad),
        "ssdgm": (SSDGM(lr_schedule="constant"), table, 128, bare_ssdgm),
    }
    ids, vectors = texts()
    alike = {
        "alphas": (0.0,),
        "random_texts": False,
        "lr_schedule": "constant",
        "weight_decay": 0.0,
    }
    cases["cvdd"] = (CVDD(vectors, **alike), ids, 64, bare_cvdd)
    results = {}
    for name, (detector, x, batch_size, bare) in cases.items():
        y = torch.zeros(len(x), dtype=torch.int8)
        y[::20] = 0 if name == "cvdd" else -1
        detector.set_params(random_state=0, batch_size=batch_size, anomaly_fraction=None)
        detector.set_params(n_epochs=1).fit(x[:512].numpy(), y[:512].numpy())
        objective = detector._objective_
        rows = Rows(x, y, torch.device("cpu"), streamed=False)
        objective.start = lambda rows: None  # the bare loops go on from what fit began
        detector.set_params(n_epochs=5)
        stage = detector._stage("train", objective)
        steps = 5 * Sampler(y, batch_size).steps
        seconds = alternate(
            {
                "engine": lambda: train(stage, rows, seed=0),
                "bare": lambda: bare(objective, x, y, batch_size, 5),
            },
            blocks,
        )
        results[name] = {
            "ms_per_step": {
                key: 1e3 * statistics.median(values) / steps for key, values in seconds.items()
            },
            "engine_over_bare": paired_ratio(seconds, "engine", "bare"),
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
    detector = DeepSAD(hidden_layer_sizes=(32, 16, 8), n_epochs=1, device="cpu")
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


def one_row_overhead(blocks):
    """Milliseconds to score one row, and of the bare network on it, on one thread: medians."""
    X = np.random.default_rng(0).standard_normal((2000, 20), dtype=np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    detector = DeepSAD(n_epochs=1, device="cpu", random_state=0).fit(X)
    network, x = detector.network_, torch.from_numpy(X[:1])

    def bare():
        with torch.inference_mode():
            return network(x)

    contenders = {"skdeepad": lambda: detector.score_samples(X[:1]), "bare": bare}
    seconds = alternate(contenders, 20 * blocks)
    torch.set_num_threads(before)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def explaining(blocks):
    """Seconds to explain 1,000 rows of 30 columns with a default DeepSAD, a median."""
    X = np.random.default_rng(0).standard_normal((1000, 30))
    detector = DeepSAD(device="cpu", random_state=0).fit(X)
    (seconds,) = alternate({"explain": lambda: detector.explain(X)}, blocks).values()
    return {"seconds": statistics.median(seconds)}


def fit_memory(dtype):
    """Peak memory of fit, data included, above what the process held before it.

    In a process of its own. The goal is 1.2 times the data and one float32 copy of it.
    """
    code = f"""
import numpy as np, psutil
from skdeepad import DeepSAD, Pretraining
def peak():  # getrusage would count what the parent held before it became this process
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024
small = np.random.default_rng(0).standard_normal((1000, 100))
settings = {{"n_epochs": 1, "pretrain": True, "device": "cpu"}}
settings["pretraining"] = Pretraining(n_epochs=1)
DeepSAD(**settings).fit(small)
before = psutil.Process().memory_info().rss
X = np.empty((1_000_000, 100), dtype="{dtype}")
rng = np.random.default_rng(0)
for start in range(0, len(X), 10_000):
    X[start : start + 10_000] = rng.standard_normal((10_000, 100))
DeepSAD(batch_size=2000, **settings).fit(X)
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
    measured = {
        "step": step_overhead,
        "methods": method_overhead,
        "scoring": lambda blocks: scoring_overhead(max(3, blocks // 3)),
        "one_row": one_row_overhead,
        "explain": explaining,
        "memory": lambda blocks: {
            dtype: [fit_memory(dtype) for _ in range(3)] for dtype in ("float32", "float64")
        },
    }
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--parts", nargs="+", default=list(measured), choices=measured)
    arguments = parser.parse_args()
    path = RESULTS / "overhead.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    made_with = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    for part in arguments.parts:
        results[part] = made_with | measured[part](arguments.blocks)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
