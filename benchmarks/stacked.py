"""What many models cost when they are trained as one, against one model and against a search.

Run as ``python -m benchmarks stacked``; it needs cardio (see ``skdeepad.datasets.load_odds``).
Contenders alternate in one run, and medians of paired ratios are taken. Writes
``benchmarks/results/stacked.json``; ``--parts`` measures some parts anew and keeps the others.

members: time of a training of 2 to 64 models, stacked, over that of one of them, for MLP 32-16-8
and the LeNet of the papers for MNIST.
search: a grid of 4 x 4 settings on 5 folds of cardio, GridSearchCV with two processes over
StackedGridSearchCV with two and with one, for the network of the paper and for the default one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.overhead import alternate, paired_ratio
from skdeepad import DeepSAD, Pretraining, losses
from skdeepad.datasets import load_odds, make_partial_labels
from skdeepad.engine import Rows, Stage, Training, train_together
from skdeepad.model_selection import LabeledStratifiedKFold, StackedGridSearchCV, labeled_roc_auc
from skdeepad.networks import MLP, lenet_mnist
from skdeepad.objectives import DistanceObjective

RESULTS = Path(__file__).parent / "results"
# How a network is made, shape of a row, size of its code, steps of an epoch.
CASES = {
    "mlp": (lambda shape: MLP(shape, (32, 16, 8)), (30,), 8, 50),
    "lenet": (lenet_mnist, (1, 28, 28), 32, 4),
}
NETWORKS = {
    "paper": {"hidden_layer_sizes": (32, 16, 8), "n_branches": 1, "squash": None},
    "default": {},
}
GRID = {"deepsad__eta": [0.1, 1.0, 3.0, 10.0], "deepsad__lr": [1e-4, 3e-4, 1e-3, 3e-3]}


def members(blocks, device="cpu", sizes=(2, 8, 32, 64), name="mlp"):
    """Time of stacks over that of a single model: batches of 128 rows or images."""
    make, shape, code_size, steps = CASES[name]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((128 * steps, math.prod(shape)), dtype=np.float32)
    y = np.zeros(len(X), dtype=np.int8)
    y[: len(X) // 50] = -1
    rows = Rows.place(X, y, shape, torch.device(device))

    def trainings(count):
        made = []
        for seed in range(count):
            torch.manual_seed(seed)
            objective = DistanceObjective(make(shape), shape, code_size, losses.deep_sad, eta=1.0)
            stage = Stage("train", objective.to(device), n_epochs=2, lr=1e-4, weight_decay=1e-6)
            made.append(Training(stage, rows, seed))
        return made

    def contender(count):
        return lambda: train_together(trainings(count), max_models=count)

    seconds = alternate({count: contender(count) for count in (1, *sizes)}, blocks)
    return {
        "ms_of_one_per_step": 1e3 * statistics.median(seconds[1]) / (2 * steps),
        "stack_over_one": {count: paired_ratio(seconds, count, 1) for count in sizes},
    }


def search(blocks, name):
    """Time of GridSearchCV with two processes over that of StackedGridSearchCV."""
    X, truth = load_odds("cardio", return_X_y=True)
    rows, y = make_partial_labels(
        truth, labeled_anomalies=60, labeled_normals=300, pollution=0.05, random_state=0
    )
    X = X[rows]
    detector = DeepSAD(
        n_epochs=10,
        pretrain=True,
        pretraining=Pretraining(n_epochs=10),
        anomaly_fraction=None,
        device="cpu",
        random_state=0,
        **NETWORKS[name],
    )
    arguments = {
        "estimator": make_pipeline(StandardScaler(), detector),
        "param_grid": GRID,
        "scoring": labeled_roc_auc,
        "cv": LabeledStratifiedKFold(n_splits=5, shuffle=True, random_state=0),
        "error_score": "raise",
    }
    searches = {
        "scikit-learn": GridSearchCV(**arguments, n_jobs=2),
        "stacked": StackedGridSearchCV(**arguments, n_jobs=2),
        "stacked, one process": StackedGridSearchCV(**arguments),
    }
    seconds = alternate({key: lambda s=s: s.fit(X, y) for key, s in searches.items()}, blocks)
    theirs, *ours = (each.cv_results_["mean_test_score"] for each in searches.values())
    return {
        "rows": len(X),
        "seconds": {key: statistics.median(values) for key, values in seconds.items()},
        "scikit-learn_over": {
            key: paired_ratio(seconds, "scikit-learn", key) for key in list(searches)[1:]
        },
        "best": {key: each.best_params_ for key, each in searches.items()},
        "best_score": {key: each.best_score_ for key, each in searches.items()},
        "largest_difference_of_scores": float(np.abs(np.subtract(ours, theirs)).max()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    measured = {
        "members": members,
        "members_lenet": lambda blocks: members(max(3, blocks // 3), sizes=(8,), name="lenet"),
        "search_paper": lambda blocks: search(max(1, blocks // 5), "paper"),
        "search_default": lambda blocks: search(max(1, blocks // 5), "default"),
    }
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--parts", nargs="+", default=list(measured), choices=measured)
    arguments = parser.parse_args()
    path = RESULTS / "stacked.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    made_with = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    for part in arguments.parts:
        results[part] = made_with | measured[part](arguments.blocks)
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
