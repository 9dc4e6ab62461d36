"""Receptive fields against the pixels that really have an influence; fully convolutional nets."""

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional

from skdeepad.networks import (
    ColumnEmbedding,
    Field,
    Frozen,
    build_map_network,
    fcn_cifar10,
    fcn_fashion_mnist,
    fcn_imagenet,
    fcn_table,
    gaussian,
    receptive_field,
)

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


@pytest.fixture(autouse=True)
def _same_global_generator():
    """Layers draw their weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@torch.no_grad()
def influence(network, channels, sides, axis):
    """Return which lines of pixels (height, or width) have an influence on which lines of output.

    All weights are made positive, without biases: a line of ones in an image of zeros then
    reaches each number that depends on it, through maxima as well.
    """
    for name, parameter in network.named_parameters():
        parameter.copy_(0 * parameter if name.endswith("bias") else parameter.abs() + 0.1)
    lines = torch.eye(sides[axis], dtype=torch.float64)
    shape = (-1, 1, sides[0], 1) if axis == 0 else (-1, 1, 1, sides[1])
    images = lines.view(*shape).expand(-1, channels, *sides)
    network = network.double().eval()
    changed = network(images) > network(torch.zeros_like(images[:1]))
    return changed.amax((1, 3 - axis))  # (pixels, outputs)


def check_by_influence(network, channels=1):
    """Compare the fields that the layers tell with the influence of pixels."""
    fields = receptive_field(network)
    # Large enough for some fields without any pixel beyond the border.
    sides = [field.size + 2 * field.stride - 2 * field.start for field in fields]
    for axis, field in enumerate(fields):
        seen = influence(network, channels, sides, axis)
        inside = 0
        for i in range(seen.shape[1]):
            pixels = torch.nonzero(seen[:, i]).ravel()
            first, last = field.start + i * field.stride, field.start + i * field.stride
            last += field.size - 1
            assert len(pixels) == 0 or first <= pixels.min() <= pixels.max() <= last
            if first >= 0 and last < sides[axis]:
                inside += 1
                assert (pixels.min(), pixels.max()) == (first, last)
        assert inside > 0


@st.composite
def layers(draw):
    """Draw a stack of one to four layers, each with numbers of its own by height and width."""
    stack = []
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride, dilation = (
            (draw(st.integers(1, most)), draw(st.integers(1, most))) for most in (4, 3, 2)
        )
        kind = draw(st.sampled_from(["conv", "same", "valid", "max", "average", "pointwise"]))
        padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
        if kind == "conv":
            stack.append(nn.Conv2d(1, 1, kernel, stride, padding, dilation))
        elif kind == "same":
            stack.append(nn.Conv2d(1, 1, kernel, padding="same", dilation=dilation))
        elif kind == "valid":
            stack.append(nn.Conv2d(1, 1, kernel, stride, padding="valid", dilation=dilation))
        elif kind == "max":
            stack.append(nn.MaxPool2d(kernel, stride, padding, dilation))
        elif kind == "average":
            stack.append(nn.AvgPool2d(kernel, stride, padding))
        else:
            stack += [nn.BatchNorm2d(1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*stack)


@settings(max_examples=60, deadline=None)
@given(layers())
def test_fields_are_those_of_influence(network):
    check_by_influence(network)


class Residual(nn.Module):
    """Sums of branches with fields of different sizes, one of them off the centre."""

    def __init__(self):
        super().__init__()
        self.start = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(2, 2, 5, padding="same")
        self.even = nn.Conv2d(2, 2, (4, 1), padding="same")
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = torch.relu(self.start(x))
        x = functional.leaky_relu(x + self.wide(x), 0.1)
        x = torch.cat([x, 0.5 * self.even(x)], dim=1)
        return self.pool(x).abs()


class OwnConvolution(nn.Conv2d):
    """A user's kind of convolution."""


class Nested(nn.Module):
    """Blocks within blocks, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Identity())
        self.block = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Sequential(nn.ReLU()))

    def forward(self, x):
        return self.block(self.block(self.first(x))) + 1


NETWORKS = {
    "fashion-mnist": (lambda: fcn_fashion_mnist((1, 28, 28), (2, 2)), 1, (16, 4, -6)),
    "cifar-10": (lambda: fcn_cifar10((3, 32, 32), (2, 2, 2, 2)), 3, (22, 4, -9)),
    "imagenet": (lambda: fcn_imagenet((3, 224, 224), (2,) * 6), 3, (62, 8, -27)),
    "pretrained": (
        lambda: fcn_imagenet((3, 224, 224), (2,) * 6, features((2, 2, 2))),
        3,
        (62, 8, -27),
    ),
    "sums": (Residual, 2, (19, 4, -7)),
    "nested": (Nested, 1, (7, 1, -3)),
    "one pixel": (lambda: nn.Conv2d(1, 3, 1), 1, (1, 1, 0)),
    "gaps": (lambda: nn.Conv2d(1, 1, 2, stride=5), 1, (2, 5, 0)),
    "own convolution": (lambda: nn.Sequential(OwnConvolution(1, 1, 4)), 1, (4, 1, 0)),
    "weights in norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 3, padding=1)),
        1,
        (3, 1, -1),
    ),
}


def features(filters, padding=1):
    """Return layers as those of a VGG11 with BatchNorm, of fewer filters."""
    stack = []
    for inputs, outputs in zip((3, *filters), filters, strict=False):
        stack += [nn.Conv2d(inputs, outputs, 3, padding=padding), nn.BatchNorm2d(outputs)]
        stack += [nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)]
    return nn.Sequential(*stack)


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_of_known_networks(name):
    make, channels, expected = NETWORKS[name]
    fields = receptive_field(make())
    assert fields[0] == Field(*expected)
    assert fields[0].center == expected[2] + (expected[0] - 1) / 2
    if name not in {"weights in norm", "pretrained"}:  # not all of their weights can be set
        check_by_influence(make(), channels)


def test_fields_of_tables_have_height_one():
    assert receptive_field(fcn_table((1, 1, 30))) == (Field(), Field(17, 1, -8))
    assert receptive_field(fcn_table((1, 1, 3), (4, 4))) == (Field(), Field(3, 1, -1))
    assert receptive_field(fcn_table((1, 1, 1), (4, 4))) == (Field(), Field())
    network = fcn_table((1, 1, 12), (3, 3))
    seen = influence(network, 1, (1, 12), 1)
    distance = (torch.arange(12)[:, None] - torch.arange(12)).abs()
    assert torch.equal(seen, distance <= 4)


def test_each_column_of_a_table_has_an_embedding_of_its_own():
    layer = ColumnEmbedding(2, 5, 3)
    x = torch.randn(4, 2, 1, 5)
    output = layer(x)
    assert output.shape == (4, 3, 1, 5)
    weight = layer.own.weight.view(5, 3, 2)
    bias = layer.own.bias.view(5, 3)
    for column in range(5):
        expected = x[:, :, 0, column] @ weight[column].T + bias[column]
        torch.testing.assert_close(output[:, :, 0, column], expected)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Of(nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))

    def forward(self, x):
        return self.function(self, x)


UNSUPPORTED = {
    "layer '1', Flatten": lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()),
    "layer '0', Linear": lambda: nn.Sequential(nn.Linear(3, 3)),
    "layer '0', Conv2d": lambda: nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    ),
    "layer '0', Upsample": lambda: nn.Sequential(nn.Upsample(scale_factor=2)),
    "layer '0', ConvTranspose2d": lambda: nn.Sequential(nn.ConvTranspose2d(1, 1, 3)),
    "layer '0', AdaptiveAvgPool2d": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1)),
    "layer '1.0', InstanceNorm2d": lambda: nn.Sequential(
        nn.ReLU(), nn.Sequential(nn.InstanceNorm2d(1))
    ),
    "layer '0', GroupNorm": lambda: nn.Sequential(nn.GroupNorm(1, 1)),
    "layer '0', LPPool2d": lambda: nn.Sequential(nn.LPPool2d(2, 2)),
    "function 'interpolate'": lambda: Of(lambda self, x: functional.interpolate(x, size=3)),
    "function 'mean'": lambda: Of(lambda self, x: x.mean((2, 3))),
    "function 'conv2d'": lambda: Of(lambda self, x: functional.conv2d(x, self.weight)),
    "function 'getitem'": lambda: Of(lambda self, x: x[:, :, 1:]),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_layers_without_a_receptive_field_are_named(name):
    with pytest.raises(ValueError, match=f"through its {name}: expected convolutions"):
        receptive_field(UNSUPPORTED[name]())


def test_networks_that_cannot_be_followed_are_refused():
    with pytest.raises(ValueError, match="layers of Branching cannot be followed.*best a Seq"):
        receptive_field(Branching())
    with pytest.raises(ValueError, match="does not depend on its input"):
        receptive_field(Of(lambda self, x: self.weight))
    strided = nn.Conv2d(1, 1, 1, stride=2)

    class Joining(nn.Module):
        def __init__(self):
            super().__init__()
            self.strided = strided

        def forward(self, x):
            return x + self.strided(x)

    with pytest.raises(ValueError, match=r"joins maps of strides \[1, 1\] and \[2, 2\]"):
        receptive_field(Joining())


class Waiting(nn.Module):
    """Is followed for as long as another thread needs."""

    def __init__(self, entered, leave):
        super().__init__()
        self.signals = [entered, leave]
        self.layer = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        self.signals[0].set()
        self.signals[1].wait(10)
        return self.layer(x)


def test_other_threads_compute_meanwhile():
    entered, leave = threading.Event(), threading.Event()
    other, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), torch.randn(4, 1, 6, 6)
    expected = copy.deepcopy(other)(x)
    with ThreadPoolExecutor() as pool:
        fields = pool.submit(receptive_field, Waiting(entered, leave))
        assert entered.wait(10)
        try:
            assert torch.equal(other(x), expected)
        finally:
            leave.set()
        assert fields.result()[0] == Field(3, 1, 0)


def test_fields_may_be_computed_in_threads():
    call = nn.Module.__call__
    network = fcn_cifar10((3, 32, 32), (2, 2, 2, 2))
    with ThreadPoolExecutor(4) as pool:
        fields = list(pool.map(receptive_field, [network] * 40))
    assert set(fields) == {(Field(22, 4, -9), Field(22, 4, -9))}
    assert nn.Module.__call__ is call


# The networks


@pytest.mark.parametrize(
    ("make", "count", "size", "scale"),
    [
        (fcn_fashion_mnist, 413_441, 16, 4),
        (fcn_cifar10, 1_185_281, 22, 4),
        (fcn_imagenet, 4_504_833, 62, 8),
    ],
)
def test_parameters_and_fields_are_the_published_ones(make, count, size, scale):
    with torch.device("meta"):
        network = make()
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert [field.size for field in receptive_field(network)] == [size, size]
    assert [field.stride for field in receptive_field(network)] == [scale, scale]


@pytest.mark.parametrize(
    ("shape", "make", "filters"),
    [
        ((1, 28, 28), fcn_fashion_mnist, (3, 2)),
        ((1, 32, 20), fcn_fashion_mnist, (3, 2)),
        ((1, 33, 20), fcn_cifar10, (3, 2, 2, 2)),
        ((3, 28, 28), fcn_cifar10, (3, 2, 2, 2)),
        ((3, 127, 2), fcn_cifar10, (3, 2, 2, 2)),
        ((3, 128, 2), fcn_imagenet, (3, 2, 2, 2, 2, 2)),
        ((1, 1, 200), fcn_table, (3, 2)),
    ],
)
def test_the_default_network_goes_by_the_shape_of_images(shape, make, filters):
    network = build_map_network(None, shape, filters, seed=0)
    assert str(network) == str(make(shape, filters))
    state = build_map_network(None, shape, filters, seed=0).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("filters", [(3,), (3, 3, 3), (3,) * 5])
def test_filters_are_counted(filters):
    with pytest.raises(ValueError, match="expected as many numbers of filters in hidden_layer_siz"):
        fcn_fashion_mnist((1, 28, 28), filters)
    with pytest.raises(ValueError, match="4 convolutions before its last"):
        fcn_cifar10((1, 28, 28), filters)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_maps_of_small_images_have_a_pixel(side):
    for make in (fcn_fashion_mnist, fcn_cifar10, fcn_imagenet):
        shape = (1, side, side + 1)
        network = make(
            shape, (2,) * {"fcn_fashion_mnist": 2, "fcn_cifar10": 4}.get(make.__name__, 6)
        )
        assert min(network.eval()(torch.zeros(1, *shape)).shape) >= 1


@pytest.mark.parametrize(
    "network",
    [nn.Flatten(), nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten())],
    ids=["rows", "pooled"],
)
def test_a_network_must_give_maps(network):
    with pytest.raises(ValueError, match=r"must map images.*to maps \(n, k, u, v\); it returned"):
        build_map_network(network, (1, 9, 9), None, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: features((2, 2, 3)),  # filters
        lambda: features((2, 2)),  # too few layers
        lambda: nn.Sequential(
            *[layer for layer in features((2, 2, 2)) if "Pool" not in str(layer)]
        ),
    ],
)
def test_pretrained_layers_must_be_of_the_kinds_they_replace(wrong):
    with pytest.raises(ValueError, match="first 10 layers of pretrained must be of these kinds"):
        fcn_imagenet((3, 32, 32), (2,) * 6, wrong())


def test_pretrained_layers_are_copied_and_frozen():
    theirs = features((2, 2, 2))
    network = fcn_imagenet((3, 32, 32), (2,) * 6, theirs)
    frozen = network[0]
    assert isinstance(frozen, Frozen) and len(frozen) == 10
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in network[1:].parameters())
    assert all(parameter.requires_grad for parameter in theirs.parameters())
    assert torch.equal(frozen[0].weight, theirs[0].weight)
    network.train()
    assert network.training and not any(module.training for module in frozen.modules())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(frozen(x), theirs[:10].eval()(x))


# Gaussians


@pytest.mark.parametrize(("size", "sigma"), [(2, None), (3, 0.7), (16, None), (22, 30.0)])
def test_a_gaussian_is_the_normal_density_around_the_centre(size, sigma):
    values = gaussian(Field(size, 4, -3), sigma)
    deviation = sigma or size / 4
    normal = torch.distributions.Normal((size - 1) / 2, deviation)
    assert_allclose(values, normal.log_prob(torch.arange(size).double()).exp(), rtol=1e-6)
    assert_allclose(values, values[::-1])
    assert math.isclose(max(values), values[size // 2])


def test_a_field_of_one_pixel_needs_no_spreading():
    assert gaussian(Field(), 5.0) == [1.0] == gaussian(Field(1, 3, 0))
