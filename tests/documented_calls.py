"""Calls as README and documentation show them, for type checkers: none of them is an error.

They run, too, on tiny data. What ``assert_type`` says is what a checker must know by itself; what
``wrong`` holds a checker must refuse: there an unused ``type: ignore`` is an error.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Literal, assert_type

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.stats import loguniform
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from skdeepad import (
    AGAD,
    FCDD,
    HSC,
    SSAD,
    SSDGM,
    AutoEncoder,
    CollapseWarning,
    Compute,
    DeepClassifier,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    EarlyStopping,
    HeatmapDisplay,
    HybridDetector,
    LabelWarning,
    Pretraining,
    losses,
    networks,
)
from skdeepad.base import learns_from_labels
from skdeepad.datasets import (
    load_breast_cancer_anomaly,
    load_digits_anomaly,
    load_odds,
    make_partial_labels,
)
from skdeepad.engine import Batch, Objective, Record, Rows, Stage, score, train
from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    cross_val_anomaly_scores,
    labeled_average_precision_score,
    labeled_balanced_accuracy_score,
    labeled_partial_roc_auc_score,
    labeled_roc_auc,
    labeled_roc_auc_score,
)
from skdeepad.networks import MLP, LeNet
from skdeepad.objectives import DistanceObjective
from skdeepad.parameters import Parametrized, parameter
from skdeepad.stacking import Fit, fit_together, why_not_stacked
from skdeepad.synthetic import confetti, permuted_columns

Floats = NDArray[np.float64]


class Network(nn.Sequential):
    """Takes the shape of a row."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__(nn.Linear(input_shape[0], 4, bias=False))


class Hinge(Parametrized):
    """Declares a parameter, as detectors do."""

    margin: float = parameter(default=1.0, doc="Where it bends.", kw_only=False)


class Length(Objective):
    """An objective of one's own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def score(self, x: Tensor) -> Tensor:
        """Length of the code."""
        return losses.norm(self.network(x))

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each row."""
        return self.score(batch.x)


def turned(batch: Tensor) -> Tensor:
    """Change images, as a transform of torchvision does."""
    return batch.flip(-1)


def decoder(code_size: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Map codes back to rows."""
    return nn.Linear(code_size, input_shape[0])


def main() -> None:
    """Call what is documented."""
    rng = np.random.default_rng(0)
    X: Floats = np.vstack([rng.normal(size=(60, 4)), rng.normal(3, 1, size=(20, 4))])
    truth = np.repeat([1, -1], [60, 20])
    y = np.zeros(80, dtype=int)
    y[:10], y[-8:] = 1, -1
    images = rng.normal(size=(24, 1, 16, 16))

    # Detectors, and what they are made with.
    quick = DeepSAD(n_epochs=5)
    detectors = [
        quick,
        DeepSAD(eta=2.0),
        DeepSAD(2),
        DeepSAD(hidden_layer_sizes=(32, 16, 8), n_branches=1, device="cpu", random_state=0),
        DeepSAD(hidden_layer_sizes=[16, 8], random_state=np.random.RandomState(0)),
        DeepSAD(compute=Compute(precision="bfloat16")),
        DeepSAD(early_stopping=True, contamination="auto"),
        DeepSAD(early_stopping=EarlyStopping(n_iter_no_change=5, tol=1e-3)),
        DeepSAD(lr_schedule=(50,), pretraining=Pretraining(n_epochs=350, lr_schedule=(250,))),
        DeepSAD(network=nn.Linear(4, 2, bias=False), pretrain=False),
        DeepSAD(network=Network),
        DeepSAD(lr_schedule="two-phase", clip_grad_norm=1.0, input_noise="auto", squash=None),
        DeepSAD(lr_schedule=lambda progress: 1 - progress, device=torch.device("cpu"), verbose=0),
        DeepSVDD("soft-boundary", nu=0.1, contamination="auto"),
        DeepSVDD(network=partial(LeNet, filters=(4, 8), dense=(16,)), input_shape=(1, 8, 8)),
        HSC("norm"),
        HSC(augment=["flip", "crop"], anomaly_fraction=None, pretrain="auto"),
        DeepClassifier("focal"),
        SSDGM("M1+M2", likelihood="bernoulli"),
        AGAD(generator="unet", contextual_adversarial=0),
        AutoEncoder(network=Network, decoder=decoder),
        FCDD(hidden_layer_sizes=(8, 8), augment=turned),
        SSAD(kappa=1),
        SSAD("rbf", gamma="scale", nu=0.2),
        SSAD(kernel=lambda A, B: A @ B.T),
        HybridDetector(SSAD(), AutoEncoder(hidden_layer_sizes=(16, 2)), random_state=0),
        DeepEnsemble(quick, n_estimators=2, combination="max"),
        Hinge(2.0),
    ]
    assert all(isinstance(each.get_params(), dict) for each in detectors)
    assert_type(DeepSAD.with_paper_settings(n_epochs=2), DeepSAD)
    assert_type(AGAD.with_paper_settings(generator="naive"), AGAD)
    changed = quick.set_params(compute__stream=True, early_stopping=True, early_stopping__tol=1e-3)
    assert_type(changed.n_epochs, int | Literal["auto"])

    # X of any kind, y as it comes.
    small = DeepSAD(n_epochs=2, hidden_layer_sizes=(8, 4), n_branches=2, random_state=0)
    assert_type(small.fit(X), DeepSAD)
    assert_type(small.fit(X, y).predict(X), NDArray[np.int_])
    for rows in (X.tolist(), X.astype(np.float32), pd.DataFrame(X), torch.from_numpy(X)):
        small.fit(rows, y.tolist())
    small.fit(pl.DataFrame(X), pd.Series(y)).fit(list(X), torch.from_numpy(y))
    small.fit(X, y=None)
    assert_type(small.fit_predict(X, y), NDArray[np.int_])
    assert_type(small.score_samples(X), Floats)
    assert_type(small.anomaly_score([[0, 0, 0, 0], [4, 4, 4, 4]]), Floats)
    assert_type(small.decision_function(pd.DataFrame(X)), Floats)
    assert_type(small.score(X, truth), float)
    assert_type(small.offset_, float)
    assert_type(small.network_, nn.Module)
    assert_type(small.history_["train"]["loss"][-1], float)
    assert_type(small.input_shape_, tuple[int, ...])
    assert_type(small.n_epochs_, int)
    assert_type(small.device_, torch.device)

    # Other methods.
    soft = DeepSVDD("soft-boundary", n_epochs=2, pretrain=False, random_state=0).fit(X)
    assert_type(soft.radius_, float)
    codes = AutoEncoder(n_epochs=2, hidden_layer_sizes=(8, 2), random_state=0).fit(X)
    assert_type(codes.transform(X), Floats)
    assert_type(codes.decoder_, nn.Module)
    kernel = SSAD(kappa=1).fit(X, y, sample_weight=np.ones(80))
    assert_type(kernel.support_vectors_, Floats)
    assert_type(kernel.n_iter_, int)
    classes = DeepClassifier(n_epochs=2, random_state=0).fit(X, y)
    assert_type(classes.anomaly_probability([[0, 0, 0, 0], [4, 4, 4, 4]]), Floats)
    hybrid = HybridDetector(SSAD(), codes, random_state=0).fit(X, y)
    assert_type(hybrid.score_samples(X), Floats)
    ensemble = DeepEnsemble(small, n_estimators=2, random_state=0).fit(X, y)
    assert_type(ensemble.score_std(X), Floats)
    agad = AGAD(n_epochs=2, random_state=0).fit(X, y)
    assert_type(agad.reconstruct(X), Floats)
    assert_type(agad.explain(X), Floats)

    # Images, masks and heat maps.
    blobs, where = confetti(images, random_state=0)
    both = np.concatenate([images, blobs])
    masks = np.concatenate([np.full((24, 16, 16), -1), where])
    fcdd = FCDD(hidden_layer_sizes=(8, 8), n_epochs=2, random_state=0)
    assert_type(fcdd.fit(both, np.repeat([0, -1], 24), masks=masks), FCDD)
    assert_type(fcdd.explain(images[:2]), Floats)
    height, width = fcdd.receptive_field_
    assert_type(height.size + width.stride, int)
    display = HeatmapDisplay.from_estimator(fcdd, images[:2])
    assert_type(display.plot(cmap="viridis"), HeatmapDisplay)
    HeatmapDisplay.from_maps(images[:2], fcdd.explain(images[:2]), scores=[0.5, 1.0])
    plt.close("all")
    assert_type(permuted_columns(X, spread=1, random_state=0), NDArray[np.float32])

    # Data.
    table, target = load_breast_cancer_anomaly(return_X_y=True)
    assert_type(table, Floats)
    digits = load_digits_anomaly(normal=3)
    indices, partial_labels = make_partial_labels(
        digits.target,
        labeled_anomalies=0.05,
        pollution=0.1,
        known_classes=[7],
        classes=digits.digit,
        random_state=0,
    )
    assert_type(partial_labels, NDArray[np.int64])
    assert digits.data[indices].shape[1] == 64
    make_partial_labels(target, labeled_anomalies=15, share_of="each_kind")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "thyroid.npz"), X=np.zeros((3772, 6)), y=np.arange(3772) < 93)
        assert_type(load_odds("thyroid", data_home=folder, return_X_y=True)[0], Floats)

    # Model selection.
    assert_type(labeled_roc_auc_score(truth, small.decision_function(X)), float)
    labeled_roc_auc_score([-1, -1, 0, 1, 1], [-2.0, 0.5, -9.0, 0.3, 1.0])
    labeled_average_precision_score([-1, 0, 1], [-2.0, 0.5, 1], prevalence=0.01)
    labeled_partial_roc_auc_score([-1, -1, 0, 1, 1], [-2, 0.5, -9, 0.3, 1], max_fpr=0.5)
    labeled_balanced_accuracy_score([-1, -1, 0, 1, 1], [-1, 1, -1, 1, 1])
    folds = LabeledStratifiedKFold(n_splits=2, unlabeled="split", shuffle=True, random_state=0)
    for training, _ in folds.split(X, y):
        small.fit(X[training], y[training])
    assert_type(cross_val_anomaly_scores(small, X, y, cv=2, scale="rank"), Floats)
    grid = {"eta": [0.1, 1.0], "lr": [1e-3, 1e-2]}
    search = StackedGridSearchCV(
        small, grid, cv=folds, scoring=labeled_roc_auc, error_score="raise"
    )
    assert_type(search.fit(X, y), StackedGridSearchCV)
    assert search.best_score_ <= 1
    distributions = {"eta": loguniform(0.1, 10)}
    StackedRandomizedSearchCV(small, distributions, n_iter=2, cv=folds, random_state=0).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), small)
    rows_in, rows_out, y_in, _ = train_test_split(X, y, stratify=y, random_state=0)
    pipeline.fit(rows_in, y_in).score_samples(rows_out)
    GridSearchCV(
        pipeline.set_params(deepsad__pretrain=False),
        {"deepsad__n_epochs": [1, 2]},
        scoring=labeled_roc_auc,
        cv=folds,
    ).fit(X, y)
    assert_type(why_not_stacked(small), str | None)
    assert_type(learns_from_labels(pipeline), bool)
    fits = [Fit(DeepSVDD(n_epochs=1, random_state=seed), X, None) for seed in range(2)]
    fit_together(fits, max_models=2)

    # Parts, for detectors of one's own.
    placed = Rows.place(X.astype(np.float32), None, (4,), torch.device("cpu"))
    encoder = networks.build_encoder(None, (4,), (8, 2), bias=False, seed=0)
    objective = DistanceObjective(encoder, (4,), 2, losses.deep_sad, eta=2.0)
    record = train(Stage("train", objective, n_epochs=2, lr=1e-3), placed, seed=0)
    assert_type(record, Record)
    assert_type(record.losses["loss"][-1], float)
    assert_type(score(Length(MLP((4,), (8, 2))), placed), Tensor)
    assert_type(losses.deep_sad(torch.ones(3), torch.tensor([0, 1, -1]), torch.tensor(2.0)), Tensor)
    assert_type(networks.lenet_mnist().decoder(), nn.Module)


def wrong() -> None:
    """Call what is no good; each line is an error to a checker.

    mypy does not see names that are unknown, as scikit-learn's base classes have no types.
    """
    DeepSAD(eta="much")  # type: ignore[arg-type]
    DeepSVDD(objective="hard-boundary")  # type: ignore[arg-type]
    DeepSAD(compute="bfloat16")  # type: ignore[arg-type]
    DeepSAD(early_stopping=5.0)  # type: ignore[arg-type]
    Compute(precision="float16")  # type: ignore[arg-type]
    DeepSAD().score([[1.0]])  # type: ignore[call-arg]
    labeled_roc_auc_score([1, -1], [0.0, 1.0]).mean()  # type: ignore[attr-defined]


if __name__ == "__main__":
    with warnings.catch_warnings():
        for category in (LabelWarning, CollapseWarning):
            warnings.simplefilter("ignore", category)
        main()
