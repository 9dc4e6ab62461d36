"""What is particular to each detector, against the papers' formulas computed by hand."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from conftest import SMALL, PlainDecoder, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skdeepad import (
    AGAD,
    FCDD,
    HSC,
    SSDGM,
    AutoEncoder,
    CollapseWarning,
    Compute,
    DeepClassifier,
    DeepSAD,
    DeepSVDD,
    EarlyStopping,
    LabelWarning,
    Pretraining,
    synthetic,
)
from skdeepad.datasets import load_digits_anomaly
from skdeepad.detectors.deep_svdd import SoftBoundaryObjective
from skdeepad.engine import Batch, Rows
from skdeepad.networks import MLP, LeNet

pytestmark = pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning")

HYPERSPHERE = [DeepSVDD, DeepSAD]
X, Y = table()
STILL = 1e-30  # a learning rate that moves no float32 weight


def without_moving_generators(build):
    """Call a function that draws weights, and put torch's global generator back."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        return build()
    finally:
        torch.set_rng_state(state)


def linear(weights):
    """Return a network that multiplies rows by given weights, of shape (codes, features)."""
    weights = torch.as_tensor(np.asarray(weights), dtype=torch.float32)
    layer = without_moving_generators(lambda: nn.Linear(*weights.shape[::-1], bias=False))
    with torch.no_grad():
        layer.weight.copy_(weights)
    return layer


def small(cls, **params):
    known = {key: value for key, value in SMALL.items() if key in cls().get_params()}
    return cls(**{**known, **params})


def given(cls, network, **params):
    """Return a detector that adds nothing of its own to a given network."""
    return cls(network=network, **{"pretrain": False, "input_noise": 0.0, **params})


def center(codes):
    """Return the centre of codes (n, d) as the paper sets it."""
    mean = codes.mean(axis=0)
    return np.where(np.abs(mean) < 0.1, np.where(mean < 0, -0.1, 0.1), mean)


# Deep SAD and Deep SVDD


@pytest.mark.parametrize("shape", [(60, 4), (40, 1, 8, 8)])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"pretrain": False},
        {"early_stopping": True, "n_epochs": 5},
        {"compute": Compute(stream=True)},
    ],
    ids=["plain", "no pretraining", "early stopping", "streamed"],
)
def test_deep_sad_without_labels_is_deep_svdd(shape, params):
    rows = np.random.default_rng(0).normal(size=shape)
    params = {"pretrain": True, **params}
    sad = small(DeepSAD, **params).fit(rows)
    svdd = small(DeepSVDD, objective="one-class", **params).fit(rows)
    assert_array_equal(sad.score_samples(rows), svdd.score_samples(rows))
    assert sad.offset_ == svdd.offset_
    assert sad.history_ == svdd.history_


WEIGHTS = np.random.default_rng(3).normal(size=(3, 4)) / 2


def first_losses(detector, y, n_epochs=1):
    """Return the mean losses of full batches under a linear network that does not move."""
    detector.set_params(
        network=linear(WEIGHTS),
        pretrain=False,
        input_noise=0.0,
        batch_size=len(X),
        lr=STILL,
        n_epochs=n_epochs,
    )
    return detector.fit(X, y).history_["train"]["loss"]


def distances(y):
    codes = X @ WEIGHTS.T
    return ((codes - center(codes[y >= 0])) ** 2).sum(axis=1)


@pytest.mark.parametrize("eta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kinds", [(0,), (0, 1), (0, -1), (1, -1), (-1, 0, 1)])
def test_deep_sad_minimises_equation_7(eta, kinds):
    y = np.array(kinds)[np.arange(len(X)) % len(kinds)]
    d = distances(y)
    row_losses = np.where(y == 0, d, eta * np.where(y < 0, 1 / (d + 1e-6), d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)
        loss = first_losses(DeepSAD(eta, anomaly_fraction=None, random_state=0), y)
    assert_allclose(loss, [row_losses.mean()], rtol=1e-4)


def test_anomaly_fraction_is_the_share_of_labeled_anomalies_in_a_batch():
    d, anomalous = distances(Y), Y < 0
    # The labeled anomalies fill 5 of each 20 places; the others pass in the other 15.
    losses = []
    for seed in range(20):
        detector = given(
            DeepSAD,
            linear(WEIGHTS),
            anomaly_fraction=0.25,
            batch_size=20,
            lr=STILL,
            n_epochs=1,
            random_state=seed,
        )
        losses += detector.fit(X, np.minimum(Y, 0)).history_["train"]["loss"]
    expected = 0.75 * d[~anomalous].mean() + 0.25 * (1 / (d[anomalous] + 1e-6)).mean()
    assert_allclose(np.mean(losses), expected, rtol=0.02)


@pytest.mark.parametrize("nu", [0.1, 0.25, 1.0])
def test_soft_boundary_minimises_its_loss(nu):
    counted = Y >= 0
    d = distances(Y)[counted]
    first, second = first_losses(
        DeepSVDD("soft-boundary", nu, random_state=0), np.minimum(Y, 0), n_epochs=2
    )
    assert_allclose(first, d.mean() / nu, rtol=1e-4)
    radius_squared = np.sort(d)[::-1][min(int(nu * len(d)), len(d) - 1)]
    expected = radius_squared + np.maximum(0, d - radius_squared).mean() / nu
    assert_allclose(second, expected, rtol=1e-4)


def test_radius_is_solved_after_every_so_many_epochs():
    d = distances(np.zeros(len(X)))
    radius_squared = np.sort(d)[::-1][6]
    outside = radius_squared + np.maximum(0, d - radius_squared).mean() / 0.1
    for every, first in ((1, 1), (2, 2), (3, 3), (9, 4)):
        detector = DeepSVDD("soft-boundary", 0.1, radius_every=every, random_state=0)
        by_epoch = first_losses(detector, None, n_epochs=4)
        assert_allclose(by_epoch[:first], [d.mean() / 0.1] * first, rtol=1e-4)
        assert_allclose(by_epoch[first:], [outside] * (4 - first), rtol=1e-4)
        assert_allclose(detector.radius_**2, radius_squared, rtol=1e-4)  # at the end anyway


@pytest.mark.parametrize("nu", [0.1, 0.25, 1.0])
def test_each_batch_may_have_a_radius_of_its_own(nu):
    detector = DeepSVDD("soft-boundary", nu, radius_every="batch", random_state=0)
    by_epoch = first_losses(detector, None, n_epochs=2)
    d = distances(np.zeros(len(X)))
    radius_squared = np.sort(d)[::-1][min(int(nu * len(d)), len(d) - 1)]
    expected = radius_squared + np.maximum(0, d - radius_squared).mean() / nu
    assert_allclose(by_epoch, [expected] * 2, rtol=1e-4)
    assert_allclose(detector.radius_**2, radius_squared, rtol=1e-4)
    objective = detector._objective_
    rows = torch.tensor(X, dtype=torch.float32)[torch.arange(60).view(4, 15)]
    for x in rows:
        loss = objective("loss", Batch(x, torch.zeros(15)))
        own = objective.distances(x)
        radius = own.detach().sort().values[14 - min(int(nu * 15), 14)]
        held = radius + torch.relu(own - radius) / nu
        assert_allclose(loss.detach(), held.detach(), rtol=1e-6)
        # The radius is held while the network learns.
        weight = objective.network.weight
        gradients = (torch.autograd.grad(each.mean(), weight)[0] for each in (loss, held))
        assert_allclose(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("nu", [0.01, 0.05, 0.1, 0.29, 0.35, 0.5, 0.57, 0.7, 0.9, 1.0])
def test_radius_of_a_batch_is_that_of_its_rows(nu):
    for n in (2, 10, 20, 57, 100, 300):
        rows = torch.tensor(np.random.default_rng(n).normal(size=(n, 3)), dtype=torch.float32)
        objective = SoftBoundaryObjective(nn.Identity(), (3,), 3, nu, "batch")
        loss = objective("loss", Batch(rows, torch.zeros(n)))
        objective.finish(Rows.place(rows.numpy(), None, (3,), torch.device("cpu")))
        assert loss.min() == objective.radius_squared


def test_one_class_minimises_the_mean_distance():
    d = distances(Y)[Y >= 0]
    (loss,) = first_losses(DeepSVDD(random_state=0), np.minimum(Y, 0))
    assert_allclose(loss, d.mean(), rtol=1e-4)


@pytest.mark.parametrize("nu", [0.01, 0.05, 0.1, 0.29, 0.35, 0.5, 0.57, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("n", [2, 10, 20, 57, 100, 300])
@pytest.mark.parametrize("n_anomalies", [0, 7])
def test_nu_bounds_the_share_outside_the_sphere(nu, n, n_anomalies):
    rng = np.random.default_rng(n)
    rows = np.r_[rng.normal(size=(n, 3)), rng.normal(5, 1, size=(n_anomalies, 3))]
    y = np.r_[np.zeros(n), -np.ones(n_anomalies)]
    detector = given(
        DeepSVDD,
        linear(np.eye(3)),
        objective="soft-boundary",
        nu=nu,
        contamination="auto",
        n_epochs=2,
        random_state=0,
    ).fit(rows, y)
    outside = detector.predict(rows)[:n] == -1
    assert outside.mean() <= nu
    # The smallest distance is never outside, so that there is a radius.
    assert outside.mean() > nu - 1 / n or outside.sum() == n - 1
    assert_allclose(detector.offset_, -(detector.radius_**2), rtol=1e-6)
    assert_array_equal(outside, detector.anomaly_score(rows)[:n] > -detector.offset_)


# HSC

RADIAL = {
    "pseudo-huber": lambda z: np.sqrt((z**2).sum(axis=1) + 1) - 1,
    "squared-norm": lambda z: (z**2).sum(axis=1),
    "norm": lambda z: np.sqrt((z**2).sum(axis=1)),
    "l1": lambda z: np.abs(z).sum(axis=1),
}
MOST_NORMAL = np.where(np.arange(60) < 40, 1, 0)  # so many that they are taken for what they are


@pytest.mark.parametrize("radial", RADIAL)
@pytest.mark.parametrize("eta", [1.0, 3.0])
@pytest.mark.parametrize("kinds", [(0, -1), (1, -1), (-1, 0, 1)])
def test_hsc_minimises_equation_2_20(radial, eta, kinds):
    """Around the origin, which is where codes are measured from with labeled anomalies."""
    y = np.array(kinds)[np.arange(len(X)) % len(kinds)]
    h = RADIAL[radial](X @ WEIGHTS.T)
    row_losses = np.where(y == 0, h, eta * np.where(y < 0, -np.log(1 - np.exp(-h)), h))
    detector = HSC(radial, eta, anomaly_fraction=None, random_state=0)
    loss = first_losses(detector, y)
    assert_allclose(loss, [row_losses.mean()], rtol=1e-4)
    assert not detector._objective_.center.any()
    assert_allclose(detector.anomaly_score(X), h, rtol=1e-4)


@pytest.mark.parametrize("radial", RADIAL)
@pytest.mark.parametrize("eta", [1.0, 3.0])
def test_hsc_without_labeled_anomalies_draws_rows_to_a_centre(radial, eta):
    y = MOST_NORMAL
    codes = X @ WEIGHTS.T
    h = RADIAL[radial](codes - center(codes))
    with pytest.warns(LabelWarning, match="HSC learns from labeled anomalies, and y has none"):
        loss = first_losses(HSC(radial, eta, random_state=0), y)
    assert_allclose(loss, [np.where(y > 0, eta * h, h).mean()], rtol=1e-4)


@pytest.mark.parametrize(("shape", "n_branches"), [((60, 4), 1), ((60, 4), 3), ((40, 1, 8, 8), 3)])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "n_epochs": 5}])
def test_hsc_of_squared_norms_without_labels_is_deep_svdd(shape, n_branches, params):
    """To the bit where there are no branches, as in images; their sums are taken otherwise."""
    rows = np.random.default_rng(0).normal(size=shape)
    params = {"n_branches": n_branches, **params}
    with pytest.warns(LabelWarning, match="as DeepSVDD does") as caught:
        hsc = small(HSC, radial="squared-norm", eta=7.0, **params).fit(rows)
    assert [warning.filename for warning in caught] == [__file__]
    svdd = small(DeepSVDD, pretrain=False, **params).fit(rows)
    rtol = 1e-5 if n_branches > 1 and len(shape) == 2 else 0
    assert_allclose(hsc.score_samples(rows), svdd.score_samples(rows), rtol=rtol)
    assert_allclose(hsc.offset_, svdd.offset_, rtol=rtol)
    assert hsc.history_.keys() == svdd.history_.keys()
    for name, losses in svdd.history_["train"].items():
        assert_allclose(hsc.history_["train"][name], losses, rtol=rtol)


@pytest.mark.parametrize("shape", [(60, 4), (60, 1, 8, 8)])
def test_hsc_has_bias_terms_where_anomalies_are_labeled(shape):
    rows = np.random.default_rng(0).normal(size=shape)

    def n_biases(y):
        network = small(HSC, n_epochs=1).fit(rows, y).network_
        return sum(name.endswith("bias") for name, _ in network.named_parameters())

    with pytest.warns(LabelWarning):
        assert n_biases(MOST_NORMAL) == 0
    assert n_biases(Y) >= 3


def test_hsc_takes_a_network_with_biases_as_it_is():
    """Without a warning of collapse, unless it has no labeled anomalies to keep it from that."""
    network = without_moving_generators(lambda: nn.Linear(4, 3))
    detector = given(HSC, network, lr=STILL, n_epochs=1).fit(X, Y)
    assert torch.equal(detector.network_.weight, network.weight)
    with torch.no_grad():
        codes = network(torch.tensor(X, dtype=torch.float32)).double().numpy()
    expected = RADIAL["pseudo-huber"](codes)
    assert_allclose(detector.anomaly_score(X), expected, rtol=1e-4)
    with (
        pytest.warns(LabelWarning),
        pytest.warns(CollapseWarning, match="bias of Linear") as caught,
    ):
        given(HSC, network, lr=STILL, n_epochs=1).fit(X)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("radial", RADIAL)
@pytest.mark.parametrize("y", [Y, np.minimum(Y, 0)], ids=["-1, 0, 1", "-1"])
def test_own_threshold_of_hsc_is_a_probability_of_one_half(radial, y):
    # Scaled so that both sides occur.
    detector = given(
        HSC, linear(WEIGHTS / 4), radial=radial, contamination="auto", lr=STILL, n_epochs=1
    ).fit(X, y)
    score, probability = detector.anomaly_score(X), detector.anomaly_probability(X)
    assert probability.dtype == np.float64
    assert_allclose(probability, 1 - np.exp(-score), rtol=1e-12)
    assert detector.offset_ == -np.log(2)
    assert_array_equal(detector.predict(X) == -1, probability > 0.5)
    assert set(detector.predict(X)) == {-1, 1}
    assert_array_equal(np.argsort(probability, kind="stable"), np.argsort(score, kind="stable"))


def branch_codes(detector, n_branches, training):
    """Return each branch's code from its centre, as if it were alone: (n_branches, n, d)."""
    network = copy.deepcopy(detector.network_).train(training)  # with the statistics of the batch
    with torch.no_grad():
        code = network(torch.tensor(X, dtype=torch.float32)) - detector._objective_.center
    # A default network puts them side by side, each divided by the root of how many there are.
    return np.sqrt(n_branches) * code.double().numpy().reshape(60, n_branches, -1).swapaxes(0, 1)


def untrained(cls, n_branches, y, **params):
    """Return a detector of several branches after one step, of all rows, that moved nothing."""
    settings = {"hidden_layer_sizes": (6, 3), "input_noise": 0.0, "batch_size": len(X), "lr": STILL}
    settings |= {"pretrain": False, "anomaly_fraction": None, "n_epochs": 1, "random_state": 0}
    known = {name: value for name, value in settings.items() if name in cls().get_params()}
    return cls(n_branches=n_branches, **{**known, **params}).fit(X, y)


def radial_of_branches(radial, codes):
    return np.stack([RADIAL[radial](of_branch) for of_branch in codes])


@pytest.mark.parametrize("radial", RADIAL)
@pytest.mark.parametrize("n_branches", [1, 3])
def test_each_branch_of_hsc_has_a_loss_of_its_own(radial, n_branches):
    def mean_loss(h):
        return np.where(Y == 0, h, 3.0 * np.where(Y < 0, -np.log(-np.expm1(-h)), h)).mean()

    detector = untrained(HSC, n_branches, Y, radial=radial, eta=3.0)
    h = radial_of_branches(radial, branch_codes(detector, n_branches, training=True))
    assert h.shape == (n_branches, 60)
    (loss,) = detector.history_["train"]["loss"]
    assert_allclose(loss, mean_loss(h), rtol=1e-4)
    # That of the mean distance is another one.
    assert np.isclose(loss, mean_loss(h.mean(axis=0)), rtol=1e-3) == (n_branches == 1)
    h = radial_of_branches(radial, branch_codes(detector, n_branches, training=False))
    assert_allclose(detector.anomaly_score(X), h.mean(axis=0), rtol=1e-4)


@pytest.mark.filterwarnings("ignore:HSC learns from labeled anomalies:skdeepad.LabelWarning")
def test_each_branch_of_hsc_is_drawn_to_its_part_of_the_centre():
    detector = untrained(HSC, 3, None)
    assert detector._objective_.center.abs().min() >= 0.1
    h = radial_of_branches("pseudo-huber", branch_codes(detector, 3, training=True))
    assert_allclose(detector.history_["train"]["loss"], [h.mean()], rtol=1e-4)
    h = radial_of_branches("pseudo-huber", branch_codes(detector, 3, training=False))
    assert_allclose(detector.anomaly_score(X), h.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("n_branches", [1, 3])
def test_branches_of_deep_sad_share_a_loss(n_branches):
    """It is that of the mean of their distances."""

    def mean_loss(d):
        return np.where(Y == 0, d, 2.0 * np.where(Y < 0, 1 / (d + 1e-6), d)).mean()

    detector = untrained(DeepSAD, n_branches, Y, eta=2.0)
    d = (branch_codes(detector, n_branches, training=True) ** 2).sum(axis=2)
    (loss,) = detector.history_["train"]["loss"]
    assert_allclose(loss, mean_loss(d.mean(axis=0)), rtol=1e-4)
    assert np.isclose(loss, mean_loss(d), rtol=1e-3) == (n_branches == 1)
    d = (branch_codes(detector, n_branches, training=False) ** 2).sum(axis=2)
    assert_allclose(detector.anomaly_score(X), d.mean(axis=0), rtol=1e-4)


def test_branches_of_hsc_keep_its_threshold():
    settings = {"n_epochs": 5, "lr": 1e-2, "random_state": 0, "hidden_layer_sizes": (8, 4)}
    detector = HSC(n_branches=3, contamination="auto", **settings).fit(X, Y)
    score, probability = detector.anomaly_score(X), detector.anomaly_probability(X)
    assert detector.offset_ == -np.log(2)
    assert_allclose(probability, 1 - np.exp(-score), rtol=1e-12)
    assert_array_equal(detector.predict(X) == -1, probability > 0.5)
    assert set(detector.predict(X)) == {-1, 1}


@pytest.mark.parametrize("cls", [HSC, DeepClassifier])
@pytest.mark.parametrize("y", [None, MOST_NORMAL], ids=["none", "+1"])
def test_classifiers_have_no_probabilities_without_anomalies(cls, y):
    expected = f"which {cls.__name__} learns from labeled anomalies, and y has none"
    with pytest.raises(ValueError, match=expected):
        small(cls, contamination="auto").fit(X, y)
    with pytest.warns(LabelWarning):
        detector = small(cls).fit(X, y)
    with pytest.raises(ValueError, match=f"{cls.__name__} was fitted without.*no probabilities"):
        detector.anomaly_probability(X)
    assert (detector.fit(X, Y).anomaly_probability(X) > 0).all()


def test_probability_of_hsc_keeps_its_digits_near_the_centre():
    detector = given(HSC, linear(np.eye(4)), lr=STILL, n_epochs=1).fit(X, Y)
    tiny = np.array([[1e-9, 0, 0, 0]])
    assert_allclose(detector.anomaly_probability(tiny), [5e-19], rtol=1e-5)
    assert detector.anomaly_probability(tiny * 1e15) == [1.0]


# DeepClassifier


def logits(detector, rows):
    """Return the weights of the head times the LeakyReLU of codes, plus its bias."""
    weight, bias = (p.detach().double().numpy() for p in detector._objective_.head.parameters())
    codes = rows @ WEIGHTS.T
    return (np.where(codes > 0, codes, 0.1 * codes) @ weight.T + bias)[:, 0]


@pytest.mark.parametrize(
    ("params", "row_loss"),
    [
        ({}, lambda p, y: -np.log(p)),
        (
            {"objective": "focal"},
            lambda p, y: -0.5 * (1 - p) ** 2 * np.log(p),
        ),
        (
            {"objective": "focal", "gamma": 0.7, "alpha": 0.2},
            lambda p, y: -np.where(y < 0, 0.2, 0.8) * (1 - p) ** 0.7 * np.log(p),
        ),
    ],
    ids=["cross-entropy", "focal", "focal with numbers"],
)
@pytest.mark.parametrize("kinds", [(0, -1), (1, -1), (-1, 0, 1)])
def test_deep_classifier_minimises_its_loss(params, row_loss, kinds):
    y = np.array(kinds)[np.arange(len(X)) % len(kinds)]
    detector = DeepClassifier(**params, anomaly_fraction=None, random_state=0)
    detector.set_params(network=linear(WEIGHTS), input_noise=0.0, batch_size=60, lr=STILL)
    loss = detector.set_params(n_epochs=1).fit(X, y).history_["train"]["loss"]
    logit = logits(detector, X)
    p = 1 / (1 + np.exp(np.where(y < 0, -logit, logit)))
    assert_allclose(loss, [row_loss(p, y).mean()], rtol=1e-4)
    assert_allclose(detector.anomaly_score(X), logit, rtol=1e-4, atol=1e-5)


def test_own_threshold_of_the_classifier_is_a_probability_of_one_half():
    detector = small(DeepClassifier, contamination="auto", n_epochs=20).fit(X, Y)
    rows = np.r_[X, 100 * X]
    score, probability = detector.anomaly_score(rows), detector.anomaly_probability(rows)
    assert probability.dtype == np.float64
    assert_allclose(probability, 1 / (1 + np.exp(-score)), rtol=1e-12)
    assert detector.offset_ == 0
    assert_array_equal(detector.predict(rows) == -1, probability > 0.5)
    assert set(detector.predict(rows)) == {-1, 1}


@pytest.mark.parametrize(("shape", "n_branches"), [((60, 4), 1), ((60, 4), 3), ((40, 1, 8, 8), 3)])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "n_epochs": 5}])
def test_deep_classifier_without_labeled_anomalies_is_deep_svdd(shape, n_branches, params):
    rows = np.random.default_rng(0).normal(size=shape)
    params = {"n_branches": n_branches, **params}
    with pytest.warns(LabelWarning, match="y has none: it draws all rows to a centre") as caught:
        classifier = small(DeepClassifier, **params).fit(rows, np.ones(len(rows)))
    assert [warning.filename for warning in caught] == [__file__]
    svdd = small(DeepSVDD, pretrain=False, **params).fit(rows)
    assert_array_equal(classifier.score_samples(rows), svdd.score_samples(rows))
    assert classifier.offset_ == svdd.offset_
    assert classifier.history_ == svdd.history_


@pytest.mark.parametrize("polluted", [False, True], ids=["clean", "polluted"])
def test_deep_classifier_without_labels_ranks_real_rows_rightly(polluted):
    """Against synthetic anomalies of permuted columns the malign tumors were the normal ones."""
    rows, benign = load_breast_cancer(return_X_y=True)
    rows = StandardScaler().fit(rows[benign == 1]).transform(rows)
    known = np.arange(len(rows)) % 2 == 0
    detector = DeepClassifier(random_state=0, device="cpu")
    with pytest.warns(LabelWarning):
        detector.fit(rows[known & (polluted | (benign == 1))])
    assert detector.n_epochs_ <= 50  # 100 steps, not 500
    assert detector.score(rows[~known], np.where(benign == 1, 1, -1)[~known]) > 0.6


def test_deep_classifier_without_anomalies_may_collapse_and_says_so():
    with pytest.warns(LabelWarning), pytest.warns(CollapseWarning, match="bias of Linear"):
        small(DeepClassifier, network=lambda: nn.Linear(4, 3)).fit(X)
    small(DeepClassifier, network=lambda: nn.Linear(4, 3)).fit(X, Y)  # a warning is an error here
    with pytest.warns(LabelWarning), pytest.warns(CollapseWarning, match="nearly the same score"):
        small(DeepClassifier).fit(np.ones((60, 4)))


def test_one_labeled_anomaly_is_enough_to_make_none():
    y = np.where(np.arange(60) == 59, -1, 0)
    detector = given_classifier(n_epochs=1).fit(X, y)  # a warning is an error here
    logit = logits(detector, X)
    expected = np.log(1 + np.exp(np.where(y < 0, -logit, logit))).mean()
    assert_allclose(detector.history_["train"]["loss"], [expected], rtol=1e-4)


def given_classifier(**params):
    numbers = {"input_noise": 0.0, "batch_size": 60, "lr": STILL, "anomaly_fraction": None}
    return DeepClassifier(network=linear(WEIGHTS), **{**numbers, "random_state": 0, **params})


# Synthetic anomalies

WITHOUT_LABELS = pytest.mark.filterwarnings("ignore:.* learns from labeled anomalies")


@WITHOUT_LABELS
def test_rows_of_many_extreme_values_are_no_more_normal_than_others():
    """Shuffled columns alone never hold them together, and leave them to the normal side."""

    def correlated(n, seed):
        """Rows whose four columns hold nearly the same number."""
        rng = np.random.default_rng(seed)
        return rng.normal(size=(n, 1)) + 0.2 * rng.normal(size=(n, 4))

    detector = SSDGM(n_epochs=40, batch_size=32, random_state=0, device="cpu")
    detector.fit(correlated(200, 0))
    rows = np.r_[correlated(200, 1), 4 * correlated(200, 2)]
    far = np.abs(rows).mean(1) > 4
    truth = np.where(np.arange(400) < 200, 1, -1)
    assert detector.score(rows[far | (truth > 0)], truth[far | (truth > 0)]) > 0.85


@WITHOUT_LABELS
def test_held_out_anomalies_are_the_same_in_each_epoch():
    """Those of training are made anew."""
    network = without_moving_generators(lambda: nn.Conv2d(1, 3, 1))
    still = {"network": network, "n_epochs": 4, "lr": STILL, "random_state": 0, "batch_size": 20}

    def losses():
        detector = FCDD(early_stopping=EarlyStopping(validation_fraction=0.3), **still)
        return detector.fit(X.reshape(60, 1, 2, 2)).history_["train"]

    assert len(set(losses()["validation_loss"])) == 1
    assert len(set(losses()["loss"])) == 4
    assert losses() == losses()


@WITHOUT_LABELS
@pytest.mark.parametrize(
    ("maker", "rows"), [("PermutedColumns", X), ("Confetti", X.reshape(60, 1, 2, 2) + 9)]
)
def test_synthetic_anomalies_are_made_of_rows_alone(maker, rows, monkeypatch):
    """Not of the zeros that fill up a slice of held-out rows."""
    seen = []
    make = getattr(synthetic, maker).__call__

    def spy(self, x, noise):
        seen.append(x.flatten(1).numpy())
        return make(self, x, noise)

    monkeypatch.setattr(getattr(synthetic, maker), "__call__", spy)
    small(SSDGM, early_stopping=EarlyStopping(validation_fraction=0.25)).fit(rows)
    assert [len(x) for x in seen] == [3] + [32, 32, 15] * 2  # tried on three before training
    known = rows.reshape(60, 4).astype(np.float32)
    assert all((x[:, None] == known).all(axis=2).any(axis=1).all() for x in seen)


# The centre


@pytest.mark.parametrize("cls", HYPERSPHERE)
@pytest.mark.parametrize("n", [60, 9000])
def test_center_is_the_mean_code_of_what_is_not_a_labeled_anomaly(cls, n):
    means = np.array([5, -5, 0.03, -0.02, 0.2, -0.2])
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=0.01, size=(n, 6))
    y = np.where(np.arange(n) % 5 == 0, -1, 0)
    y[1] = 1
    rows += means - rows[y >= 0].mean(axis=0)
    rows[y < 0] += 100
    weights = np.r_[np.eye(6), [[1, 1, 0, 0, 0, 0]]]
    detector = given(cls, linear(weights), lr=STILL, n_epochs=1, batch_size=512).fit(rows, y)
    expected = [5, -5, 0.1, -0.1, 0.2, -0.2, 0.1]
    actual = detector._objective_.center.numpy()
    assert_allclose(np.abs(actual), np.abs(expected), rtol=1e-4)
    assert_allclose(actual[:-1], expected[:-1], rtol=1e-4)  # the last mean is 0 but for rounding
    codes = rows @ weights.T
    assert_allclose(
        detector.anomaly_score(rows), ((codes - actual) ** 2).sum(axis=1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_center_is_set_before_training_and_never_trained(cls):
    detectors = [
        given(cls, linear(WEIGHTS), n_epochs=n_epochs, lr=0.1, random_state=0).fit(X, Y)
        for n_epochs in (1, 10)
    ]
    expected = center((X @ WEIGHTS.T)[Y >= 0])
    for detector in detectors:
        assert_allclose(detector._objective_.center.numpy(), expected, rtol=1e-4)
        assert not detector._objective_.center.requires_grad
    weights = [detector.network_.weight for detector in detectors]
    assert (weights[0] - weights[1]).abs().median() > 0.05


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_pretraining_leaves_labeled_anomalies_out(cls):
    y = np.minimum(Y, 0)
    params = {"pretrain": True, "pretraining": Pretraining(n_epochs=3)}
    with_anomalies = small(cls, **params).fit(X, y)
    without = small(cls, **params).fit(X[y >= 0])
    assert with_anomalies.history_["pretrain"] == without.history_["pretrain"]
    differently = small(cls, **params).fit(X)
    assert differently.history_["pretrain"] != without.history_["pretrain"]


@pytest.mark.parametrize("cls", HYPERSPHERE)
@pytest.mark.parametrize("schedule", ["constant", (3,)])
def test_training_starts_from_the_encoder_of_an_autoencoder(cls, schedule):
    # Biases would be a risk, BatchNorm would see other batches: neither is in this network.
    network, decoder = without_moving_generators(
        lambda: (
            nn.Sequential(nn.Linear(4, 8, bias=False), nn.LeakyReLU(), linear(np.eye(8)[:3])),
            nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 4)),
        )
    )
    shared = {"network": network, "decoder": decoder, "random_state": 0, "batch_size": 16}
    shared |= {"weight_decay": 1e-6}
    pretraining = Pretraining(n_epochs=5, lr=0.01, lr_schedule=schedule)
    autoencoder = AutoEncoder(**pretraining.get_params(), **shared).fit(X)
    detector = cls(pretrain=True, pretraining=pretraining, n_epochs=1, lr=STILL, **shared).fit(X)
    for ours, theirs, given in zip(
        detector.network_.parameters(),
        autoencoder.network_.parameters(),
        network.parameters(),
        strict=True,
    ):
        assert_allclose(ours.detach(), theirs.detach(), atol=1e-6)
        assert (ours - given).abs().max() > 0.01


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_pretraining_takes_the_schedule_of_training_if_it_has_none(cls):
    def losses(of_pretraining):
        pretraining = Pretraining(n_epochs=3, lr=0.01, lr_schedule=of_pretraining)
        detector = small(cls, pretrain=True, pretraining=pretraining, lr_schedule=(1,))
        return detector.fit(X).history_["pretrain"]["loss"]

    assert losses(None) == losses((1,)) != losses("constant")


@pytest.mark.parametrize("schedule", [(0,), (1.5,), ["1"], (-3, 2)])
def test_milestones_are_numbers_of_epochs(schedule):
    with pytest.raises(ValueError, match="lr_schedule as a tuple must hold whole numbers"):
        small(DeepSVDD, lr_schedule=schedule).fit(X)
    with pytest.raises(ValueError, match="lr_schedule as a tuple must hold whole numbers"):
        small(DeepSVDD, pretraining=Pretraining(lr_schedule=schedule)).fit(X)


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_pretraining_needs_a_decoder(cls):
    detector = small(cls, network=linear(WEIGHTS), pretrain=True)
    with pytest.raises(ValueError, match="no decoder.*Pass decoder=, or pretrain=False"):
        detector.fit(X)
    assert "pretrain" not in detector.set_params(pretrain="auto").fit(X).history_
    assert "pretrain" in detector.set_params(pretrain=True, decoder=PlainDecoder).fit(X).history_
    assert "pretrain" not in detector.set_params(pretrain=False).fit(X).history_


IMAGES = X.reshape(60, 1, 2, 2)
SERIES = np.repeat(X[:, None], 4, axis=2)  # one channel, 16 steps


def any_rows(n_codes=3):
    """Return a network of a user, for rows of any shape."""
    return without_moving_generators(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, n_codes, bias=False))
    )


@pytest.mark.parametrize("cls", [*HYPERSPHERE, HSC])
@pytest.mark.parametrize(
    ("rows", "params", "those_that_do"),
    [
        (X, {}, {DeepSVDD}),
        (X, {"network": any_rows()}, set()),
        (X, {"network": any_rows(), "decoder": PlainDecoder}, {DeepSVDD}),
        (X.reshape(60, 1, 1, 4), {"network": any_rows(), "decoder": PlainDecoder}, {DeepSVDD}),
        (IMAGES, {}, {DeepSVDD, DeepSAD}),
        (IMAGES, {"network": any_rows()}, set()),
        (IMAGES, {"network": any_rows(), "decoder": PlainDecoder}, {DeepSVDD, DeepSAD}),
        (
            X.reshape(60, 2, 2),
            {"network": any_rows(), "decoder": PlainDecoder},
            {DeepSVDD, DeepSAD},
        ),
        (SERIES, {}, set()),
        (SERIES, {"decoder": PlainDecoder}, {DeepSVDD, DeepSAD}),
    ],
    ids=["table", "table, network", "table, both", "signal", "images", "images, network"]
    + ["images, both", "two axes, both", "series", "series, decoder"],
)
def test_what_is_pretrained_by_default(cls, rows, params, those_that_do):
    """HSC never; DeepSAD no table; series, and own networks, only with a decoder."""
    detector = small(cls, n_epochs=1, **params).fit(rows, Y)
    assert ("pretrain" in detector.history_) == (cls in those_that_do)
    told = small(cls, n_epochs=1, **params, pretrain=cls in those_that_do).fit(rows, Y)
    assert_array_equal(told.score_samples(rows), detector.score_samples(rows))


# The network a user gives


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_a_given_network_is_never_trained_in_place(cls):
    network, decoder = linear(WEIGHTS), linear(WEIGHTS.T)
    before = copy.deepcopy([network.weight, decoder.weight])
    detector = small(cls, network=network, decoder=decoder).fit(X)
    assert detector.network is network
    assert detector.network_ is not network
    assert torch.equal(network.weight, before[0])
    assert torch.equal(decoder.weight, before[1])
    assert network.weight.grad is None
    assert network.training
    scores = detector.score_samples(X)
    with torch.no_grad():
        network.weight.zero_()
    assert_array_equal(detector.score_samples(X), scores)


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"network": lambda: linear(np.eye(5))}, r"network cannot take rows of shape \(4,\)"),
        ({"network": lambda: "linear"}, "network must be a torch.nn.Module"),
        ({"network": nn.Identity}, "nothing to train: expected parameters"),
        (
            {"network": lambda: linear(WEIGHTS), "decoder": lambda: linear(np.ones((5, 3)))},
            r"decoder must give back rows of shape \(4,\); it gives \(5,\)",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused(cls, params, message):
    if cls is AutoEncoder:
        params = {"decoder": nn.Identity, **params}
    elif "decoder" in params:
        params = {**params, "pretrain": True}
    with pytest.raises(ValueError, match=message):
        small(cls, **params).fit(X)


@pytest.mark.parametrize("cls", HYPERSPHERE)
@pytest.mark.parametrize(
    ("layers", "risk"),
    [
        (
            lambda: [nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 3, bias=False)],
            "bias of Linear 0",
        ),
        (lambda: [linear(WEIGHTS), nn.BatchNorm1d(3)], "bias of BatchNorm1d 1"),
        (lambda: [linear(WEIGHTS), nn.Tanh()], "bounded activation Tanh 1"),
        (lambda: [linear(WEIGHTS), nn.Sigmoid()], "bounded activation Sigmoid 1"),
        (lambda: [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 2, 2)], "bias of Conv2d 1"),
    ],
    ids=["bias", "affine BatchNorm", "Tanh", "Sigmoid", "convolution"],
)
def test_networks_that_may_collapse_are_warned_of(cls, layers, risk):
    network = without_moving_generators(lambda: nn.Sequential(*layers()))
    with pytest.warns(CollapseWarning, match=risk):
        small(cls, network=network).fit(X)
    network = without_moving_generators(lambda: nn.Sequential(*layers()))
    # An autoencoder may have them.
    small(AutoEncoder, network=nn.Sequential(network, nn.Flatten()), decoder=PlainDecoder).fit(X)


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_networks_that_cannot_collapse_are_not_warned_of(cls):
    layers = [linear(WEIGHTS), nn.BatchNorm1d(3, affine=False), nn.LeakyReLU(), linear(np.eye(3))]
    small(cls, network=nn.Sequential(*layers)).fit(X)


def with_bias():
    return nn.Linear(4, 3)


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_a_collapsed_hypersphere_is_warned_of(cls):
    params = {"lr": 0.01, "lr_schedule": "cosine", "batch_size": 60, "random_state": 0}
    for n_epochs, collapses in [(10, False), (1000, True)]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            given(cls, with_bias, n_epochs=n_epochs, **params).fit(X)
        texts = [str(one.message) for one in caught if one.category is CollapseWarning]
        assert any("bias of Linear" in text for text in texts)
        assert any("the hypersphere has collapsed" in text for text in texts) == collapses


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_constant_features_are_a_collapse(cls):
    with pytest.warns(CollapseWarning, match="all columns are constant"):
        small(cls).fit(np.ones((50, 4)))


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
@pytest.mark.parametrize("images", [False, True])
def test_no_warning_by_default_on_digits(cls, images):
    digits = load_digits_anomaly(normal=3)
    rows = digits.images if images else digits.data
    # Images take long; all else is as users get it.
    params = {"n_epochs": 5, "batch_size": 32} if images else {}
    if images and cls in HYPERSPHERE:
        params["pretraining"] = Pretraining(n_epochs=2)
    detector = cls(random_state=0, **params).fit(rows[digits.target > 0])
    assert len(np.unique(detector.score_samples(rows))) > 1700


# The autoencoder


@pytest.fixture(scope="module")
def autoencoder():
    return small(AutoEncoder, n_epochs=5).fit(X)


def test_autoencoder_scores_by_the_mean_squared_error(autoencoder):
    rows = torch.tensor(X, dtype=torch.float32)
    with torch.no_grad():
        back = autoencoder.decoder_(autoencoder.network_(rows))
    expected = ((rows - back) ** 2).mean(dim=1)
    assert_allclose(autoencoder.anomaly_score(X), expected, rtol=1e-5)


def test_autoencoder_transforms_to_codes(autoencoder):
    with torch.no_grad():
        codes = autoencoder.network_(torch.tensor(X, dtype=torch.float32))
    transformed = autoencoder.transform(X)
    assert transformed.dtype == np.float64
    assert_allclose(transformed, codes, rtol=1e-5, atol=1e-6)
    assert_array_equal(autoencoder.transform(X[3:4]), transformed[3:4])
    names = [f"autoencoder{i}" for i in range(4)]
    assert list(autoencoder.get_feature_names_out()) == names


def test_autoencoder_names_its_codes_in_frames():
    detector = small(AutoEncoder).set_output(transform="pandas").fit(X, Y)
    frame = detector.transform(X)
    assert list(frame.columns) == [f"autoencoder{i}" for i in range(4)]
    assert type(detector.score_samples(X)) is np.ndarray
    frame = small(AutoEncoder).set_output(transform="polars").fit_transform(X)
    assert list(frame.columns) == [f"autoencoder{i}" for i in range(4)]


def test_autoencoder_before_another_detector():
    hybrid = make_pipeline(
        StandardScaler(), small(AutoEncoder), IsolationForest(n_estimators=10, random_state=0)
    ).fit(X)
    codes = hybrid[:-1].transform(X)
    assert codes.shape == (60, 4)
    assert_array_equal(hybrid.score_samples(X), hybrid[-1].score_samples(codes))


def test_autoencoder_of_images_transforms_to_flat_codes():
    images = np.random.default_rng(0).normal(size=(20, 1, 8, 8))
    detector = small(AutoEncoder).fit(images)
    assert detector.transform(images).shape == (20, len(detector.get_feature_names_out()))
    # A network's map of codes is flattened too.
    network = without_moving_generators(lambda: nn.Conv2d(1, 2, 2, stride=2))
    decoder = without_moving_generators(lambda: nn.ConvTranspose2d(2, 1, 2, stride=2))
    detector = small(AutoEncoder, network=network, decoder=decoder).fit(images)
    assert detector.transform(images).shape == (20, 32)
    assert len(detector.get_feature_names_out()) == 32


def test_autoencoder_of_a_given_network_needs_its_decoder():
    with pytest.raises(ValueError, match="expected decoder="):
        small(AutoEncoder, network=linear(WEIGHTS)).fit(X)


# Training


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_history(cls, early_stopping):
    params = {} if cls is AutoEncoder else {"pretrain": True}
    detector = small(cls, n_epochs=4, early_stopping=early_stopping, **params).fit(X, Y)
    stages = ["train"] if cls is AutoEncoder else ["pretrain", "train"]
    assert list(detector.history_) == stages
    names = {"loss", "validation_loss"} if early_stopping else {"loss"}
    for stage, losses in detector.history_.items():
        assert set(losses) == names
        n_epochs = 1 if stage == "pretrain" else detector.n_epochs_
        for values in losses.values():
            assert len(values) == n_epochs
            assert all(type(value) is float and np.isfinite(value) for value in values)
    if not early_stopping:
        assert detector.n_epochs_ == 4


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_loss_falls(cls):
    losses = small(cls, n_epochs=30, lr=1e-2).fit(X).history_["train"]["loss"]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_epochs_by_default_come_closest_to_a_number_of_steps():
    rows = np.random.default_rng(0).normal(size=(3000, 2))
    few, many = (
        AutoEncoder(hidden_layer_sizes=(2,), batch_size=100, random_state=0).fit(rows[:n])
        for n in (1000, 3000)
    )
    assert few.n_epochs_ == pytest.approx(3 * many.n_epochs_, abs=3)
    assert many.n_epochs_ > 1


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_early_stopping_ends_when_the_held_out_loss_stops_falling(cls):
    # A rate that rises: the held-out loss falls, then rises.
    def rises(progress):
        return 1.0 if progress < 0.3 else 100.0

    stopping = EarlyStopping(validation_fraction=0.3, n_iter_no_change=5)
    params = {"early_stopping": stopping, "lr": 0.003, "n_epochs": 40}
    params |= {"lr_schedule": rises, "hidden_layer_sizes": (8, 4), "random_state": 0}
    params |= {"pretrain": False} if cls in HYPERSPHERE else {}
    detector = cls(batch_size=16, **params).fit(X)
    losses = detector.history_["train"]["validation_loss"]
    best = int(np.argmin(losses))
    assert detector.n_epochs_ == len(losses) == best + 6 < 40


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_early_stopping_restores_the_best_epoch(cls):
    # Training with a rate of 0 from the end of the best epoch on ends with the weights that early
    # stopping restores.
    params = {"n_epochs": 12, "lr": 0.05, "batch_size": 16, "random_state": 0}
    params |= {"early_stopping": EarlyStopping(n_iter_no_change=12), "network": linear(WEIGHTS)}
    params |= {"pretrain": False} if cls in HYPERSPHERE else {}
    params |= {"decoder": linear(WEIGHTS.T), "weight_decay": 0.0}
    rises = {"lr_schedule": lambda progress: 1.0 if progress < 0.5 else 50.0}
    detector = cls(**params, **rises).fit(X)
    losses = detector.history_["train"]["validation_loss"]
    end = (int(np.argmin(losses)) + 1) / 12
    assert end < 1
    still = {
        "lr_schedule": lambda progress: (
            0.0 if progress >= end - 1e-9 else rises["lr_schedule"](progress)
        )
    }
    stopped = cls(**params, **still).fit(X)
    assert_array_equal(detector.network_.weight.detach(), stopped.network_.weight.detach())


@pytest.mark.parametrize("cls", HYPERSPHERE)
def test_early_stopping_needs_rows_to_hold_out(cls):
    with pytest.raises(ValueError, match="leaves no row with y >= 0 to hold out"):
        small(cls, early_stopping=EarlyStopping(validation_fraction=0.01)).fit(X[:40])


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_a_loss_that_is_not_finite_names_the_cause(cls):
    params = {"network": linear(WEIGHTS), "decoder": linear(WEIGHTS.T)}
    with pytest.raises(ValueError, match="StandardScaler.*lr="):
        small(cls, **params).fit(X * 1e25)


TRAINING_OF_2020 = {"lr": 1e-4, "n_epochs": 150, "lr_schedule": "two-phase"}
TRAINING_OF_2020 |= {"batch_size": 200, "weight_decay": 1e-6}
SPHERE_OF_2020 = {"n_branches": 1, "squash": None, "input_noise": 0.0}
PRETRAINING_OF_2020 = {"pretrain": True, "pretraining": Pretraining(n_epochs=150, lr=1e-4)}
PAPERS = {
    AutoEncoder: TRAINING_OF_2020,
    DeepSVDD: TRAINING_OF_2020 | SPHERE_OF_2020 | PRETRAINING_OF_2020 | {"radius_every": "batch"},
    DeepSAD: TRAINING_OF_2020 | SPHERE_OF_2020 | PRETRAINING_OF_2020 | {"anomaly_fraction": None},
    HSC: TRAINING_OF_2020
    | SPHERE_OF_2020
    | {**PRETRAINING_OF_2020, "pretrain": False, "batch_size": 256, "anomaly_fraction": 0.5},
    AGAD: {"generator": "unet++", "average": False, "n_epochs": 35, "lr_schedule": "constant"},
    SSDGM: TRAINING_OF_2020 | {"likelihood": "bernoulli", "anomaly_fraction": None},
    **dict.fromkeys([DeepClassifier, FCDD]),
}


@pytest.mark.parametrize("cls", PAPERS)
def test_paper_settings(cls):
    detector = cls.with_paper_settings(random_state=0)
    assert type(detector) is cls
    assert detector.random_state == 0
    default, chosen = cls(), detector.set_params(random_state=None)
    if PAPERS[cls] is not None:
        assert repr(chosen) == repr(cls(**PAPERS[cls]))
    # The docstring says what is set, to which value, and that of no other parameter.
    doc = cls.with_paper_settings.__doc__
    said = dict(re.findall(r"``(\w+)=([^`]+)``", doc.partition("Parameters")[0].partition(". ")[0]))
    told = {name: eval(value, {"Pretraining": Pretraining}) for name, value in said.items()}
    assert repr(chosen) == repr(cls(**told))
    apart = {name for name, value in default.get_params().items() if getattr(chosen, name) != value}
    assert apart <= told.keys()
    # What is passed goes before.
    assert repr(cls.with_paper_settings(lr=0.1, n_epochs=3)) == (
        repr(chosen.set_params(lr=0.1, n_epochs=3))
    )


def test_paper_settings_take_positional_parameters():
    assert DeepSAD.with_paper_settings(3.0).eta == 3.0
    assert HSC.with_paper_settings("norm", 2.0).radial == "norm"


@pytest.mark.parametrize("cls", [DeepSVDD, DeepSAD])
def test_paper_settings_pretrain_on_tables_too(cls):
    detector = cls.with_paper_settings(
        hidden_layer_sizes=(8, 4), n_epochs=1, pretraining=Pretraining(n_epochs=1), random_state=0
    )
    assert list(detector.fit(X).history_) == ["pretrain", "train"]


# Images


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
def test_images_go_through_a_lenet(cls):
    digits = load_digits_anomaly(normal=0)
    images, normal = digits.images, digits.target > 0
    params = {"pretrain": False} if cls in HYPERSPHERE else {}
    detector = cls(n_epochs=15, batch_size=32, random_state=0, **params).fit(images[normal][:120])
    assert isinstance(detector.network_, LeNet)
    assert detector.input_shape_ == (1, 8, 8)
    assert detector.score(images, digits.target) > 0.9


@pytest.mark.parametrize("cls", [AutoEncoder, *HYPERSPHERE])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 3), (1, 9, 4)])
def test_images_of_any_shape_have_a_network(cls, shape):
    rows = np.random.default_rng(0).normal(size=(12, *shape))
    detector = cls(n_epochs=1, random_state=0, batch_size=6).fit(rows)
    assert isinstance(detector.network_, LeNet if min(shape[1:]) >= 4 else MLP)
    assert np.isfinite(detector.score_samples(rows)).all()
