"""Explanations: relevance against closed forms, what it adds up to, and planted causes."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import OneClassSVM
from torch import nn

from skdeepad import (
    AGAD,
    CVDD,
    FCDD,
    HSC,
    SSAD,
    SSDGM,
    AutoEncoder,
    DeepClassifier,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    HybridDetector,
)
from skdeepad.inspection import explain, nearest_cases
from skdeepad.networks import MLP, LeNet, lenet_mnist
from skdeepad.occlusion import in_turn
from skdeepad.relevance import integrated, propagated, secants, unknown_layers

QUICK = {"n_epochs": 3, "random_state": 0, "device": "cpu"}
AE = AutoEncoder(hidden_layer_sizes=(16, 3), **QUICK)


def table(n=120, d=6):
    """Rows, a tenth of them labeled anomalies."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.zeros(n, dtype=int)
    y[: n // 10] = -1
    X[y < 0] += 3
    return X, y


X, Y = table()

COMPARE = {
    "DeepSVDD": DeepSVDD(**QUICK),
    "DeepSVDD squashed": DeepSVDD(squash=1.5, n_branches=1, **QUICK),
    "DeepSAD": DeepSAD(**QUICK),
    "HSC": HSC(**QUICK),
    "HSC squared": HSC("squared-norm", **QUICK),
    "HSC norm": HSC("norm", **QUICK),
    "HSC l1": HSC("l1", n_branches=2, **QUICK),
    "DeepClassifier": DeepClassifier(**QUICK),
    "SSDGM M2": SSDGM(**QUICK),
    "SSDGM M1+M2": SSDGM("M1+M2", **QUICK),
    "FCDD": FCDD(hidden_layer_sizes=(8, 8), **QUICK),
    "SSAD": SSAD(),
    "SSAD linear": SSAD(kernel="linear"),
    "SSAD poly": SSAD(kernel="poly"),
    "SSAD sigmoid": SSAD(kernel="sigmoid"),
    "SSAD own": SSAD(kernel=lambda A, B: np.exp(-np.abs(A[:, None] - B).sum(-1))),
    "Hybrid": HybridDetector(OneClassSVM(), AE),
    "Hybrid SSAD": HybridDetector(SSAD(), AE, standardize=False),
    "Hybrid frozen": HybridDetector(OneClassSVM(kernel="poly"), FrozenEstimator(AE.fit(X))),
    "Hybrid forest": HybridDetector(
        IsolationForest(n_estimators=10, random_state=0), AE, random_state=0
    ),
    "Hybrid density": HybridDetector(KernelDensity(), AE, contamination=0.1),
    "AutoEncoder": AutoEncoder(**QUICK),
    "AGAD": AGAD(**QUICK),
    "Ensemble": DeepEnsemble(DeepSAD(**QUICK), 3),
}
ALONE = {
    "Ensemble of autoencoders": DeepEnsemble(AutoEncoder(**QUICK), 2),
    "Ensemble by maximum": DeepEnsemble(DeepSVDD(**QUICK), 3, combination="max"),
    "Ensemble of others": DeepEnsemble(IsolationForest(n_estimators=10), 2),
}
# Not all learn from labels, some are trained for too short to have converged.
QUIETLY = pytest.mark.filterwarnings("ignore")


def base_of(detector):
    return detector.anomaly_score(detector.reference_).mean()


@QUIETLY
@pytest.mark.parametrize("name", [*COMPARE, *ALONE])
def test_relevance_adds_up_to_the_score(name):
    detector = (COMPARE | ALONE)[name].fit(X, Y)
    with warnings.catch_warnings():  # nothing stands in for what is propagated
        warnings.filterwarnings("error", message="Relevance cannot be propagated")
        relevance = detector.explain(X)
    assert relevance.shape == X.shape and relevance.dtype == np.float64
    assert np.ptp(relevance, axis=1).min() > 0
    scores = detector.anomaly_score(X)
    explanation = explain(detector, X)
    assert_array_equal(explanation.values, relevance)
    assert_array_equal(explanation.scores, scores)
    if name in COMPARE:
        assert_allclose(explanation.base, base_of(detector))
    rounding = 2e-5 * np.abs(relevance).sum(axis=1).max()
    assert_allclose(explanation.residual, 0, atol=rounding + 1e-6)
    assert_allclose(relevance.sum(axis=1), scores - explanation.base, atol=rounding + 1e-6)


@QUIETLY
@pytest.mark.parametrize(
    "name", ["DeepSVDD", "DeepSAD", "HSC", "HSC l1", "DeepClassifier", "FCDD", "SSAD", "Ensemble"]
)
def test_the_column_that_was_moved_is_found(name):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 6))
    labels = np.where(rng.random(300) < 0.05, -1, 0)
    rows[labels < 0] += rng.choice([-5, 5], size=((labels < 0).sum(), 6))
    detector = clone(COMPARE[name])
    if "n_epochs" in detector.get_params():
        detector.set_params(n_epochs=20)
    detector.fit(rows, labels)
    moved, column = rng.normal(size=(60, 6)) * 0.5, rng.integers(6, size=60)
    moved[np.arange(60), column] += 6
    assert (detector.explain(moved).argmax(axis=1) == column).mean() > 0.85


def test_the_column_that_does_not_go_with_the_others_is_found_by_its_residual():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 1)) + 0.1 * rng.normal(size=(400, 8))
    detector = AutoEncoder(hidden_layer_sizes=(16, 2), n_epochs=40, random_state=0, device="cpu")
    detector.fit(rows)
    column = rng.integers(8, size=50)
    moved = rows[:50].copy()
    moved[np.arange(50), column] += 3
    assert (detector.explain(moved).argmax(axis=1) == column).mean() > 0.85


def test_a_distance_in_a_linear_space_is_shared_as_the_formula_says():
    """Of squared distances of W x to c the share of column i is known by hand."""
    linear = nn.Linear(3, 2, bias=False)
    detector = DeepSVDD(network=linear, **QUICK).fit(X[:, :3])
    weights = detector.network_.weight.detach().double().numpy()
    c = detector._objective_.center.double().numpy()
    references = detector.reference_.astype(np.float64)
    expected = np.zeros((len(X), 3))
    for r in references:
        z, z_r = X[:, :3] @ weights.T, r @ weights.T
        # (z - c)^2 - (z_r - c)^2 = (z + z_r - 2 c) (z - z_r)
        expected += ((z + z_r - 2 * c) @ weights) * (X[:, :3] - r) / len(references)
    assert_allclose(detector.explain(X[:, :3]), expected, rtol=1e-3, atol=1e-5)


def test_an_rbf_kernel_is_shared_as_the_formula_says():
    detector = SSAD(gamma=0.3).fit(X, Y)
    expected = np.zeros_like(X)
    for r in detector.reference_:
        for u, beta in zip(detector.support_vectors_, detector.dual_coef_[0], strict=True):
            apart = (X - u) ** 2 - (r - u) ** 2
            change = np.exp(-0.3 * ((X - u) ** 2).sum(1)) - np.exp(-0.3 * ((r - u) ** 2).sum())
            total = apart.sum(1)
            slope = np.where(np.abs(total) > 1e-9, change / np.where(total == 0, 1, total), 0)
            expected -= beta * slope[:, None] * apart / len(detector.reference_)
    assert_allclose(detector.explain(X), expected, atol=1e-9)


def test_residuals_of_images_are_shared_as_they_are():
    images = np.random.default_rng(0).normal(size=(20, 1, 16, 16))
    autoencoder = AutoEncoder(**QUICK).fit(images)
    made = autoencoder.inverse_transform(autoencoder.transform(images))
    expected = ((images - made) ** 2)[:, 0] / 256
    assert_allclose(autoencoder.explain(images), expected, rtol=1e-4, atol=1e-6)
    agad = AGAD(hidden_layer_sizes=(4, 8, 8, 4), **QUICK).fit(images)
    squared = ((images - agad.reconstruct(images)) ** 2)[:, 0]
    expected = squared / np.sqrt(squared.sum(axis=(1, 2), keepdims=True))
    assert_allclose(agad.explain(images), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="without reference rows.*Leave it out"):
        autoencoder.explain(images, reference=images[:3])


@pytest.mark.parametrize("shape", [(1, 12, 16), (2, 40)], ids=["images", "series"])
@pytest.mark.parametrize("cls", [DeepSVDD, DeepSAD, HSC, DeepClassifier, AutoEncoder])
@QUIETLY
def test_images_and_series_conserve_their_scores_too(cls, shape):
    rows = np.random.default_rng(0).normal(size=(40, *shape))
    y = np.where(np.arange(40) < 4, -1, 0)
    detector = cls(**QUICK).fit(rows, y)
    relevance = detector.explain(rows)
    assert relevance.shape == (40, *shape[1:])
    base = 0 if cls is AutoEncoder else base_of(detector)
    total = relevance.reshape(40, -1).sum(axis=1)
    assert_allclose(total, detector.anomaly_score(rows) - base, atol=1e-4)
    flat = cls(input_shape=shape, **QUICK).fit(rows.reshape(40, -1), y)
    assert_allclose(flat.explain(rows.reshape(40, -1)), relevance, atol=1e-6)


def test_the_winner_of_a_pool_gets_its_relevance():
    pool = nn.Sequential(nn.MaxPool1d(2), nn.Flatten())
    x = torch.tensor([[[5.0, 1.0]], [[0.0, 1.0]]])
    reference = torch.tensor([[[0.0, 3.0]], [[2.0, 1.5]]])
    with secants(pool, 2):
        relevance = propagated(lambda both: pool(both)[:, 0], x, reference)
    # 5 - 3 by the first, which won; 1 - 2 by the first, which no longer wins
    assert_allclose(relevance[:, 0], [[2.0, 0.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    "network", [lenet_mnist((1, 16, 16)), LeNet((3, 16, 16), (4, 5), (8, 3), bias=True)]
)
def test_pools_and_convolutions_lose_nothing(network):
    generator = torch.Generator().manual_seed(0)
    shape = network(torch.zeros(2, *network_shape(network))).shape
    assert len(shape) == 2
    x, reference = torch.randn(2, 6, *network_shape(network), generator=generator)
    network.eval()
    with secants(network, 6):
        relevance = propagated(lambda both: network(both).sum(1), x, reference)
    expected = (network(x) - network(reference)).sum(1)
    assert_allclose(relevance.flatten(1).sum(1), expected.detach(), atol=1e-5)


def network_shape(network):
    return (next(network.parameters()).shape[1], 16, 16)


def test_a_network_is_left_as_it_was():
    detector = DeepSVDD(**QUICK).fit(X)
    before = detector.anomaly_score(X)
    detector.explain(X)
    assert not any(module._forward_hooks for module in detector.network_.modules())
    assert all(parameter.requires_grad for parameter in detector.network_.parameters())
    assert_array_equal(detector.anomaly_score(X), before)


def test_hooks_are_removed_when_something_fails():
    network = nn.Sequential(nn.ReLU())

    def fail():
        with secants(network, 1):
            assert network[0]._forward_hooks
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not network[0]._forward_hooks


class Gated(nn.Module):
    """Multiplies what it sees by what it sees, outside of layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.a(x) * torch.tanh(self.b(x))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)), "LayerNorm 1"),
        (Gated(), "operations outside of layers"),
    ],
)
@QUIETLY
def test_gradients_are_integrated_where_relevance_cannot_be_propagated(network, named):
    detector = DeepSVDD(network=network, **QUICK).fit(X)
    with pytest.warns(UserWarning, match=f"cannot be propagated through {named}"):
        relevance = detector.explain(X)
    expected = detector.anomaly_score(X) - base_of(detector)
    assert_allclose(relevance.sum(axis=1), expected, atol=0.02 * np.abs(expected).max())


def far(rows, size):
    rows = rows.copy()
    rows[:, 1] = size
    return rows


@QUIETLY
@pytest.mark.parametrize("size", [1, 20, 1000])
def test_what_gradients_miss_is_found_by_replacing_columns(size):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 8))
    detector = DeepSAD(network=network, **QUICK).fit(X, Y)
    rows = far(X[50:54], size)
    relevance = detector.explain(rows)
    expected = detector.anomaly_score(rows) - base_of(detector)
    assert_allclose(relevance.sum(axis=1), expected, atol=0.03 * np.abs(relevance).sum(1).max())


class NoGradient(nn.Module):
    """A frozen part, as people freeze it."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        with torch.no_grad():
            x = torch.relu(self.backbone(x))
        return self.head(x)


@QUIETLY
def test_without_gradients_columns_are_replaced():
    detector = DeepSVDD(network=NoGradient(), **QUICK).fit(X)
    with pytest.warns(UserWarning, match="replaced by those of reference rows"):
        relevance = detector.explain(X[:5])
    expected = detector.anomaly_score(X[:5]) - base_of(detector)
    assert_allclose(relevance.sum(axis=1), expected, atol=1e-5)


@QUIETLY
def test_a_large_constant_score_hides_no_loss():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 8)
            nn.init.constant_(self.b.bias, 100.0)
            self.b.weight.data *= 0.2

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    torch.manual_seed(0)
    detector = HSC(network=Functional(), **QUICK | {"lr": 1e-5, "n_epochs": 1}).fit(X, Y)
    relevance = detector.explain(X)
    expected = detector.anomaly_score(X) - base_of(detector)
    assert_allclose(relevance.sum(axis=1), expected, atol=0.1 * np.abs(expected).max())


class Odd(nn.Module):
    """Calls known layers as no rule expects."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.tensor(0.3))
        self.line, self.head = nn.Linear(6, 8), nn.Linear(4, 4)
        self.sigmoid, self.relu = nn.Sigmoid(), nn.ReLU()
        self.pool = nn.MaxPool1d(2, return_indices=True)

    def forward(self, x):
        x = self.relu(input=self.line(x)) * self.sigmoid(self.gate)
        x = self.sigmoid(x.T).T
        return self.head(self.pool(x[:, None])[0][:, 0])


@QUIETLY
def test_known_layers_may_be_called_in_any_way():
    torch.manual_seed(0)
    detector = DeepSAD(network=Odd(), **QUICK).fit(X, Y)
    relevance = detector.explain(X[:7])
    expected = detector.anomaly_score(X[:7]) - base_of(detector)
    assert_allclose(relevance.sum(axis=1), expected, atol=0.03 * np.abs(relevance).sum(1).max())


def test_layers_that_write_over_their_input_are_as_exact_as_others(recwarn):
    relevance = []
    for in_place in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.LeakyReLU(0.2, in_place),
            nn.Linear(6, 16, bias=False),
            nn.ReLU(in_place),
            nn.Linear(16, 4, bias=False),
        )
        detector = DeepSAD(network=network, **QUICK).fit(X, Y)
        relevance.append(detector.explain(X))
        assert detector.network_[0].inplace == in_place
    assert_allclose(*relevance, atol=1e-6)
    assert not recwarn


def test_functions_may_write_over_what_they_are_given():
    x, reference = torch.ones(2, 3), torch.zeros(2, 3)
    for method in (propagated, integrated):
        assert_allclose(method(lambda rows: rows.mul_(2).sum(1), x, reference), 2.0)
    assert x.min() == 1


def test_explanations_are_made_in_inference_mode_too():
    expected = DeepSAD(**QUICK).fit(X, Y).explain(X[:3])
    with torch.inference_mode():
        assert_array_equal(DeepSAD(**QUICK).fit(X, Y).explain(X[:3]), expected)


def test_layers_without_a_rule_are_named():
    assert unknown_layers(MLP((4,), (8, 2), squash=1.0, n_branches=3)) == []
    assert unknown_layers(lenet_mnist()) == []
    network = nn.Sequential(nn.Softmax(1), nn.Sequential(nn.GRU(3, 3)))
    assert unknown_layers(network) == ["Softmax 0", "GRU 1.0"]


def test_integrals_of_polynomials_are_right():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    relevance = integrated(lambda x: x[:, 0] * x[:, 1] + x[:, 2] ** 2, x, torch.zeros(1, 3))
    assert_allclose(relevance, [[1.0, 1.0, 9.0]], atol=1e-5)


# Reference rows


@pytest.mark.parametrize("cls", [DeepSAD, SSAD])
def test_reference_rows_are_ordinary_ones_of_the_training_set(cls):
    detector = cls().fit(X, Y)
    assert len(detector.reference_) == 8
    scores = detector.anomaly_score(X)[Y >= 0]
    of_references = detector.anomaly_score(detector.reference_)
    assert of_references.max() <= np.median(scores) + 1e-6
    assert_allclose(of_references.min(), scores.min(), rtol=1e-5)
    for row in detector.reference_:
        assert (np.abs(X[Y >= 0] - row).max(axis=1) < 1e-6).any()


def test_there_are_fewer_reference_rows_of_few_rows():
    assert len(DeepSVDD(**QUICK).fit(X[:5]).reference_) < 5


def test_reference_rows_of_the_user_are_compared_with():
    detector = DeepSAD(**QUICK).fit(X, Y)
    relevance = detector.explain(X, reference=X[50:51])
    expected = detector.anomaly_score(X) - detector.anomaly_score(X[50:51])
    assert_allclose(relevance.sum(axis=1), expected, atol=1e-4)
    assert_allclose(relevance[50], 0, atol=1e-6)
    with pytest.raises(ValueError, match="6 features"):
        detector.explain(X, reference=X[:, :3])


def test_errors_say_what_to_do():
    with pytest.raises(NotFittedError):
        DeepSVDD().explain(X)
    detector = DeepSVDD(**QUICK).fit(X)
    del detector.reference_
    with pytest.raises(ValueError, match="earlier version.*pass reference="):
        detector.explain(X)
    K = X @ X.T + 20
    with pytest.raises(ValueError, match="precomputed.*no columns"):
        SSAD(kernel="precomputed").fit(K).explain(K)


def test_huge_values_are_explained():
    detector = DeepSVDD(squash=None, **QUICK).fit(X)
    rows = X.copy()
    rows[0, 2] = 1e25
    relevance = detector.explain(rows)
    assert np.isfinite(relevance).all() and relevance[0].argmax() == 2
    assert_allclose(relevance[0].sum(), detector.anomaly_score(rows)[0], rtol=1e-3)


# Wrappers


@QUIETLY
@pytest.mark.parametrize("n_rows", [1, 3, 5])
def test_any_number_of_reference_rows_is_met_equally_often(n_rows):
    detector = COMPARE["Hybrid density"].fit(X)
    relevance = detector.explain(X, reference=X[:n_rows])
    expected = detector.anomaly_score(X) - detector.anomaly_score(X[:n_rows]).mean()
    assert_allclose(relevance.sum(axis=1), expected, atol=1e-6)


@QUIETLY
def test_ensembles_of_anything_explain():
    rows = pd.DataFrame(X, columns=list("abcdef"))
    pipeline = make_pipeline(StandardScaler(), DeepSAD(**QUICK))
    for member in (pipeline, OneClassSVM()):
        for combination in ("mean", "max", "rank-mean"):
            ensemble = DeepEnsemble(member, 2, combination=combination).fit(rows)
            explanation = explain(ensemble, rows[:4])
            assert_allclose(explanation.residual, 0, atol=1e-5)
    cases = nearest_cases(DeepEnsemble(pipeline, 2).fit(rows), rows[:2], rows, Y)
    assert cases.normals.shape == (2, 1)
    images = np.random.default_rng(0).normal(size=(20, 3, 16, 16))
    of_maps = FCDD(hidden_layer_sizes=(4, 4, 4, 4), **QUICK)
    ensemble = DeepEnsemble(of_maps, 2).fit(images)
    assert ensemble.explain(images[:3]).shape == (3, 16, 16)
    texts = np.random.default_rng(0).normal(size=(20, 5, 4))
    assert DeepEnsemble(CVDD(**QUICK), 2).fit(texts).explain(texts[:3]).shape == (3, 5)


@QUIETLY
def test_hybrids_of_searches_and_of_frames_explain():
    def mean_score(estimator, X, y=None):
        return estimator.score_samples(X).mean()

    search = GridSearchCV(AutoEncoder(**QUICK), {"lr": [1e-3, 1e-2]}, cv=2, scoring=mean_score)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    inner = make_pipeline(StandardScaler(), AutoEncoder(**QUICK))
    for autoencoder, rows in ((search, X), (inner, frame)):
        detector = HybridDetector(OneClassSVM(), autoencoder).fit(rows)
        for given in (X[:4], frame[:4]):
            relevance = detector.explain(given, reference=X[20:24])
            expected = detector.anomaly_score(given) - detector.anomaly_score(X[20:24]).mean()
            assert_allclose(relevance.sum(axis=1), expected, atol=1e-4)


# Texts


@pytest.mark.parametrize("combination", ["mean", "min", 1])
def test_words_add_up_to_the_score_of_their_text(combination):
    rng = np.random.default_rng(0)
    vectors = np.vstack([np.zeros(5), rng.normal(size=(20, 5))]).astype(np.float32)
    ids = rng.integers(1, 21, size=(30, 7))
    ids[:, 5:] = 0
    detector = CVDD(vectors, 3, combination=combination, **QUICK).fit(ids)
    relevance = detector.explain(ids)
    assert relevance.shape == (30, 7)
    assert_array_equal(relevance[:, 5:], 0)
    assert_allclose(relevance.sum(axis=1), detector.anomaly_score(ids), atol=1e-6)
    distances, attention = detector.context_scores(ids), detector.attention(ids)
    k = {"mean": None, "min": distances[0].argmin(), 1: 1}[combination]
    of_contexts = []
    for j in range(3):
        h, c = vectors[ids[0]].astype(float), detector.contexts_[j].astype(float)
        m = attention[0, :, j] @ h
        cosines = h @ c / np.linalg.norm(m) / np.linalg.norm(c)
        of_contexts.append(attention[0, :, j] * (1 - cosines) / 2)
    expected = np.mean(of_contexts, axis=0) if k is None else of_contexts[k]
    assert_allclose(relevance[0], expected, atol=1e-5)


def test_the_foreign_word_is_what_makes_a_text_anomalous():
    rng = np.random.default_rng(0)
    themes = rng.normal(size=(2, 8)).repeat(20, axis=0)
    vectors = np.vstack([np.zeros(8), themes + 0.2 * rng.normal(size=(40, 8))])
    ids = rng.integers(1, 21, size=(100, 6))
    detector = CVDD(vectors, 1, n_epochs=10, random_state=0, device="cpu").fit(ids)
    place = rng.integers(6, size=100)
    ids[np.arange(100), place] = rng.integers(21, 41, size=100)
    assert (detector.explain(ids).argmax(axis=1) == place).mean() > 0.95


# Columns of the user


def frame(n=150):
    """A table of numbers, a category and a missing value or two."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["card", "cash"], size=n)
    amount = np.where(kind == "card", 50, 5) + rng.normal(size=n)
    age = rng.normal(40, 5, size=n)
    age[::30] = np.nan
    return pd.DataFrame({"amount": amount, "kind": kind, "age": age})


def mixed_pipeline():
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            (make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]),
        ),
        DeepSVDD(n_epochs=30, random_state=0),
    )


def test_pipelines_are_explained_in_the_columns_they_are_given():
    rows = frame()
    pipeline = mixed_pipeline().fit(rows)
    strange = rows.iloc[1:7].copy()
    strange["age"] = 90.0
    explanation = explain(pipeline, strange, background=rows)
    assert explanation.feature_names == ["amount", "kind", "age"]
    assert (explanation.values.argmax(axis=1) == 2).all()
    assert_allclose(explanation.scores, -pipeline.score_samples(strange))
    assert np.abs(explanation.residual).max() < 0.1 * explanation.scores.max()
    again = explain(pipeline, strange, background=rows)
    assert_array_equal(again.values, explanation.values)
    other = explain(pipeline, strange, background=rows, random_state=1)
    more = explain(pipeline, strange, background=rows, n_orders=40)
    assert not np.array_equal(other.values, explanation.values)
    assert not np.array_equal(more.values, explanation.values)


def test_polars_frames_are_explained():
    polars = pytest.importorskip("polars")
    rows = frame()
    rows["age"] = rows["age"].fillna(40.0)
    pipeline = mixed_pipeline().fit(rows)
    expected = explain(pipeline, rows[:5], background=rows[50:70])
    seen = polars.DataFrame(rows.to_dict("list"))
    pipeline = mixed_pipeline().fit(seen)
    explanation = explain(pipeline, seen[:5], background=seen[50:70])
    assert_allclose(explanation.values, expected.values, atol=1e-5)


@pytest.mark.parametrize("scaler", [StandardScaler(), RobustScaler(), MinMaxScaler()])
def test_behind_scalers_the_detector_itself_is_asked(scaler, monkeypatch):
    rows = pd.DataFrame(100 * X + 7, columns=list("abcdef"))
    pipeline = make_pipeline(scaler, DeepSAD(**QUICK)).fit(rows, Y)
    monkeypatch.setattr("skdeepad.inspection._explain.in_turn", None)
    explanation = explain(pipeline, rows)
    expected = pipeline[-1].explain(pipeline[:-1].transform(rows))
    assert_array_equal(explanation.values, expected)
    assert explanation.feature_names == list("abcdef")
    one = explain(pipeline, rows, background=rows[50:51])
    assert_allclose(one.values[50], 0, atol=1e-6)


def test_columns_of_all_kinds_are_replaced():
    rows = frame().fillna({"age": 40.0}).astype({"kind": "category"})
    codes = FunctionTransformer(lambda table: table.apply(lambda column: column.cat.codes))
    columns = make_column_transformer((codes, ["kind"]), (StandardScaler(), ["amount", "age"]))
    pipeline = make_pipeline(columns, DeepSVDD(**QUICK)).fit(rows)
    one = rows[:2].copy()
    one["kind"] = pd.Categorical(["card"] * 2)
    assert_allclose(explain(pipeline, one, background=rows).residual, 0, atol=0.5)
    shuffled = rows[["age", "kind", "amount"]]
    expected = explain(pipeline, rows[:3], background=rows)
    assert_array_equal(explain(pipeline, rows[:3], background=shuffled).values, expected.values)


def test_lists_keep_what_they_hold():
    rng = np.random.default_rng(0)
    rows = np.array([[number, "ab"[k % 2]] for k, number in enumerate(rng.normal(size=60))], object)
    rows[::3, 1] = np.nan
    columns = make_column_transformer((StandardScaler(), [0]), (OneHotEncoder(), [1]))
    pipeline = make_pipeline(columns, DeepSVDD(**QUICK)).fit(rows)
    given = [[0.3, "a"], [0.3, float("nan")]]
    expected = -pipeline.score_samples(np.array(given, dtype=object))
    assert_allclose(explain(pipeline, given, background=rows).scores, expected)


def test_searches_frozen_and_nested_pipelines_are_looked_into():
    rows = 10 * X
    nested = make_pipeline(StandardScaler(), make_pipeline(RobustScaler(), DeepSAD(**QUICK)))
    expected = explain(nested.fit(rows, Y), rows).values
    assert_array_equal(explain(FrozenEstimator(nested), rows).values, expected)
    folds = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(nested, {"pipeline__deepsad__eta": [1.0]}, cv=folds, scoring="roc_auc")
    search.fit(rows, np.where(Y < 0, -1, 1))
    assert explain(search, rows).values.shape == rows.shape
    assert nearest_cases(nested, rows[:1], rows, Y).anomalies[0, 0] == 0


def test_other_steps_and_detectors_need_a_background():
    for estimator in (
        make_pipeline(PCA(2), DeepSVDD(**QUICK)),
        make_pipeline(MinMaxScaler(clip=True), DeepSVDD(**QUICK)),
        IsolationForest(n_estimators=10, random_state=0),
    ):
        estimator.fit(X)
        with pytest.raises(ValueError, match="expected background=, some ordinary rows"):
            explain(estimator, X[:3])
        explanation = explain(estimator, X[:3], background=X[20:28], n_orders=8)
        assert_allclose(explanation.residual, 0, atol=1e-5)


def test_what_cannot_be_explained_is_refused():
    detector = DeepSVDD(**QUICK).fit(X)
    with pytest.raises(TypeError, match="StandardScaler has none"):
        explain(StandardScaler().fit(X), X)
    with pytest.raises(NotFittedError):
        explain(DeepSVDD(), X)
    with pytest.raises(ValueError, match="must be a table.*own explain"):
        explain(detector, X[:, None, None])
    with pytest.raises(ValueError, match=r"columns of X, 6; got 5"):
        explain(detector, X, background=X[:, :5])
    with pytest.raises(ValueError, match=r"columns of X, 6; got \['a'"):
        explain(detector, X, background=pd.DataFrame(X, columns=list("abcdef")))
    with pytest.raises(ValueError, match=r"n_orders.*got 0"):
        explain(detector, X, n_orders=0)
    with pytest.raises(ValueError, match=r"sparse.*toarray"):
        explain(detector, csr_array(X))
    with pytest.raises(ValueError, match=r"frame.iloc\[\[0\]\]"):
        explain(detector, pd.DataFrame(X).iloc[0])
    with pytest.raises(ValueError, match="several columns of one name"):
        explain(detector, pd.DataFrame(X, columns=list("aabcde")))
    rows = np.random.default_rng(0).normal(size=(20, 64))
    images = DeepSVDD(input_shape=(1, 8, 8), **QUICK).fit(rows)
    with pytest.raises(ValueError, match=r"rows of shape \(1, 8, 8\): call its own"):
        explain(images, rows)


def test_columns_of_a_sum_get_their_own_terms_exactly():
    rng = np.random.default_rng(0)
    rows, background = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    relevance = in_turn(lambda X: (X**2).sum(1), rows, background, n_orders=6)
    for i in range(5):
        met = background[(i + np.arange(6)) % 6]
        assert_allclose(relevance[i], rows[i] ** 2 - (met**2).mean(0))


def test_replacing_in_turn_approaches_shapley_values():
    """Of a product of three columns each has a third."""
    relevance = in_turn(lambda X: X.prod(1), np.ones((1, 3)), np.zeros((1, 3)), n_orders=600)
    assert_allclose(relevance, 1 / 3, atol=0.05)


def test_rows_are_scored_in_slices(monkeypatch):
    monkeypatch.setattr("skdeepad.occlusion._ROWS_AT_ONCE", 21)
    sizes = []

    def score(rows):
        sizes.append(len(rows))
        return rows.sum(1)

    expected = X - X[:1]
    assert_allclose(in_turn(score, X, X[:1], n_orders=2), expected, atol=1e-12)
    assert max(sizes) <= 21 and sum(sizes) == 2 * len(X) * 7


# Known cases


@QUIETLY
@pytest.mark.parametrize("name", [*COMPARE, *ALONE])
def test_the_nearest_case_of_a_known_row_is_itself(name):
    detector = (COMPARE | ALONE)[name].fit(X, Y)
    labels = np.where(np.arange(len(X)) > 60, 1, Y)
    cases = nearest_cases(detector, X[[3, 70]], X, labels, n_cases=2)
    assert cases.anomalies[0, 0] == 3 and cases.normals[1, 0] == 70
    assert_allclose([cases.anomaly_distances[0, 0], cases.normal_distances[1, 0]], 0, atol=1e-2)
    assert (np.diff(cases.normal_distances, axis=1) >= 0).all()
    assert (labels[cases.anomalies] < 0).all() and (labels[cases.normals] > 0).all()


def test_cases_are_near_as_the_detector_sees_them():
    detector = make_pipeline(StandardScaler(), DeepSAD(**QUICK)).fit(X, Y)
    cases = nearest_cases(detector, X, X, Y, n_cases=3)
    with torch.no_grad():
        network = detector[-1].network_.eval()
        codes = network(torch.from_numpy(detector[0].transform(X)).float()).double().numpy()
    distances = np.linalg.norm(codes[:, None] - codes[Y == 0], axis=-1)
    assert_allclose(cases.normal_distances, np.sort(distances, axis=1)[:, :3], atol=1e-3)
    assert set(cases.normals.ravel()) <= set(np.flatnonzero(Y == 0))


def test_known_cases_may_be_few_or_wrong():
    detector = DeepSVDD(**QUICK).fit(X)
    none = nearest_cases(detector, X[:2], X, np.zeros(len(X)), n_cases=2)
    assert none.anomalies.shape == (2, 0) and none.normals.shape == (2, 2)
    with pytest.raises(TypeError, match="IsolationForest"):
        nearest_cases(IsolationForest().fit(X), X, X, Y)
    with pytest.raises(ValueError, match="got 0"):
        nearest_cases(detector, X, X, Y, n_cases=0)
    with pytest.raises(ValueError, match="120"):
        nearest_cases(detector, X, X, Y[:5])
