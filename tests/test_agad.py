"""AGAD: both losses written out by hand, turns, generators, resizing, resets, warnings."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import quick, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from skdeepad import AGAD, CollapseWarning, HeatmapDisplay, engine, networks
from skdeepad.deep import _SEEDS, draw_seeds
from skdeepad.detectors import agad
from skdeepad.engine import Batch, Rows, Sampler, Stage, Turn, private_generator
from skdeepad.objectives import UNCHANGED

WEIGHTS = ("adversarial", "contextual", "contextual_adversarial", "latent")
PAPER = (1.0, 50.0, 15.0, 5.0)


@pytest.fixture(autouse=True)
def _same_global_generator():
    """Networks of users draw their weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small(**params):
    """Return a detector of few filters."""
    given = {"hidden_layer_sizes": (4, 8), "n_epochs": 2, "batch_size": 16}
    given["lr_schedule"] = "constant"
    if not isinstance(params.get("generator", ""), str):
        given["hidden_layer_sizes"] = None
    return AGAD(**{**given, "device": "cpu", "random_state": 0, **params})


def objective_for(
    shape, sizes=(4, 8), weights=PAPER, reset_threshold=0.0, size=None, name="naive", **params
):
    """Return an objective whose discriminator has seed 1, in double precision."""
    generator = networks.build_generator(name, shape, sizes, 0)
    objective = agad.AdversarialObjective(
        generator,
        lambda: networks.build_discriminator(shape, 1),
        shape,
        size,
        UNCHANGED,
        **params,
        **dict(zip(WEIGHTS, weights, strict=True)),
        reset_threshold=reset_threshold,
    )
    return objective.double()


def bars(n=96, seed=0):
    """Return noisy images with a bright bar, at the left or, in the last quarter, at the right."""
    rng = np.random.default_rng(seed)
    X = rng.normal(scale=0.15, size=(n, 1, 16, 16)).astype(np.float32)
    y = np.where(np.arange(n) < n - n // 4, 0, -1)
    for image, label, top in zip(X[:, 0], y, rng.integers(2, 9, size=n), strict=True):
        left = 10 if label < 0 else 2
        image[top : top + 5, left : left + 4] += 1
    return X, y


def odd_sides(n=24, seed=0):
    """Return images whose sides are no multiples of 16."""
    return np.random.default_rng(seed).normal(size=(n, 2, 12, 20)).astype(np.float32)


# The losses, by hand


def softplus(t):
    return max(t, 0.0) + math.log1p(math.exp(-abs(t)))


def by_hand(views, y, weights):
    """Return the mean of each loss over all rows, number by number."""
    adversarial, contextual, contextual_adversarial, latent = weights
    x, made, again, logit, features, made_logit, made_features = (
        None if part is None else part.detach().numpy().astype(np.float64) for part in views
    )
    n = len(y)
    adv_real, adv_fake, con, change, lat = ([] for _ in range(5))
    for i in range(n):
        # -log D and -log(1 - D) of the logit
        adv_real.append(softplus(-made_logit[i]))
        adv_fake.append(softplus(made_logit[i]))
        pixels = list(np.ndindex(x.shape[1:]))
        con.append(sum(abs(x[i][p] - made[i][p]) for p in pixels) / len(pixels))
        change.append(
            0.0
            if again is None
            else sum(abs(made[i][p] - again[i][p]) for p in pixels) / len(pixels)
        )
        lat.append(math.sqrt(sum((a - b) ** 2 for a, b in zip(features[i], made_features[i]))))  # noqa: B905
    anomalies = [i for i in range(n) if y[i] == -1]
    generator = discriminator = 0.0
    for i in range(n):
        if i in anomalies:
            discriminator += softplus(logit[i])
            for weight, values in (
                (adversarial, adv_fake),
                (contextual_adversarial, change),
                (latent, lat),
            ):
                mean = sum(values[j] for j in anomalies) / len(anomalies)
                generator += weight / (mean + 0.001)
        else:
            discriminator += softplus(-logit[i]) + adv_fake[i]
            generator += (
                adversarial * adv_real[i]
                + contextual * con[i]
                - contextual_adversarial * change[i]
                + latent * lat[i]
            )
    return generator / n, discriminator / n


def some_views(n, shape=(2, 3, 4), twice=True, seed=0):
    """Return tensors of a batch, leaves that want gradients."""
    rng = np.random.default_rng(seed)
    shapes = [(n, *shape)] * 3 + [(n,), (n, 5), (n,), (n, 5)]
    tensors = [torch.tensor(rng.normal(size=shape)) for shape in shapes]
    if not twice:
        tensors[2] = None
    return agad.Views(*(t if t is None else t.requires_grad_() for t in tensors))


LABELS = {
    "all kinds": [1, 0, -1, -1, 0, 1, -1],
    "no anomaly": [1, 0, 0, 1, 0, 1, 0],
    "one anomaly": [0, 0, 1, -1, 0, 0, 0],
    "anomalies alone": [-1] * 7,
}
# Numbers that float32 has exactly.
OTHERS = [(0.5, 2.0, 3.0, 0.25), (0.0, 1.0, 4.0, 2.0), (2.0, 8.0, 0.0, 1.5)]


@pytest.mark.parametrize("weights", [PAPER, *OTHERS])
@pytest.mark.parametrize("kinds", LABELS)
@pytest.mark.parametrize("shape", [(2, 3, 4), (6,)])
def test_losses_are_the_formulas(weights, kinds, shape):
    y = LABELS[kinds]
    objective = objective_for((4,), weights=weights)
    assert objective.twice == (weights[2] > 0)
    views = some_views(len(y), shape, objective.twice)
    batch = Batch(views.x, torch.tensor(y, dtype=torch.int8), shared=views)
    losses = objective("generator_loss", batch), objective("discriminator_loss", batch)
    for loss, expected in zip(losses, by_hand(views, y, weights), strict=True):
        assert loss.shape == (len(y),)
        assert_allclose(loss.mean().item(), expected, rtol=1e-12)


def test_anomalies_share_one_loss_and_normal_rows_have_their_own():
    y = LABELS["all kinds"]
    views = some_views(len(y))
    objective = objective_for((4,))
    batch = Batch(views.x, torch.tensor(y, dtype=torch.int8), shared=views)
    made, judged = objective.generator_loss(batch), objective.discriminator_loss(batch)
    for i, label in enumerate(y):
        row = agad.Views(*(part[i : i + 1] for part in views))
        alone = by_hand(row, [label], PAPER)
        assert_allclose(judged[i].item(), alone[1], rtol=1e-12)
        if label >= 0:
            assert_allclose(made[i].item(), alone[0], rtol=1e-12)
    anomalous = [i for i, label in enumerate(y) if label < 0]
    assert len(set(made[anomalous].tolist())) == 1
    together = agad.Views(*(part[anomalous] for part in views))
    expected, _ = by_hand(together, [-1] * len(anomalous), PAPER)
    assert_allclose(made[anomalous[0]].item(), expected, rtol=1e-12)


def test_the_generator_s_gradient_is_that_of_the_formulas():
    y = LABELS["all kinds"]
    views = some_views(len(y))
    objective = objective_for((4,))
    batch = Batch(views.x, torch.tensor(y, dtype=torch.int8), shared=views)
    for place, method in enumerate(("generator_loss", "discriminator_loss")):
        wanted = {"reconstruction": (2, 1, 0, 1), "reconstruction_logit": (3,), "logit": (1,)}
        wanted |= {"reconstruction_features": (2, 4), "again": (5, 1, 2, 3)}
        loss = objective(method, batch).mean()
        parts = [getattr(views, name) for name in wanted]
        gradients = torch.autograd.grad(loss, parts, allow_unused=True)
        for (name, index), gradient in zip(wanted.items(), gradients, strict=True):
            ends = []
            for step in (1e-6, -1e-6):
                moved = getattr(views, name).detach().clone()
                moved[index] += step
                ends.append(by_hand(views._replace(**{name: moved}), y, PAPER)[place])
            slope = (ends[0] - ends[1]) / 2e-6
            value = 0.0 if gradient is None else gradient[index].item()
            assert_allclose(value, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("logit", [-1e30, -200.0, 0.0, 200.0, 1e30])
@pytest.mark.parametrize("kinds", LABELS)
def test_losses_and_gradients_are_finite_at_the_limits(kinds, logit):
    y = torch.tensor(LABELS[kinds], dtype=torch.int8)
    x, features = torch.ones(7, 2, 4, 4), torch.ones(7, 5)
    leaves = [x, x, x, torch.full((7,), logit), features, torch.full((7,), logit), features]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    objective = objective_for((4,)).float()
    batch = Batch(leaves[0], y, shared=agad.Views(*leaves))
    for method in ("generator_loss", "discriminator_loss"):
        loss = objective(method, batch)
        assert torch.isfinite(loss).all()
        gradients = torch.autograd.grad(loss.mean(), leaves, allow_unused=True)
        assert all(torch.isfinite(each).all() for each in gradients if each is not None)


def test_identical_reconstructions_of_anomalies_cost_what_the_guard_says():
    y = torch.tensor([-1, -1], dtype=torch.int8)
    same, features = torch.ones(2, 6), torch.ones(2, 5)
    views = agad.Views(same, same, same, *(torch.zeros(2), features) * 2)
    loss = objective_for((4,)).generator_loss(Batch(same, y, shared=views))
    expected = 1 / (math.log(2) + 0.001) + 15 / 0.001 + 5 / 0.001
    assert_allclose(loss.tolist(), [expected] * 2, rtol=1e-6)


# Turns


def data_for(shape, n=24):
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.normal(size=(n, *shape)))
    y = torch.tensor([0, 1, 0, 0, -1, 0] * (n // 6), dtype=torch.int8)
    return Rows(x, y, torch.device("cpu"), False)


class HandNorm(nn.Module):
    """BatchNorm as the paper freezes it: by the rows that are no anomalies."""

    anomalous = None  # of the batch

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias, self.momentum = layer.weight, layer.bias, layer.momentum
        self.register_buffer("running_mean", layer.running_mean)
        self.register_buffer("running_var", layer.running_var)

    def forward(self, x):
        of_channel = (1, -1, *[1] * (x.dim() - 2))
        counted = x[~HandNorm.anomalous].transpose(0, 1).flatten(1)
        known = [self.running_mean.clone(), self.running_var.clone()]
        batch = [counted.mean(1), counted.var(1, correction=0)]
        rows = []
        for row, anomalous in zip(x, HandNorm.anomalous, strict=True):
            mean, var = (each.view(of_channel) for each in (known if anomalous else batch))
            rows.append((row[None] - mean) / (var + 1e-5).sqrt())
        with torch.no_grad():
            self.running_mean += self.momentum * (counted.mean(1) - self.running_mean)
            self.running_var += self.momentum * (counted.var(1) - self.running_var)
        return torch.cat(rows) * self.weight.view(of_channel) + self.bias.view(of_channel)


def with_hand_norms(network):
    """Put norms by hand in the place of BatchNorm."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, networks.BATCH_NORMS):
            above, _, last = name.rpartition(".")
            setattr(network.get_submodule(above), last, HandNorm(layer))
    return network


def twin(network):
    """Return a network that shares all weights with another but for those of its norms."""
    other = copy.deepcopy(network)
    for name, module in other.named_modules():
        if not isinstance(module, (*networks.BATCH_NORMS, HandNorm)):
            for key, _ in list(module.named_parameters(recurse=False)):
                setattr(module, key, getattr(network.get_submodule(name), key))
    return other


def losses_of(generator, discriminator, x, y, weights, twins=None):
    """Return both losses of a batch, from networks in training mode.

    Reconstructions go through the twins of the networks, if there are any.
    """
    of_made, judge_of_made = twins or (generator, discriminator)
    HandNorm.anomalous = y < 0
    made = generator(x)
    change = torch.zeros(len(x), dtype=x.dtype)
    if weights[2]:
        kinds = (*networks.BATCH_NORMS, HandNorm)
        norms = [] if twins else [m for m in generator.modules() if isinstance(m, kinds)]
        for layer in norms:
            layer.momentum = 0.0  # running statistics stay as they are
        change = (made - of_made(made)).abs().flatten(1).mean(1)
        for layer in norms:
            layer.momentum = 0.1
    logit, features = discriminator(x)
    made_logit, made_features = judge_of_made(made)
    latent = torch.linalg.vector_norm(features - made_features, dim=1)
    contextual = (x - made).abs().flatten(1).mean(1)
    n, normal, anomalous = len(x), y >= 0, y < 0
    of_generator = (
        -weights[0] * functional.logsigmoid(made_logit)
        + weights[1] * contextual
        - weights[2] * change
        + weights[3] * latent
    )[normal].sum()
    of_discriminator = -functional.logsigmoid(logit)[normal].sum()
    of_discriminator = of_discriminator - functional.logsigmoid(-made_logit)[normal].sum()
    if anomalous.any():
        fake = -functional.logsigmoid(-made_logit)
        for weight, term in ((weights[0], fake), (weights[2], change), (weights[3], latent)):
            of_generator = of_generator + anomalous.sum() * weight / (term[anomalous].mean() + 1e-3)
        of_discriminator = of_discriminator - functional.logsigmoid(-logit)[anomalous].sum()
    return of_generator / n, of_discriminator / n


def bare_loop(objective, rows, stage, weights, resets, batch_norm="shared"):
    """Train copies of the networks without the engine; return them and the mean losses."""
    pair = [copy.deepcopy(objective.network).train()]
    pair.append(copy.deepcopy(objective.discriminator).train())
    if batch_norm in ("frozen", "both"):
        pair = [with_hand_norms(network) for network in pair]
    generator, discriminator = pair
    twins = [twin(network) for network in pair] if batch_norm in ("auxiliary", "both") else None
    first = [copy.deepcopy(each.state_dict()) for each in (discriminator, *(twins or [])[1:])]
    settings = {"lr": stage.lr, "weight_decay": stage.weight_decay}
    weighty = [
        list(dict.fromkeys([*network.parameters(), *(other.parameters() if twins else ())]))
        for network, other in zip(pair, twins or pair, strict=True)
    ]
    ours, other = (torch.optim.Adam(parameters, **settings) for parameters in weighty)
    sampler = Sampler(rows.labels(), stage.batch_size, stage.anomaly_fraction)
    random = private_generator(7)
    history = []
    for _ in range(stage.n_epochs):
        epoch = []
        for positions in sampler.epoch(random):
            x, y = rows.x[positions], rows.y[positions]
            losses = losses_of(generator, discriminator, x, y, weights, twins)
            both = [
                torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                for loss, parameters in zip(losses, weighty, strict=True)
            ]
            for parameters, gradients, adam in zip(weighty, both, (ours, other), strict=True):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                adam.step()
            epoch.append([loss.item() for loss in losses])
        history.append(np.mean(epoch, axis=0))
        if resets:
            for network, state in zip((discriminator, *(twins or [])[1:]), first, strict=True):
                network.load_state_dict(state)
            other = torch.optim.Adam(weighty[1], **settings)
    return generator, discriminator, np.array(history)


STRATEGIES = ["auxiliary", "frozen", "both"]


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(
    ("shape", "name", "sizes", "weights", "batch_norm"),
    [
        ((6,), "naive", (8, 4), PAPER, "shared"),
        ((6,), "naive", (8, 4), (2.0, 8.0, 0.0, 1.5), "shared"),
        ((1, 8, 8), "naive", (3, 4, 2), PAPER, "shared"),
        ((2, 8, 8), "unet++", (3, 4, 2), PAPER, "shared"),
        *(((6,), "naive", (8, 4), PAPER, strategy) for strategy in STRATEGIES),
        ((1, 8, 8), "naive", (3, 4, 2), PAPER, "both"),
    ],
)
def test_training_is_that_of_a_bare_loop(shape, name, sizes, weights, batch_norm, resets):
    threshold = 1e9 if resets else 0.0
    objective = objective_for(shape, sizes, weights, threshold, name=name, batch_norm=batch_norm)
    rows = data_for(shape)
    stage = Stage("train", objective, n_epochs=2, lr=0.01, batch_size=8, weight_decay=0.01)
    stage.anomaly_fraction = 0.25
    generator, discriminator, losses = bare_loop(
        objective, rows, stage, weights, resets, batch_norm
    )
    before = copy.deepcopy(objective.network)
    record = engine.train(stage, rows, 7)
    assert_allclose(record.losses["generator_loss"], losses[:, 0], rtol=1e-5)
    assert_allclose(record.losses["discriminator_loss"], losses[:, 1], rtol=1e-5)
    for made, expected in (
        (objective.network, generator),
        (objective.discriminator, discriminator),
    ):
        for key, value in expected.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert_allclose(made.state_dict()[key], value, rtol=1e-6, atol=1e-9, err_msg=key)
    # 20 rows, 6 of them beside 2 anomalies in a batch: 4 steps an epoch, one pass of rows in each.
    for key, value in objective.network.named_buffers():
        if key.endswith("num_batches_tracked"):
            assert value == 8
    assert any(
        (one - other).abs().max() > 0.01
        for one, other in zip(before.parameters(), generator.parameters(), strict=True)
    )


def test_running_statistics_are_those_of_rows_alone():
    objective = objective_for((6,), (8, 4))
    rows = data_for((6,))
    layer = next(m for m in objective.network.modules() if isinstance(m, nn.BatchNorm1d))
    linear = objective.network[0][1]
    with torch.no_grad():
        inputs = linear(rows.x)
        expected = 0.1 * inputs.mean(0), 0.9 + 0.1 * inputs.var(0)
    stage = Stage("train", objective, n_epochs=1, lr=1e-30, batch_size=len(rows))
    engine.train(stage, rows, 7)
    assert_allclose(layer.running_mean, expected[0], rtol=1e-9)
    assert_allclose(layer.running_var, expected[1], rtol=1e-9)


def inputs_of_norm(network, rows):
    """Return what the first BatchNorm of a table's network takes, for rows in training mode."""
    return network[0][1](rows) if isinstance(network, nn.Sequential) else network.features[0](rows)


@pytest.mark.parametrize("batch_norm", ["shared", *STRATEGIES])
def test_running_statistics_come_from_the_right_rows(batch_norm):
    """A tenth of the way to those of the one batch there is."""
    objective = objective_for((6,), (8, 4), batch_norm=batch_norm)
    rows = data_for((6,))
    freezes, auxiliary = batch_norm in ("frozen", "both"), batch_norm in ("auxiliary", "both")
    counted = rows.y >= 0 if freezes else rows.y > -2
    with torch.no_grad():
        if freezes:
            with networks.LeftOutOfBatchNorm(~counted):
                made = copy.deepcopy(objective.network).train()(rows.x)
        else:
            made = copy.deepcopy(objective.network).train()(rows.x)
        seen = {}
        for which in ("network", "discriminator"):
            network = getattr(objective, which)
            seen[which] = [inputs_of_norm(network, x)[counted] for x in (rows.x, made)]
    stage = Stage("train", objective, n_epochs=1, lr=1e-30, batch_size=len(rows))
    engine.train(stage, rows, 7)
    for which, (of_rows, of_made) in seen.items():
        layer = next(iter(networks.copied_norms(getattr(objective, which)).values()))
        expected = [0.1 * of_rows.mean(0), 0.9 + 0.1 * of_rows.var(0)]
        if which == "discriminator" and not auxiliary:  # it judges rows first
            expected[0] = 0.9 * expected[0] + 0.1 * of_made.mean(0)
            expected[1] = 0.9 * expected[1] + 0.1 * of_made.var(0)
        assert_allclose(layer.running_mean, expected[0], rtol=1e-9)
        assert_allclose(layer.running_var, expected[1], rtol=1e-9)
        if auxiliary:
            layer = objective.auxiliary[which][0]
            assert_allclose(layer.running_mean, 0.1 * of_made.mean(0), rtol=1e-9, atol=1e-15)
            assert_allclose(layer.running_var, 0.9 + 0.1 * of_made.var(0), rtol=1e-9)


def test_without_labeled_anomalies_none_are_frozen():
    rows, scores = data_for((6,)), {}
    rows.y.clamp_(min=0)
    for strategy in ("shared", *STRATEGIES):
        objective = objective_for((6,), (8, 4), batch_norm=strategy)
        engine.train(Stage("train", objective, n_epochs=3, lr=0.01, batch_size=8), rows, 7)
        scores[strategy] = objective.eval().score(rows.x).detach()
    assert_allclose(scores["frozen"], scores["shared"], rtol=1e-5)
    assert_allclose(scores["both"], scores["auxiliary"], rtol=1e-5)
    assert (scores["auxiliary"] / scores["shared"] - 1).abs().max() > 1e-3


@pytest.mark.parametrize("n_epochs", [1, 4])
def test_the_average_of_the_generator_over_epochs(n_epochs, monkeypatch):
    objective = objective_for((6,), (8, 4), averages=True)
    rows, weights, last = data_for((6,)), [], []
    after_epoch = agad.AdversarialObjective.after_epoch

    def spy(self, epoch, *args):
        weights.append([weight.clone() for weight in self.network.parameters()])
        last[:] = [copy.deepcopy(self)]
        return after_epoch(self, epoch, *args)

    monkeypatch.setattr(agad.AdversarialObjective, "after_epoch", spy)
    engine.train(Stage("train", objective, n_epochs=n_epochs, lr=0.01, batch_size=8), rows, 7)
    counts = [(t + 1) ** 8 for t in range(n_epochs)]
    made = list(objective.network.parameters())
    for place, weight in enumerate(made):
        of_epochs = zip(counts, (each[place] for each in weights), strict=True)
        expected = sum(count * each for count, each in of_epochs) / sum(counts)
        assert_allclose(weight.detach(), expected, rtol=1e-9, atol=1e-12)
    [(_, layer), *_] = [
        (name, module)
        for name, module in objective.network.named_modules()
        if isinstance(module, nn.BatchNorm1d)
    ]
    with torch.no_grad():
        inputs = inputs_of_norm(objective.network, rows.x[rows.y >= 0])
    assert_allclose(layer.running_mean, inputs.mean(0), rtol=1e-9)
    assert_allclose(layer.running_var, inputs.var(0), rtol=1e-9)
    assert layer.momentum == 0.1 and not layer.training
    # Training goes on from the weights as they are, and the discriminator is no average.
    assert_allclose(
        next(objective.discriminator.parameters()).detach(),
        next(last[0].discriminator.parameters()).detach(),
    )
    assert objective.average == []


def test_an_average_is_measured_over_slices(monkeypatch):
    """Statistics of 24 rows are the mean of those of three slices of eight, without anomalies."""
    objective, rows = objective_for((6,), (8, 4), averages=True), data_for((6,))
    objective.average = [weight.detach().clone() for weight in objective.network.parameters()]
    monkeypatch.setattr(
        Rows,
        "slices",
        lambda self: zip(*(each.split(8) for each in (rows.x, rows.y)), [8] * 3, strict=True),
    )
    with torch.no_grad():
        objective.eval().finish(rows)
        inputs = inputs_of_norm(objective.network, rows.x)
    parts = [part[y >= 0] for part, y in zip(inputs.split(8), rows.y.split(8), strict=True)]
    layer = next(iter(networks.copied_norms(objective.network).values()))
    assert_allclose(layer.running_mean, sum(part.mean(0) for part in parts) / 3, rtol=1e-9)
    assert_allclose(layer.running_var, sum(part.var(0) for part in parts) / 3, rtol=1e-9)


@pytest.mark.parametrize(("loss", "mine"), [("generator_loss", 0), ("discriminator_loss", 1)])
def test_a_turn_changes_its_own_network_alone(loss, mine, monkeypatch):
    objective = objective_for((6,))
    turns = objective.turns()
    assert [turn.loss for turn in turns] == ["generator_loss", "discriminator_loss"]
    chosen = [turn for turn in turns if turn.loss == loss]
    assert all(isinstance(turn, Turn) for turn in chosen)
    monkeypatch.setattr(objective, "turns", lambda: chosen)
    monkeypatch.setattr(objective, "after_epoch", lambda *args: None)
    pair = objective.network, objective.discriminator
    before = [[weight.detach().clone() for weight in each.parameters()] for each in pair]
    engine.train(Stage("train", objective, n_epochs=2, batch_size=8), data_for((6,)), 7)
    for place, (network, old) in enumerate(zip(pair, before, strict=True)):
        moved = [
            not torch.equal(one, other)
            for one, other in zip(network.parameters(), old, strict=True)
        ]
        assert all(moved) if place == mine else not any(moved)


@pytest.mark.parametrize("twice", [True, False])
def test_passes_of_a_step(twice):
    objective = objective_for((6,), weights=(1.0, 50.0, 15.0 * twice, 5.0))
    passes = {"network": [], "discriminator": []}
    for name, calls in passes.items():

        def note(module, inputs, output, calls=calls):
            if module.training:
                calls.append((inputs[0], output))

        getattr(objective, name).register_forward_hook(note)
    rows = data_for((6,))
    engine.train(Stage("train", objective, n_epochs=2, batch_size=8), rows, 7)
    per_step = 1 + twice
    steps = 2 * 3
    tried = passes["network"][:per_step]  # on three rows, before training
    assert [len(x) for x, _ in tried] == [3] * per_step
    passes = {"network": passes["network"][per_step:], "discriminator": passes["discriminator"][2:]}
    assert len(passes["network"]) == per_step * steps
    assert len(passes["discriminator"]) == 2 * steps
    known = {tuple(row.tolist()) for row in rows.x}
    for step in range(steps):
        x, made = passes["network"][per_step * step]
        assert {tuple(row.tolist()) for row in x} <= known
        if twice:
            again, _ = passes["network"][per_step * step + 1]
            assert again is made
        judged = [inputs for inputs, _ in passes["discriminator"][2 * step : 2 * step + 2]]
        assert judged[0] is x and judged[1] is made


def test_without_the_second_pass_there_is_ganomaly():
    rows, y = table()
    one, other = (
        small(contextual_adversarial=weight, n_epochs=3, lr=0.01).fit(rows, y)
        for weight in (0.0, 15.0)
    )
    assert np.abs(one.score_samples(rows) - other.score_samples(rows)).max() > 1e-3


# Networks


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("naive", 1, 2_134_629),
        ("unet", 1, 7_762_465),
        ("unet++", 1, 9_045_249),
        # Two more channels: filters of the first layer, and filters and biases of the last.
        ("naive", 3, 2_134_629 + 2 * (2 * 64 * 16) + 2),
        ("unet", 3, 7_762_465 + 2 * (32 * 9 + 32) + 2),
        ("unet++", 3, 9_045_249 + 2 * (32 * 9 + 32) + 2),
    ],
)
def test_generators_have_as_many_parameters_as_the_papers_say(name, channels, count):
    network = networks.build_generator(name, (channels, 32, 32), None, 0)
    assert sum(weight.numel() for weight in network.parameters()) == count


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 48)])
@pytest.mark.parametrize("name", ["naive", "unet", "unet++"])
@pytest.mark.parametrize("sizes", [(3,), (4, 6), "most"])
def test_generators_keep_the_shape(name, shape, sizes):
    if sizes == "most":
        sizes = (2, 3, 4, 5) if name == "naive" else (2, 3, 4, 5, 6)
    network = networks.build_generator(name, shape, sizes, 0).eval()
    x = torch.randn(2, *shape)
    with torch.no_grad():
        made = network(x)
    assert made.shape == x.shape
    assert torch.isfinite(made).all()
    assert made.std() > 0


def test_only_inner_layers_of_the_naive_generator_are_normalized():
    network = networks.encoder_decoder((1, 16, 16), (4, 5, 6, 7))
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == (
        ["Conv2d", "LeakyReLU"]
        + ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2
        + ["Conv2d"]
        + ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 3
        + ["ConvTranspose2d"]
    )
    assert [m.out_channels for m in network if isinstance(m, nn.Conv2d)] == [4, 5, 6, 7]
    assert [m.out_channels for m in network if isinstance(m, nn.ConvTranspose2d)] == [6, 5, 4, 1]


@pytest.mark.parametrize("nested", [False, True])
def test_unets_are_wired_as_published(nested):
    net = networks.build_generator("unet++" if nested else "unet", (1, 16, 16), (3, 4, 5), 0)
    node, up = net.nodes, net.up
    x = torch.randn(2, 1, 16, 16)
    x00 = node["0 0"](x)
    x10 = node["1 0"](functional.max_pool2d(x00, 2))
    x20 = node["2 0"](functional.max_pool2d(x10, 2))
    x11 = node["1 1"](torch.cat([x10, up["1 1"](x20)], 1))
    beside = [x00]
    if nested:
        beside.append(node["0 1"](torch.cat([x00, up["0 1"](x10)], 1)))
    x02 = node["0 2"](torch.cat([*beside, up["0 2"](x11)], 1))
    assert_allclose(net(x).detach(), net.output(x02).detach(), rtol=1e-5, atol=1e-6)
    assert len(node) == (6 if nested else 5)


@pytest.mark.parametrize("name", ["unet", "unet++"])
def test_skip_connections_carry(name):
    net = networks.build_generator(name, (1, 16, 16), (3, 4, 5), 0).eval()
    x, other = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    last = net.nodes["0 2"][0].weight
    with torch.no_grad():
        whole = net(x)
        kept = last.clone()
        for first in range(0, last.shape[1], 3):  # what comes from one node
            last[:, first : first + 3] = 0
            assert (net(x) - whole).abs().max() > 1e-3 * whole.std()
            last.copy_(kept)
        for layer in net.up.values():
            layer.weight.zero_()
            layer.bias.zero_()
        # Now all that passes comes through skip connections.
        assert (net(x) - net(other)).abs().max() > 1e-3
        last[:] = 0
        assert torch.equal(net(x), net(other))


@pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly the same")
def test_a_unet_is_no_unet_plus_plus():
    rows, y = bars(16)
    scores = [
        small(generator=name, hidden_layer_sizes=(3, 4, 5)).fit(rows, y).score_samples(rows)
        for name in ("naive", "unet", "unet++")
    ]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(scores[i] - scores[j]).max() > 1e-3


def test_what_the_discriminator_gives_for_images():
    network = networks.build_discriminator((2, 16, 24), 0)
    x = torch.randn(3, 2, 16, 24)
    logit, features = network(x)
    kinds = [type(layer).__name__ for layer in network.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2
    made = x
    for layer in network.features:
        made = layer(made)
    assert made.shape == (3, 128, 4, 6)
    assert_allclose(features.detach(), made.flatten(1).detach(), rtol=1e-6)
    last = network.classifier
    expected = torch.einsum("nchw,chw->n", made, last.weight[0]) + last.bias
    assert logit.shape == (3,)
    assert_allclose(logit.detach(), expected.detach(), rtol=1e-4, atol=1e-5)
    assert network.eval()(x[:1])[0].shape == (1,)


def test_what_the_discriminator_gives_for_tables():
    network = networks.build_discriminator((6,), 0)
    x = torch.randn(5, 6)
    logit, features = network(x)
    kinds = [type(layer).__name__ for layer in network.features]
    assert kinds == ["Linear", "BatchNorm1d", "LeakyReLU"] * 2
    made = x
    for layer in network.features:
        made = layer(made)
    assert features.shape == (5, 128)
    assert_allclose(features.detach(), made.detach(), rtol=1e-6)
    expected = made @ network.classifier.weight[0] + network.classifier.bias
    assert_allclose(logit.detach(), expected.detach(), rtol=1e-4, atol=1e-5)
    assert logit.shape == (5,) and network.eval()(x[:1])[0].shape == (1,)


# Sizes of images


class Shift(nn.Module):
    """A user's generator, of images of any size."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.factor * x.roll(1, -1)


def seen_by(network, act):
    """Return the shapes of rows that a network sees while ``act`` runs."""
    shapes = set()
    hook = network.register_forward_pre_hook(lambda _, inputs: shapes.add(inputs[0].shape[1:]))
    act()
    hook.remove()
    return shapes


def parts_of(detector, X, size):
    """Return images and their reconstructions, both of the size the generator sees."""
    x = torch.tensor(X)
    if size is not None:
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
    with torch.no_grad():
        return x, detector.network_.eval()(x)


@pytest.mark.parametrize("name", ["naive", "unet"])
def test_images_are_resized_to_multiples_of_16(name):
    X = odd_sides()
    detector = small(generator=name).fit(X)
    assert detector.input_shape_ == (2, 12, 20)
    assert detector.discriminator_.classifier.weight.shape == (1, 128, 4, 8)
    for method in (detector.score_samples, detector.explain, detector.reconstruct):
        assert seen_by(detector.network_, lambda method=method: method(X)) == {(2, 16, 32)}
    x, made = parts_of(detector, X, (16, 32))
    residual = (x - made).double()
    score = residual.flatten(1).norm(dim=1)
    assert_allclose(detector.anomaly_score(X), score, rtol=1e-5)
    back = {"size": (12, 20), "mode": "bilinear", "align_corners": False}
    # Each pixel of the resized image goes back to those it was made of, by the same weights.
    given = torch.zeros(24, 2, 12, 20, dtype=torch.float64, requires_grad=True)
    seen = functional.interpolate(given, **{**back, "size": (16, 32)})
    shares = residual.square() / score[:, None, None, None]
    (expected,) = torch.autograd.grad(seen, given, shares)
    heat = detector.explain(X)
    assert_allclose(heat, expected.sum(1), rtol=1e-4, atol=1e-6)
    assert_allclose(heat.sum(axis=(1, 2)), score, rtol=1e-5)
    expected = functional.interpolate(made, **back)
    assert_allclose(detector.reconstruct(X), expected, rtol=1e-4, atol=1e-5)


def test_multiples_of_16_are_left_alone():
    X, y = bars(32)
    detector = small().fit(X, y)
    assert seen_by(detector.network_, lambda: detector.explain(X)) == {(1, 16, 16)}
    x, made = parts_of(detector, X, None)
    heat = detector.explain(X)
    length = detector.anomaly_score(X)
    squared = ((x - made) ** 2)[:, 0].numpy()
    assert_allclose(heat, squared / length[:, None, None], rtol=1e-4, atol=1e-7)
    assert_allclose(heat.sum(axis=(1, 2)), length, rtol=1e-5)
    assert_allclose(detector.reconstruct(X), made, rtol=1e-5, atol=1e-6)


def test_a_generator_of_the_user_s_sees_images_as_they_are():
    X = odd_sides()
    generator = Shift()
    detector = small(generator=generator, lr=1e-3).fit(X)
    assert detector.discriminator_.classifier.weight.shape == (1, 128, 3, 5)
    assert seen_by(detector.network_, lambda: detector.anomaly_score(X)) == {(2, 12, 20)}
    factor = detector.network_.factor.item()
    assert generator.factor.item() == 0.5 != factor
    residual = X.astype(np.float64) - factor * np.roll(X, 1, axis=-1)
    squared = (residual**2).sum(axis=1)
    length = np.sqrt(squared.sum(axis=(1, 2)))
    assert_allclose(detector.explain(X), squared / length[:, None, None], rtol=1e-4, atol=1e-6)
    assert_allclose(detector.anomaly_score(X), length, rtol=1e-5)
    assert_allclose(detector.reconstruct(X), factor * np.roll(X, 1, axis=-1), rtol=1e-5)


def test_reconstructions_have_the_shape_that_rows_come_in():
    X = odd_sides()
    rows = X.reshape(len(X), -1)
    by_images, by_rows = small().fit(X), small(input_shape=(2, 12, 20)).fit(rows)
    expected = by_images.reconstruct(X)
    assert expected.shape == X.shape and expected.dtype == np.float64
    for detector in (by_images, by_rows):
        assert_array_equal(detector.reconstruct(X), expected)
        assert_array_equal(detector.reconstruct(torch.tensor(X)), expected)
        assert_array_equal(detector.reconstruct(rows), expected.reshape(rows.shape))
        assert_array_equal(detector.reconstruct(rows[:1].tolist()), expected.reshape(24, -1)[:1])
        assert detector.explain(rows).shape == (24, 12, 20)
        assert_array_equal(detector.explain(rows), detector.explain(X))


# Resets

WON = pytest.mark.filterwarnings("ignore:The discriminator of AGAD has won")


@WON
@pytest.mark.parametrize(("n_epochs", "seed"), [(1, 0), (4, 3)])
def test_a_reset_discriminator_has_its_first_weights(n_epochs, seed):
    X, y = table()
    detector = small(reset_threshold=1e9, n_epochs=n_epochs, random_state=seed, lr=0.01).fit(X, y)
    first = networks.build_discriminator((4,), draw_seeds(seed, _SEEDS)["head"]).state_dict()
    for name, value in detector.discriminator_.state_dict().items():
        assert torch.equal(value, first[name]), name
    history = detector.history_["train"]
    assert history["reset"] == [1.0] * n_epochs
    never = small(reset_threshold=0, n_epochs=n_epochs, random_state=seed, lr=0.01).fit(X, y)
    assert never.history_["train"]["reset"] == [0.0] * n_epochs
    for name, value in never.discriminator_.named_parameters():
        assert not torch.equal(value, first[name]), name
    for each in (detector, never):
        losses = each.history_["train"]
        expected = np.array(losses["discriminator_loss"]) / (2 * math.log(2))
        assert_allclose(losses["balance"], expected, rtol=1e-12)
    assert history["discriminator_loss"][0] == never.history_["train"]["discriminator_loss"][0]
    if n_epochs > 1:
        assert history["discriminator_loss"][1] > never.history_["train"]["discriminator_loss"][1]


@WON
def test_it_starts_anew_only_below_the_threshold():
    X, y = table()
    detector = small(reset_threshold=0.7, n_epochs=12, lr=5e-3).fit(X, y)
    history = detector.history_["train"]
    assert history["reset"] == [float(loss < 0.7) for loss in history["discriminator_loss"]]
    assert set(history["reset"]) == {0.0, 1.0}


def test_the_state_of_the_discriminator_s_adam_is_cleared_and_no_other(monkeypatch):
    models = []
    made = engine.single.Single.__init__

    def spy(model, members):
        made(model, members)
        models.append(model)

    monkeypatch.setattr(engine.single.Single, "__init__", spy)
    for threshold in (1e9, 0.0):
        objective = objective_for((6,), reset_threshold=threshold)
        engine.train(Stage("train", objective, n_epochs=2, batch_size=8), data_for((6,)), 7)
        for turn, cleared in zip(models[-1].turns, (False, threshold > 0), strict=True):
            states = turn.adam.state.values()
            assert len(states) == len(turn.parameters)
            assert {bool(state["exp_avg_sq"].any()) for state in states} == {not cleared}
            assert {float(state["step"]) > 0 for state in states} == {not cleared}


# Warnings; all others are errors


def test_a_discriminator_that_has_won_is_told_of():
    X, y = table()
    with pytest.warns(ConvergenceWarning, match="won for good.*lower lr") as found:
        small(reset_threshold=1e9, n_epochs=3).fit(X, y)
    assert len(found) == 1 and found[0].filename == __file__
    small(reset_threshold=1e9, n_epochs=2).fit(X, y)
    small(n_epochs=6).fit(X, y)
    quick("AGAD").fit(X, y)


@pytest.mark.parametrize(
    ("reset", "balance", "warns"),
    [
        ([0, 1, 1, 1], [0.9, 0.02, 0.02, 0.02], True),
        ([0, 0, 0, 0], [0.9, 0.02, 0.01, 0.02], True),
        ([0, 0, 1, 0], [0.9, 0.02, 0.5, 0.02], True),
        ([1, 1, 1, 0], [0.02, 0.02, 0.02, 0.5], False),
        ([1, 0, 1, 1], [0.02, 0.04, 0.02, 0.02], False),
        ([1, 1], [0.02, 0.02], False),
    ],
)
def test_only_the_last_three_epochs_count(reset, balance, warns):
    X, y = table()
    detector = small().fit(X, y)
    detector.history_["train"] |= {"reset": [float(r) for r in reset], "balance": balance}
    if warns:
        with pytest.warns(ConvergenceWarning, match="won for good"):
            detector._warn_of_scores(None)
    else:
        detector._warn_of_scores(None)


class Constant(nn.Module):
    """Gives the same for all rows."""

    def __init__(self, input_shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(input_shape))

    def forward(self, x):
        return self.bias.expand_as(x)


@pytest.mark.parametrize("images", [False, True])
def test_a_generator_that_gives_all_rows_the_same_is_told_of(images):
    X = bars(24)[0] if images else table()[0]
    with pytest.warns(CollapseWarning, match="makes nearly the same of all rows") as found:
        small(generator=Constant).fit(X)
    assert len(found) == 1 and found[0].filename == __file__
    assert small(generator=Shift()).fit(X).network_.factor > 0


@pytest.mark.parametrize("value", [0.0, 0.1, -123.456, 1e-3])
@pytest.mark.parametrize("n", [7, 50, 100])
def test_of_constant_rows_a_constant_is_no_collapse(n, value):
    with pytest.warns(CollapseWarning, match="all columns are constant") as found:
        small(generator=Constant, n_epochs=1).fit(np.full((n, 3), value))
    assert len(found) == 1


def test_of_constant_images_a_constant_is_no_collapse():
    for shape, params in (((20, 1, 8, 8), {"generator": Constant}), ((20, 1, 12, 20), {})):
        with pytest.warns(CollapseWarning, match="all columns are constant") as found:
            small(n_epochs=1, **params).fit(np.full(shape, 0.3))
        assert len(found) == 1


# Refusals


def test_early_stopping_is_refused_before_training(monkeypatch):
    X, y = table()
    monkeypatch.setattr(engine, "train_alone", lambda *args: pytest.fail("it trained"))
    with pytest.raises(
        ValueError, match="early_stopping=True is not possible with AGAD: generator and discr"
    ):
        small(early_stopping=True).fit(X, y)
    with pytest.raises(pytest.fail.Exception, match="it trained"):
        small().fit(X, y)


@pytest.mark.parametrize("name", ["unet", "unet++"])
def test_unets_are_for_images(name):
    with pytest.raises(ValueError, match="is for images, and X is a table of 4 columns.*'naive'"):
        small(generator=name).fit(table()[0])


@pytest.mark.parametrize(("name", "most"), [("naive", 4), ("unet", 5), ("unet++", 5)])
def test_too_many_levels_are_refused(name, most):
    X = bars(16)[0]
    with pytest.raises(ValueError, match=f"{most} levels at most.*hidden_layer_sizes.*got"):
        small(generator=name, hidden_layer_sizes=(2,) * (most + 1)).fit(X)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda: nn.Linear(4, 3), r"same shape, \(4,\); it gives \(3,\)"),
        (lambda: nn.Unflatten(1, (2, 2)), r"same shape, \(4,\); it gives \(2, 2\)"),
        (lambda: nn.Linear(5, 4), r"generator cannot take rows of shape \(4,\)"),
        (lambda: nn.GRU(4, 4), "generator must return one tensor"),
        (lambda: 3, "generator must be a torch.nn.Module"),
    ],
)
def test_generators_that_give_other_rows_are_refused(generator, message):
    with pytest.raises(ValueError, match=message):
        small(generator=generator).fit(table()[0])


# Whether it finds anomalies

LEARNED = {"lr": 1e-3, "n_epochs": 20, "batch_size": 32}


def test_labels_help_to_find_anomalies_like_those_labeled():
    X, y = bars(64)
    new, truth = bars(seed=1)

    def auc(labels, **params):
        detector = small(**{**LEARNED, **params}).fit(X, labels)
        return roc_auc_score(truth < 0, detector.anomaly_score(new))

    labeled, without, untrained = auc(y), auc(None), auc(y, lr=1e-12, n_epochs=1)
    assert labeled > 0.9
    assert labeled > untrained + 0.1
    assert labeled > without + 0.1


def stripes(n, seed):
    """Return images with a bright band in the middle."""
    rng = np.random.default_rng(seed)
    X = rng.normal(scale=0.1, size=(n, 1, 16, 16)).astype(np.float32)
    X[:, :, 4:12] += rng.uniform(0.8, 1.2, size=(n, 1, 1, 1))
    return X


def test_heat_maps_point_at_a_defect_and_are_drawn():
    plt = pytest.importorskip("matplotlib.pyplot")
    detector = small(
        hidden_layer_sizes=(4, 8, 8, 4), lr=5e-3, n_epochs=20, contextual_adversarial=0
    )
    detector.fit(stripes(32, 0))
    whole = stripes(8, 1)
    new = whole.copy()
    new[:, :, 6:10, 5:9] = 0  # a hole, so that an untrained generator sees nothing there
    inside = np.zeros((16, 16), dtype=bool)
    inside[6:10, 5:9] = True
    heat = detector.explain(new)
    assert heat[:, inside].mean() > 2 * heat[:, ~inside].mean()
    assert (detector.anomaly_score(new) > detector.anomaly_score(whole)).all()
    try:
        display = HeatmapDisplay.from_estimator(detector, new)
        drawn = [axis.images[0].get_array() for axis in display.axes_[:, 1]]
        assert_array_equal(drawn, heat)
    finally:
        plt.close("all")


# Labeled anomalies in batches


@pytest.mark.parametrize("n_anomalies", [1, 5, 40])
def test_by_default_an_eighth_of_a_batch_are_labeled_anomalies(n_anomalies, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = np.r_[np.zeros(600 - n_anomalies), -np.ones(n_anomalies)]
    batches = []
    shared = agad.AdversarialObjective.shared

    def spy(self, batch):
        batches.append(batch.y)
        return shared(self, batch)

    monkeypatch.setattr(agad.AdversarialObjective, "shared", spy)
    AGAD(hidden_layer_sizes=(8, 4), n_epochs=1, device="cpu", random_state=0).fit(X, y)
    tried, *batches = batches
    assert len(tried) == len(batches) == 3
    for labels in batches:
        assert len(labels) == 256 and (labels < 0).sum() == 32


def test_the_stage_asks_for_labeled_anomalies():
    detector = AGAD(device="cpu")
    detector.input_shape_ = (4,)
    y = np.r_[np.zeros(500), -np.ones(3)].astype(np.int8)
    (stage,) = detector._stages({"network": 0, "head": 1}, y)
    assert (stage.lr, stage.batch_size, stage.labeled_anomalies) == (2e-4, 256, True)
    sampler = Sampler(torch.tensor(y), stage.batch_size, stage.anomaly_fraction)
    order = sampler.epoch(private_generator(0))
    assert ((y[order] < 0).sum(axis=1) == 32).all()
