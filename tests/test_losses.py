"""Losses against their formulas, and the objectives that turn them into training."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skdeepad import losses
from skdeepad.engine import Batch, Rows
from skdeepad.objectives import (
    CENTER_MARGIN,
    DistanceObjective,
    ReconstructionObjective,
    standard_deviation,
)

CPU = torch.device("cpu")


def double(values):
    return torch.tensor(values, dtype=torch.float64)


# Arguments and the values worked out by hand.
BY_HAND = {
    "squared_distance": [
        (
            (double([[1, 2], [0, -1], [3, -2], [1, -2]]), double([1, -2])),
            [16.0, 2.0, 4.0, 0.0],
        )
    ],
    "one_class": [((double([0.0, 0.25, 4.0]), torch.tensor([1, 0, -1])), [0.0, 0.25, 4.0])],
    "soft_boundary": [
        # 4 + max(0, d - 4) / 0.25
        (
            (double([0, 1, 4, 4.5, 9]), torch.tensor([0, 1, 0, -1, 0]), double(4), double(0.25)),
            [4.0, 4.0, 4.0, 6.0, 24.0],
        ),
        # the first epoch's: d / nu
        ((double([0, 1]), torch.tensor([0, 0]), double(0), double(0.1)), [0.0, 10.0]),
    ],
    "deep_sad": [
        (
            (double([4, 4, 4, 0.25, 0]), torch.tensor([0, 1, -1, -1, -1]), double(2)),
            [4.0, 8.0, 0.49999987500003125, 7.999968000127999, 2e6],
        ),
        # labels are read by their sign
        (
            (double([3, 3, 2]), torch.tensor([7, 0, -9]), double(0.5)),
            [1.5, 3.0, 0.2499998750000625],
        ),
    ],
    "squared_error": [
        ((double([[1, 2, 3], [0, 0, 0]]), double([[1, 0, 7], [0, 0, 0]])), [20 / 3, 0.0]),
        # an image: the mean over channels, rows and columns
        (
            (double([[[[0, 0], [0, 0]]], [[[1, 1], [1, 1]]]]), torch.ones(2, 1, 2, 2).double()),
            [1.0, 0.0],
        ),
    ],
}


def test_every_loss_has_values_by_hand():
    functions = {
        name
        for name, function in inspect.getmembers(losses, inspect.isfunction)
        if function.__module__ == losses.__name__ and not name.startswith("_")
    }
    assert functions == set(BY_HAND)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [(name, *case) for name, cases in BY_HAND.items() for case in cases],
)
def test_loss_equals_the_value_by_hand(name, arguments, expected):
    value = getattr(losses, name)(*arguments)
    assert_close(value, double(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_gradient_equals_finite_differences(name):
    """In every floating-point argument; the points lie off the kinks."""
    shapes = {"squared_distance": [(6, 3), (3,)], "squared_error": [(6, 2, 2), (6, 2, 2)]}
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1, -1, 0, 1, -1])
    if name in shapes:
        arguments = [torch.randn(*shape, generator=generator).double() for shape in shapes[name]]
    else:
        distance = double([0.3, 0.7, 1.1, 1.9, 2.7, 0.4])
        numbers = {"soft_boundary": [double(1.0), double(0.3)], "deep_sad": [double(1.7)]}
        arguments = [distance, y, *numbers.get(name, [])]
    for argument in arguments:
        argument.requires_grad_(argument.is_floating_point())
    assert torch.autograd.gradcheck(getattr(losses, name), arguments)


EXTREMES = [0.0, 1e-38, 1e-30, 1e-12, 1e-6, 1.0, 1e6, 1e18, 1e30]


@pytest.mark.parametrize("label", [-1, 0, 1])
@pytest.mark.parametrize(
    ("row_loss", "numbers"),
    [
        (losses.one_class, ()),
        (losses.soft_boundary, (1.0, 0.01)),
        (losses.soft_boundary, (0.0, 1.0)),
        (losses.deep_sad, (1.0,)),
        (losses.deep_sad, (100.0,)),
    ],
)
def test_values_and_gradients_are_finite_at_0_and_far_away(row_loss, numbers, label):
    distance = torch.tensor(EXTREMES, requires_grad=True)
    value = row_loss(distance, torch.full((len(EXTREMES),), label), *map(torch.tensor, numbers))
    (gradient,) = torch.autograd.grad(value.sum(), distance)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (value >= 0).all()
    # Anomalies are pushed away, all others drawn in (inside the soft boundary: left alone).
    assert ((gradient <= 0) if row_loss is losses.deep_sad and label < 0 else (gradient >= 0)).all()


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e12])
@pytest.mark.parametrize("function", [losses.squared_distance, losses.squared_error])
def test_squares_are_finite_with_their_gradients(function, scale):
    z = torch.full((2, 3), scale, requires_grad=True)
    value = function(z, torch.zeros(3).expand(2, 3))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all() and gradient.isfinite().all()


def test_the_branch_not_chosen_sends_no_nan():
    """Where the reciprocal of a row that is no anomaly has its pole, its gradient is eta or 1."""
    distance = torch.full((2,), -losses.DEEP_SAD_EPS, requires_grad=True)
    value = losses.deep_sad(distance, torch.tensor([0, 1]), torch.tensor(3.0))
    (gradient,) = torch.autograd.grad(value.sum(), distance)
    assert gradient.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("eta", [0.1, 1.0, 25.0])
def test_deep_sad_without_labels_is_one_class(eta):
    distance = torch.rand(50, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(50, dtype=torch.int8)
    unlabeled = losses.deep_sad(distance, y, torch.tensor(eta))
    assert torch.equal(unlabeled, losses.one_class(distance, y))


def test_eta_scales_labeled_rows_only():
    distance = torch.rand(60, generator=torch.Generator().manual_seed(0)).double()
    y = torch.tensor([-1, 0, 1]).repeat(20)
    ratio = losses.deep_sad(distance, y, double(3)) / losses.deep_sad(distance, y, double(1))
    assert_close(ratio, double([3, 1, 3]).repeat(20))


def test_soft_boundary_of_radius_0_and_nu_1_is_one_class():
    distance, y = torch.rand(50, generator=torch.Generator().manual_seed(0)), torch.zeros(50)
    value = losses.soft_boundary(distance, y, torch.tensor(0.0), torch.tensor(1.0))
    assert torch.equal(value, losses.one_class(distance, y))


@pytest.mark.parametrize("nu", [0.03, 0.1, 0.25, 0.5, 1.0])
def test_soft_boundary_is_lowest_at_the_order_statistic(nu):
    """Over R^2, the mean is least at the (floor(nu n) + 1)-th largest distance."""
    distance = torch.rand(37, generator=torch.Generator().manual_seed(0)).double()
    candidates = torch.cat([distance, double([0.0, 2.0])])
    means = torch.stack(
        [losses.soft_boundary(distance, None, r2, double(nu)).mean() for r2 in candidates]
    )
    rank = min(int(nu * 37), 36)
    solved = distance.sort(descending=True).values[rank]
    assert losses.soft_boundary(distance, None, solved, double(nu)).mean() <= means.min() + 1e-12


@pytest.mark.parametrize("own_distances", [False, True])
@pytest.mark.parametrize(
    ("row_loss", "numbers"),
    [
        (losses.one_class, []),
        (losses.deep_sad, [[0.1, 1.0, 7.0]]),
        (losses.soft_boundary, [[0.0, 0.5, 2.0], [0.1, 0.5, 1.0]]),
    ],
)
def test_stacked_numbers_give_what_separate_calls_give(row_loss, numbers, own_distances):
    """Values and gradients, under vmap over three models."""
    generator = torch.Generator().manual_seed(0)
    distance = torch.rand(3, 12, generator=generator)
    distance = distance if own_distances else distance[:1].expand(3, 12)
    y = torch.tensor([-1, 0, 1]).repeat(4)
    numbers = [torch.tensor(values) for values in numbers]

    def value_and_gradient(distance, *numbers):
        gradient = torch.func.grad(lambda d: row_loss(d, y, *numbers).sum())(distance)
        return row_loss(distance, y, *numbers), gradient

    stacked = torch.func.vmap(value_and_gradient)(distance, *numbers)
    for k in range(3):
        separate = value_and_gradient(distance[k], *(values[k] for values in numbers))
        assert torch.equal(stacked[0][k], separate[0])
        assert torch.equal(stacked[1][k], separate[1])


# Objectives


def rows_of(x, y=None):
    x = np.asarray(x, dtype=np.float32)
    y = None if y is None else np.asarray(y, dtype=np.int8)
    return Rows.place(x, y, x.shape[1:], CPU)


def started(network, x, y=None, input_noise=0.0):
    shape = np.shape(x)[1:]
    objective = DistanceObjective(network, shape, shape[0], losses.deep_sad, input_noise, eta=2.0)
    objective.eval()
    before = objective.center.data_ptr()
    with torch.no_grad():
        objective.start(rows_of(x, y))
    assert objective.center.data_ptr() == before  # changed in place, not rebound
    return objective


def test_center_is_the_mean_code_without_labeled_anomalies():
    """Rows that fill up the last slice do not count either."""
    objective = started(nn.Identity(), [[1, -4], [3, -2], [100, 100]], [0, 1, -1])
    assert objective.center.tolist() == [2.0, -3.0]


@pytest.mark.parametrize(
    ("mean", "expected"),
    [(0.0, CENTER_MARGIN), (0.05, 0.1), (-0.05, -0.1), (0.2, 0.2), (-0.2, -0.2), (-0.1, -0.1)],
)
def test_center_keeps_its_distance_from_zero(mean, expected):
    assert_close(started(nn.Identity(), [[mean]] * 4).center, torch.tensor([expected]))


def test_center_of_many_slices_is_that_of_one_mean():
    x = np.random.default_rng(0).normal(1.0, 1.0, size=(3000, 512)).astype(np.float32)
    y = np.random.default_rng(1).integers(-1, 2, size=3000)
    assert rows_of(x).slice_size < 3000
    center = started(nn.Identity(), x, y).center.double().numpy()
    np.testing.assert_allclose(center, x[y >= 0].mean(axis=0, dtype=float), rtol=1e-5)


def test_distance_objective_scores_by_distance_and_passes_its_numbers_on():
    objective = started(nn.Flatten(), [[2.0, 0.5], [2.0, 0.5]])
    x, y = torch.tensor([[2.0, 2.5], [5.0, 0.5], [2.0, 1.5]]), torch.tensor([0, 1, -1])
    assert objective("score", x).tolist() == [4.0, 9.0, 1.0]
    assert_close(objective("loss", Batch(x, y)), torch.tensor([4.0, 18.0, 2 / 1.000001]))
    assert set(dict(objective.named_buffers())) == {"center", "noise_scale", "eta"}


def test_center_is_not_trained():
    assert [*DistanceObjective(nn.Identity(), (2,), 2, losses.one_class).parameters()] == []


def test_input_noise_is_in_units_of_each_features_deviation():
    """Deviations of 2 and 0, times 0.5: a noise of 3 moves the first feature by 3, no other."""
    objective = started(nn.Identity(), [[1.0, 7.0], [5.0, 7.0]], input_noise=0.5)  # centre (3, 7)
    assert objective.noise_scale.tolist() == [1.0, 0.0]
    assert objective.noise_shapes((2, 2)) == {"x": (2, 2)}
    x, y = torch.tensor([[3.0, 7.0], [4.0, 7.0]]), torch.tensor([0, 1])
    batch = Batch(x, y, {"x": torch.tensor([[3.0, 9.0], [-3.0, 9.0]])})
    assert objective("loss", batch).tolist() == [9.0, 8.0]
    assert objective("validation_loss", batch).tolist() == [0.0, 2.0]
    assert objective("score", x).tolist() == [0.0, 1.0]


def test_without_input_noise_none_is_asked_for():
    objective = started(nn.Identity(), [[1.0], [5.0]])
    assert objective.noise_shapes((2, 1)) == {}
    assert not objective.noise_scale.any()


def test_deviations_of_many_slices_are_those_of_all_rows():
    """Far from 0, where the mean square less the squared mean would have no digit left."""
    x = np.random.default_rng(0).normal(1000.0, 0.1, size=(3000, 512)).astype(np.float32)
    deviation = standard_deviation(rows_of(x)).numpy()
    np.testing.assert_allclose(deviation, x.std(axis=0, dtype=float), rtol=1e-2)


def test_reconstruction_objective_scores_by_mean_squared_error_whatever_the_label():
    objective = ReconstructionObjective(nn.Flatten(), nn.Unflatten(1, (1, 2, 2)))
    double_up = ReconstructionObjective(nn.Flatten(), nn.Sequential(nn.Unflatten(1, (1, 2, 2))))
    double_up.decoder.register_forward_hook(lambda module, inputs, output: 2 * output)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert objective("score", x).tolist() == [0.0]
    assert double_up("score", x).tolist() == [30 / 4]
    assert double_up("encode", x).tolist() == [[1.0, 2.0, 3.0, 4.0]]
    for label in (-1, 0, 1):
        assert double_up("loss", Batch(x, torch.tensor([label]))).tolist() == [30 / 4]
