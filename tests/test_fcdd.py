"""FCDD: its loss and heat maps written out by hand, masks, synthetic anomalies, tables."""

import math
import pickle

import numpy as np
import pytest
import sklearn
import torch
from conftest import table
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate2d
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skdeepad import FCDD, CollapseWarning, Compute, EarlyStopping, LabelWarning, preparation
from skdeepad.detectors import fcdd
from skdeepad.model_selection import LabeledStratifiedKFold
from skdeepad.networks import Field, Frozen, fcn_imagenet

STILL = 1e-30  # a learning rate that moves no float32 weight
WANTS_LABELS = pytest.mark.filterwarnings("ignore:FCDD learns from labeled anomalies")


@pytest.fixture(autouse=True)
def _same_global_generator():
    """Networks of users draw their weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small(**params):
    """Return a detector of few filters that trains in milliseconds."""
    given = {"hidden_layer_sizes": (4, 4), "n_epochs": 2, "device": "cpu", "random_state": 0}
    return FCDD(**{**given, **params})


def textures(n=48, side=16, seed=0):
    """Return noise with labels of all three kinds, and masks of squares in anomalies."""
    rng = np.random.default_rng(seed)
    X = rng.normal(scale=0.3, size=(n, 1, side, side)).astype(np.float32)
    y = np.zeros(n, dtype=int)
    y[: n // 4] = 1
    y[-(n // 4) :] = -1
    masks = np.zeros((n, side, side), dtype=int)
    for row in np.flatnonzero(y < 0):
        top, left = rng.integers(0, side - side // 4, size=2)
        masks[row, top : top + side // 4, left : left + side // 4] = 1
    X[:, 0] += 2 * masks
    return X, y, masks


X, Y, MASKS = textures()
NEW, _, NEW_MASKS = textures(seed=1)


def assert_same_model(one, other):
    assert_array_equal(one.score_samples(NEW), other.score_samples(NEW))
    assert_array_equal(one.explain(NEW), other.explain(NEW))
    assert one.offset_ == other.offset_


# Equation 3.1 and its pixelwise form, by hand


WEIGHTS = np.random.default_rng(3).normal(size=(2, 1, 3, 2)) / 2
BIASES = np.array([0.3, -0.2])


def given_network():
    """Return a network of one convolution by 3 x 2 pixels, at every place and every second."""
    layer = nn.Conv2d(1, 2, (3, 2), stride=(1, 2), padding=(1, 0))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(WEIGHTS))
        layer.bias.copy_(torch.tensor(BIASES))
    return nn.Sequential(layer)


def maps_by_hand(images):
    """Return the pseudo-Huber norms of that network's outputs, (n, u, v)."""
    padded = np.pad(images[:, 0].astype(float), ((0, 0), (1, 1), (0, 0)))
    codes = [
        [correlate2d(image, weight[0], mode="valid")[:, ::2] + bias for image in padded]
        for weight, bias in zip(WEIGHTS, BIASES, strict=True)
    ]
    return np.sqrt((np.array(codes) ** 2).sum(axis=0) + 1) - 1


def algorithm_1(maps, fields, sides, sigma=None):
    """Spread maps (n, u, v) as the thesis's algorithm 1 does, number by number: (n, h, w)."""
    heat = np.zeros((len(maps), *sides))
    for place in np.ndindex(*maps.shape[1:]):
        within = []  # pixels of the field that are in the image, by height and by width
        weights = []
        for i, field, side in zip(place, fields, sides, strict=True):
            first = field.start + i * field.stride
            deviation = field.size / 4 if sigma is None else sigma
            center = first + (field.size - 1) / 2
            pixels = [p for p in range(first, first + field.size) if 0 <= p < side]
            density = [
                math.exp(-((p - center) ** 2) / (2 * deviation**2))
                / math.sqrt(2 * math.pi * deviation**2)
                for p in pixels
            ]
            within.append(pixels)
            weights.append([1.0] * len(pixels) if field.size == 1 else density)
        heat[(slice(None), *np.ix_(*within))] += maps[(slice(None), *place)][
            :, None, None
        ] * np.outer(*weights)
    return heat


def terms(values, y, eta):
    """Equation 3.1 for one distance after the other."""
    of_anomalies = -eta * np.log(1 - np.exp(-values))
    return np.where(y < 0, of_anomalies, np.where(y > 0, eta * values, values))


def terms_of_pixels(heat, mask, eta):
    """Thesis, section 3.1.2: both terms of equation 3.1, each over its kind of pixels."""
    return eta * ((heat * (1 - mask)).mean() - np.log(1 - np.exp(-(heat * mask).mean())))


def first_loss(y, masks=None, images=X, **params):
    """Return the mean loss of a full batch under the given network, which does not move."""
    detector = FCDD(
        network=given_network(), lr=STILL, n_epochs=1, batch_size=len(images), random_state=0
    )
    detector.set_params(device="cpu", anomaly_fraction=None, **params)
    return detector.fit(images, y, masks).history_["train"]["loss"]


@pytest.mark.parametrize("eta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kinds", [(0, -1), (1, -1), (-1, 0, 1)])
def test_it_minimises_equation_3_1(eta, kinds):
    y = np.array(kinds)[np.arange(len(X)) % len(kinds)]
    a = maps_by_hand(X).mean(axis=(1, 2))
    assert_allclose(first_loss(y, eta=eta), [terms(a, y, eta).mean()], rtol=1e-5)


def test_the_score_is_the_mean_of_the_map():
    detector = small(network=given_network(), hidden_layer_sizes=None, lr=STILL).fit(X, Y)
    assert_allclose(detector.anomaly_score(NEW), maps_by_hand(NEW).mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("eta", [0.5, 3.0])
@pytest.mark.parametrize("sigma", [None, 0.8])
def test_with_masks_it_minimises_the_terms_of_each_kind_of_pixels(eta, sigma):
    masks = MASKS.copy()
    masks[-5:] = -1  # anomalies that nobody has annotated
    masks[:3] = -1  # and others: their masks say nothing
    maps = maps_by_hand(X)
    fields = Field(3, 1, -1), Field(2, 2, 0)
    heat = 2 * algorithm_1(maps, fields, (16, 16), sigma)  # 1 x 2 pixels between fields
    losses = terms(maps.mean(axis=(1, 2)), Y, eta)
    for row in range(36, len(X) - 5):
        losses[row] = terms_of_pixels(heat[row], (masks[row] == 1).astype(int), eta)
    actual = first_loss(Y, masks, eta=eta, sigma=sigma or "auto")
    assert_allclose(actual, [losses.mean()], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tells no rows apart")  # all images are the same
def test_masks_of_synthetic_anomalies_are_used(monkeypatch):
    class Squares:
        """Paste the same square into every second image."""

        every = 2

        def noise_shape(self, x_shape):
            return (x_shape[0],)

        def __call__(self, x, noise):
            square = torch.zeros_like(x)
            square[:, :, 2:7, 3:6] = 1
            return x + 2 * square, square[:, 0]

    monkeypatch.setattr(preparation, "Confetti", Squares)
    images = np.repeat(X[:1], 10, axis=0)  # the same image, as the batch's order is random
    made, square = images[:1].copy(), np.zeros((16, 16))
    square[2:7, 3:6] = 1
    made[0, 0] += 2 * square
    heat = 2 * algorithm_1(maps_by_hand(made), (Field(3, 1, -1), Field(2, 2, 0)), (16, 16))
    of_made = terms_of_pixels(heat[0], square, 2.0)
    of_normal = maps_by_hand(images).mean(axis=(1, 2))[0]
    for y, of_other in ((None, of_normal), (np.ones(10), 2.0 * of_normal)):
        actual = first_loss(y, images=images, eta=2.0)
        assert_allclose(actual, [(of_made + of_other) / 2], rtol=1e-5)
    # Of every second image, and of none where an anomaly is labeled.
    y = -(np.arange(10) == 0).astype(int)
    losses = terms(maps_by_hand(images).mean(axis=(1, 2)), y, 2.0)
    assert_allclose(first_loss(y, images=images, eta=2.0), [losses.mean()], rtol=1e-5)


# Heat maps


def valid():
    return nn.Sequential(nn.Conv2d(1, 3, 4), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3))


class Own(nn.Module):
    """A user's network, with a sum of two branches."""

    def __init__(self, input_shape):
        super().__init__()
        self.wide = nn.Conv2d(input_shape[0], 3, (5, 3), padding=(2, 1))
        self.narrow = nn.Conv2d(input_shape[0], 3, 1)
        self.pool = nn.AvgPool2d((2, 3), stride=(2, 3), padding=(1, 0))

    def forward(self, x):
        return self.pool(torch.relu(self.wide(x) + self.narrow(x)))


MAPPED = {
    "fashion-mnist": ((1, 21, 14), {"hidden_layer_sizes": (3, 3)}, 16),
    "cifar-10": ((3, 17, 23), {"hidden_layer_sizes": (3,) * 4}, 22),
    "imagenet": ((3, 128, 40), {"hidden_layer_sizes": (3,) * 6}, 62),
    "valid padding": ((1, 15, 12), {"network": valid}, 9),
    "gaps": ((1, 17, 14), {"network": lambda: nn.Conv2d(1, 2, 2, stride=3)}, 2),
    "single pixels": ((1, 6, 5), {"network": lambda: nn.Conv2d(1, 2, 1, stride=2)}, 1),
    "odd": ((2, 9, 8), {"network": lambda: nn.Conv2d(2, 1, 5, padding=2)}, 5),
    "even": ((2, 9, 8), {"network": lambda: nn.Conv2d(2, 1, 4, padding=1)}, 4),
    "far beyond the border": ((1, 5, 4), {"network": lambda: nn.Conv2d(1, 1, 9, padding=6)}, 9),
    "own": ((2, 9, 13), {"network": Own}, 6),
}


@pytest.mark.parametrize("sigma", ["auto", 1.5])
@pytest.mark.parametrize("name", MAPPED)
def test_explain_is_algorithm_1(name, sigma):
    shape, params, size = MAPPED[name]
    images = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    params = {"hidden_layer_sizes": None, **params}
    detector = small(sigma=sigma, n_epochs=1, **params).fit(images, [0, 0, 0, 0, 0, -1])
    with torch.no_grad():
        codes = detector.network_(torch.from_numpy(images)).double().numpy()
    maps = np.sqrt((codes**2).sum(axis=1) + 1) - 1
    fields = detector.receptive_field_
    assert fields[0].size == size
    heat = detector.explain(images)
    assert heat.dtype == np.float64 and heat.shape == (6, *shape[1:])
    expected = algorithm_1(maps, fields, shape[1:], None if sigma == "auto" else sigma)
    assert_allclose(heat, expected, rtol=1e-4, atol=1e-4 * expected.max())
    assert (heat >= 0).all() and heat.max() > 0
    assert_allclose(detector.anomaly_score(images), maps.mean(axis=(1, 2)), rtol=1e-4)


def test_heat_of_a_single_number_peaks_at_the_centre_of_its_field():
    detector = small(hidden_layer_sizes=(3, 3)).fit(X, Y)
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1
    with torch.no_grad():
        heat = detector._objective_.upsample(maps)[0]
    # The field is even, 16 x 16, so that four pixels are equally near its centre.
    peak = [tuple(pixel) for pixel in torch.nonzero(heat == heat.max()).tolist()]
    assert peak == [(5, 9), (5, 10), (6, 9), (6, 10)]


def test_sigma_changes_heat_maps_and_no_scores():
    detectors = [small(sigma=sigma).fit(X, Y) for sigma in ("auto", 16 / 4, 1.0)]
    auto, same, sharp = (detector.explain(NEW) for detector in detectors)
    assert_array_equal(auto, same)
    assert np.abs(auto - sharp).max() > 0.1 * auto.max()
    for detector in detectors:
        assert_array_equal(detector.score_samples(NEW), detectors[0].score_samples(NEW))


# Masks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, y: (m[:-1], y), r"shape \(48, 16, 16\); got \(47, 16, 16\)"),
        (lambda m, y: (m[:, None], y), r"shape \(48, 16, 16\); got \(48, 1, 16, 16\)"),
        (lambda m, y: (m.reshape(48, -1), y), r"shape \(48, 16, 16\); got \(48, 256\)"),
        (lambda m, y: (255 * m, y), "must hold 0 and 1.*got values.*255"),
        (lambda m, y: (m - (m == 0), y), "must hold 0 and 1, or -1 in all pixels of a row"),
        (lambda m, y: (m * np.nan, y), "must hold 0 and 1.*nan"),
        (lambda m, y: (m * 0, y), "contradict each other in 12 rows, first in row 36: y is -1 and"),
        (lambda m, y: (m, 0 * y), "in 12 rows, first in row 36: y is 0 and the mask marks 16 pix"),
        (lambda m, y: (m, np.abs(y)), "in 12 rows, first in row 36: y is 1 and the mask marks 16"),
    ],
)
def test_masks_that_make_no_sense_are_refused(change, message):
    masks, y = change(MASKS, Y)
    with pytest.raises(ValueError, match=message):
        small().fit(X, y, masks)


def test_a_detector_stays_as_it_was_when_masks_are_refused():
    detector = small().fit(X, Y)
    expected = clone(detector).fit(X, Y)
    with pytest.raises(ValueError, match="masks must have one mask for each row"):
        detector.fit(X[:, :, :5], Y, MASKS)
    assert_same_model(detector, expected)


@pytest.mark.parametrize("kind", [np.ndarray.tolist, torch.tensor, lambda m: m == 1, np.float64])
def test_masks_may_be_lists_tensors_and_booleans(kind):
    assert_same_model(small().fit(X, Y, kind(MASKS)), small().fit(X, Y, MASKS))


def test_masks_of_flat_rows_are_those_of_the_images():
    rows = X.reshape(len(X), -1)
    flat = small(input_shape=(1, 16, 16)).fit(rows, Y, MASKS)
    assert_same_model(flat, small().fit(X, Y, MASKS))


def test_masks_change_the_model_and_unknown_ones_do_not():
    without = small().fit(X, Y)
    unknown = np.where((Y < 0)[:, None, None], -1, np.zeros_like(MASKS))
    for masks in (np.full_like(MASKS, -1), unknown):
        assert_same_model(small().fit(X, Y, masks), without)
    some = MASKS.copy()
    some[-6:] = -1
    models = [without, small().fit(X, Y, MASKS), small().fit(X, Y, some)]
    scores = np.array([model.score_samples(NEW) for model in models])
    assert len(np.unique(scores.round(7), axis=0)) == 3
    of_anomalies = np.where((Y < 0)[:, None, None], some, -1)
    assert_same_model(small().fit(X, Y, of_anomalies), models[2])


@pytest.mark.parametrize("names", [["flip"], ["crop"], "standard"])
def test_a_mask_follows_its_image(names, monkeypatch):
    images = np.random.default_rng(0).normal(scale=0.1, size=X.shape).astype(np.float32)
    images[:, 0] += 100 * MASKS
    seen = []
    loss = fcdd.MapObjective.loss

    def spy(self, batch):
        seen.append(batch)
        return loss(self, batch)

    monkeypatch.setattr(fcdd.MapObjective, "loss", spy)
    small(augment=names).fit(images, Y, MASKS)
    assert seen
    moved = 0
    for batch in seen:
        pictures, masks = batch.x[:, 0], batch.x[:, 1]
        assert batch.x.shape[1:] == (2, 16, 16)
        for picture, mask, label in zip(pictures, masks, batch.y, strict=True):
            # Everything but the square is near the picture's median.
            marked = (picture - picture.median()) > 50
            assert torch.equal(mask, marked.float())
            assert marked.any() == (label < 0)
            moved += not any(torch.equal(mask, known) for known in torch.tensor(MASKS).float())
    assert moved > 0


def test_masks_and_a_function_that_augments_do_not_go_together():
    with pytest.raises(ValueError, match="masks cannot follow what a function.*Pass names"):
        small(augment=lambda images: images.flip(-1)).fit(X, Y, MASKS)
    small(augment=lambda images: images.flip(-1)).fit(X, Y, np.full_like(MASKS, -1))


def test_masks_help_to_find_where_anomalies_are():
    settings = {"hidden_layer_sizes": (8, 8), "n_epochs": 20, "sigma": 2.0}
    anomalous = NEW_MASKS.any(axis=(1, 2))
    aucs = [
        roc_auc_score(NEW_MASKS[anomalous].ravel(), model.explain(NEW[anomalous]).ravel())
        for model in (
            small(**settings).fit(X, Y),
            small(**settings).fit(X, Y, MASKS),
        )
    ]
    assert aucs[1] > 0.9
    assert aucs[1] > aucs[0] + 0.02


def test_masks_may_be_held_out_and_streamed_and_the_model_pickled():
    early = small(early_stopping=EarlyStopping(validation_fraction=0.3), n_epochs=4)
    plain = clone(early).fit(X, Y, MASKS)
    assert len(plain.history_["train"]["validation_loss"]) == plain.n_epochs_
    assert np.isfinite(plain.history_["train"]["validation_loss"]).all()
    without = clone(early).fit(X, Y).history_["train"]["validation_loss"]
    assert without[0] != plain.history_["train"]["validation_loss"][0]
    assert_same_model(clone(early).set_params(compute=Compute(stream=True)).fit(X, Y, MASKS), plain)
    assert_same_model(pickle.loads(pickle.dumps(plain)), plain)


def test_the_network_never_sees_masks():
    channels = []

    class Spy(nn.Conv2d):
        def forward(self, x):
            channels.append(x.shape[1])
            return super().forward(x)

    detector = small(network=lambda: nn.Sequential(Spy(1, 1, 3)), hidden_layer_sizes=None)
    detector.fit(X, Y, MASKS)
    assert set(channels) == {1}
    assert detector.n_features_in_ == 256 and detector.input_shape_ == (1, 16, 16)


# Masks on their way through scikit-learn


@pytest.fixture
def received(monkeypatch):
    """Return what fits receive: X, y, masks."""
    calls = []
    inner = FCDD._fit

    def spy(self, X, y, observer, masks):
        calls.append((X.copy(), y.copy(), masks))
        return inner(self, X, y, observer, masks=masks)

    monkeypatch.setattr(FCDD, "_fit", spy)
    return calls


@pytest.fixture
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# Squares are the only pixels above 1, so that each mask can be told from its row.
TOLD = np.clip(X - 2 * MASKS[:, None], -0.9, 0.9) + 2 * MASKS[:, None]
ROWS = TOLD.reshape(len(X), -1)


def check_received(calls):
    for rows, y, masks in calls:
        assert_array_equal(masks, (rows.reshape(-1, 16, 16) > 1).astype(int))
        assert_array_equal(masks.any(axis=(1, 2)), y < 0)


@pytest.mark.usefixtures("_routing")
def test_pipelines_hand_masks_on(received):
    scaler = StandardScaler(with_mean=False, with_std=False)
    detector = small(input_shape=(1, 16, 16)).set_fit_request(masks=True)
    pipeline = make_pipeline(scaler, detector).fit(ROWS, Y, masks=MASKS)
    check_received(received)
    assert len(received) == 1
    expected = small(input_shape=(1, 16, 16)).fit(ROWS, Y, MASKS)
    assert_array_equal(pipeline.score_samples(ROWS), expected.score_samples(ROWS))


@pytest.mark.usefixtures("_routing")
def test_grid_search_cuts_masks_by_row(received):
    detector = small(input_shape=(1, 16, 16)).set_fit_request(masks=True)
    cv = LabeledStratifiedKFold(3, shuffle=True, random_state=0)
    order = np.random.default_rng(0).permutation(len(ROWS))
    search = GridSearchCV(detector, {"eta": [1.0, 2.0]}, cv=cv)
    search.fit(ROWS[order], Y[order], masks=MASKS[order])
    check_received(received)
    sizes = [len(rows) for rows, _, _ in received]
    assert len(sizes) == 7 and max(sizes[:6]) < sizes[6] == 48
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_fit_predict_takes_masks():
    labels = small().fit_predict(X, Y, masks=MASKS)
    assert_array_equal(labels, small().fit(X, Y, MASKS).predict(X))


# Images without labels


def test_confetti_comes_from_random_state():
    one, same, other = (small(random_state=seed).fit(X) for seed in (0, 0, 1))
    assert_same_model(one, same)
    assert np.abs(one.explain(NEW) - other.explain(NEW)).max() > 0
    # The blobs themselves, under a network that is the same for all.
    losses = [
        first_loss(np.zeros(len(X)), random_state=seed)[0]
        for seed in (0, 0, np.random.RandomState(1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_heat_maps_find_defects_without_labels():
    rng = np.random.default_rng(0)
    stripes = np.sin(np.arange(24) * 2 * np.pi / 4 + rng.uniform(0, 6, size=(96, 1)))
    images = (stripes[:, None, None] + rng.normal(scale=0.1, size=(96, 1, 24, 24))).astype("f4")
    train, test = images[:64], images[64:].copy()
    masks = np.zeros((32, 24, 24), dtype=int)
    for image, mask in zip(test, masks, strict=True):
        top, left = rng.integers(1, 18, size=2)
        mask[top : top + 5, left : left + 5] = 1
        image[0, mask == 1] = rng.uniform(-1, 1)

    def auc(**params):
        detector = small(hidden_layer_sizes=(8, 8), sigma=2.0, batch_size=32, **params).fit(train)
        return roc_auc_score(masks.ravel(), detector.explain(test).ravel())

    trained, untrained = auc(n_epochs=40), auc(n_epochs=1, lr=STILL)
    assert trained > 0.8
    assert trained > untrained + 0.1


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 1, 1), (1, 2, 3), (3, 5, 9), (2, 1, 7), (1, 7, 1)]
)
def test_images_of_any_size(shape):
    images = np.random.default_rng(0).normal(size=(12, *shape))
    y = np.r_[np.zeros(9), -np.ones(3)]
    sizes = 4 if shape[1] > 1 and shape[0] > 1 else 2
    detector = small(hidden_layer_sizes=(4,) * sizes).fit(images, y)
    heat = detector.explain(images)
    assert heat.shape == (12, *(shape[1:] if shape[1] > 1 else shape[2:]))
    assert np.isfinite(heat).all() and (shape[1] == 1 or (heat >= 0).all())
    assert np.isfinite(detector.score_samples(images)).all()
    masks = np.zeros((12, *shape[1:]))
    masks[9:, -1, 0] = 1
    assert np.isfinite(clone(detector).fit(images, y, masks).score_samples(images)).all()
    if shape[1] > 1:
        assert np.isfinite(clone(detector).fit(images).score_samples(images)).all()


# Networks


class Features(nn.Sequential):
    def __init__(self):
        layers = []
        for inputs in (3, 4, 4):
            layers += [nn.Conv2d(inputs, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        super().__init__(*layers)


@pytest.mark.parametrize("as_instance", [False, True])
def test_frozen_layers_stay_as_they_are(as_instance):
    features = Features()
    with torch.no_grad():
        for layer in features:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-1, 1)
                layer.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in features.state_dict().items()}

    def network(input_shape):
        return fcn_imagenet(input_shape, (4,) * 6, features)

    images = np.random.default_rng(0).normal(size=(12, 3, 16, 16)).astype(np.float32)
    given = network((3, 16, 16)) if as_instance else network
    first = small(network=given, hidden_layer_sizes=None, lr=STILL, n_epochs=1).fit(images)
    detector = small(network=given, hidden_layer_sizes=None, lr=0.1, weight_decay=0.1).fit(images)
    frozen = detector.network_[0]
    assert isinstance(frozen, Frozen)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    moved = [
        (one - other).abs().max()
        for one, other in zip(
            first.network_[1:].parameters(), detector.network_[1:].parameters(), strict=True
        )
    ]
    assert min(moved) > 1e-3
    assert [field.size for field in detector.receptive_field_] == [62, 62]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 4)), "to maps.*it returned"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2)), "'1', InstanceNorm2d"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1)), "AdaptiveAvgPool2d"),
        (lambda: nn.Conv2d(3, 2, 3), r"cannot take rows of shape \(1, 16, 16\)"),
    ],
)
def test_networks_without_maps_or_fields_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        small(network=network, hidden_layer_sizes=None).fit(X, Y)


# Tables


def columns():
    """Return rows whose columns rise and fall together, with labels, some of one odd column."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 8))
    y = np.zeros(200, dtype=int)
    y[-40:] = -1
    odd = rng.integers(8, size=40)
    rows[np.arange(160, 200), odd] += 3 * rng.choice([-1, 1], size=40)
    return rows, y, odd


def test_tables_are_explained_column_by_column():
    rows, y, odd = columns()
    detector = small(hidden_layer_sizes=(8, 8), n_epochs=30, batch_size=32, sigma=0.5)
    masks = np.zeros((200, 8))
    masks[np.arange(160, 200), odd] = 1
    detector.fit(rows[:180], y[:180], masks[:180])
    heat = detector.explain(rows[180:])
    assert heat.shape == (20, 8)
    assert (heat.argmax(axis=1) == odd[20:]).mean() > 0.6
    assert detector.input_shape_ == (1, 1, 8) and detector.n_features_in_ == 8


def test_masks_of_tables_name_columns():
    rows, y, odd = columns()
    masks = np.zeros((200, 8))
    masks[np.arange(160, 200), odd] = 1
    flat = small().fit(rows, y, masks)
    heat = flat.explain(rows)
    assert_array_equal(heat, small().fit(rows, y, masks[:, None]).explain(rows))
    base = flat.anomaly_score(flat.reference_).mean()
    assert_allclose(heat.sum(axis=1), flat.anomaly_score(rows) - base, atol=1e-5)
    assert not np.array_equal(heat, small().fit(rows, y).explain(rows))
    with pytest.raises(ValueError, match=r"shape \(200, 8\); got \(200, 7\)"):
        small().fit(rows, y, masks[:, 1:])


def test_tables_without_labeled_anomalies_are_warned_of():
    rows, _, _ = columns()
    for labels in (None, np.ones(200)):
        with pytest.warns(
            LabelWarning, match="rows with permuted columns.*stand in for them"
        ) as found:
            small().fit(rows, labels)
        assert found[0].filename == __file__


@WANTS_LABELS
def test_synthetic_rows_tell_which_columns_do_not_go_together():
    rows, y, _ = columns()
    settings = {"hidden_layer_sizes": (8, 8), "batch_size": 32, "sigma": 0.5}
    detector = small(n_epochs=30, **settings).fit(rows[y == 0])
    assert roc_auc_score(y < 0, detector.anomaly_score(rows)) > 0.8


@WANTS_LABELS
def test_tables_at_their_limits():
    rows, y = table(n=60, p=4)
    rows[:, 1] = 5.0  # says nothing
    detector = small().fit(rows, y)
    assert np.isfinite(detector.explain(rows)).all()
    assert_array_equal(detector.explain(rows[:1]), detector.explain(rows)[:1])
    with pytest.warns(CollapseWarning, match="all columns are constant"):
        constant = small().fit(np.ones((10, 3)))
    assert np.isfinite(constant.score_samples(np.ones((10, 3)))).all()
    one_column = small().fit(rows[:, :1], y)
    assert one_column.explain(rows[:, :1]).shape == (60, 1)
    missing = rows.copy()
    missing[3, 2] = np.nan
    for act in (lambda: small().fit(missing, y), lambda: detector.explain(missing)):
        with pytest.raises(ValueError, match="contains NaN"):
            act()
    with pytest.raises(ValueError, match="minimum of 2"):
        small().fit(rows[:1])
    with pytest.raises(ValueError, match="0 sample"):
        detector.explain(rows[:0])
    with pytest.raises(ValueError, match="augment='standard' changes images"):
        small(augment="standard").fit(rows, y)
