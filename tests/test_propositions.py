"""Propositions 1 to 4 of Ruff's thesis, section 2.2.2, as constructions on networks of ours.

The first three say which networks can give all rows the code that is the centre, whatever they
hold, the last what share of the rows is outside of the soft boundary.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skdeepad import CollapseWarning, DeepSVDD, losses
from skdeepad.detectors.deep_svdd import SoftBoundaryObjective
from skdeepad.engine import Batch, Rows, Stage, train
from skdeepad.networks import build_encoder, code_size, collapse_risks
from skdeepad.objectives import CENTER_MARGIN, DistanceObjective

X = torch.tensor(np.random.default_rng(0).normal(2, 1, size=(40, 4)), dtype=torch.float32).abs()
CENTER = torch.tensor([0.7, -1.3])


def objectives(network, shape, center):
    """Return both objectives of Deep SVDD around a centre; the radius is 0."""
    size = code_size(network, shape)
    both = [
        DistanceObjective(network, shape, size, losses.one_class),
        SoftBoundaryObjective(network, shape, size, nu=0.1),
    ]
    for objective in both:
        objective.center.copy_(center)
    return [objective.eval() for objective in both]


def largest_loss(objective, rows):
    return objective("loss", Batch(rows, torch.zeros(len(rows)))).max().item()


# 1: zero weights are optimal where the centre is the code that they give


def zeroed(shape):
    network = build_encoder(None, shape, None, bias=False, seed=0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    return network


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8), (3, 16, 16)])
def test_zero_weights_are_optimal_where_the_centre_is_their_code(shape):
    network = zeroed(shape)
    rows = torch.tensor(np.random.default_rng(1).normal(size=(30, *shape)), dtype=torch.float32)
    for rows_of_any_size in (rows, 1e3 * rows):
        for objective in objectives(network, shape, torch.zeros(code_size(network, shape))):
            assert largest_loss(objective, rows_of_any_size) == 0  # and no loss is below 0
    # A centre as it is set has no coordinate near 0, so that they cost its distance from 0.
    for objective in objectives(network, shape, torch.zeros(())):
        objective.start(Rows.place(rows.numpy(), None, shape, torch.device("cpu")))
        assert (objective.center.abs() >= CENTER_MARGIN - 1e-7).all()
        distance = objective.center.square().sum().item()
        assert largest_loss(objective, rows) == pytest.approx(
            distance * objective_factor(objective)
        )


def objective_factor(objective):
    return 1 / 0.1 if isinstance(objective, SoftBoundaryObjective) else 1.0


def test_a_centre_that_is_trained_collapses_and_a_fixed_one_does_not():
    shape, rows = (4,), Rows.place(X.numpy(), None, (4,), torch.device("cpu"))

    def spread(trained):
        network = build_encoder(None, shape, (8, 4), bias=False, seed=0)
        objective = DistanceObjective(network, shape, 4, losses.one_class)
        if trained:
            center = objective.center
            del objective.center
            objective.center = nn.Parameter(center)
        numbers = {"n_epochs": 300, "lr": 0.01, "batch_size": 40, "weight_decay": 0.1}
        train(Stage("train", objective, **numbers), rows, seed=0)
        with torch.no_grad():
            return objective.eval().distances(X).max().item(), objective.center.abs().max().item()

    (distance, center), (of_fixed, fixed) = spread(True), spread(False)
    assert distance < 5e-3 and center < 0.08  # both go to 0, the zero weights' code
    assert fixed >= CENTER_MARGIN - 1e-7
    assert of_fixed > 0.05


# 2: with a bias in a hidden layer there are weights that give any centre for all rows


def with_bias_at_the_centre(center):
    network = nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.1), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
        hidden = network[:2](torch.zeros(1, 4))  # (1, 3), whatever the row
        network[2].weight.copy_(center[:, None] * hidden / hidden.square().sum())
    return network


def test_a_bias_lets_all_rows_have_the_code_of_any_centre():
    network = with_bias_at_the_centre(CENTER)
    for objective in objectives(network, (4,), CENTER):
        for rows in (X, -X, 1e3 * X):
            assert largest_loss(objective, rows) < 1e-11
    assert any("bias" in risk for risk in collapse_risks(network))
    with (
        pytest.warns(CollapseWarning, match="bias of Linear"),
        pytest.warns(CollapseWarning, match="all training rows have nearly the same score"),
    ):
        DeepSVDD(network=network, pretrain=False, device="cpu").fit(X.numpy())


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8)])
def test_without_biases_a_constant_code_is_that_of_0(shape):
    """Scaled down to 0, rows have codes as near to 0 as one likes, far from any centre."""
    network = build_encoder(None, shape, None, bias=False, seed=0).eval()
    for layer in network.modules():
        if hasattr(layer, "running_mean"):
            layer.running_mean.zero_()
    with torch.no_grad():
        assert network(torch.zeros(2, *shape)).abs().max() < 1e-6


# 3: a bounded unit can be saturated for all rows that have a feature of one sign

BOUNDED = {  # the bound, and the sign of the input that it is approached at
    "Sigmoid": (nn.Sigmoid(), 1.0, 1),
    "Tanh": (nn.Tanh(), 1.0, 1),
    "Tanh, below": (nn.Tanh(), -1.0, -1),
    "Hardtanh": (nn.Hardtanh(), 1.0, 1),
    "ReLU6": (nn.ReLU6(), 6.0, 1),
    "Hardsigmoid": (nn.Hardsigmoid(), 1.0, 1),
    "Softsign": (nn.Softsign(), 1.0, 1),
    "ELU, below": (nn.ELU(alpha=0.5), -0.5, -1),
}


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("epsilon", [1e-2, 1e-5])
def test_a_bounded_unit_emulates_a_bias(name, epsilon):
    activation, bound, sign = BOUNDED[name]
    unit = nn.Linear(4, 1, bias=False)
    rows = torch.tensor(np.random.default_rng(2).normal(size=(40, 4)), dtype=torch.float32)
    rows[:, 2] = rows[:, 2].abs() + 0.1  # the feature that is positive for all
    network = nn.Sequential(unit, activation, nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        unit.weight.zero_()
        unit.weight[0, 2] = sign * 20 / epsilon
        assert (network[:2](rows) - bound).abs().max() < epsilon
        network[2].weight.copy_(CENTER[:, None] / bound)
        for objective in objectives(network, (4,), CENTER):
            distance = (CENTER.square().sum() * (epsilon / bound) ** 2).item()
            assert largest_loss(objective, rows) <= distance * objective_factor(objective) + 1e-11
    assert any("bounded activation" in risk for risk in collapse_risks(network))


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.ReLU(), nn.Softplus(), nn.Identity()])
def test_units_without_a_bound_but_0_do_not(activation):
    """The larger the weight, the farther rows are apart; where it is 0, so is the bound."""
    h = X[:, 2:3]
    for weight in (1.0, 1e2, 1e4):
        made = activation(weight * h)
        assert torch.allclose(made.max() - made.min(), weight * (h.max() - h.min()), rtol=0.2)
    assert collapse_risks(nn.Sequential(activation)) == []


# 4: nu bounds the share outside, and that outside or on the boundary from below


@given(
    distances=st.lists(st.integers(0, 30), min_size=2, max_size=40),
    nu=st.integers(1, 100).map(lambda percent: percent / 100),
)
def test_the_radius_is_optimal_and_nu_bounds_the_shares(distances, nu):
    rows = torch.tensor(distances, dtype=torch.float32).sqrt()[:, None]  # the code is the row
    objective = SoftBoundaryObjective(nn.Identity(), (1,), 1, nu)
    objective.finish(Rows.place(rows.numpy(), None, (1,), torch.device("cpu")))
    d, n = rows[:, 0].double() ** 2, len(rows)
    radius_squared = objective.radius_squared.double().item()

    def cost(squared):
        return squared + (d - squared).clamp(min=0).sum().item() / (nu * n)

    candidates = [0.0, *d.tolist(), *(d + 0.3).tolist(), *(d / 2).tolist()]
    assert cost(radius_squared) <= min(map(cost, candidates)) + 1e-4
    outside = (d > radius_squared + 1e-4).sum().item()
    not_inside = (d >= radius_squared - 1e-4).sum().item()
    assert outside / n <= nu + 1e-9
    assert not_inside / n >= nu - 1e-9
