"""Augmentation: each step against a loop over pixels, and what detectors make of it."""

import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr, ndtri
from torch import nn
from torch.testing import assert_close

from skdeepad import HSC, DeepClassifier, DeepSAD, EarlyStopping, losses
from skdeepad.augmentation import AUGMENTATIONS, ImageAugmentation
from skdeepad.engine import Batch
from skdeepad.objectives import DistanceObjective, Preparation
from skdeepad.synthetic import Confetti, PermutedColumns

ALL = list(AUGMENTATIONS)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise_of(augmentation, x, seed=1):
    shapes = augmentation.noise_shapes(x.shape)
    return {name: drawn(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}


def one_step(name, x, noise, channels=None):
    augmentation = ImageAugmentation([name], channels or x.shape[1])
    assert list(augmentation.noise_shapes(x.shape)) == [name]
    assert tuple(augmentation.noise_shapes(x.shape)[name]) == tuple(noise.shape)
    before = x.clone(), noise.clone()
    changed = augmentation(x, {name: noise})
    assert torch.equal(x, before[0]) and torch.equal(noise, before[1])
    return changed


# Each step


def test_flip_mirrors_left_to_right_where_the_noise_is_positive():
    x = drawn(4, 2, 3, 5)
    changed = one_step("flip", x, torch.tensor([0.1, -0.1, 0.0, 3.0]))
    for i, flipped in enumerate([True, False, False, True]):
        for j in range(5):
            assert torch.equal(changed[i, :, :, j], x[i, :, :, 4 - j if flipped else j])


def mirrored(place, side):
    """Reflect a place at the border, whose pixel is not repeated."""
    if place < 0:
        return -place
    return place if place < side else 2 * (side - 1) - place


@pytest.mark.parametrize(
    ("shape", "farthest"),
    [
        ((40, 2, 16, 24), (2, 3)),
        ((9, 1, 8, 7), (1, 1)),
        ((9, 1, 4, 2), (1, 1)),
        ((5, 3, 1, 1), (0, 0)),
        ((60, 1, 31, 24), (3, 3)),
    ],
)
def test_crop_shifts_and_mirrors_at_the_border(shape, farthest):
    x, (n, _, height, width) = drawn(*shape), shape
    noise = drawn(n, 2, seed=1)
    noise[:4] = torch.tensor([[-40.0, 40.0], [40.0, -40.0], [40.0, 40.0], [0.0, 0.0]])
    changed = one_step("crop", x, noise)
    shifts, farthest = set(), np.array(farthest)
    for i in range(n):
        uniform = ndtr(noise[i].double().numpy())
        down, right = (
            np.minimum((uniform * (2 * farthest + 1)).astype(int), 2 * farthest) - farthest
        )
        shifts.add((int(down), int(right)))
        for row in range(height):
            for column in range(width):
                source = x[i, :, mirrored(row + down, height), mirrored(column + right, width)]
                assert torch.equal(changed[i, :, row, column], source)
    assert {tuple(farthest), (-farthest[0], farthest[1]), (0, 0)} <= shifts


def test_crop_shifts_by_each_number_of_pixels_alike():
    x = torch.arange(16.0).expand(1, 1, 16, 16)  # each pixel holds its column
    middles = (torch.arange(5) + 0.5) / 5  # of five equal parts of (0, 1)
    noise = torch.tensor(ndtri(middles.numpy()), dtype=torch.float32)
    changed = one_step("crop", x.expand(5, 1, 16, 16), torch.stack([noise * 0, noise], dim=1))
    assert changed[:, 0, 0, 8].tolist() == [6.0, 7.0, 8.0, 9.0, 10.0]


def test_color_is_in_units_of_each_images_deviation():
    x = drawn(5, 3, 4, 6) * torch.tensor([0.01, 1.0, 1.0, 100.0, 0.0]).view(5, 1, 1, 1) + 7
    noise = drawn(5, 2, seed=1)
    changed = one_step("color", x, noise).double().numpy()
    for i in range(5):
        image = x[i].double().numpy()
        contrast, brightness = 0.1 * noise[i].double().numpy()
        expected = image + contrast * (image - image.mean()) + brightness * image.std()
        assert_allclose(changed[i], expected, rtol=1e-5)
    assert torch.equal(one_step("color", x, noise)[4], x[4])  # an image of one color stays


def test_noise_is_in_units_of_each_images_deviation():
    x = drawn(5, 3, 4, 6) * torch.tensor([0.01, 1.0, 1.0, 100.0, 0.0]).view(5, 1, 1, 1) + 7
    noise = drawn(5, 3, 4, 6, seed=1)
    changed = one_step("noise", x, noise).double().numpy()
    for i in range(5):
        image = x[i].double().numpy()
        expected = image + 0.02 * image.std() * noise[i].double().numpy()
        assert_allclose(changed[i], expected, rtol=1e-5)
    assert torch.equal(one_step("noise", x, noise)[4], x[4])


# All of them


def test_steps_follow_in_one_order_whatever_that_of_their_names():
    x = drawn(6, 2, 16, 16)
    forth, back = ImageAugmentation(ALL, 2), ImageAugmentation(ALL[::-1], 2)
    noise = noise_of(forth, x)
    assert list(noise) == ["flip", "crop", "color", "noise"]
    expected = x
    for name in ALL:
        expected = one_step(name, expected, noise[name])
    assert torch.equal(forth(x, noise), expected)
    assert torch.equal(back(x, noise), expected)


def test_a_mask_moves_along_and_keeps_its_values():
    images, masks = drawn(20, 2, 16, 24), (drawn(20, 1, 16, 24, seed=9) > 0).float()
    noise = noise_of(ImageAugmentation(ALL, 2), images)
    together = torch.cat([images, masks], dim=1)
    changed = ImageAugmentation(ALL, 2)(together, noise)
    assert torch.equal(changed[:, :2], ImageAugmentation(ALL, 2)(images, noise))
    moved = ImageAugmentation(["flip", "crop"], 1)(masks, noise)
    assert torch.equal(changed[:, 2:], moved)
    assert not torch.equal(moved, masks)
    shapes = ImageAugmentation(ALL, 2).noise_shapes(together.shape)
    assert {name: tuple(shape) for name, shape in shapes.items()} == {
        name: tuple(values.shape) for name, values in noise.items()
    }


@pytest.mark.parametrize("names", [*([name] for name in ALL), ALL])
def test_stacked_batches_give_what_separate_ones_give(names):
    augmentation = ImageAugmentation(names, 2)
    x = drawn(3, 8, 3, 16, 16)  # three batches, a mask in each
    noises = [noise_of(augmentation, x[k], seed=10 * k) for k in range(3)]
    stacked = torch.func.vmap(augmentation)(
        x, {name: torch.stack([noise[name] for noise in noises]) for name in names}
    )
    for k in range(3):
        assert_close(stacked[k], augmentation(x[k], noises[k]), rtol=1e-6, atol=1e-6)


# In an objective


def objective_of(shape, preparation):
    size = int(np.prod(shape))
    objective = DistanceObjective(
        nn.Flatten(), shape, size, losses.deep_sad, preparation, centered=False, eta=1.0
    )
    objective.noise_scale.fill_(0.5)
    return objective


def test_a_batch_is_augmented_then_given_anomalies_then_noise():
    augmentation, confetti = ImageAugmentation(ALL, 1), Confetti()
    objective = objective_of((1, 9, 9), Preparation(0.5, augmentation, confetti))
    x, y = drawn(6, 1, 9, 9), torch.tensor([0, 1, 0, 0, 1, 0], dtype=torch.int8)
    shapes = objective.noise_shapes(x.shape)
    assert set(shapes) == {*ALL, "synthetic", "x"}
    noise = {name: drawn(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    prepared = objective("prepare", Batch(x, y, noise))
    augmented = augmentation(x, noise)
    made, _ = confetti(augmented, noise["synthetic"])
    expected = augmented.clone()
    expected[1::2] = made[1::2]
    assert_close(prepared.x, expected + 0.5 * noise["x"])
    assert prepared.y.tolist() == [0, -1, 0, -1, 1, -1]
    assert prepared.y.dtype == y.dtype
    # Held-out rows: the anomalies alone.
    held_out = x.clone()
    held_out[1::2] = confetti(x, noise["synthetic"])[0][1::2]
    plain = Batch(held_out, prepared.y)
    assert_close(objective("validation_loss", Batch(x, y, noise)), objective("loss", plain))


def test_rows_become_anomalies_by_permuted_columns():
    objective = objective_of((3,), Preparation(0.0, None, PermutedColumns()))
    x, y = drawn(5, 3), torch.zeros(5, dtype=torch.int8)
    assert objective.noise_shapes(x.shape) == {"synthetic": (5, 4)}  # and the factors
    noise = drawn(5, 4, seed=1)
    prepared = objective("prepare", Batch(x, y, {"synthetic": noise}))
    made, _ = PermutedColumns()(x, noise)
    assert torch.equal(prepared.x[::2], x[::2]) and torch.equal(prepared.x[1::2], made[1::2])
    assert prepared.y.tolist() == [0, -1, 0, -1, 0]


def test_nothing_is_prepared_without_being_asked_for():
    objective = objective_of((1, 4, 4), Preparation())
    batch = Batch(drawn(3, 1, 4, 4), torch.zeros(3))
    assert objective.noise_shapes(batch.x.shape) == {}
    prepared = objective("prepare", batch)
    assert prepared.x is batch.x and prepared.y is batch.y


# In a detector

WITH_AUGMENT = [DeepSAD, HSC, DeepClassifier]
IMAGES = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
LABELS = np.r_[np.ones(6), np.zeros(28), -np.ones(6)]


def small(cls, **params):
    numbers = {"n_epochs": 2, "batch_size": 16, "hidden_layer_sizes": (4,), "device": "cpu"}
    if cls is DeepSAD:
        numbers["pretrain"] = False
    return cls(**{**numbers, "random_state": 0, **params})


def scores(cls, **params):
    return small(cls, **params).fit(IMAGES, LABELS).score_samples(IMAGES)


@pytest.mark.parametrize("cls", WITH_AUGMENT)
def test_random_state_determines_the_changes(cls):
    expected = scores(cls, augment="standard")
    assert_array_equal(scores(cls, augment=ALL), expected)
    assert (scores(cls, augment=None) != expected).any()
    assert (scores(cls, augment="standard", random_state=1) != expected).any()


def draws_from_everywhere(x):
    return x + torch.randn(len(x), 1, 1, 1) + np.random.rand() + random.random()


def global_states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.mark.parametrize("cls", WITH_AUGMENT)
def test_a_function_draws_from_borrowed_generators(cls):
    before = global_states()
    expected = scores(cls, augment=draws_from_everywhere)
    assert global_states() == before
    try:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        assert_array_equal(scores(cls, augment=draws_from_everywhere), expected)
    finally:
        random.setstate(before[0])
        torch.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))
    other = scores(cls, augment=draws_from_everywhere, random_state=1)
    assert (other != expected).any()
    assert (scores(cls, augment=lambda x: x) != expected).any()


@pytest.mark.parametrize("cls", WITH_AUGMENT)
@pytest.mark.parametrize("early_stopping", [False, EarlyStopping(validation_fraction=0.5)])
def test_a_function_sees_training_batches_only(cls, early_stopping):
    seen = []

    def augment(x):
        assert x.dtype == torch.float32
        assert x.device.type == "cpu"
        seen.append(tuple(x.shape))
        return x

    detector = small(cls, augment=augment, batch_size=20, early_stopping=early_stopping)
    detector.set_params(anomaly_fraction=None).fit(IMAGES, LABELS)
    detector.predict(IMAGES)
    first, *others = seen
    assert first == (3, 1, 8, 8)  # when its losses were tried
    assert others == [(20, 1, 8, 8)] * (2 if early_stopping else 4)


def test_the_loss_is_that_of_changed_images():
    state = torch.get_rng_state()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    torch.set_rng_state(state)
    detector = small(
        DeepSAD, network=network, augment=lambda x: 2 * x.flip(-1), n_epochs=1, batch_size=40
    ).set_params(lr=1e-30, input_noise=0.0, anomaly_fraction=None)
    (loss,) = detector.fit(IMAGES, LABELS).history_["train"]["loss"]
    weight = network[1].weight.detach().double().numpy()
    codes = 2 * IMAGES[..., ::-1].reshape(40, 64) @ weight.T
    distance = ((codes - detector._objective_.center.numpy()) ** 2).sum(1)
    expected = np.where(LABELS < 0, 1 / (distance + 1e-6), distance).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("cls", WITH_AUGMENT)
@pytest.mark.parametrize(
    ("augment", "came"),
    [
        (lambda x: x[1:], r"\(2, 1, 8, 8\)"),
        (lambda x: x.mean(1), r"\(3, 8, 8\)"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: None, "NoneType"),
    ],
)
def test_a_function_must_return_a_batch_of_the_same_shape(cls, augment, came):
    with pytest.raises(
        ValueError, match=rf"shape of its batch, \(3, 1, 8, 8\); it returned {came}"
    ):
        small(cls, augment=augment).fit(IMAGES, LABELS)


@pytest.mark.parametrize("cls", WITH_AUGMENT)
@pytest.mark.parametrize("augment", [["rotate"], ["flip", "Crop"], [], (), [3], ["flip", ["crop"]]])
def test_names_must_be_known(cls, augment):
    with pytest.raises(ValueError, match=r"must name one or more of \['flip', 'crop', 'color'"):
        small(cls, augment=augment).fit(IMAGES, LABELS)


@pytest.mark.parametrize("cls", WITH_AUGMENT)
@pytest.mark.parametrize("augment", ["standard", ["noise"]])
def test_names_are_for_images(cls, augment):
    flat = IMAGES.reshape(40, 64)
    with pytest.raises(ValueError, match="changes images, and X is a table of 64 columns"):
        small(cls, augment=augment).fit(flat, LABELS)
    of_rows = small(cls, augment=augment, input_shape=(1, 8, 8)).fit(flat, LABELS)
    assert_array_equal(of_rows.score_samples(flat), scores(cls, augment=augment))
