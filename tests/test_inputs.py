"""Rows of any shape: what they are read as, and that all detectors read them alike."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from conftest import DETECTORS, OF_ROWS, TEXTS, WANT_MAPS, PlainDecoder, quick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from torch import nn

from skdeepad import (
    SSAD,
    AutoEncoder,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    HybridDetector,
    LabelWarning,
)
from skdeepad.datasets import load_digits_anomaly
from skdeepad.inputs import as_table, check_labels, check_row_shape, warn_of_channels_last
from skdeepad.networks import LeNet

pytestmark = [
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly"),
    pytest.mark.filterwarnings("ignore:The discriminator of AGAD has won"),
]

RNG = np.random.default_rng(0)
Y = np.where(np.arange(40) < 4, -1, 0)
# Three channels, and sides that differ, so that no two axes can be taken for each other.
IMAGES = RNG.normal(size=(40, 3, 8, 10)).astype(np.float32)
FLAT = IMAGES.reshape(40, 240)
TOKENS = RNG.normal(size=(40, 5, 6)).astype(np.float32)
SERIES = RNG.normal(size=(40, 2, 16)).astype(np.float32)
VIDEOS = RNG.normal(size=(40, 2, 4, 6, 7)).astype(np.float32)

# FCDD and AGAD take tables and images, whatever the network.
# CVDD takes texts.
TAKE_IMAGES = [name for name in DETECTORS if name not in TEXTS]
TAKE_ANY = [name for name in OF_ROWS if not name.startswith(("FCDD", "AGAD"))]


class Strict(nn.Sequential):
    """A network that takes rows of one shape, and no others."""

    def __init__(self, input_shape, *layers):
        super().__init__(*layers)
        self.input_shape = tuple(input_shape)

    def forward(self, x):
        assert x.shape[1:] == self.input_shape
        return super().forward(x)


def of_tokens(input_shape):
    n_tokens, size = input_shape
    layers = nn.Linear(size, 8, bias=False), nn.LeakyReLU(0.1), nn.AvgPool2d((n_tokens, 1))
    return Strict(input_shape, *layers, nn.Flatten(), nn.Linear(8, 4, bias=False))


def of_series(input_shape):
    channels, time = input_shape
    layers = nn.Conv1d(channels, 8, 3, bias=False), nn.LeakyReLU(0.1), nn.AvgPool1d(time - 2)
    return Strict(input_shape, *layers, nn.Flatten(), nn.Linear(8, 4, bias=False))


def of_videos(input_shape):
    channels, *sides = input_shape
    pool = nn.AvgPool3d([side - 2 for side in sides])
    layers = nn.Conv3d(channels, 8, 3, bias=False), nn.LeakyReLU(0.1), pool
    return Strict(input_shape, *layers, nn.Flatten(), nn.Linear(8, 4, bias=False))


SHAPED = {
    "tokens": (TOKENS, of_tokens),
    "series": (SERIES, of_series),
    "videos": (VIDEOS, of_videos),
}


def of_images(name, **params):
    """Return a quick detector with the layers that FCDD has for images of three channels."""
    sizes = {"hidden_layer_sizes": (8, 8, 8, 8)} if name in WANT_MAPS else {}
    return quick(name, **sizes, **params)


# How X is read


@pytest.mark.parametrize("rows", [IMAGES, TOKENS, VIDEOS])
def test_rows_are_flattened_in_order(rows):
    flat, shape = as_table(rows)
    assert shape == rows.shape[1:]
    assert_array_equal(flat, [row.ravel() for row in rows])


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda rows: rows.tolist(),
        torch.tensor,
        lambda rows: list(torch.tensor(rows)),
        lambda rows: [torch.tensor(row, requires_grad=True) for row in rows],
        lambda rows: [row.tolist() for row in rows],
    ],
    ids=["list", "tuple", "lists", "tensor", "tensors", "tensors with gradient", "list of lists"],
)
@pytest.mark.parametrize("rows", [IMAGES, TOKENS], ids=["images", "tokens"])
def test_all_forms_of_rows_are_the_same(form, rows):
    flat, shape = as_table(form(rows))
    assert shape == rows.shape[1:]
    assert_array_equal(flat, rows.reshape(40, -1))


def test_tables_are_left_to_scikit_learn():
    for table in (FLAT, FLAT.tolist(), list(FLAT), 3.0, FLAT[0]):
        assert as_table(table) == (table, None) if table is not FLAT else as_table(FLAT)[1] is None


@pytest.mark.parametrize("form", [list, tuple, lambda rows: [torch.tensor(row) for row in rows]])
def test_rows_of_several_shapes_are_refused(form):
    ragged = [*IMAGES[:5], IMAGES[5][:, :7], *IMAGES[6:]]
    message = r"row 0 has \(3, 8, 10\), row 5 \(3, 7, 10\).*Resize, cut or pad"
    with pytest.raises(ValueError, match=message):
        as_table(form(ragged))


@pytest.mark.parametrize("name", ["DeepSAD", "SSAD", "HybridDetector", "DeepEnsemble"])
def test_detectors_refuse_rows_of_several_shapes(name):
    detector = quick(name).fit(IMAGES, Y)
    for method in (detector.fit, detector.predict):
        with pytest.raises(ValueError, match="several shapes"):
            method([*IMAGES[:5], IMAGES[5][:, :7]])
    assert_array_equal(detector.score_samples(list(IMAGES)), detector.score_samples(IMAGES))


@pytest.mark.parametrize(
    ("shape", "expected", "n_rows", "message"),
    [
        ((8, 10, 3), (3, 8, 10), 5, "images.*same axes in another order.*np.moveaxis"),
        ((3, 10, 8), (3, 8, 10), 5, "same axes in another order"),
        ((3, 9, 10), (3, 8, 10), 5, r"images of shape \(3, 9, 10\); expected \(3, 8, 10\), so\.$"),
        ((6, 5), (5, 6), 5, "rows of shape.*another order"),
        ((8, 10), (3, 8, 10), 3, r"of one row, so.*X\[None\]"),
        ((8, 10), (3, 8, 10), 4, "rows of shape"),
    ],
)
def test_other_shapes_are_refused(shape, expected, n_rows, message):
    with pytest.raises(ValueError, match=message):
        check_row_shape(shape, expected, n_rows, "so")


@pytest.mark.parametrize("expected", [None, (240,), (3, 8, 10)])
def test_the_same_shape_and_unknown_ones_are_taken(expected):
    assert check_row_shape((3, 8, 10), expected, 5, "so") is None


@pytest.mark.parametrize("shape", [(8, 10, 3), (28, 28, 1), (5, 6, 4)])
def test_channels_behind_are_warned_of(shape):
    with pytest.warns(UserWarning, match=rf"images of {shape[0]} channels.*moveaxis\(X, -1, 1\)"):
        warn_of_channels_last(shape)


@pytest.mark.parametrize(
    "shape",
    [(3, 8, 10), (3, 3, 3), (2, 10, 3), (8, 10, 2), (1, 1, 1), (16, 3), (240,), (2, 8, 10, 3)],
)
def test_channels_before_and_other_rows_are_not(shape):
    warn_of_channels_last(shape)  # warnings are errors here


# How y is read


@pytest.mark.parametrize("n_normal", range(7))
def test_verified_normals_are_doubted_where_they_are_the_fewer(n_normal):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = check_labels([1] * n_normal + [0] * (6 - n_normal), 6)
    assert labels.sum() == n_normal
    assert [warning.category for warning in caught] == [LabelWarning] * (n_normal in (1, 2))


# Detectors


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_images_that_look_channels_last_are_warned_of_by_fit_alone(name):
    behind = np.moveaxis(IMAGES, 1, -1).copy()
    detector = of_images(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.fit(behind, Y)
    told = [warning for warning in caught if "moveaxis" in str(warning.message)]
    assert len({str(warning.message) for warning in told}) == 1  # parts of wrappers say the same
    assert all(warning.filename == __file__ for warning in told)
    detector.predict(behind)  # warnings are errors here
    of_images(name).fit(IMAGES, Y)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_images_in_another_order_or_alone_are_refused(name):
    detector = of_images(name).fit(IMAGES, Y)
    assert detector.input_shape_ == (3, 8, 10)
    scores = detector.score_samples(IMAGES)
    for axes in ((0, 2, 3, 1), (0, 1, 3, 2), (0, 2, 1, 3)):
        for method in (detector.predict, detector.score_samples, detector.decision_function):
            with pytest.raises(ValueError, match=r"expected \(3, 8, 10\), as in fit.*moveaxis"):
                method(IMAGES.transpose(axes))
    with pytest.raises(ValueError, match=r"of one row, as in fit.*Write X\[None\]"):
        detector.predict(IMAGES[0])
    assert_allclose(detector.score_samples(IMAGES[0][None]), scores[:1], rtol=1e-6)
    assert_array_equal(detector.score_samples(FLAT), scores)


@pytest.mark.parametrize("name", OF_ROWS)
def test_one_image_alone_is_refused_by_fit_as_well(name):
    with pytest.raises(ValueError, match=r"of one row, as input_shape says.*X\[None\]"):
        of_images(name, input_shape=(3, 8, 10)).fit(IMAGES[0])


@pytest.mark.parametrize("name", OF_ROWS)
def test_flat_rows_and_shaped_ones_may_be_mixed(name):
    told = of_images(name, input_shape=[3, 8, 10])
    models = [told.fit(FLAT, Y), clone(told).fit(IMAGES, Y), of_images(name).fit(IMAGES, Y)]
    expected = models[0].score_samples(FLAT)
    for model in models:
        assert model.input_shape_ == (3, 8, 10)
        assert model.offset_ == models[0].offset_
        for rows in (IMAGES, FLAT, list(IMAGES), torch.tensor(FLAT)):
            assert_array_equal(model.score_samples(rows), expected)


@pytest.mark.parametrize("kind", SHAPED)
@pytest.mark.parametrize("name", TAKE_ANY)
def test_networks_are_given_rows_as_they_are(name, kind):
    rows, network = SHAPED[kind]
    shape, flat = rows.shape[1:], rows.reshape(40, -1)
    parts = {"network": network, "decoder": PlainDecoder}
    detector = quick(name, **parts).fit(rows, Y)
    assert detector.input_shape_ == shape
    assert detector.n_features_in_ == flat.shape[1]
    expected = detector.score_samples(rows)
    of_list = quick(name, **parts).fit([torch.tensor(row) for row in rows], Y)
    of_flat = quick(name, input_shape=shape, **parts).fit(flat, Y)
    for model in (detector, of_list, of_flat):
        for form in (rows, flat, list(rows)):
            assert_array_equal(model.score_samples(form), expected)
    with pytest.raises(ValueError, match="same axes in another order"):
        detector.predict(np.swapaxes(rows, 1, 2))
    with pytest.raises(ValueError, match="same axes in another order"):
        of_flat.predict(np.swapaxes(rows, 1, 2))


@pytest.mark.parametrize("kind", SHAPED)
def test_a_linear_network_of_shaped_rows_is_one_of_flat_rows(kind):
    rows, _ = SHAPED[kind]
    flat = rows.reshape(40, -1)
    linear = nn.Linear(flat.shape[1], 4, bias=False)
    shaped = DeepSVDD(network=nn.Sequential(nn.Flatten(), linear), n_epochs=3, random_state=0)
    table = DeepSVDD(network=linear, n_epochs=3, random_state=0)
    for detector, X in ((shaped, rows), (table, flat)):
        detector.set_params(pretrain=False, input_noise=0.0).fit(X)
    assert_array_equal(shaped.score_samples(rows), table.score_samples(flat))
    assert shaped.offset_ == table.offset_


@pytest.mark.parametrize("kind", SHAPED)
def test_scores_of_shaped_rows_are_those_computed_by_hand(kind):
    rows, network = SHAPED[kind]
    parts = {"network": network, "decoder": PlainDecoder}
    detector = AutoEncoder(n_epochs=3, random_state=0, device="cpu", **parts).fit(rows)
    x = torch.tensor(rows)
    with torch.no_grad():
        error = (detector.decoder_(detector.network_(x)) - x).square().flatten(1).mean(dim=1)
    assert_allclose(detector.anomaly_score(rows), error, rtol=1e-5)


@pytest.mark.parametrize("name", TAKE_ANY)
def test_series_have_a_default_network(name):
    detector, flat = quick(name).fit(SERIES, Y), SERIES.reshape(40, 32)
    assert isinstance(detector.network_, LeNet)
    of_flat = quick(name, input_shape=(2, 16)).fit(flat, Y)
    expected = detector.score_samples(SERIES)
    for model in (detector, of_flat):
        assert model.input_shape_ == (2, 16)
        assert_array_equal(model.score_samples(SERIES), expected)
        assert_array_equal(model.score_samples(flat), expected)
        with pytest.raises(ValueError, match="same axes in another order"):
            model.predict(np.swapaxes(SERIES, 1, 2))
    assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(flat), expected)


@pytest.mark.parametrize("name", [name for name in TAKE_ANY if "M1" not in name])
def test_rows_without_a_default_network_are_refused(name):
    with pytest.raises(ValueError, match=r"16 channels and 2 steps.*np.swapaxes\(X, 1, 2\)"):
        quick(name).fit(np.swapaxes(SERIES, 1, 2), Y)
    with pytest.raises(ValueError, match=r"reshape\(len\(X\), -1\)"):
        quick(name).fit(VIDEOS, Y)


PADDED = RNG.normal(size=(40, 5, 12)).astype(np.float32)
PADDED[::3, 4:] = 0  # texts of three lengths
PADDED[1::3, 2:] = 0


@pytest.mark.parametrize(
    "rows",
    [
        RNG.normal(size=(40, 10, 12)),
        RNG.normal(size=(40, 8, 8)),
        RNG.normal(size=(40, 4, 8)),
        PADDED,
    ],
    ids=["channels last", "gray images", "many channels", "texts"],
)
def test_series_that_may_be_something_else_are_warned_of(rows):
    shape = rows.shape[1:]
    with pytest.warns(UserWarning, match=rf"series of {shape[0]} channels, {shape[1]} steps"):
        expected = small_member(random_state=0).fit(rows).score_samples(rows)
    # Whoever says what they are is not warned.
    said = small_member(random_state=0, input_shape=shape).fit(rows)
    assert_array_equal(said.score_samples(rows), expected)
    small_member(network=nn.Sequential(nn.Flatten(), nn.Linear(rows[0].size, 2, bias=False))).fit(
        rows
    )
    SSAD(contamination=0.1).fit(rows)


def test_series_of_a_dead_channel_are_not_warned_of():
    rows = RNG.normal(size=(40, 3, 12)).astype(np.float32)
    rows[5:9, 2] = 0
    small_member().fit(rows)


@pytest.mark.parametrize("name", [name for name in OF_ROWS if name not in TAKE_ANY])
def test_methods_of_images_say_how_to_make_some(name):
    how = r"X\[:, :, None\]" if name in WANT_MAPS else r"X\.reshape\(len\(X\), -1\)"
    with pytest.raises(ValueError, match=rf"images \(n, .*X\[:, None\].*, {how} for series\."):
        quick(name).fit(TOKENS, Y)
    with pytest.raises(ValueError, match=r"rows of shape \(2, 4, 6, 7\)\.$"):
        quick(name).fit(VIDEOS, Y)


@pytest.mark.parametrize("name", [name for name in OF_ROWS if name not in WANT_MAPS])
def test_a_detector_of_flat_rows_takes_any_shape_of_them(name):
    detector = quick(name).fit(FLAT, Y)
    for rows in (IMAGES, np.moveaxis(IMAGES, 1, -1).reshape(40, 8, 30)):
        expected = detector.score_samples(rows.reshape(40, 240))
        assert_array_equal(detector.score_samples(rows), expected)


def test_ssad_flattens():
    for rows in (IMAGES, TOKENS, VIDEOS):
        flat = rows.reshape(40, -1)
        shaped, table = SSAD(contamination=0.1).fit(rows, Y), SSAD(contamination=0.1).fit(flat, Y)
        assert shaped.input_shape_ == rows.shape[1:]
        assert shaped.offset_ == table.offset_
        assert_array_equal(shaped.score_samples(rows), table.score_samples(flat))
        assert_array_equal(shaped.support_vectors_, table.support_vectors_)
        assert (shaped.score_samples(rows)[:4] < np.median(shaped.score_samples(rows))).all()


# Wrappers


def small_member(**params):
    return DeepSAD(n_epochs=2, batch_size=16, pretrain=False, device="cpu", **params)


def small_autoencoder(**params):
    return AutoEncoder(n_epochs=2, batch_size=16, device="cpu", random_state=0, **params)


@pytest.mark.parametrize("told", [False, True], ids=["images", "flat rows of known shape"])
def test_members_of_an_ensemble_are_given_images(told):
    member = small_member(input_shape=(3, 8, 10)) if told else small_member()
    rows = FLAT if told else IMAGES
    ensemble = DeepEnsemble(member, n_estimators=2, random_state=0).fit(rows, Y)
    assert ensemble.input_shape_ == (3, 8, 10)
    for each in ensemble.estimators_:
        assert isinstance(each.network_, LeNet)
        alone = clone(each).fit(rows, Y)
        expected = alone.score_samples(IMAGES)
        assert_allclose(each.score_samples(IMAGES), expected, rtol=1e-3)
        assert_array_equal(each.score_samples(FLAT), each.score_samples(IMAGES))
    assert_array_equal(ensemble.score_samples(FLAT), ensemble.score_samples(IMAGES))
    known = [-each.score_samples(IMAGES[Y >= 0]) for each in ensemble.estimators_]
    scores = [-each.score_samples(IMAGES) for each in ensemble.estimators_]
    by_hand = [(s - k.mean()) / k.std() for s, k in zip(scores, known, strict=True)]
    assert_allclose(ensemble.anomaly_score(IMAGES), np.mean(by_hand, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("told", [False, True], ids=["images", "flat rows of known shape"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_hybrid_is_its_detector_on_the_codes_of_images(told, frozen):
    autoencoder = small_autoencoder(input_shape=(3, 8, 10)) if told else small_autoencoder()
    rows = FLAT if told else IMAGES
    fitted = clone(autoencoder).fit(rows[Y >= 0])
    assert isinstance(fitted.network_, LeNet)
    hybrid = HybridDetector(SSAD(), FrozenEstimator(fitted) if frozen else autoencoder)
    hybrid.fit(rows, Y)
    assert hybrid.input_shape_ == (3, 8, 10)
    codes = fitted.transform(IMAGES)
    scaler = StandardScaler().fit(codes[Y >= 0])
    by_hand = SSAD().fit(scaler.transform(codes), Y)
    for form in (IMAGES, FLAT, list(IMAGES)):
        assert_array_equal(
            hybrid.score_samples(form), by_hand.score_samples(scaler.transform(codes))
        )


@pytest.mark.parametrize(
    "wrapper",
    [
        DeepEnsemble(small_member(input_shape=(3, 8, 10)), n_estimators=2, random_state=0),
        HybridDetector(autoencoder=small_autoencoder(input_shape=(3, 8, 10))),
    ],
    ids=["DeepEnsemble", "HybridDetector"],
)
def test_wrappers_of_flat_rows_know_the_shape_that_their_part_is_told(wrapper):
    wrapper = clone(wrapper).fit(FLAT, Y)
    assert_array_equal(wrapper.predict(IMAGES), wrapper.predict(FLAT))
    with pytest.raises(ValueError, match="same axes in another order"):
        wrapper.predict(np.moveaxis(IMAGES, 1, -1))
    with pytest.raises(ValueError, match=r"Write X\[None\]"):
        wrapper.predict(IMAGES[0])


@pytest.mark.parametrize("kind", SHAPED)
def test_wrappers_take_rows_of_any_shape(kind):
    rows, network = SHAPED[kind]
    ensemble = DeepEnsemble(small_member(network=network), n_estimators=2, random_state=0).fit(
        rows, Y
    )
    autoencoder = small_autoencoder(network=network, decoder=PlainDecoder)
    hybrid = HybridDetector(autoencoder=autoencoder).fit(rows)
    for wrapper in (ensemble, hybrid):
        assert wrapper.input_shape_ == rows.shape[1:]
        flat = rows.reshape(40, -1)
        assert_array_equal(wrapper.score_samples(flat), wrapper.score_samples(rows))
        with pytest.raises(ValueError, match="same axes in another order"):
            wrapper.predict(np.swapaxes(rows, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_wrappers_find_digits_as_well_as_their_parts(seed):
    rows, truth = load_digits_anomaly(normal=3, return_X_y=True)
    images = rows.reshape(-1, 1, 8, 8)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(truth > 0))
    train, new = images[normal[:100]], np.r_[normal[100:], np.flatnonzero(truth < 0)]
    member = AutoEncoder(n_epochs=100, random_state=seed, device="cpu").fit(train)
    alone = member.score(images[new], truth[new])
    assert alone > 0.9
    ensemble = DeepEnsemble(member, n_estimators=3, random_state=seed).fit(train)
    members = [each.score(images[new], truth[new]) for each in ensemble.estimators_]
    assert ensemble.score(images[new], truth[new]) > np.mean(members) - 0.005
    assert np.mean(members) > 0.9
    scale = StandardScaler().fit(member.transform(train))
    svm = OneClassSVM().fit(scale.transform(member.transform(train)))
    by_hand = svm.score_samples(scale.transform(member.transform(images[new])))
    hybrid = HybridDetector(autoencoder=member).fit(train)
    assert hybrid.score(images[new], truth[new]) == roc_auc_score(truth[new] > 0, by_hand) > 0.8


def test_a_search_takes_images():
    order = np.random.default_rng(0).permutation(40)
    truth = np.where(np.arange(40) < 10, -1, 1)[order]
    search = GridSearchCV(small_member(random_state=0), {"eta": [1.0, 2.0]}, cv=2)
    search.fit(IMAGES[order], truth)
    assert search.best_estimator_.input_shape_ == (3, 8, 10)
    alone = small_member(random_state=0, eta=search.best_params_["eta"]).fit(IMAGES[order], truth)
    assert_array_equal(search.decision_function(IMAGES), alone.decision_function(IMAGES))
    assert search.score(IMAGES[order], truth) == roc_auc_score(
        truth > 0, alone.decision_function(IMAGES[order])
    )
