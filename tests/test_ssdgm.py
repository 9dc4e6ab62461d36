"""SS-DGM: the losses of M1 and M2 written out by hand, the two stages, labels, truth."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from conftest import PlainDecoder, quick, table
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logsumexp
from scipy.stats import bernoulli, norm
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from skdeepad import SSDGM, LabelWarning, engine
from skdeepad.detectors.ssdgm import LEAST_VARIANCE, M2Objective
from skdeepad.engine import Batch, Rows
from skdeepad.engine.scoring import draw_noise
from skdeepad.losses import bernoulli_log_likelihood, gaussian_kl, gaussian_log_likelihood
from skdeepad.synthetic import Confetti, PermutedColumns

CPU = torch.device("cpu")
SEEDS = {"network": 0, "decoder": 10, "head": 20, "split": 30, "training": 40}
STILL = 1e-12  # a learning rate that moves nothing
MODELS = ["M2", "M1+M2"]
LIKELIHOODS = ["gaussian", "bernoulli"]
BOTH = np.array([1, 0, -1, 0, -1, 1, 0, 1, 0])
WANTS_LABELS = pytest.mark.filterwarnings("ignore:SSDGM learns from labeled anomalies")


def double(values):
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def small(**params):
    """Return a detector with a tiny network that trains in milliseconds."""
    given = {"hidden_layer_sizes": (6, 4), "n_epochs": 2, "batch_size": 32, "device": "cpu"}
    return SSDGM(**{**given, "random_state": 0, **params})


def stages(y=BOTH, shape=(3,), **params):
    """Return the stages that a detector would train."""
    detector = small(**params)
    detector.input_shape_ = shape
    return detector._stages(SEEDS, np.asarray(y, dtype=np.int8))


def stirred(objective, seed=0):
    """Return an objective in float64 and evaluation mode whose every number is of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in objective.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2.0, generator=generator)
    return objective.double().eval()


def last_objective(**params):
    return stirred(stages(**params)[-1].objective)


def some_rows(shape=(3,), n=9, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, *shape))


def some_batch(objective, y=BOTH, shape=(3,), seed=0):
    x = double(some_rows(shape, len(y), seed))
    noise = draw_noise(objective, x, torch.Generator().manual_seed(seed))
    noise = {name: values.double() for name, values in noise.items()}
    return Batch(x, torch.tensor(y, dtype=torch.int8), noise)


# Densities and divergences


MEANS = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.3], [0.01, 5.0, -7.0]])
LOG_VARIANCES = np.array([[0.0, 0.0, 0.0], [0.5, -1.0, 2.0], [-6.0, 3.0, 1e-3]])


def test_divergence_is_that_of_torch():
    normal = Normal(double(MEANS), double(LOG_VARIANCES / 2).exp())
    expected = kl_divergence(normal, Normal(torch.zeros(3).double(), 1.0)).sum(-1)
    ours = gaussian_kl(double(MEANS), double(LOG_VARIANCES))
    assert_close(ours, expected, rtol=1e-12, atol=1e-14)
    assert ours[0] == 0 and (ours[1:] > 0).all()
    stacked = gaussian_kl(double(MEANS)[:, None], double(LOG_VARIANCES)[None])
    assert_close(stacked.diagonal(), expected, rtol=1e-12, atol=1e-14)


def test_divergence_is_the_mean_of_the_difference_of_logarithms():
    rng = np.random.default_rng(0)
    scales = np.exp(LOG_VARIANCES[1] / 2)
    draws = MEANS[1] + scales * rng.normal(size=(100_000, 3))
    values = (norm.logpdf(draws, MEANS[1], scales) - norm.logpdf(draws)).sum(1)
    error = values.std() / math.sqrt(len(values))
    ours = float(gaussian_kl(double(MEANS[1]), double(LOG_VARIANCES[1])))
    assert abs(values.mean() - ours) < 4 * error < 0.1


@pytest.mark.parametrize("log_variance", [1e-2, -1e-3, 1e-4, -1e-5])
def test_divergence_keeps_its_digits_next_to_a_variance_of_one(log_variance):
    exact = 0.5 * log_variance**2 / 2 * (1 + log_variance / 3)  # of 0.5 * (e^v - 1 - v)
    ours = gaussian_kl(torch.zeros(1), torch.tensor([log_variance]))
    # exp(v) - 1 in float32 would be off by up to 6e-8.
    assert abs(float(ours) - exact) < 1e-7 * abs(log_variance)
    in_float64 = gaussian_kl(torch.zeros(1).double(), double([log_variance]))
    assert_allclose(float(in_float64), exact, rtol=1e-4)


def test_divergence_and_gradients_are_finite_at_extremes():
    mean = torch.tensor([1e4, -1e15, 0.0, 1e-30], requires_grad=True)
    log_variance = torch.tensor([20.0, -20.0, 80.0, -1e10], requires_grad=True)
    value = gaussian_kl(mean[:, None], log_variance[:, None])
    value.sum().backward()
    assert value.isfinite().all()
    assert_close(mean.grad, mean.detach())
    variance = np.exp(log_variance.detach().double().numpy())
    assert_allclose(log_variance.grad.numpy(), 0.5 * (variance - 1), rtol=1e-5)


def test_normal_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, mean, log_variance = (rng.normal(scale=2, size=s) for s in ((5, 2, 3), (5, 2, 3), (2, 3)))
    expected = norm.logpdf(x, mean, np.exp(log_variance / 2)).sum(axis=(1, 2))
    ours = gaussian_log_likelihood(double(x), double(mean), double(log_variance))
    assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_likelihood_of_probabilities_is_by_hand():
    rng = np.random.default_rng(0)
    x, logit = rng.uniform(size=(5, 2, 3)), rng.normal(scale=3, size=(5, 2, 3))
    p = expit(logit)
    expected = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=(1, 2))
    ours = bernoulli_log_likelihood(double(x), double(logit))
    assert_allclose(ours.numpy(), expected, rtol=1e-12)
    x = np.round(x)
    ours = bernoulli_log_likelihood(double(x), double(logit))
    assert_allclose(ours.numpy(), bernoulli.logpmf(x, p).sum(axis=(1, 2)), rtol=1e-12)


def test_likelihood_of_probabilities_is_finite_for_huge_logits():
    x = torch.tensor([[0.0], [1.0], [0.0], [1.0], [0.25]])
    logit = torch.tensor([[-1e4], [1e4], [1e4], [-1e4], [1e4]], requires_grad=True)
    value = bernoulli_log_likelihood(x, logit)
    assert value.tolist() == [0.0, 0.0, -1e4, -1e4, -7500.0]
    value.sum().backward()
    assert logit.grad.flatten().tolist() == [0.0, 0.0, -1.0, 1.0, -0.75]


# The loss of M2, by hand


@torch.no_grad()
def m2_by_hand(m2, x, noise):
    """Return L(x, y) and q(y | x), each (n, 2), from one row and class at a time."""
    prior = float(m2.prior)
    bounds, shares = np.empty((len(x), 2)), np.empty((len(x), 2))
    for i in range(len(x)):
        hidden = m2.network(x[i : i + 1]).flatten(1)
        p = expit(float(m2.classifier(hidden)))
        shares[i] = 1 - p, p
        moments = m2.posterior(hidden).numpy().reshape(2, 2, -1)
        for which, (code, share) in enumerate([(-1.0, 1 - prior), (1.0, prior)]):
            mean, log_variance = moments[which]
            z = mean + np.exp(log_variance / 2) * noise[i, which].numpy()
            decoded = m2.decoder(m2.entry(double([[*z, code]])))[0].numpy()
            row = x[i].numpy()
            if m2.bernoulli:
                likelihood = row * np.log(expit(decoded)) + (1 - row) * np.log(expit(-decoded))
            else:
                likelihood = norm.logpdf(row, decoded, np.exp(m2.log_variance.numpy() / 2))
            divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
            bounds[i, which] = -likelihood.sum() - np.log(share) + divergence
    return bounds, shares


def rows_by_hand(bounds, shares, y):
    """Return L(x, y) of labeled rows and U(x) of the others."""
    known = {1: bounds[:, 0], -1: bounds[:, 1]}
    unknown = (shares * (bounds + np.log(shares))).sum(1)
    return np.array([known.get(label, unknown)[i] for i, label in enumerate(y)])


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_bounds_by_hand(likelihood, shape):
    m2 = last_objective(shape=shape, likelihood=likelihood, prior=0.2)
    batch = some_batch(m2, shape=shape)
    expected, shares = m2_by_hand(m2, batch.x, batch.noise["z"])
    with torch.no_grad():
        ours = m2.bounds(batch.x, m2.network(batch.x).flatten(1), batch.noise["z"]).numpy()
        assert_allclose(expit(m2.score(batch.x).numpy()), shares[:, 1], rtol=1e-10)
    assert np.ptp(expected[:, 1] - expected[:, 0]) > 1e-3
    assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize("unlabeled_are_normal", [False, True])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_loss_by_hand(likelihood, unlabeled_are_normal):
    y = np.where(BOTH > 0, 0, BOTH) if unlabeled_are_normal else BOTH
    m2 = last_objective(y=y, likelihood=likelihood, alpha=0.7, prior=0.3)
    batch = some_batch(m2, y)
    bounds, shares = m2_by_hand(m2, batch.x, batch.noise["z"])
    rows = rows_by_hand(bounds, shares, y)
    log_q = np.log(np.where(y < 0, shares[:, 1], shares[:, 0]))
    known = np.full(len(y), True) if unlabeled_are_normal else y != 0
    ours = m2.loss(batch).detach().numpy()
    assert_allclose(ours.mean(), rows.mean() - 0.7 * log_q[known].mean(), rtol=1e-7)
    # Rows of unknown class carry no part of the classification.
    assert_allclose(ours[~known], rows[~known], rtol=1e-10)
    share = 0.7 * len(y) / known.sum()
    assert_allclose(ours[known], (rows - share * log_q)[known], rtol=1e-7)
    m2.alpha.zero_()
    assert_allclose(m2.loss(batch).detach().numpy(), rows, rtol=1e-10)


def test_a_batch_of_unlabeled_rows_alone_has_no_classification():
    m2 = last_objective(alpha=100.0)
    batch = some_batch(m2, np.zeros(5, dtype=int))
    bounds, shares = m2_by_hand(m2, batch.x, batch.noise["z"])
    expected = rows_by_hand(bounds, shares, np.zeros(5))
    assert_allclose(m2.loss(batch).detach().numpy(), expected, rtol=1e-10)


def test_prior_shifts_the_bounds_by_its_logarithm():
    m2 = last_objective(prior=0.5)
    batch = some_batch(m2)
    hidden = m2.network(batch.x)
    before = m2.bounds(batch.x, hidden, batch.noise["z"])
    m2.prior.fill_(0.01)
    shift = (m2.bounds(batch.x, hidden, batch.noise["z"]) - before).detach().numpy()
    expected = [np.log(0.5) - np.log(0.99), np.log(0.5) - np.log(0.01)]
    assert_allclose(shift, np.broadcast_to(expected, shift.shape), rtol=1e-9)


class Given(nn.Module):
    """A classifier that gives each row the logit it was told."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, hidden):
        return self.logits[:, None]


def test_unlabeled_loss_is_least_at_the_posterior_of_the_classes():
    m2 = last_objective(alpha=0.0)
    batch = some_batch(m2, np.zeros(6, dtype=int))
    bounds, _ = m2_by_hand(m2, batch.x, batch.noise["z"])
    best = bounds[:, 0] - bounds[:, 1]

    def loss_at(logits):
        m2.classifier = Given(double(logits))
        return m2.loss(batch)

    least = loss_at(best)
    assert_allclose(least.detach().numpy(), -logsumexp(-bounds, axis=1), rtol=1e-10)
    least.sum().backward()
    assert_allclose(m2.classifier.logits.grad.numpy(), 0, atol=1e-10)
    posterior = np.stack([expit(-best), expit(best)], 1)
    for shift in (-3.0, -0.5, 0.1, 2.0):
        q = np.stack([expit(-best - shift), expit(best + shift)], 1)
        excess = (q * np.log(q / posterior)).sum(1)
        assert (excess > 0).all()
        ours = (loss_at(best + shift) - least).detach().numpy()
        assert_allclose(ours, excess, rtol=1e-6, atol=1e-12)


def test_classes_that_are_certain_leave_no_infinity():
    m2 = last_objective(alpha=1.0).float()
    y = np.array([0, 0, -1, 1, -1, 1])
    batch = some_batch(m2, y)
    batch = batch._replace(x=batch.x.float(), noise={"z": batch.noise["z"].float()})
    m2.classifier = Given(torch.tensor([1e4, -1e4, 1e4, 1e4, -1e4, -1e4]))
    loss = m2.loss(batch)
    hidden = m2.network(batch.x)
    bounds = m2.bounds(batch.x, hidden, batch.noise["z"])
    assert_close(loss[:2], torch.stack([bounds[0, 1], bounds[1, 0]]))
    wrong = torch.tensor([0.0, 1e4, 1e4, 0.0]) * 6 / 4
    assert_close(loss[2:], bounds[[2, 3, 4, 5], [1, 0, 1, 0]] + wrong)
    loss.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in m2.parameters())


def test_unlabeled_rows_teach_the_classifier_without_any_label():
    m2 = last_objective(alpha=0.0)
    batch = some_batch(m2)
    weights = m2.classifier[-1].weight
    for label, expected in ((0, True), (1, False), (-1, False)):
        rows = m2.loss(batch)[batch.y == label].sum()
        (gradient,) = torch.autograd.grad(rows, weights)
        assert bool((gradient.abs() > 1e-6).any()) == expected


# The expectation over z


def linear_m2(seed=0):
    """Return an M2 with a linear decoder, two codes and three features."""
    parts = {
        "network": nn.Flatten(),
        "posterior": nn.Sequential(nn.Linear(3, 8)),
        "decoder": nn.Sequential(nn.Linear(3, 3)),
        "classifier": nn.Linear(3, 1),
        "entry": nn.Sequential(nn.Linear(3, 3)),
    }
    numbers = {"unlabeled_are_normal": False, "alpha": 1.0, "prior": 0.1}
    prepared = stages()[0].objective.preparation
    m2 = stirred(M2Objective((3,), False, prepared, **parts, **numbers), seed)
    with torch.no_grad():
        m2.entry[0].weight.copy_(torch.eye(3))
        m2.entry[0].bias.zero_()
    return m2


@torch.no_grad()
def expected_bounds(m2, x):
    """Return E L(x, y) over z in closed form: (n, 2)."""
    weight, bias = m2.decoder[0].weight.numpy(), m2.decoder[0].bias.numpy()
    variance = np.exp(m2.log_variance.numpy())
    moments = m2.posterior(m2.network(x)).numpy().reshape(len(x), 2, 2, 2)
    bounds = np.empty((len(x), 2))
    for i in range(len(x)):
        for which, code in enumerate((-1.0, 1.0)):
            mean, log_variance = moments[i, which]
            center = weight @ np.r_[mean, code] + bias
            spread = weight[:, :2] ** 2 @ np.exp(log_variance)  # of the decoded features
            squared = (x[i].numpy() - center) ** 2 + spread
            minus = 0.5 * (squared / variance + np.log(2 * np.pi * variance)).sum()
            minus += 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
            bounds[i, which] = minus - np.log([1 - float(m2.prior), float(m2.prior)][which])
    return bounds


def test_one_draw_is_right_in_the_mean():
    m2, n = linear_m2(), 20_000
    x = double(some_rows(n=2))
    expected = expected_bounds(m2, x)
    many = x.repeat_interleave(n, 0)
    noise = draw_noise(m2, many, torch.Generator().manual_seed(0))["z"].double()
    with torch.no_grad():
        draws = m2.bounds(many, m2.network(many), noise).view(2, n, 2).numpy()
        # Two values a coordinate, -1 and 1, are right for polynomials of degree 2.
        signs = double([[a, b] for a in (-1, 1) for b in (-1, 1)])[:, None].expand(4, 2, 2)
        four = x.repeat_interleave(4, 0)
        exact = m2.bounds(four, m2.network(four), signs.repeat(2, 1, 1)).view(2, 4, 2).mean(1)
    assert_allclose(exact.numpy(), expected, rtol=1e-10)
    errors = draws.std(axis=1) / math.sqrt(n)
    assert (errors > 1e-3).all() and (errors < 0.2).all()
    assert (np.abs(draws.mean(axis=1) - expected) < 4 * errors).all()


def test_each_class_has_a_draw_of_its_own():
    m2 = linear_m2()
    batch = some_batch(m2)
    assert batch.noise["z"].shape == (len(BOTH), 2, 2)
    moved = batch.noise["z"].clone()
    moved[:, 1] += 1.0
    hidden = m2.network(batch.x)
    change = m2.bounds(batch.x, hidden, moved) - m2.bounds(batch.x, hidden, batch.noise["z"])
    assert (change[:, 0] == 0).all() and (change[:, 1].abs() > 1e-6).all()


# M1, and M2 on its codes


@torch.no_grad()
def m1_by_hand(m1, x, noise):
    losses = []
    for row, draw in zip(x, noise, strict=True):
        mean, log_variance = m1.posterior(m1.network(row[None]))[0].numpy().reshape(2, -1)
        z = mean + np.exp(log_variance / 2) * draw.numpy()
        decoded, row = m1.decoder(double([z]))[0].numpy(), row.numpy()
        if m1.bernoulli:
            likelihood = row * np.log(expit(decoded)) + (1 - row) * np.log(expit(-decoded))
        else:
            likelihood = norm.logpdf(row, decoded, np.exp(m1.log_variance.numpy() / 2))
        divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
        losses.append(divergence - likelihood.sum())
    return np.array(losses)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_loss_of_m1_by_hand(likelihood):
    m1 = stirred(stages(model="M1+M2", likelihood=likelihood)[0].objective)
    batch = some_batch(m1)
    ours = m1.loss(batch).detach().numpy()
    assert_allclose(ours, m1_by_hand(m1, batch.x, batch.noise["z"]), rtol=1e-10)
    unlabeled = batch._replace(y=torch.zeros_like(batch.y))
    assert_array_equal(ours, m1.loss(unlabeled).detach().numpy())


def test_loss_of_the_second_model_is_that_of_m2_on_drawn_codes():
    m2 = last_objective(model="M1+M2", likelihood="bernoulli", alpha=0.7)
    assert not m2.bernoulli and m2.m1.bernoulli
    batch = some_batch(m2)
    with torch.no_grad():
        mean, log_variance = m2.m1.posterior(m2.m1.network(batch.x)).chunk(2, -1)
    codes = mean + torch.exp(log_variance / 2) * batch.noise["m1"]
    bounds, shares = m2_by_hand(m2, codes, batch.noise["z"])
    known = BOTH != 0
    log_q = np.log(np.where(BOTH < 0, shares[:, 1], shares[:, 0]))[known]
    expected = rows_by_hand(bounds, shares, BOTH).mean() - 0.7 * log_q.mean()
    assert_allclose(float(m2.loss(batch).mean().detach()), expected, rtol=1e-7)
    with torch.no_grad():
        logit = m2.classifier(m2.network(mean))[:, 0]
    assert_close(m2.score(batch.x), logit)
    m2.loss(batch).sum().backward()
    assert all(parameter.grad is None for parameter in m2.m1.parameters())


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_first_model_stays_as_it_is_in_the_second_stage():
    X, y = table()
    first, second = stages(y, (4,), model="M1+M2", weight_decay=0.1, lr=0.01)
    rows = Rows.place(X.astype(np.float32), y.astype(np.int8), (4,), CPU)
    m1, m2 = first.objective, second.objective
    assert m2.m1 is m1
    fresh = state_of(m2)
    engine.train(first, rows, seed=0)
    between = state_of(m2)
    for name, value in m1.named_parameters():
        assert not torch.equal(value, fresh[f"m1.{name}"]), name
    assert all(
        torch.equal(value, between[name])
        for name, value in fresh.items()
        if not name.startswith("m1.")
    )
    m2.train()
    assert not any(module.training for module in m1.modules())
    assert m2.network.training and m2.decoder.training
    engine.train(second, rows, seed=0)
    after = state_of(m2)
    assert any("running_mean" in name for name in state_of(m1))
    for name in state_of(m1):
        assert torch.equal(after[f"m1.{name}"], between[f"m1.{name}"]), name
    for name, value in m2.named_parameters():
        if not name.startswith("m1."):
            assert not torch.equal(value, between[name]), name


def test_two_stages_lower_their_losses():
    X, y, _ = mixture()
    detector = small(model="M1+M2", n_epochs=10, lr=0.01).fit(X, y)
    assert list(detector.history_) == ["M1", "train"]
    for losses in detector.history_.values():
        assert len(losses["loss"]) == 10
        assert np.mean(losses["loss"][-3:]) < losses["loss"][0] - 0.2
    assert detector.network_ is detector._objective_.m1.network
    assert list(small().fit(X, y).history_) == ["train"]


# Scores and the threshold


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_probabilities_of_the_anomalous_class(model):
    X, y = table()
    detector = small(model=model, contamination="auto").fit(X, y)
    set_logits(detector, 1.0, np.log(1 / np.median(detector.anomaly_score(X)) - 1))
    objective = copy.deepcopy(detector._objective_).double()
    x = torch.tensor(X.astype(np.float32)).double()
    with torch.no_grad():
        if model == "M1+M2":
            x = objective.m1.moments(x)[0]
        logit = objective.classifier(objective.network(x))[:, 0].numpy()
    q = detector.anomaly_score(X)
    assert_allclose(q, expit(logit), rtol=1e-4)
    assert (q > 0).all() and (q < 1).all()
    assert detector.offset_ == -0.5
    assert abs((q > 0.5).sum() - len(X) / 2) <= 1
    assert_array_equal(detector.predict(X) == -1, q > 0.5)


def set_logits(detector, scale, shift):
    """Make the logit ``scale`` times what it is, and then ``shift`` more."""
    layer = detector._objective_.classifier[-1]
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.mul_(scale).add_(shift)


def test_even_odds_are_normal():
    X, y = table()
    detector = small(contamination="auto").fit(X, y)
    set_logits(detector, 0.0, 0.0)
    assert (detector.anomaly_score(X) == 0.5).all()
    assert (detector.predict(X) == 1).all()
    set_logits(detector, 0.0, 1e-6)
    assert (detector.predict(X) == -1).all()


@pytest.mark.parametrize("shift", [-80.0, -25.0, 25.0])
def test_large_logits_do_not_tie(shift):
    X, y = table()
    detector = small().fit(X, y)
    before = detector.anomaly_score(X)
    set_logits(detector, 1.0, shift)
    q = detector.anomaly_score(X)
    with torch.no_grad():
        logit = detector._objective_.score(torch.tensor(X.astype(np.float32))).numpy()
    if shift > 0:
        assert len(np.unique(expit(logit))) < len(X) / 2  # in float32
    assert len(np.unique(q)) == len(np.unique(logit)) > 0.9 * len(X)
    assert roc_auc_score(before > np.median(before), q) > 0.999


# Likelihoods


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.9), (0.0, 1.01), (-3.0, 300.0)])
def test_bernoulli_refuses_features_beyond_0_and_1(model, low, high, monkeypatch):
    X = some_rows((4,), 40)
    y = np.r_[np.zeros(30), -np.ones(10)]
    detector = small(model=model, likelihood="bernoulli").fit(X, y)
    before = detector.score_samples(X)
    bad = X.copy()
    bad[0, 0], bad[1, 1] = low, high

    def no_training(*args):
        raise AssertionError

    monkeypatch.setattr(engine, "train_alone", no_training)
    with pytest.raises(ValueError, match=r"features in \[0, 1\].*MinMaxScaler"):
        detector.fit(bad, y)
    assert_array_equal(detector.score_samples(X), before)
    assert np.isfinite(detector.score_samples(bad)).all()
    with pytest.raises(AssertionError):
        detector.fit(np.round(X), y)  # 0 and 1 themselves are fine
    with pytest.raises(AssertionError):
        small(model=model).fit(bad, y)


def bars(n=200, seed=0):
    """Return binary rows of twelve features in two patterns, some of which are flipped."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(2, size=n)
    X = np.repeat(np.stack([pattern, 1 - pattern], 1), 6, axis=1)
    return np.where(rng.uniform(size=X.shape) < 0.05, 1 - X, X).astype(float)


@torch.no_grad()
def reconstruction(detector, X):
    """Return probabilities of each feature at the mean code in the normal class."""
    m2 = detector._objective_
    x = torch.tensor(X, dtype=torch.float32)
    mean = m2.posterior(m2.network(x)).view(len(x), 2, 2, -1)[:, 0, 0]
    entered = m2.entry(torch.cat([mean, -torch.ones(len(x), 1)], 1))
    return expit(m2.decoder(entered).double().numpy())


def test_bernoulli_learns_to_reconstruct():
    X = bars()
    y = np.zeros(len(X))
    y[:5] = -1
    errors = []
    for lr in (STILL, 0.03):
        detector = small(likelihood="bernoulli", lr=lr, n_epochs=8).fit(X, y)
        errors.append(np.abs(reconstruction(detector, X) - X).mean())
    assert errors[0] > 0.4
    assert errors[1] < 0.2
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_constant_column_stays_finite(model):
    X, y = table()
    X[:, 1] = 1.0
    detector = small(model=model, n_epochs=30, lr=0.1, lr_schedule="constant").fit(X, y)
    assert np.isfinite(detector.score_samples(X)).all()
    objective = detector._objective_ if model == "M2" else detector._objective_.m1
    assert objective.log_variance[1] < objective.log_variance[[0, 2, 3]].min() - 0.5
    for losses in detector.history_.values():
        assert np.isfinite(losses["loss"]).all()


def test_variances_have_a_floor():
    m1 = stirred(stages(model="M1+M2")[0].objective)
    x, decoded = double(some_rows()), double(some_rows(seed=1))
    with torch.no_grad():
        m1.log_variance.fill_(-100.0)
    scale = math.sqrt(LEAST_VARIANCE)
    expected = norm.logpdf(x.numpy(), decoded.numpy(), scale).sum(1)
    assert_allclose(m1.log_likelihood(x, decoded).detach().numpy(), expected, rtol=1e-10)


# Labels


def classified(objective, y, shape=(3,)):
    """Return which rows are in the term of classification."""
    objective = objective.double().eval()
    batch = some_batch(objective, y, shape)
    objective.alpha.fill_(1.0)
    one = objective.loss(batch)
    objective.alpha.fill_(5.0)
    return ((objective.loss(batch) - one).abs() > 1e-9).numpy()


@pytest.mark.parametrize("model", MODELS)
def test_unlabeled_rows_are_classified_as_normal_where_none_is_labeled_so(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = stages(BOTH, model=model)[-1].objective
        anomalies = np.where(BOTH > 0, 0, BOTH)
        alone = stages(anomalies, model=model)[-1].objective
    assert_array_equal(classified(both, BOTH), BOTH != 0)
    assert classified(alone, anomalies).all()
    assert both.preparation.synthetic is None and alone.preparation.synthetic is None
    X, y = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(model=model).fit(X, y)
        small(model=model).fit(X, np.where(y > 0, 0, y))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("label", [0, 1])
def test_stand_ins_without_labeled_anomalies(model, label):
    y = np.full(8, label)
    for shape, kind, what in (
        ((3,), PermutedColumns, "rows with permuted columns"),
        ((1, 4, 4), Confetti, "images with blobs"),
    ):
        with pytest.warns(LabelWarning, match=f"{what}.*stand in for them"):
            made = stages(y, shape, model=model)
        objective = made[-1].objective
        assert type(objective.preparation.synthetic) is kind
        if model == "M1+M2":
            assert made[0].objective.preparation.synthetic is None
        batch = some_batch(objective, y, shape)
        prepared = objective.prepare(batch)
        assert prepared.y.tolist() == [label, -1] * 4
        assert torch.equal(prepared.x[::2], batch.x[::2])
        assert (prepared.x[1::2] != batch.x[1::2]).flatten(1).any(1).all()
        assert classified(objective, prepared.y.numpy(), shape).all()


def test_the_warning_points_at_the_caller():
    X, _ = table()
    for labels in (None, np.ones(60)):
        with pytest.warns(LabelWarning, match="SSDGM learns from labeled") as found:
            small().fit(X, labels)
        assert found[0].filename == __file__


@WANTS_LABELS
def test_stand_ins_teach_which_columns_go_together():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 4))
    odd = rng.normal(size=(100, 4)) * 1.5
    detector = small(hidden_layer_sizes=(16, 8), n_epochs=20, lr=0.01).fit(X)
    truth = np.r_[np.zeros(200), np.ones(100)]
    assert roc_auc_score(truth, detector.anomaly_score(np.vstack([X, odd]))) > 0.8


def test_the_paper_s_settings_are_for_features_between_0_and_1():
    X, y = table()
    detector = SSDGM.with_paper_settings(
        hidden_layer_sizes=(6, 4), n_epochs=2, device="cpu", random_state=0
    )
    with pytest.raises(ValueError, match="MinMaxScaler.*likelihood='gaussian'"):
        detector.fit(X, y)
    scaled = make_pipeline(MinMaxScaler(clip=True), detector).fit(X, y)
    assert scaled[-1]._objective_.bernoulli
    assert np.isfinite(scaled.score_samples(100 * X)).all()


# Networks of users


def encoder(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 5), nn.Tanh())


@pytest.mark.parametrize("model", MODELS)
def test_a_network_of_ones_own_needs_a_decoder(model):
    X, y = table()
    with torch.random.fork_rng(devices=[]):
        with pytest.raises(ValueError, match="SSDGM.*decoder=.*got None"):
            small(model=model, network=encoder).fit(X, y)
        detector = small(model=model, network=encoder, decoder=PlainDecoder, n_epochs=20, lr=0.02)
        detector.fit(X, y)
    assert isinstance(detector.network_[2], nn.Tanh)
    assert detector.score(X, np.where(np.arange(60) < 53, 1, -1)) > 0.9


# Truth


def mixture(seed=0):
    """Return normal rows in two corners, forty anomalies in a third, five of them labeled."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(scale=0.5, size=(200, 2)) + rng.choice([-1.5, 1.5], size=(200, 1))
    odd = rng.normal(scale=0.5, size=(40, 2)) + [1.5, -1.5]
    X, truth = np.vstack([normal, odd]), np.r_[np.zeros(200), np.ones(40)]
    y = np.zeros(240)
    y[-5:] = -1
    return X, y, truth


def auc(X, y, truth, **params):
    detector = small(**params).fit(X, y)
    hidden = y == 0
    return roc_auc_score(truth[hidden], detector.anomaly_score(X[hidden]))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("model", MODELS)
def test_five_labels_find_the_other_anomalies(model, likelihood):
    X, y, truth = mixture()
    if likelihood == "bernoulli":
        X = (X - X.min(0)) / np.ptp(X, axis=0)
        if model == "M1+M2":  # on two features it would gain nothing by a code
            X = np.repeat(X, 8, axis=1)
    params = {"model": model, "likelihood": likelihood, "hidden_layer_sizes": (8, 4)}
    seeds = (0, 1) if model == "M2" else (0,)
    n_epochs = 10 if model == "M2" else 20
    params["lr_schedule"] = "constant"
    trained = [
        auc(X, y, truth, lr=0.02, n_epochs=n_epochs, random_state=s, **params) for s in seeds
    ]
    untrained = [auc(X, y, truth, lr=STILL, n_epochs=1, random_state=s, **params) for s in seeds]
    assert min(trained) > 0.9
    assert np.mean(trained) > np.mean(untrained) + 0.1


@pytest.mark.parametrize(
    ("model", "likelihood"), [("M2", "gaussian"), ("M2", "bernoulli"), ("M1+M2", "bernoulli")]
)
def test_images_of_squares_left_and_right(model, likelihood):
    rng = np.random.default_rng(0)
    X = 0.3 * rng.uniform(size=(120, 1, 8, 8))
    truth = np.r_[np.zeros(90), np.ones(30)]
    for image, right in zip(X[:, 0], truth, strict=True):
        top, left = rng.integers(6), rng.integers(2) + 4 * int(right)
        image[top : top + 3, left : left + 3] += 0.7
    y = np.zeros(120)
    y[-6:] = -1
    params = {"model": model, "likelihood": likelihood, "hidden_layer_sizes": (16, 8)}
    assert auc(X, y, truth, n_epochs=6 if model == "M2" else 20, lr=0.01, **params) > 0.8


# Training


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_part_learns(likelihood):
    X, y = table()
    X = (X - X.min(0)) / np.ptp(X, axis=0)
    params = {"likelihood": likelihood, "weight_decay": 0.0, "clip_grad_norm": 1.0}
    still = small(lr=STILL, n_epochs=1, **params).fit(X, y)._objective_
    moved = small(lr=0.01, n_epochs=2, **params).fit(X, y)._objective_
    names = set()
    for (name, before), after in zip(still.named_parameters(), moved.parameters(), strict=True):
        assert (after - before).abs().max() > 1e-4, name
        names.add(name.partition(".")[0])
    parts = {"network", "posterior", "decoder", "classifier", "entry"}
    assert names == (parts | {"log_variance"} if likelihood == "gaussian" else parts)


@pytest.mark.parametrize("name", ["SSDGM", "SSDGM-M1+M2"])
def test_rows_far_away_leave_losses_finite(name):
    X, y = table()
    few = X.copy()
    few[[3, 20]], few[-1] = 1e4, -1e4
    for rows in (few, X * 1e4):
        detector = quick(name).fit(rows, y)
        for losses in detector.history_.values():
            assert np.isfinite(losses["loss"]).all()
        q = detector.anomaly_score(rows)
        assert np.isfinite(q).all() and (q >= 0).all() and (q <= 1).all()
