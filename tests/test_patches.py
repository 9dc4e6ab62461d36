"""Features of patches, from a frozen network."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn import functional

from skdeepad.features import PatchFeatures

IMAGES = np.random.default_rng(0).random((5, 3, 16, 20)).astype(np.float32)


class Small(nn.Module):
    """Two blocks and a head, as pretrained networks have them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).mean((2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Small()


def test_maps_are_what_the_layers_give(network):
    features = PatchFeatures(network, ["first", "second"], device="cpu").fit(IMAGES)
    maps = features.transform(IMAGES)
    assert maps.shape == (5, 10, 8, 10) == (5, *features.map_shape_)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        network.eval()
        one = network.first((torch.from_numpy(IMAGES) - mean) / std)
        two = network.second(one.relu())
        # Means over 3 x 3 places, of those that there are.
        count = functional.conv2d(torch.ones_like(one[:, :1]), torch.ones(1, 1, 3, 3), padding=1)
        sums = functional.conv2d(one, torch.ones(4, 1, 3, 3), padding=1, groups=4)
        assert_allclose(maps[:, :4], sums / count, atol=1e-5)
        count = functional.conv2d(torch.ones_like(two[:, :1]), torch.ones(1, 1, 3, 3), padding=1)
        sums = functional.conv2d(two, torch.ones(6, 1, 3, 3), padding=1, groups=6)
        wanted = functional.interpolate(sums / count, (8, 10), mode="bilinear")
    assert_allclose(maps[:, 4:], wanted, atol=1e-5)


def test_the_network_is_frozen_and_left_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features = PatchFeatures(network.train(), ["second"], device="cpu").fit(IMAGES)
    features.transform(IMAGES)
    assert network.training and not features.network_.training
    assert not any(weight.requires_grad for weight in features.network_.parameters())
    assert not any(module._forward_hooks for module in features.network_.modules())
    for state in (network.state_dict(), features.network_.state_dict()):
        for name, value in state.items():
            assert torch.equal(value, before[name])
    with torch.no_grad():
        network.second.weight.zero_()
    assert np.ptp(features.transform(IMAGES)) > 0


def test_gray_images_are_repeated_and_images_are_resized(network):
    gray = IMAGES[:, :1]
    features = PatchFeatures(network, ["first"], image_size=(32, 24), device="cpu")
    maps = features.fit_transform(gray)
    assert maps.shape == (5, 4, 16, 12)
    assert_allclose(maps, features.fit_transform(np.repeat(gray, 3, axis=1)), atol=1e-6)
    large = functional.interpolate(
        torch.from_numpy(gray), (32, 24), mode="bilinear", antialias=True
    ).numpy()
    same = PatchFeatures(network, ["first"], device="cpu").fit_transform(large.clip(0, 1))
    assert_allclose(maps, same, atol=1e-5)


def test_every_parameter_changes_maps(network):
    given = {"network": network, "layers": ["first", "second"], "device": "cpu"}
    plain = PatchFeatures(**given).fit_transform(IMAGES)
    for changed in (
        {"layers": ["second"]},
        {"image_size": (24, 24)},
        {"mean": (0, 0, 0)},
        {"std": (1, 1, 1)},
        {"neighborhood": 1},
        {"n_components": 10},
        {"dtype": "float16"},
    ):
        other = PatchFeatures(**given | changed).fit_transform(IMAGES)
        same = other.shape == plain.shape and other.dtype == plain.dtype
        assert not same or np.abs(other - plain).max() > 1e-3, changed
    one, two = (PatchFeatures(**given, n_components=3, random_state=s) for s in (0, 1))
    assert not np.array_equal(one.fit_transform(IMAGES), two.fit_transform(IMAGES))
    few = PatchFeatures(**given, batch_size=2).fit_transform(IMAGES)
    assert_allclose(few, plain, atol=1e-5)


def test_a_projection_keeps_distances_on_average(network):
    given = {"network": network, "layers": ["first", "second"], "device": "cpu"}
    plain = PatchFeatures(**given).fit_transform(IMAGES).transpose(0, 2, 3, 1).reshape(-1, 10)
    ratios = []
    for seed in range(20):
        features = PatchFeatures(**given, n_components=5, random_state=seed)
        few = features.fit_transform(IMAGES).transpose(0, 2, 3, 1).reshape(-1, 5)
        ratios.append(((few - few[0]) ** 2).sum() / ((plain - plain[0]) ** 2).sum())
    assert abs(np.mean(ratios) - 1) < 0.25


def test_maps_are_kept_by_content(network, tmp_path, monkeypatch):
    given = {"network": network, "layers": ["first"], "device": "cpu"}
    features = PatchFeatures(**given, memory=str(tmp_path)).fit(IMAGES)
    maps = features.transform(IMAGES[:3])
    computed = []
    whole = PatchFeatures._computed

    def count(self, images):
        computed.append(len(images))
        return whole(self, images)

    monkeypatch.setattr(PatchFeatures, "_computed", count)
    assert_array_equal(features.transform(IMAGES[:3]), maps)
    assert_allclose(features.transform(IMAGES)[:3], maps)
    assert computed == [0, 2]
    again = PatchFeatures(**given, memory=joblib.Memory(str(tmp_path), verbose=0)).fit(IMAGES)
    assert_array_equal(again.transform(IMAGES)[:3], maps)
    assert computed == [0, 2, 0]
    with torch.no_grad():
        network.first[0].weight.mul_(2)
    for other in ({}, {"neighborhood": 1}, {"dtype": "float16"}):
        PatchFeatures(**given | other, memory=str(tmp_path)).fit(IMAGES).transform(IMAGES)
        assert computed[-1] == 5


def test_networks_are_classes_functions_or_modules(network):
    assert PatchFeatures(Small, ["first"]).fit_transform(IMAGES).shape == (5, 4, 8, 10)
    features = PatchFeatures(lambda: network, ["first"], device="cpu").fit(IMAGES)
    expected = PatchFeatures(network, ["first"], device="cpu").fit(IMAGES)
    assert_array_equal(features.transform(IMAGES), expected.transform(IMAGES))
    loaded = pickle.loads(pickle.dumps(expected))
    assert_array_equal(loaded.transform(IMAGES), expected.transform(IMAGES))
    assert not hasattr(clone(expected), "network_")


@pytest.mark.parametrize(
    ("changed", "X", "message"),
    [
        ({"layers": ["third"]}, IMAGES, r"\['third'\] are not among them: first, first.0"),
        ({"layers": []}, IMAGES, "one or more"),
        ({"layers": ["head"]}, IMAGES, r"'head' must give a map.*shape \(1, 10\)"),
        ({"neighborhood": 2}, IMAGES, "odd"),
        ({"image_size": (3,)}, IMAGES, "two whole numbers"),
        ({"image_size": (0, 4)}, IMAGES, "two whole numbers"),
        ({"std": (1, 0, 1)}, IMAGES, "above 0"),
        ({"mean": (1, 1)}, IMAGES, "three numbers"),
        ({}, 255 * IMAGES, r"in \[0, 1\].*Divide"),
        ({}, IMAGES[0], r"got shape \(3, 16, 20\)"),
        ({}, IMAGES[:, :2], "one channel or three"),
        ({}, IMAGES * np.nan, "NaN"),
    ],
)
def test_what_is_wrong_is_refused(network, changed, X, message):
    given = {"network": network, "layers": ["first"], "device": "cpu"} | changed
    with pytest.raises(ValueError, match=message):
        PatchFeatures(**given).fit(X)


def test_images_of_another_shape_are_refused(network):
    with pytest.raises(NotFittedError):
        PatchFeatures(network, ["first"]).transform(IMAGES)
    features = PatchFeatures(network, ["first"], device="cpu").fit(IMAGES)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\).*\(3, 16, 20\)"):
        features.transform(IMAGES[:, :, :8, :8])
    with pytest.raises(ValueError, match="cannot take images.*image_size"):
        PatchFeatures(nn.Sequential(nn.Conv2d(4, 2, 3)), ["0"], device="cpu").fit(IMAGES)
