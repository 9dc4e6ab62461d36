"""The hybrid detector: what it is made of, and that its scores come from the wrapped detector."""

import numpy as np
import pytest
from conftest import table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDOneClassSVM
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import SSAD, AutoEncoder, DeepSAD, HybridDetector, LabelWarning
from skdeepad.datasets import load_digits_anomaly
from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc

X, Y = table(n=120)
NEW = np.random.default_rng(5).normal(size=(40, 4))
ignore_unused_labels = pytest.mark.filterwarnings("ignore:.*does not learn from labels")
DETECTORS = {
    "OneClassSVM": OneClassSVM(nu=0.2),
    "IsolationForest": IsolationForest(n_estimators=20),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
    "SGDOneClassSVM": SGDOneClassSVM(random_state=0),
    "KernelDensity": KernelDensity(bandwidth=0.5),
    "SSAD": SSAD(nu=0.2),
    "Pipeline": make_pipeline(PCA(2), OneClassSVM()),
}


def autoencoder(**params):
    settings = {"hidden_layer_sizes": (8, 3), "n_epochs": 3, "random_state": 0, "device": "cpu"}
    return AutoEncoder(**{**settings, **params})


def by_hand(detector, fitted_autoencoder, rows, y, new, standardize):
    """Return the scores of new rows by the parts alone."""
    codes, new_codes = fitted_autoencoder.transform(rows), fitted_autoencoder.transform(new)
    if standardize:
        scaler = StandardScaler().fit(codes[y >= 0])
        codes, new_codes = scaler.transform(codes), scaler.transform(new_codes)
    if isinstance(detector, SSAD):
        return detector.fit(codes, y).score_samples(new_codes)
    return detector.fit(codes[y >= 0]).score_samples(new_codes)


@ignore_unused_labels
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "IsolationForest"])
def test_scores_are_those_of_the_detector_on_the_codes(name, standardize):
    hybrid = HybridDetector(DETECTORS[name], autoencoder(), standardize=standardize).fit(X, Y)
    fitted = autoencoder().fit(X[Y >= 0])
    expected = by_hand(DETECTORS[name], fitted, X, Y, NEW, standardize)
    assert_allclose(hybrid.score_samples(NEW), expected, rtol=1e-6)
    assert (hybrid.scaler_ is not None) is standardize


@ignore_unused_labels
@pytest.mark.parametrize("name", DETECTORS)
def test_nothing_given_is_fitted(name):
    given, coder = DETECTORS[name], autoencoder()
    before = set(vars(given))
    hybrid = HybridDetector(given, coder).fit(X, Y)
    assert set(vars(given)) == before
    assert hybrid.detector_ is not given
    with pytest.raises(NotFittedError):
        coder.transform(X)


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("detector__nu", (0.1, 0.7)),
        ("detector__gamma", (0.01, 2.0)),
        ("detector__kernel", ("rbf", "linear")),
        ("autoencoder__n_epochs", (1, 5)),
        ("autoencoder__hidden_layer_sizes", ((8, 2), (8, 4))),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_parameters_of_the_parts_change_the_scores(parameter, values, given):
    parts = (OneClassSVM(), autoencoder()) if given else (None, None)
    hybrid = HybridDetector(*parts, random_state=0).set_params(autoencoder__device="cpu")
    if not parameter.startswith("autoencoder__n_epochs"):
        hybrid.set_params(autoencoder__n_epochs=2)
    one, other = (
        hybrid.set_params(**{parameter: value}).fit(X).score_samples(NEW) for value in values
    )
    assert (one != other).all()


def test_defaults_are_an_autoencoder_and_a_one_class_svm(monkeypatch):
    monkeypatch.setattr(AutoEncoder, "_auto_steps", 20)
    hybrid = HybridDetector(random_state=0).fit(X)
    assert isinstance(hybrid.detector_, OneClassSVM)
    assert isinstance(hybrid.autoencoder_, AutoEncoder)
    named = HybridDetector(OneClassSVM(), AutoEncoder(), random_state=0).fit(X)
    assert_array_equal(hybrid.score_samples(NEW), named.score_samples(NEW))
    assert hybrid.detector is None  # as given


def test_a_part_set_at_once_with_its_parameter_is_kept():
    hybrid = HybridDetector().set_params(detector=SSAD(), detector__nu=0.3)
    assert isinstance(hybrid.detector, SSAD)
    assert hybrid.detector.nu == 0.3
    with pytest.raises(ValueError, match="Invalid parameter"):
        HybridDetector().set_params(detector__no_such=1)


# Labels


def test_ssad_is_given_the_labels():
    without = HybridDetector(SSAD(), autoencoder()).fit(X).score_samples(NEW)
    hybrid = HybridDetector(SSAD(), autoencoder()).fit(X, Y)
    assert (hybrid.score_samples(NEW) != without).any()
    assert hybrid.detector_.margin_ > 0
    in_pipeline = HybridDetector(make_pipeline(PCA(3), SSAD()), autoencoder())
    assert in_pipeline.fit(X, Y).detector_[-1].margin_ > 0
    deep = HybridDetector(DeepSAD(n_epochs=2, device="cpu"), autoencoder(), random_state=0)
    assert (deep.fit(X, Y).score_samples(NEW) != deep.fit(X).score_samples(NEW)).any()


def test_other_detectors_leave_labeled_anomalies_out_and_say_so():
    hybrid = HybridDetector(OneClassSVM(), autoencoder())
    with pytest.warns(LabelWarning, match="does not learn from labels"):
        hybrid.fit(X, Y)
    expected = hybrid.score_samples(NEW)
    assert_array_equal(hybrid.fit(X[Y >= 0]).score_samples(NEW), expected)


def test_labels_help_on_digits():
    digits = load_digits_anomaly(normal=9)
    rows, truth = digits.data / 16, digits.target
    scores = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        train, test = np.split(rng.permutation(len(rows)), [900])
        y = np.where(rng.random(900) < 0.1, np.minimum(truth[train], 0), 0)
        kept = (truth[train] > 0) | (y < 0)
        coder = AutoEncoder(hidden_layer_sizes=(64, 16), n_epochs=100, batch_size=64, device="cpu")
        hybrid = HybridDetector(SSAD(), coder, random_state=seed)
        without = hybrid.fit(rows[train][truth[train] > 0]).score(rows[test], truth[test])
        scores.append(
            [without, hybrid.fit(rows[train][kept], y[kept]).score(rows[test], truth[test])]
        )
    without, with_labels = np.mean(scores, axis=0)
    assert without > 0.75
    assert with_labels > without + 0.03


# Threshold


@ignore_unused_labels
@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "KernelDensity"])
def test_auto_contamination_is_the_threshold_of_the_detector(name):
    hybrid = HybridDetector(DETECTORS[name], autoencoder(), contamination="auto", random_state=0)
    hybrid.fit(X, Y)
    codes = hybrid.scaler_.transform(hybrid.autoencoder_.transform(NEW))
    assert_allclose(
        hybrid.decision_function(NEW), hybrid.detector_.decision_function(codes), atol=1e-12
    )


def test_kernel_density_has_no_threshold_of_its_own():
    hybrid = HybridDetector(KernelDensity(), autoencoder(), contamination="auto")
    with pytest.raises(ValueError, match="HybridDetector with KernelDensity has none"):
        hybrid.fit(X)


# Reuse


def test_a_frozen_autoencoder_is_used_as_it_is():
    fitted = autoencoder().fit(X)
    hybrid = HybridDetector(OneClassSVM(), FrozenEstimator(fitted), random_state=3).fit(X)
    codes = StandardScaler().fit_transform(fitted.transform(X))
    assert_allclose(hybrid.score_samples(X), OneClassSVM().fit(codes).score_samples(codes))
    assert_array_equal(hybrid.autoencoder_.transform(X), fitted.transform(X))


def test_grid_search_over_both_parts():
    hybrid = HybridDetector(SSAD(tol=0.01), autoencoder(), random_state=0)
    noisy = X + np.random.default_rng(0).normal(scale=4, size=X.shape)
    grid = {"detector__nu": [0.1, 0.4], "autoencoder__n_epochs": [1, 4]}
    search = GridSearchCV(
        hybrid, grid, cv=LabeledStratifiedKFold(3), scoring=labeled_roc_auc, error_score="raise"
    ).fit(noisy, Y)
    assert set(search.best_params_) == set(grid)
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1
    none = GridSearchCV(
        HybridDetector(random_state=0),
        {"detector__nu": [0.1, 0.4], "autoencoder__n_epochs": [1], "contamination": [0.2]},
        cv=2,
        scoring=lambda estimator, X, y=None: float(estimator.decision_function(X).mean()),
        error_score="raise",
    ).fit(X)
    assert len(np.unique(none.cv_results_["mean_test_score"])) == 2


@ignore_unused_labels
def test_a_pipeline_with_memory_trains_the_autoencoder_once(tmp_path, monkeypatch):
    fits = []
    original = AutoEncoder._fit

    def spy(self, *args, **kwargs):
        fits.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(AutoEncoder, "_fit", spy)
    pipeline = make_pipeline(autoencoder(), OneClassSVM(), memory=str(tmp_path))
    scores = [
        pipeline.set_params(oneclasssvm__nu=nu).fit(X).decision_function(NEW) for nu in (0.1, 0.5)
    ]
    assert len(fits) == 1
    assert (scores[0] != scores[1]).any()


# Data


def test_images():
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8))
    hybrid = HybridDetector(None, autoencoder(hidden_layer_sizes=None, n_epochs=1), random_state=0)
    hybrid.fit(images)
    assert hybrid.n_features_in_ == 64
    assert hybrid.autoencoder_.input_shape_ == (1, 8, 8)
    assert_array_equal(hybrid.score_samples(images), hybrid.score_samples(images.reshape(40, 64)))


def test_the_same_random_state_gives_the_same_model_whatever_the_parts_have():
    forest = IsolationForest(n_estimators=10)
    coder = AutoEncoder(hidden_layer_sizes=(8, 3), n_epochs=1, device="cpu")
    one, same, other = (
        HybridDetector(forest, coder, random_state=seed).fit(X).score_samples(NEW)
        for seed in (0, 0, 1)
    )
    assert_array_equal(one, same)
    assert (one != other).any()


def test_a_failing_part_leaves_the_model_before_as_it_was():
    hybrid = HybridDetector(OneClassSVM(), autoencoder()).fit(X)
    expected = hybrid.score_samples(NEW)
    hybrid.set_params(autoencoder__hidden_layer_sizes=(0,))
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        hybrid.fit(X)
    assert_array_equal(hybrid.score_samples(NEW), expected)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("detector", StandardScaler()),
        ("autoencoder", OneClassSVM()),
    ],
)
def test_parts_must_have_the_methods_they_need(part, wrong):
    with pytest.raises(ValueError, match=f"The '{part}' parameter"):
        HybridDetector(**{part: wrong}).fit(X)
    with pytest.raises(ValueError, match="LocalOutlierFactor with novelty=False.*novelty=True"):
        HybridDetector(LocalOutlierFactor()).fit(X)
