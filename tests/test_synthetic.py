"""Synthetic anomalies: what they change, what they leave alone, and that they are reproducible."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import label
from scipy.special import ndtr

from skdeepad.synthetic import N_BLOBS, Confetti, PermutedColumns, confetti, permuted_columns

SHAPES = [(1, 1, 1), (3, 4, 5), (2, 1, 9), (1, 28, 28), (3, 33, 20)]
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 3))


def images(shape, n=50):
    """Images whose channels differ in range."""
    channels = np.arange(1, shape[0] + 1).reshape(-1, 1, 1)
    uniform = np.random.default_rng(0).uniform(size=(n, *shape))
    return (10 * channels + channels * uniform).astype(np.float32)


def drawn(shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Confetti


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_where_pixels_change_and_never_empty(shape, seed):
    X = images(shape)
    before = X.copy()
    X_anomalous, masks = confetti(X, random_state=seed)
    assert_array_equal(X, before)
    assert X_anomalous.dtype == np.float32 and X_anomalous.shape == X.shape
    assert masks.dtype == np.int8 and masks.shape == (50, *shape[1:])
    assert set(np.unique(masks)) <= {0, 1}
    assert masks.any(axis=(1, 2)).all()
    changed = X_anomalous != X
    assert not changed[np.broadcast_to(masks[:, None] == 0, X.shape)].any()
    # Opacities and colors leave next to no pixel of a blob as it was.
    assert changed.any(axis=1)[masks == 1].mean() > 0.97


@pytest.mark.parametrize("shape", SHAPES)
def test_colors_lie_within_the_range_of_their_channel(shape):
    X = images(shape)
    X_anomalous, _ = confetti(X, random_state=0)
    for channel in range(shape[0]):
        values, original = X_anomalous[:, channel], X[:, channel]
        assert values.min() >= original.min() - 1e-5 and values.max() <= original.max() + 1e-5


def test_confetti_by_hand():
    """Ellipses pixel by pixel, blob over blob, from the same random numbers."""
    x, noise = torch.from_numpy(images((2, 13, 17), n=30)), drawn((30, N_BLOBS, 9))
    noise[0] = 40.0  # the last pixel of the image; one blob
    noise[1] = -40.0  # the first; all blobs
    assert tuple(Confetti().noise_shape(x.shape)) == noise.shape
    made, masks = Confetti()(x, noise)
    uniform = ndtr(noise.double().numpy())
    n_blobs = set()
    for i in range(30):
        expected, mask = x[i].double().numpy().copy(), np.zeros((13, 17))
        present = [blob for blob in range(N_BLOBS) if blob == 0 or uniform[i, blob, 6] < 0.5]
        n_blobs.add(len(present))
        for blob in present:
            down, right, long, wide, angle, opacity, _, *color = uniform[i, blob]
            down, right = min(int(13 * down), 12), min(int(17 * right), 16)
            # Half of 3% to 30% of 13 pixels, evenly over the logarithm, and half a pixel.
            a, b = (0.5 + 0.5 * 13 * 0.03 * 10**number for number in (long, wide))
            for row in range(13):
                for column in range(17):
                    y, x_ = row - down, column - right
                    along = math.cos(math.pi * angle) * x_ + math.sin(math.pi * angle) * y
                    across = math.cos(math.pi * angle) * y - math.sin(math.pi * angle) * x_
                    if (along / a) ** 2 + (across / b) ** 2 <= 1:
                        mask[row, column] = 1
                        for channel in range(2):
                            least, greatest = x[:, channel].min().item(), x[:, channel].max().item()
                            value = least + color[channel] * (greatest - least)
                            old = expected[channel, row, column]
                            share = 0.3 + 0.7 * opacity
                            expected[channel, row, column] = (1 - share) * old + share * value
        assert_array_equal(masks[i].numpy(), mask)
        assert_allclose(made[i].numpy(), expected, rtol=1e-5)
    assert n_blobs >= {1, 2, 3, 4, 5, 6}


def test_images_have_one_to_six_blobs_of_many_sizes():
    _, masks = confetti(images((1, 128, 128), n=300), random_state=0)
    counts = np.array([label(mask, structure=np.ones((3, 3)))[1] for mask in masks])
    assert set(counts) >= {1, 2, 3, 4, 5}
    assert counts.max() <= N_BLOBS
    single = masks[counts == 1].sum(axis=(1, 2))
    assert single.min() < 0.005 * 128**2 < 0.02 * 128**2 < single.max()


def test_no_blob_is_longer_than_three_tenths_of_the_shorter_side():
    noise = drawn((400, N_BLOBS, 8))
    noise[:, :, 6] = 40.0  # the first blob alone
    _, masks = Confetti()(torch.rand(400, 1, 60, 90, generator=torch.Generator()), noise)
    lengths = []
    for mask in masks.numpy():
        rows, columns = np.nonzero(mask)
        lengths.append(np.hypot(np.ptp(rows), np.ptp(columns)))
    assert max(lengths) <= math.hypot(0.3 * 60 + 1, 0.3 * 60 + 1)
    assert max(np.ptp(np.nonzero(mask)[0]) for mask in masks.numpy()) <= 0.3 * 60 + 1
    assert min(lengths) <= 3


# Both


def first(result):
    return result[0] if isinstance(result, tuple) else result


MADE = [(confetti, images((2, 9, 8))), (permuted_columns, ROWS)]


@pytest.mark.parametrize(("function", "X"), MADE)
def test_random_state_determines_the_anomalies(function, X):
    expected = first(function(X, random_state=3))
    assert_array_equal(first(function(X, random_state=3)), expected)
    assert_array_equal(first(function(X, random_state=np.random.RandomState(3))), expected)
    assert (first(function(X, random_state=4)) != expected).any()
    if isinstance(function(X, random_state=3), tuple):
        assert_array_equal(function(X, random_state=3)[1], function(X, random_state=3)[1])


@pytest.mark.parametrize(("function", "X"), MADE)
def test_all_forms_of_features_are_equal_and_none_is_written_to(function, X):
    X = np.asarray(X, dtype=np.float32)
    frozen = X.copy()
    frozen.setflags(write=False)
    expected = first(function(X, random_state=0))
    for form in (X.tolist(), torch.tensor(X), X.astype(float), np.asfortranarray(X), frozen):
        assert_array_equal(first(function(form, random_state=0)), expected)
    assert_array_equal(X, frozen)
    assert not np.shares_memory(expected, X)


@pytest.mark.parametrize(
    ("function", "X", "message"),
    [
        (confetti, ROWS, r"images of shape .*got shape \(40, 3\)"),
        (confetti, np.zeros((0, 1, 4, 4)), r"got shape \(0, 1, 4, 4\)"),
        (confetti, np.zeros((2, 1, 0, 4)), r"got shape \(2, 1, 0, 4\)"),
        (permuted_columns, np.zeros((4, 1, 2, 2)), r"rows of shape .*got shape \(4, 1, 2, 2\)"),
        (partial(permuted_columns, spread=0.5), ROWS, "at least 1; got 0.5"),
        (partial(permuted_columns, spread=np.nan), ROWS, "at least 1; got nan"),
        (permuted_columns, np.zeros(4), r"got shape \(4,\)"),
        (permuted_columns, np.zeros((0, 3)), r"got shape \(0, 3\)"),
    ],
)
def test_features_of_another_shape_are_refused(function, X, message):
    with pytest.raises(ValueError, match=message):
        function(X)


@pytest.mark.parametrize(
    ("maker", "shape"), [(Confetti(), (12, 2, 9, 7)), (PermutedColumns(), (12, 4))]
)
def test_makers_are_pure_and_can_be_stacked(maker, shape):
    x, noise = drawn((3, *shape)), drawn((3, *maker.noise_shape(shape)), seed=1)
    before = x.clone(), noise.clone()
    stacked = torch.func.vmap(maker, out_dims=(0, None if len(shape) == 2 else 0))(x, noise)
    for k in range(3):
        separate = maker(x[k], noise[k])
        again = maker(x[k], noise[k])
        assert torch.equal(separate[0], again[0])
        torch.testing.assert_close(stacked[0][k], separate[0])
        if separate[1] is not None:
            assert torch.equal(stacked[1][k], separate[1])
    assert torch.equal(x, before[0]) and torch.equal(noise, before[1])


# Permuted columns


@pytest.mark.parametrize("seed", range(3))
def test_each_column_keeps_its_values_in_an_order_of_its_own(seed):
    X = np.arange(120.0).reshape(40, 3)
    permuted = permuted_columns(X, spread=1, random_state=seed)
    assert permuted.dtype == np.float32
    assert_array_equal(np.sort(permuted, axis=0), X)
    origins = permuted // 3  # the row that each value comes from
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert (origins[:, one] == origins[:, other]).mean() < 0.2
    for column in range(3):
        assert (origins[:, column] == np.arange(40)).mean() < 0.2


def test_single_rows_and_duplicates_stay():
    assert_array_equal(permuted_columns(ROWS[:1], random_state=0), ROWS[:1].astype(np.float32))
    same = np.ones((5, 2))
    assert_array_equal(permuted_columns(same, random_state=0), same)


@pytest.mark.parametrize("spread", [2.0, 10.0])
def test_rows_are_drawn_away_from_the_mean_by_a_factor_of_their_own(spread):
    rows = np.random.default_rng(0).normal(3, 1, size=(2000, 5))
    still = permuted_columns(rows, spread=1, random_state=0) - rows.mean(0)
    moved = permuted_columns(rows, spread=spread, random_state=0) - rows.mean(0)
    factors = np.median(moved / still, axis=1, keepdims=True)
    assert_allclose(moved, factors * still, atol=1e-3)
    # Evenly over the logarithm.
    share = np.log(factors) / np.log(spread)
    assert 0 <= share.min() + 1e-4 < 0.01 and 0.99 < share.max() <= 1 + 1e-4
    assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
