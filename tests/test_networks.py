"""Networks: their layers, how one is chosen and built, and what may make a sphere collapse."""

import ast
import copy
import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from skdeepad import DeepSAD, losses, networks
from skdeepad.engine import Batch
from skdeepad.networks import (
    MLP,
    BranchLinear,
    LeftOutOfBatchNorm,
    LeNet,
    Squash,
    build_decoder,
    build_encoder,
    build_head,
    code_size,
    collapse_risks,
    fcn_table,
    lenet_cifar10,
    lenet_fashion_mnist,
    lenet_mnist,
    n_branches,
)
from skdeepad.objectives import DistanceObjective

BLOCK = ["Conv2d", "BatchNorm2d", "LeakyReLU", "MaxPool2d"]
DENSE = ["Linear", "BatchNorm1d", "LeakyReLU"]
BLOCK_1D = ["Conv1d", "BatchNorm1d", "LeakyReLU", "MaxPool1d"]
SHAPES = [
    *((9,), (1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 9, 13), (3, 4, 5), (1, 3, 3)),
    *((3, 64), (1, 9)),
]


def leaves(network):
    return [module for module in network.modules() if not list(module.children())]


def names(network):
    return [type(module).__name__ for module in leaves(network)]


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def bits(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[k], other[k]) for k in state)


def default(shape, seed=0, bias=False, sizes=None, **branching):
    return build_encoder(None, shape, sizes, bias, seed, **branching)


# Architectures


@pytest.mark.parametrize(
    ("network", "layers", "expected"),
    [
        (
            lenet_mnist(),
            [*BLOCK, *BLOCK, "Flatten", "Linear"],
            1 * 8 * 25 + 8 * 4 * 25 + 4 * 7 * 7 * 32,
        ),
        (
            lenet_fashion_mnist(),
            [*BLOCK, *BLOCK, "Flatten", *DENSE, "Linear"],
            1 * 16 * 25 + 16 * 32 * 25 + 32 * 7 * 7 * 64 + 64 * 32,
        ),
        (
            lenet_cifar10(),
            [*BLOCK, *BLOCK, *BLOCK, "Flatten", "Linear"],
            3 * 32 * 25 + 32 * 64 * 25 + 64 * 128 * 25 + 128 * 4 * 4 * 128,
        ),
        (
            lenet_mnist(bias=True),  # biases of three layers, weight and bias of each BatchNorm
            [*BLOCK, *BLOCK, "Flatten", "Linear"],
            1 * 8 * 25 + 8 * 4 * 25 + 4 * 7 * 7 * 32 + (8 + 4 + 32) + 2 * (8 + 4),
        ),
        (
            MLP((274,), (128, 64, 32)),
            ["Flatten", *DENSE, *DENSE, "Linear"],
            274 * 128 + 128 * 64 + 64 * 32,
        ),
        (
            MLP((6,), (32, 16, 4)),
            ["Flatten", *DENSE, *DENSE, "Linear"],
            6 * 32 + 32 * 16 + 16 * 4,
        ),
        (
            MLP((6,), (32, 16, 4), bias=True),
            ["Flatten", *DENSE, *DENSE, "Linear"],
            6 * 32 + 32 * 16 + 16 * 4 + (32 + 16 + 4) + 2 * (32 + 16),
        ),
        (MLP((2, 3), (5,)), ["Flatten", "Linear"], 6 * 5),
        (
            build_encoder(None, (3, 70), None, False, 0),  # 70 steps are 35, then 17
            [*BLOCK_1D, *BLOCK_1D, "Flatten", "Linear"],
            3 * 32 * 5 + 32 * 64 * 5 + 64 * 17 * 128,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_and_number_of_parameters(network, layers, expected):
    assert names(network) == layers
    assert n_parameters(network) == expected
    for layer in leaves(network):
        match layer:
            case nn.Conv2d():
                assert layer.kernel_size == (5, 5) and layer.padding == (2, 2)
                assert layer.stride == (1, 1)
            case nn.Conv1d():
                assert layer.kernel_size == (5,) and layer.padding == (2,)
                assert layer.stride == (1,)
            case nn.MaxPool2d() | nn.MaxPool1d():
                assert layer.kernel_size == 2 and layer.stride == 2
            case nn.LeakyReLU():
                assert layer.negative_slope == 0.1


@pytest.mark.parametrize(
    ("shape", "kind", "layers", "code"),
    [
        ((9,), MLP, (128, 64, 32), 32),
        ((1, 28, 28), LeNet, (16, 32), 32),
        ((3, 32, 32), LeNet, (32, 64, 128), 128),
        ((2, 16, 16), LeNet, (32, 64, 128), 128),
        ((1, 8, 8), LeNet, (16, 32), 32),
        ((1, 9, 13), LeNet, (16, 32), 32),
        ((3, 5, 40), LeNet, (32, 64), 128),  # 5 pixels are halved twice, not three times
        ((3, 7, 8), LeNet, (32, 64), 128),
        ((3, 8, 8), LeNet, (32, 64, 128), 128),
        ((1, 4, 4), LeNet, (16, 32), 32),
        ((1, 3, 3), MLP, (128, 64, 32), 32),
        ((3, 3, 64), MLP, (128, 64, 32), 32),
        ((1, 8), LeNet, (32, 64), 128),
        ((7, 1000), LeNet, (32, 64), 128),
    ],
)
def test_default_network_by_input_shape(shape, kind, layers, code):
    network = default(shape)
    assert type(network) is kind
    assert (network.filters if kind is LeNet else network.hidden_layer_sizes) == layers
    assert code_size(network, shape) == code


@pytest.mark.parametrize(
    ("shape", "meaning"),
    [
        ((5, 7), "are read as series of 5 channels and 7 steps, and at least 8 steps are expected"),
        ((2, 3, 4, 5), "are neither those of a table (features,) nor images (channels, height, w"),
    ],
)
def test_no_default_network_for_rows_of_other_dimensions(shape, meaning):
    with pytest.raises(ValueError, match="there is no default network for them") as caught:
        default(shape)
    message = str(caught.value)
    assert f"Rows of shape {shape} {meaning}" in message
    rows = str(("n", *shape)).replace("'", "")
    assert f"Pass network=, a module that maps rows {rows} to codes, or flatten them" in message
    assert "X.reshape(len(X), -1)" in message
    assert ("np.swapaxes(X, 1, 2)" in message) == (len(shape) == 2)
    own = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2))
    assert code_size(build_encoder(own, shape, None, False, 0), shape) == 2


def test_series_go_through_convolutions_along_time():
    """A block by the formula: correlation, BatchNorm of constants, LeakyReLU, maxima of two."""
    network = LeNet((2, 9), filters=(3,), dense=(4,)).eval()
    convolution, norm, *_ = network.convolutions
    norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
    norm.running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    row = np.random.default_rng(0).normal(size=(2, 9))
    kernels = convolution.weight.detach().double().numpy()
    maps = [sum(map(functools.partial(np.correlate, mode="same"), row, each)) for each in kernels]
    scale = np.sqrt(norm.running_var.double().numpy() + norm.eps)
    maps = (maps - norm.running_mean.double().numpy()[:, None]) / scale[:, None]
    maps = np.where(maps > 0, maps, 0.1 * maps)
    code = maps[:, :8].reshape(3, 4, 2).max(axis=2).ravel()  # the ninth step has no partner
    code = network.head[-1].weight.detach().double().numpy() @ code
    with torch.no_grad():
        computed = network(torch.tensor(row[None]).float())[0].double().numpy()
    np.testing.assert_allclose(computed, code, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(9,), (1, 28, 28), (3, 8, 8), (3, 40)])
def test_hidden_layer_sizes_set_the_dense_layers(shape):
    network = default(shape, sizes=(7, 6, 5))
    assert [layer.out_features for layer in leaves(network) if isinstance(layer, nn.Linear)] == [
        7,
        6,
        5,
    ]
    assert code_size(network, shape) == 5


@pytest.mark.parametrize(
    ("shape", "filters"),
    [((1, 3, 9), (8, 4)), ((1, 9, 3), (8, 4)), ((3, 7, 7), (8, 8, 8)), ((9, 7), (8, 8, 8))],
)
def test_lenet_refuses_rows_it_cannot_halve(shape, filters):
    with pytest.raises(ValueError, match=r"needs at least \d pixels or steps; got input_shape="):
        LeNet(shape, filters=filters)


@pytest.mark.parametrize("shape", [(9,), (2, 8, 8, 8)])
def test_lenet_refuses_rows_of_other_dimensions(shape):
    with pytest.raises(ValueError, match=r"takes images .* and series .*got input_shape=\("):
        LeNet(shape)


def test_no_dropout():
    """A dropout mask is noise, and noise is the training loop's to draw."""
    for path in Path(networks.__file__).parent.glob("*.py"):
        if path.stem == "_receptive_field":
            continue  # it names the layers that users' networks may have
        tree = ast.parse(path.read_text())
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not [name for name in used if "dropout" in name.lower()], path.name


# Branches, squashed features


@pytest.mark.parametrize(
    ("values", "expected", "slopes"),
    [
        ([0.0, 1.0, -2.0], [0.0, 1.0, -2.0], [1.0, 1.0, 1.0]),
        # beyond the limit of 2: 2 (1 + log(|x| / 2)), with slope 2 / |x|
        (
            [2.1, 2 * math.e, -2 * math.e**2, 2e30],
            [2.0975803283388, 4.0, -6.0, 2 + 60 * math.log(10)],
            [2 / 2.1, 1 / math.e, math.e**-2, 1e-30],
        ),
    ],
)
def test_squash_by_hand(values, expected, slopes):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    squashed = Squash(2.0)(x)
    (gradient,) = torch.autograd.grad(squashed.sum(), x)
    assert_close(squashed, torch.tensor(expected, dtype=torch.float64))
    assert_close(gradient, torch.tensor(slopes, dtype=torch.float64))


def test_squash_is_increasing_odd_and_unbounded():
    x = torch.linspace(-50, 50, 1001)
    squashed = Squash(1.5)(x)
    assert (squashed.diff() > 0).all()
    assert_close(squashed, -squashed.flip(0))
    assert Squash(1.5)(torch.tensor(1e30)) > 100
    assert collapse_risks(Squash(1.5)) == []


@pytest.mark.parametrize("bias", [False, True])
def test_branches_are_networks_beside_each_other(bias):
    """Their codes, divided by the root of their number: the distance is the mean of theirs."""
    wide = default((5,), bias=bias, sizes=(7, 6, 3), n_branches=4, squash=0.5).eval()
    # With biases, each BatchNorm has a weight and a bias too.
    n_biases = 3 * (7 + 6) + 3 if bias else 0
    assert n_parameters(wide) == 4 * (5 * 7 + 7 * 6 + 6 * 3 + n_biases)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wide.parameters():
            if parameter.dim() == 1:  # those of BatchNorm are 1 and 0 before training
                parameter.uniform_(-1, 1, generator=generator)
    plain = MLP((5,), (7, 6, 3), bias=bias, squash=0.5)
    weights = [
        own.detach().reshape(4, *one.shape)
        for own, one in zip(wide.parameters(), plain.parameters(), strict=True)
    ]
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    separate = []
    for branch in range(4):
        network = copy.deepcopy(plain).eval()
        state = zip(network.parameters(), weights, strict=True)
        with torch.no_grad():
            for parameter, weight in state:
                parameter.copy_(weight[branch])
            separate.append(network(x))
    with torch.no_grad():
        codes = wide(x)
    assert_close(codes, torch.cat(separate, dim=1) / 2)
    distances = torch.stack([code.square().sum(1) for code in separate])
    assert_close(losses.squared_norm(codes), distances.mean(0))
    assert torch.stack(separate).std(0).min() > 0  # each has weights of its own


@pytest.mark.parametrize("bias", [False, True])
def test_branches_are_built_like_the_rest(bias):
    """Weights uniform in +-1/sqrt(fan in) of one branch, by the seed; risks, a decoder."""
    numbers = {"sizes": (200, 100, 50), "n_branches": 4, "bias": bias}
    network = default((30,), **numbers)
    assert same(bits(network), bits(default((30,), **numbers)))
    for layer, fan_in in zip(
        [layer for layer in leaves(network) if isinstance(layer, nn.Linear | BranchLinear)],
        (30, 200, 100),
        strict=True,
    ):
        assert_close(layer.weight.abs().max().item(), fan_in**-0.5, rtol=0.01, atol=0)
        assert_close(layer.weight.std().item(), (3 * fan_in) ** -0.5, rtol=0.05, atol=0)
        assert (layer.bias is not None) == bias
        if bias:
            assert_close(layer.bias.abs().max().item(), fan_in**-0.5, rtol=0.05, atol=0)
            assert_close(layer.bias.std().item(), (3 * fan_in) ** -0.5, rtol=0.1, atol=0)
    assert bool(collapse_risks(network)) == bias
    decoder = build_decoder(None, network, (30,), seed=1)
    assert decoder(network(torch.zeros(2, 30))).shape == (2, 30)


def test_the_bias_of_branches_is_a_risk():
    risks = collapse_risks(nn.Sequential(BranchLinear(2, 3, 4, bias=True)))
    assert len(risks) == 1 and "bias of BranchLinear 0" in risks[0]
    assert collapse_risks(nn.Sequential(BranchLinear(2, 3, 4))) == []


def test_a_head_makes_a_number_of_each_code():
    """Weights times LeakyReLU plus bias, the weights by the seed alone."""
    before = torch.get_rng_state()
    head = build_head(3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    weight, bias = (parameter.detach() for parameter in head.parameters())
    codes = torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, -0.2, 3.0], [0.0, 0.0, 0.0]]) @ weight.T + bias
    assert_close(head(codes).detach(), expected)
    assert same(bits(head), bits(build_head(3, seed=0)))
    assert not same(bits(head), bits(build_head(3, seed=1)))


# Decoders

IMAGE_SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 21))
SERIES_SHAPES = st.tuples(st.integers(1, 3), st.integers(8, 40))
TABLE_SHAPES = st.tuples(st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(shape=st.one_of(TABLE_SHAPES, SERIES_SHAPES, IMAGE_SHAPES), bias=st.booleans())
@example(shape=(1, 9, 13), bias=False)
@example(shape=(3, 15, 31), bias=True)
@example(shape=(1, 4, 4), bias=False)
@example(shape=(2, 11), bias=True)
def test_decoder_gives_back_rows_of_the_input_shape(shape, bias):
    encoder = default(shape, bias=bias, sizes=(6, 3))
    decoder = build_decoder(None, encoder, shape, seed=1)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert decoder(encoder(x)).shape == x.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_decoder_mirrors_the_encoder(shape):
    """The same weight shapes the other way round; a transposed convolution stores them alike."""
    encoder = default(shape)
    decoder = build_decoder(None, encoder, shape, seed=1)

    def kernels(network):
        layers = (nn.Linear, nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d, nn.ConvTranspose2d)
        return [tuple(layer.weight.shape) for layer in leaves(network) if isinstance(layer, layers)]

    mirrored = [s[::-1] if len(s) == 2 else s for s in reversed(kernels(encoder))]
    assert kernels(decoder) == mirrored
    count = names(encoder).count
    assert names(decoder).count("Upsample") == count("MaxPool1d") + count("MaxPool2d")
    for dimensions in "12":
        of_decoder = names(decoder).count(f"ConvTranspose{dimensions}d")
        assert of_decoder == count(f"Conv{dimensions}d")


def test_upsampling_repeats_pixels_where_pooling_took_them():
    decoder = build_decoder(None, default((1, 8, 8)), (1, 8, 8), seed=0)
    first = next(layer for layer in leaves(decoder) if isinstance(layer, nn.Upsample))
    pooled = torch.arange(4.0).view(1, 1, 2, 2)
    assert torch.equal(nn.MaxPool2d(2)(first(pooled)), pooled)


def test_own_network_has_no_default_decoder():
    assert build_decoder(None, nn.Linear(3, 2), (3,), seed=0) is None


class Mirrored(nn.Linear):
    """A user's network that makes its decoder, with a layer this package does not know."""

    def decoder(self):
        return nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 3))


class Whole(nn.Linear):
    """A user's autoencoder: its method is a decoder and does not make one."""

    def decoder(self, codes):
        return codes


def test_a_decoder_is_asked_of_the_network():
    """Of any class: the seed alone determines the weights, drawn as its layers draw them."""
    encoder = Mirrored(3, 2)
    before, state = bits(encoder), torch.get_rng_state()
    decoder, again, other = (build_decoder(None, encoder, (3,), seed) for seed in (1, 1, 2))
    assert names(decoder) == ["LayerNorm", "Linear"]
    assert torch.equal(decoder[0].weight, torch.ones(2))
    assert same(bits(decoder), bits(again)) and not same(bits(decoder), bits(other))
    assert same(bits(encoder), before) and torch.equal(torch.get_rng_state(), state)


def test_a_submodule_called_decoder_is_a_part_of_the_network():
    encoder = nn.Linear(3, 2)
    encoder.decoder = nn.Linear(2, 3)
    assert build_decoder(None, encoder, (3,), seed=0) is None
    assert build_decoder(None, Whole(3, 2), (3,), seed=0) is None


@pytest.mark.parametrize(
    ("network", "number"),
    [
        (MLP((3,), (4,), n_branches=5), 5),
        (MLP((3,), (4,)), 1),
        (nn.Linear(3, 2), 1),
        (type("Other", (nn.Linear,), {"n_branches": "many"})(3, 2), 1),
        (type("Own", (nn.Linear,), {"n_branches": 2})(3, 4), 2),
    ],
)
def test_networks_say_how_many_branches_they_have(network, number):
    assert n_branches(network) == number


@pytest.mark.parametrize(
    ("decoder", "gives"),
    [
        (nn.Linear(2, 4), r"\(4,\)"),
        (nn.Sequential(nn.Linear(2, 3), nn.Unflatten(1, (3, 1))), r"\(3, 1\)"),
        (lambda: nn.Linear(2, 2), r"\(2,\)"),
    ],
)
def test_decoder_of_another_shape_is_refused(decoder, gives):
    with pytest.raises(ValueError, match=rf"rows of shape \(3,\); it gives {gives}"):
        build_decoder(decoder, nn.Linear(3, 2), (3,), seed=0)


def test_decoder_that_cannot_take_the_codes_is_refused():
    with pytest.raises(ValueError, match="decoder cannot take rows of shape"):
        build_decoder(nn.Linear(5, 3), nn.Linear(3, 2), (3,), seed=0)


# BatchNorm that leaves rows out

SOME = [False, True, False, False, True, False]


@pytest.mark.parametrize("shape", [(3,), (3, 4, 2)])
@pytest.mark.parametrize("momentum", [0.1, 1.0])
@pytest.mark.parametrize("left_out", [[False] * 6, SOME], ids=["none", "some"])
def test_rows_left_out_are_normalized_by_the_running_statistics(shape, momentum, left_out):
    x = torch.tensor(np.random.default_rng(0).normal(3, 2, size=(6, *shape)), requires_grad=True)
    left_out = torch.tensor(left_out)
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    norm = kind(3, momentum=momentum).double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(3) + 1)
        norm.bias.copy_(torch.arange(3))
        norm.running_mean.copy_(torch.arange(3) - 1)
    of_some, of_known = copy.deepcopy(norm), copy.deepcopy(norm).eval()
    expected = torch.zeros_like(x)
    expected[~left_out] = of_some(x[~left_out])
    expected[left_out] = of_known(x[left_out])
    with LeftOutOfBatchNorm(left_out):
        made = norm(x)
        evaluated = of_known(x)
    assert torch.equal(evaluated, of_known(x))  # in evaluation nothing is left out
    assert_allclose(made.detach(), expected.detach(), rtol=1e-9, atol=1e-12)
    assert_allclose(norm.running_mean, of_some.running_mean, rtol=1e-12)
    assert_allclose(norm.running_var, of_some.running_var, rtol=1e-12)
    inputs = [x, norm.weight, norm.bias]
    found = torch.autograd.grad((made**3).sum(), inputs)
    of_both = torch.autograd.grad((expected**3).sum(), [x, *of_some.parameters()])
    assert_allclose(found[0], of_both[0], rtol=1e-7, atol=1e-7)
    if not left_out.any():
        for one, other in zip(found[1:], of_both[1:], strict=True):
            assert_allclose(one, other, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of torch's own code
def test_rows_are_left_out_in_compiled_code_too():
    norms = [nn.BatchNorm1d(2), nn.BatchNorm1d(2)]
    x = torch.arange(8.0).view(4, 2)

    def normalized(norm):
        with LeftOutOfBatchNorm(torch.tensor([False, True, False, False])):
            return norm(x)

    made = [normalized(norms[0]), torch.compile(normalized, backend="eager")(norms[1])]
    assert_close(made[0], made[1])
    assert_close(norms[0].running_mean, norms[1].running_mean)
    assert_allclose(norms[0].running_mean, 0.1 * x[[0, 2, 3]].mean(0), rtol=1e-6)


def test_a_batch_of_which_all_rows_are_left_out_teaches_nothing():
    norm = nn.BatchNorm1d(2)
    with torch.no_grad():
        norm.running_var.fill_(4.0)
    x = torch.arange(8.0).view(4, 2).requires_grad_()
    with LeftOutOfBatchNorm(torch.ones(4, dtype=torch.bool)):
        made = norm(x)
    assert_allclose(made.detach(), x.detach() / 2, rtol=1e-4)
    assert norm.running_mean.tolist() == [0, 0] and norm.running_var.tolist() == [4, 4]
    (gradient,) = torch.autograd.grad(made.sum(), x)
    assert torch.isfinite(gradient).all()


def test_what_is_left_out_must_be_rows_of_the_batch():
    with (
        LeftOutOfBatchNorm(torch.zeros(4, dtype=torch.bool)),
        pytest.raises(ValueError, match="some of 4 rows out, and was given 8.*batch_norm='shared'"),
    ):
        nn.BatchNorm1d(2)(torch.zeros(8, 2))


# Building: seeds, copies, factories


class Table(nn.Linear):
    """A class of a network that asks for the shape of a row."""

    def __init__(self, input_shape):
        super().__init__(math.prod(input_shape), 2, bias=False)


def factory_of_shape(input_shape):
    return Table(input_shape)


def factory_without_shape():
    return nn.Linear(3, 2, bias=False)


def decoder_of_code(code_size, input_shape):
    return nn.Linear(code_size, math.prod(input_shape))


WAYS = {
    "default table": (None, (9,)),
    "default image": (None, (1, 8, 8)),
    "default series": (None, (2, 16)),
    "class": (Table, (3,)),
    "factory of the shape": (factory_of_shape, (3,)),
    "factory without the shape": (factory_without_shape, (3,)),
    "partial": (functools.partial(Table, input_shape=(3,)), (3,)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_seed_alone_determines_the_weights(way):
    network, shape = WAYS[way]
    states = []
    for seed, global_seed in [(1, 10), (1, 11), (2, 10)]:
        torch.manual_seed(global_seed)
        encoder = build_encoder(network, shape, None, True, seed)
        decoder = build_decoder(
            None if network is None else decoder_of_code, encoder, shape, seed + 100
        )
        states.append({**bits(encoder), **{f"decoder.{k}": v for k, v in bits(decoder).items()}})
    assert same(states[0], states[1])
    for name, tensor in states[0].items():
        drawn = not torch.isin(tensor, torch.tensor([0.0, 1.0])).all()  # BatchNorm's are not
        assert torch.equal(tensor, states[2][name]) != drawn, name


@pytest.mark.parametrize("way", [*WAYS, "instance"])
def test_building_leaves_the_global_generators_alone(way):
    network, shape = WAYS.get(way, (nn.Linear(3, 2), (3,)))
    before, numpy_before = torch.get_rng_state(), np.random.get_state()
    encoder = build_encoder(network, shape, None, False, 0)
    build_decoder(None if network is None else decoder_of_code, encoder, shape, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_before, strict=True)
    )


@pytest.mark.parametrize("shape", [(400,), (3, 32, 32), (8, 60)])
def test_weights_are_drawn_as_torch_draws_them(shape):
    """Uniform in +-1/sqrt(fan in), layer by layer, and nothing is left uninitialised."""
    ours = default(shape, bias=True)
    ours = nn.Sequential(ours, build_decoder(None, ours, shape, seed=1))
    torchs = copy.deepcopy(ours)
    with torch.random.fork_rng(devices=[]):
        for layer in leaves(torchs):
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    expected = torchs.state_dict()
    for name, tensor in ours.state_dict().items():
        if expected[name].unique().numel() == 1:  # BatchNorm's
            assert torch.equal(tensor, expected[name]), name
        elif tensor.numel() >= 1000:
            assert_close(tensor.abs().max(), expected[name].abs().max(), rtol=0.02, atol=0)
            assert_close(tensor.std(), expected[name].std(), rtol=0.05, atol=0)
            assert tensor.mean().abs() < 0.1 * tensor.std(), name
        else:
            assert tensor.abs().max() <= expected[name].abs().max() * 1.5, name


def test_factories_get_the_shapes_they_name():
    seen = {}

    def factory(input_shape):
        seen["encoder"] = input_shape
        return nn.Linear(12, 5)

    def mirror(input_shape, code_size):
        seen["decoder"] = (input_shape, code_size)
        return nn.Sequential(nn.Linear(code_size, 12), nn.Unflatten(1, input_shape))

    flattened = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    build_encoder(factory, [3, 2, 2], None, False, 0)
    build_decoder(mirror, flattened, [3, 2, 2], 0)
    assert seen == {"encoder": (3, 2, 2), "decoder": ((3, 2, 2), 5)}


def test_an_instance_is_copied_weights_included():
    original = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    built = build_encoder(original, (3,), None, False, 0)
    assert same(bits(built), bits(original))
    pointers = {tensor.data_ptr() for tensor in original.state_dict().values()}
    assert pointers.isdisjoint(tensor.data_ptr() for tensor in built.state_dict().values())


def test_training_never_changes_the_instance_that_was_passed():
    encoder = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False))
    decoder = nn.Linear(4, 3)
    encoder.eval()
    before = bits(encoder), bits(decoder)
    X = np.random.default_rng(0).normal(size=(64, 3))
    detector = DeepSAD(network=encoder, decoder=decoder, n_epochs=2, random_state=0, device="cpu")
    detector.fit(X)
    assert same(bits(encoder), before[0]) and same(bits(decoder), before[1])
    assert not encoder.training
    trained = bits(detector.network_)
    assert trained.keys() == before[0].keys()
    assert not any(torch.equal(trained[name], before[0][name]) for name in trained)


@pytest.mark.parametrize("result", [None, 3, torch.zeros(2), nn.Linear])
def test_a_factory_must_return_a_module(result):
    with pytest.raises(ValueError, match=r"network must be a torch\.nn\.Module, or a class"):
        build_encoder(lambda: result, (3,), None, False, 0)
    with pytest.raises(ValueError, match=r"decoder must be a torch\.nn\.Module, or a class"):
        build_decoder(lambda: result, nn.Linear(3, 2), (3,), 0)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(nn.Linear(5, 2), (4,)), (nn.Conv2d(3, 2, 3), (1, 8, 8)), (nn.Conv2d(1, 2, 9), (1, 8, 8))],
)
def test_a_network_that_cannot_take_the_rows_is_refused(network, shape):
    with pytest.raises(ValueError, match="network cannot take rows of shape"):
        code_size(network, shape)


class Pair(nn.Linear):
    """Returns two tensors."""

    def forward(self, x):
        return super().forward(x), x


class BatchMean(nn.Linear):
    """Returns one code for the whole batch."""

    def forward(self, x):
        return super().forward(x).mean(0)


class OneNumber(nn.Linear):
    """Returns one number for the whole batch."""

    def forward(self, x):
        return super().forward(x).mean()


@pytest.mark.parametrize("network", [Pair(3, 2), BatchMean(3, 2), OneNumber(3, 2)])
def test_a_network_must_give_one_code_a_row(network):
    with pytest.raises(ValueError, match="network"):
        code_size(network, (3,))


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_network_leaves_it_as_it_was(training):
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train(training)
    before = bits(network)
    assert code_size(network, (3,)) == 2
    assert network.training is training and network[1].training is training
    assert same(bits(network), before)


# Collapse


class Inner(nn.Module):
    """Holds a layer one level down."""

    def __init__(self, layer):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (nn.Linear(2, 2), ["bias of Linear inner.1"]),
        (nn.Conv2d(1, 1, 3), ["bias of Conv2d inner.1"]),
        (nn.BatchNorm1d(2), ["bias of BatchNorm1d inner.1"]),
        (nn.BatchNorm2d(2), ["bias of BatchNorm2d inner.1"]),
        (nn.LayerNorm(2), ["bias of LayerNorm inner.1"]),
        (nn.Tanh(), ["bounded activation Tanh inner.1"]),
        (nn.Sigmoid(), ["bounded activation Sigmoid inner.1"]),
        (nn.Softmax(-1), ["bounded activation Softmax inner.1"]),
        (nn.Softsign(), ["bounded activation Softsign inner.1"]),
        (nn.Hardtanh(), ["bounded activation Hardtanh inner.1"]),
        (nn.Hardsigmoid(), ["bounded activation Hardsigmoid inner.1"]),
        (nn.ReLU6(), ["bounded activation ReLU6 inner.1"]),
        (nn.Linear(2, 2, bias=False), []),
        (nn.BatchNorm1d(2, affine=False), []),
        (nn.LeakyReLU(), []),
        (nn.ReLU(), []),  # bounded below, by 0: it cannot make up for a bias
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_collapse_risks_by_layer(layer, found):
    assert collapse_risks(Inner(layer)) == found


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(2, 2),
        nn.GRU(2, 2),
        nn.MultiheadAttention(2, 1),
        nn.Softmax2d(),
        nn.Softmin(-1),
        nn.ELU(),  # its lower bound is not 0, which is what proposition 3 asks for
        nn.SELU(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_collapse_risks_finds_less_common_layers(layer):
    assert collapse_risks(Inner(layer))


def test_a_network_that_is_a_bare_layer_is_named_too():
    assert collapse_risks(nn.Linear(2, 2)) == ["bias of Linear"]
    assert collapse_risks(nn.Tanh()) == ["bounded activation Tanh"]


@pytest.mark.parametrize("shape", SHAPES)
def test_default_networks_have_no_risks_unless_biases_are_asked_for(shape):
    assert collapse_risks(default(shape)) == []
    with_bias = default(shape, bias=True)
    weighted = [layer for layer in leaves(with_bias) if hasattr(layer, "weight")]
    assert len(collapse_risks(with_bias)) == len(weighted) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_without_biases_zero_weights_map_all_rows_to_zero_only(shape):
    """Not to the centre, whose coordinates are never 0."""
    network = default(shape).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        codes = network(torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)))
    assert not codes.any()


# Stacking


def stacked_model(seed, eta, n_branches):
    network = default((4,), seed, sizes=(8, 3), n_branches=n_branches, squash=1.0)
    return DistanceObjective(network, (4,), 3 * n_branches, losses.deep_sad, eta=eta)


@pytest.mark.parametrize("n_branches", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_stacked_models_give_what_separate_ones_give(training, n_branches):
    """Three Deep SADs of different eta as one: losses, gradients, and BatchNorm's buffers."""
    models = [stacked_model(seed, eta, n_branches) for seed, eta in enumerate([0.5, 1.0, 4.0])]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 4, generator=generator)
    y = torch.tensor([-1, 0, 0, 1]).repeat(4)
    for model in models:
        model.train(training).center.uniform_(0.1, 1.0, generator=generator)
    parameters, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def mean_and_rows(parameters, buffers):
        rows = torch.func.functional_call(skeleton, (parameters, buffers), ("loss", Batch(x, y)))
        return rows.mean(), rows

    step = torch.func.vmap(torch.func.grad(mean_and_rows, has_aux=True))
    gradients, rows = step(parameters, buffers)
    assert rows.shape == (3, 16)
    for k, model in enumerate(models):
        separate = model("loss", Batch(x, y))
        separate.mean().backward()
        assert_close(rows[k], separate, rtol=1e-5, atol=1e-6)
        for name, parameter in model.named_parameters():
            assert_close(gradients[name][k], parameter.grad, rtol=1e-4, atol=1e-6)
        for name, buffer in model.named_buffers():
            assert_close(buffers[name][k], buffer, rtol=1e-5, atol=1e-7)
    tracked = next(name for name in buffers if name.endswith("num_batches_tracked"))
    assert buffers[tracked].tolist() == [int(training)] * 3


def test_gradients_of_a_network_for_tables_are_those_of_its_function():
    """Through BatchNorm they were not, where columns had been moved to the last axis by a view."""
    network = fcn_table((1, 1, 5), (4, 3)).double().eval()
    x = torch.randn(3, 1, 1, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, x)
    assert torch.autograd.gradcheck(network.train(), x)
