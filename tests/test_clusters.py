"""What fits many models gives the same on a cluster of two workers as alone.

``.ci/extras`` runs all of it, with Dask and Ray; ``.ci/run`` one test with Dask.
"""

import warnings
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from conftest import table
from numpy.testing import assert_allclose
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepEnsemble, DeepSAD
from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    cross_val_anomaly_scores,
    labeled_roc_auc,
)
from skdeepad.stacking import Fit, fit_together

# Others' code, at its start and end; workers warn as they please.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

X, Y = table(n=120)
SMALL = DeepSAD(
    hidden_layer_sizes=(8, 4), n_branches=1, n_epochs=3, batch_size=32, random_state=0, device="cpu"
)
JUDGING = {"scoring": labeled_roc_auc, "cv": LabeledStratifiedKFold(3), "error_score": "raise"}


@contextmanager
def on_dask():
    distributed = pytest.importorskip("dask.distributed", reason="needs dask[distributed]")
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        yield


@contextmanager
def on_ray():
    ray = pytest.importorskip("ray", reason="needs ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()


CLUSTERS = {"dask": on_dask, "ray": on_ray}


@pytest.fixture(params=CLUSTERS, scope="module")
def cluster(request):
    """Name of joblib's backend, while a cluster of two workers runs."""
    with CLUSTERS[request.param]():
        yield request.param


def grid(n_jobs):
    pipeline = make_pipeline(StandardScaler(), SMALL)
    params = {"deepsad__eta": [0.1, 10.0], "deepsad__lr": [1e-3, 1e-2]}
    search = StackedGridSearchCV(pipeline, params, n_jobs=n_jobs, **JUDGING).fit(X, Y)
    scores = [search.cv_results_[f"split{fold}_test_score"] for fold in range(3)]
    return np.r_[np.ravel(scores), search.best_estimator_[-1].offset_]


def randomized(n_jobs):
    params = {"eta": loguniform(0.1, 10)}
    search = StackedRandomizedSearchCV(
        SMALL, params, n_iter=3, random_state=0, n_jobs=n_jobs, **JUDGING
    ).fit(X, Y)
    return np.r_[search.cv_results_["mean_test_score"], search.best_estimator_.offset_]


def ensemble(n_jobs):
    return DeepEnsemble(SMALL, 3, random_state=0).fit(X, Y).score_samples(X)


def together(n_jobs):
    fits = [Fit(clone(SMALL).set_params(eta=eta), X, Y) for eta in (1, 2, 3)]
    fit_together(fits, n_jobs=n_jobs)
    assert [fit.error for fit in fits] == [None] * 3
    return np.concatenate([fit.estimator.score_samples(X) for fit in fits])


def out_of_fold(n_jobs):
    return cross_val_anomaly_scores(SMALL, X, Y, cv=3, n_jobs=n_jobs)


@pytest.mark.parametrize("job", [grid, randomized, ensemble, together, out_of_fold])
def test_a_cluster_gives_what_one_process_gives(job, cluster):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = job(n_jobs=None)
        with joblib.parallel_config(cluster, n_jobs=2):
            assert_allclose(job(n_jobs=2), alone, rtol=1e-3)
