"""Losses against their formulas, and the objectives that turn them into training."""

import inspect
import math

import mpmath
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
    Preparation,
    ReconstructionObjective,
    standard_deviation,
)

CPU = torch.device("cpu")


def double(values):
    return torch.tensor(values, dtype=torch.float64)


# Arguments and the values worked out by hand.
BY_HAND = {
    "squared_norm": [((double([[3, -4], [0, 0], [1e-9, 0]]),), [25.0, 0.0, 1e-18])],
    "norm": [((double([[3, -4], [0, 0], [1e-9, 0]]),), [5.0, 0.0, 1e-9])],
    "l1_norm": [((double([[3, -4], [0, 0], [1e-9, 0]]),), [7.0, 0.0, 1e-9])],
    # sqrt(s + 1) - 1: s = 8, 0, 1 and 1e-18, where it is s / 2
    "pseudo_huber": [
        ((double([[2, -2], [0, 0], [0, 1], [1e-9, 0]]),), [2.0, 0.0, 0.41421356237309503, 5e-19])
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
    "hypersphere_classification": [
        # exp(-log 4) = 1/4, and 1 - exp(-1) = 0.632...
        (
            (double([2, 2, math.log(4), 1, 50]), torch.tensor([0, 1, -1, -1, -1]), double(3)),
            [2.0, 6.0, 3 * 0.28768207245178096, 3 * 0.4586751453870819, 3 * 1.9287498479639178e-22],
        ),
        # labels are read by their sign
        ((double([2, 2, math.log(2)]), torch.tensor([7, 0, -9]), double(1)), [2, 2, math.log(2)]),
    ],
    "context_description": [
        # labels are read by their sign
        (
            (double([0.3, 0.3, 0.25, 1]), torch.tensor([0, 7, -9, -1]), double(3)),
            [0.3, 0.9, 3 * math.log(4), 0.0],
        ),
    ],
    "minus_log_one_minus_exp": [
        # -log(h) + h / 2 next to 0; exp(-h) far away; log 2 in the middle
        (
            (double([1e-20, 1e-8, math.log(2), 30, 700]),),
            [
                46.051701859880914,
                18.420680748952364,
                math.log(2),
                9.357622968840175e-14,
                9.859676543759771e-305,
            ],
        ),
        # below the least distance: -log(1e-30)
        ((double([0, 1e-40]),), [69.07755278982137, 69.07755278982137]),
    ],
    "cross_entropy": [
        # log(1 + 3) = log 4 where the odds of an anomaly are 3; log(4/3) for an anomaly
        (
            (double([math.log(3)] * 4 + [0]), torch.tensor([0, 1, -1, -7, -1])),
            [math.log(4), math.log(4), math.log(4 / 3), math.log(4 / 3), math.log(2)],
        ),
        ((double([-40, 40, 40]), torch.tensor([0, 0, -1])), [4.248354255e-18, 40, 4.248354255e-18]),
    ],
    "focal": [
        # p = 1/4 of a normal row, 3/4 of an anomaly
        (
            (double([math.log(3)] * 4), torch.tensor([0, 1, -1, -3]), double(2), double(0.2)),
            [
                0.8 * (3 / 4) ** 2 * math.log(4),
                0.8 * (3 / 4) ** 2 * math.log(4),
                0.2 * (1 / 4) ** 2 * math.log(4 / 3),
                0.2 * (1 / 4) ** 2 * math.log(4 / 3),
            ],
        ),
        # well classified: 1 - p and -log p are both nearly exp(-20)
        (
            (double([-20, 20]), torch.tensor([0, -1]), double(1), double(0.25)),
            [0.75 * 4.248354242157e-18, 0.25 * 4.248354242157e-18],
        ),
    ],
    "gaussian_kl": [
        # variance 1: half the squared length of the mean; variance e of one of two at mean 0
        ((double([[3, 4], [0, 0]]), double([[0, 0], [1, 0]])), [12.5, (math.e - 2) / 2]),
    ],
    "gaussian_log_likelihood": [
        # two features at the mean, one a deviation of 2 away
        (
            (double([[1, 2], [3, 0]]), double([[1, 2], [1, 0]]), double([math.log(4), 0])),
            [-math.log(2) - math.log(2 * math.pi), -0.5 - math.log(2) - math.log(2 * math.pi)],
        ),
    ],
    "bernoulli_log_likelihood": [
        # p = 3/4 and 1/2: of a yes, a no, and of something between
        (
            (double([[1, 0], [0, 1], [0.5, 0.5]]), double([[math.log(3), 0]]).expand(3, 2)),
            [
                math.log(3 / 8),
                math.log(1 / 8),
                0.5 * (math.log(3 / 4) + math.log(1 / 4)) + math.log(1 / 2),
            ],
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
    assert_close(value, double(expected), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_gradient_equals_finite_differences(name):
    """In every floating-point argument; the points lie off the kinks."""
    shapes = {"squared_error": [(6, 2, 2), (6, 2, 2)]}
    shapes |= {key: [(6, 3)] for key in ("squared_norm", "norm", "l1_norm", "pseudo_huber")}
    shapes |= {"gaussian_kl": [(6, 3)] * 2, "bernoulli_log_likelihood": [(6, 3)] * 2}
    shapes |= {"gaussian_log_likelihood": [(6, 3)] * 3}
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1, -1, 0, 1, -1])
    if name in shapes:
        arguments = [torch.randn(*shape, generator=generator).double() for shape in shapes[name]]
    else:
        distance = double([0.3, 0.7, 1.1, 1.9, 2.7, 0.4])
        numbers = {"soft_boundary": [double(1.0), double(0.3)], "deep_sad": [double(1.7)]}
        numbers |= {"context_description": [double(1.7)]}
        numbers |= {"hypersphere_classification": [double(1.7)], "focal": [double(2), double(0.3)]}
        arguments = [distance, y, *numbers.get(name, [])]
        if name == "minus_log_one_minus_exp":
            arguments = [distance]
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
        (losses.hypersphere_classification, (1.0,)),
        (losses.hypersphere_classification, (100.0,)),
    ],
)
def test_values_and_gradients_are_finite_at_0_and_far_away(row_loss, numbers, label):
    distance = torch.tensor(EXTREMES, requires_grad=True)
    value = row_loss(distance, torch.full((len(EXTREMES),), label), *map(torch.tensor, numbers))
    (gradient,) = torch.autograd.grad(value.sum(), distance)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (value >= 0).all()
    # Anomalies are pushed away, all others drawn in (inside the soft boundary: left alone).
    pushes = row_loss in (losses.deep_sad, losses.hypersphere_classification) and label < 0
    assert ((gradient <= 0) if pushes else (gradient >= 0)).all()


RADIAL = [losses.pseudo_huber, losses.squared_norm, losses.norm, losses.l1_norm]
# The same by definition, of a vector in float64 and in as many digits as it takes.
BY_DEFINITION = {
    losses.pseudo_huber: lambda z: mpmath.sqrt(mpmath.fdot(z, z) + 1) - 1,
    losses.squared_norm: lambda z: mpmath.fdot(z, z),
    losses.norm: lambda z: mpmath.sqrt(mpmath.fdot(z, z)),
    losses.l1_norm: lambda z: mpmath.fsum(map(abs, z)),
}


@pytest.mark.parametrize("label", [-1, 0, 1])
@pytest.mark.parametrize("radial", RADIAL)
def test_hypersphere_classification_of_codes_of_any_length(radial, label):
    """In float32: finite with its gradient, and equal to the formula in 60 digits."""
    lengths = [0.0, *(10.0**k for k in range(-12, 13))]
    direction = np.array([0.6, -0.48, 0.64])
    z = torch.tensor(np.outer(lengths, direction), dtype=torch.float32, requires_grad=True)
    y = torch.full((len(z),), label)
    value = losses.hypersphere_classification(radial(z), y, torch.tensor(2.0))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert not gradient[0].any()
    along = (gradient * z.detach()).sum(1)[1:]  # > 0: a step of descent draws in
    assert (along <= 0 if label < 0 else along > 0).all()
    assert (along[:12] != 0).all()
    assert (value >= 0).all()
    with mpmath.workdps(60):
        for row, ours, slope in zip(
            z[1:].tolist(), value[1:].tolist(), along.tolist(), strict=True
        ):
            h = BY_DEFINITION[radial]
            row = [mpmath.mpf(number) for number in row]

            def loss(scale, row=row, h=h):
                distance = h([scale * number for number in row])
                weight = 1 if label == 0 else 2
                return weight * (-mpmath.log(-mpmath.expm1(-distance)) if label < 0 else distance)

            assert ours == pytest.approx(float(loss(1)), rel=1e-5, abs=1e-37)
            assert slope == pytest.approx(float(mpmath.diff(loss, 1)), rel=1e-4, abs=1e-37)
    # At 0 itself: no distance, or the logarithm of the least one.
    assert value[0].item() == pytest.approx(
        -2 * math.log(losses.LEAST_DISTANCE) if label < 0 else 0.0
    )


@pytest.mark.parametrize("radial", RADIAL)
def test_radial_functions_are_never_nan(radial):
    """Not where the square is infinite in float32 either, nor their gradients."""
    z = torch.tensor([[1e18, 1.0], [1e25, -1e30], [1e38, 1e38]], requires_grad=True)
    value = radial(z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert (value >= 1e17).all()
    assert not value.isnan().any()
    assert radial is not losses.pseudo_huber or value.isfinite().all()
    assert radial is losses.norm or not gradient.isnan().any()


def test_hypersphere_classification_is_cross_entropy_of_the_probability():
    distance = torch.linspace(0.05, 5, 30, dtype=torch.float64)
    y = torch.tensor([-1, 0, 1]).repeat(10)
    loss = losses.hypersphere_classification(distance, y, double(1))
    expected = nn.functional.binary_cross_entropy(
        (-distance).exp(), (y >= 0).double(), reduction="none"
    )
    assert_close(loss, expected)


@pytest.mark.parametrize("eta", [0.1, 25.0])
def test_hypersphere_classification_without_labels_is_the_distance(eta):
    distance, y = torch.rand(50, generator=torch.Generator().manual_seed(0)), torch.zeros(50)
    loss = losses.hypersphere_classification(distance, y, torch.tensor(eta))
    assert torch.equal(loss, distance)


def test_focal_of_gamma_0_and_alpha_one_half_is_half_the_cross_entropy():
    logit = torch.linspace(-30, 30, 61, dtype=torch.float64)
    for label in (-1, 0, 1):
        y = torch.full((61,), label)
        focal = losses.focal(logit, y, double(0), double(0.5))
        assert_close(focal, losses.cross_entropy(logit, y) / 2, rtol=1e-15, atol=0)


@pytest.mark.parametrize("label", [-1, 0, 1])
@pytest.mark.parametrize(
    ("row_loss", "numbers"),
    [
        (losses.cross_entropy, ()),
        (losses.focal, (2.0, 0.25)),
        (losses.focal, (0.0, 0.5)),
        (losses.focal, (0.5, 0.5)),
    ],
)
def test_extreme_logits(row_loss, numbers, label):
    logit = torch.tensor([0.0, 1e-30, 1.0, 90.0, 1e4, 1e18, 1e38])
    logit = torch.cat([-logit, logit]).requires_grad_()
    value = row_loss(logit, torch.full((14,), label), *map(torch.tensor, numbers))
    (gradient,) = torch.autograd.grad(value.sum(), logit)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (value >= 0).all()
    assert (gradient <= 0 if label < 0 else gradient >= 0).all()
    wrong = (logit < -80 if label < 0 else logit > 80).detach()  # the loss is linear there
    weight = (numbers[1] if label < 0 else 1 - numbers[1]) if numbers else 1.0
    assert_close(value[wrong].detach(), weight * logit[wrong].detach().abs())
    assert_close(gradient[wrong].abs(), torch.full((4,), weight))


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e12])
@pytest.mark.parametrize("function", [*RADIAL, losses.squared_error])
def test_squares_are_finite_with_their_gradients(function, scale):
    z = torch.full((2, 3), scale, requires_grad=True)
    value = function(z) if function in RADIAL else function(z, torch.zeros(3).expand(2, 3))
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
        (losses.hypersphere_classification, [[0.1, 1.0, 7.0]]),
        (losses.cross_entropy, []),
        (losses.focal, [[0.0, 0.5, 2.0], [0.1, 0.5, 0.9]]),
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
        # The vector form of softplus may round the last digit in its own way.
        tolerance = 1e-6 if row_loss in (losses.cross_entropy, losses.focal) else 0
        for ours, theirs in zip(stacked, separate, strict=True):
            assert_close(ours[k], theirs, rtol=tolerance, atol=0)


# Objectives


def rows_of(x, y=None):
    x = np.asarray(x, dtype=np.float32)
    y = None if y is None else np.asarray(y, dtype=np.int8)
    return Rows.place(x, y, x.shape[1:], CPU)


def started(network, x, y=None, input_noise=0.0):
    shape = np.shape(x)[1:]
    preparation = Preparation(input_noise)
    objective = DistanceObjective(network, shape, shape[0], losses.deep_sad, preparation, eta=2.0)
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
    assert set(dict(objective.named_buffers())) == {
        "center",
        "input_noise",
        "noise_scale",
        "eta",
    }


def test_center_is_not_trained():
    assert [*DistanceObjective(nn.Identity(), (2,), 2, losses.one_class).parameters()] == []


def test_input_noise_is_in_units_of_each_features_deviation():
    """Deviations of 2 and 0, times 0.5: a noise of 3 moves the first feature by 3, no other."""
    objective = started(nn.Identity(), [[1.0, 7.0], [5.0, 7.0]], input_noise=0.5)  # centre (3, 7)
    assert objective.noise_scale.tolist() == [1.0, 0.0]
    assert objective.noise_shapes((2, 2)) == {"x": (2, 2)}
    x, y = torch.tensor([[3.0, 7.0], [4.0, 7.0]]), torch.tensor([0, 1])
    batch = Batch(x, y, {"x": torch.tensor([[3.0, 9.0], [-3.0, 9.0]])})
    assert objective("loss", objective("prepare", batch)).tolist() == [9.0, 8.0]
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
    assert double_up("codes", x).tolist() == [[1.0, 2.0, 3.0, 4.0]]
    for label in (-1, 0, 1):
        assert double_up("loss", Batch(x, torch.tensor([label]))).tolist() == [30 / 4]


@pytest.mark.parametrize("radial", RADIAL)
def test_a_distance_that_is_not_centered_is_that_to_the_origin(radial):
    objective = DistanceObjective(
        nn.Flatten(), (2,), 2, losses.one_class, radial=radial, centered=False
    )
    objective.start(rows_of([[5.0, 7.0], [6.0, 7.0]]))
    assert objective.center.tolist() == [0.0, 0.0]
    x = torch.tensor([[3.0, -4.0], [0.5, 0.0]])
    assert torch.equal(objective("score", x), radial(x))
    assert torch.equal(objective("loss", Batch(x, torch.tensor([0, -1]))), radial(x))
