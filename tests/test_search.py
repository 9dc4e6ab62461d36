"""Detectors in scikit-learn's model selection, with labels that are mostly unknown."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepSAD
from skdeepad.datasets import load_breast_cancer_anomaly, make_partial_labels
from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    cross_val_anomaly_scores,
    labeled_average_precision,
    labeled_partial_roc_auc,
    labeled_roc_auc,
)


@pytest.fixture(scope="module")
def data():
    """Breast cancer with 8 verified anomalies, 8 verified normals, and 10% hidden anomalies."""
    X, truth = load_breast_cancer_anomaly(return_X_y=True)
    rows, y = make_partial_labels(
        truth, labeled_anomalies=8, labeled_normals=8, pollution=0.1, random_state=0
    )
    return X[rows], y, truth[rows]


@pytest.fixture
def pipeline():
    detector = DeepSAD(
        hidden_layer_sizes=(16, 8), n_epochs=3, pretrain=False, random_state=0, device="cpu"
    )
    return make_pipeline(StandardScaler(), detector)


def margin(detector, X, y):
    """How far labeled normals lie above labeled anomalies: unlike an AUC, never the same twice."""
    decision = detector.decision_function(X)
    return decision[y > 0].mean() - decision[y < 0].mean()


def searches(pipeline, cv):
    grid = {"deepsad__n_epochs": [1, 4], "deepsad__lr": [1e-4, 1e-2]}
    common = {"scoring": margin, "cv": cv, "error_score": "raise"}
    return {
        "grid": GridSearchCV(pipeline, grid, **common),
        "randomized": RandomizedSearchCV(pipeline, grid, n_iter=3, random_state=0, **common),
        "halving": HalvingGridSearchCV(
            pipeline,
            {"deepsad__lr": [1e-4, 1e-2]},
            resource="deepsad__n_epochs",
            min_resources=2,
            max_resources=4,
            random_state=0,
            **common,
        ),
    }


@pytest.mark.parametrize(
    ("kind", "unlabeled"),
    [
        ("grid", "train"),
        ("grid", "split"),
        ("grid", "drop"),
        ("randomized", "train"),
        ("halving", "split"),
    ],
)
def test_searches_score_every_candidate_and_find_a_detector(pipeline, data, kind, unlabeled):
    X, y, truth = data
    cv = LabeledStratifiedKFold(2, unlabeled=unlabeled, shuffle=True, random_state=0)
    search = searches(pipeline, cv)[kind].fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1  # the candidates do differ
    assert roc_auc_score(truth > 0, search.decision_function(X)) > 0.8
    again = clone(pipeline).set_params(**search.best_params_)
    if kind == "halving":
        again.set_params(deepsad__n_epochs=search.cv_results_["n_resources"][search.best_index_])
    assert np.array_equal(again.fit(X, y).decision_function(X), search.decision_function(X))


def test_a_fold_scores_as_by_hand(pipeline, data):
    X, y, _ = data
    cv = LabeledStratifiedKFold(4)
    scoring = {
        "auc": labeled_roc_auc,
        "ap": labeled_average_precision,
        "partial": labeled_partial_roc_auc,
    }
    results = cross_validate(
        pipeline, X, y, cv=cv, scoring=scoring, error_score="raise", return_estimator=True
    )
    for fold, (train, test) in enumerate(cv.split(X, y)):
        fitted = clone(pipeline).fit(X[train], y[train])
        decision = fitted.decision_function(X[test])
        assert results["test_auc"][fold] == roc_auc_score(y[test] > 0, decision)
        assert np.array_equal(results["estimator"][fold].decision_function(X[test]), decision)


@pytest.mark.slow
def test_worker_processes_give_the_same_bits(pipeline, data):
    X, y, _ = data
    cv = LabeledStratifiedKFold(2)
    grid = {"deepsad__lr": [1e-4, 1e-2]}
    alone, shared = (
        GridSearchCV(pipeline, grid, cv=cv, scoring=labeled_roc_auc, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2)
    )
    for name in ("mean_test_score", "split0_test_score", "split1_test_score"):
        assert np.array_equal(alone.cv_results_[name], shared.cv_results_[name])
    assert np.array_equal(alone.decision_function(X), shared.decision_function(X))


def test_out_of_fold_scores_see_labels_as_they_are(pipeline, data):
    X, y, _ = data
    cv = LabeledStratifiedKFold(2, unlabeled="split")
    scores = cross_val_anomaly_scores(pipeline, X, y, cv=cv)
    for train, test in cv.split(X, y):
        fitted = clone(pipeline).fit(X[train], y[train])
        assert np.array_equal(scores[test], -fitted.score_samples(X[test]))
