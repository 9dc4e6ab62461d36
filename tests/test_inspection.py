"""Heat maps next to their images, and words by weight: what is drawn, and what cannot be."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import CVDD, FCDD, DeepSAD, HeatmapDisplay, TextDisplay, WordVectors

plt = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 3, 6, 8)).astype(np.float32)
MAPS = RNG.random(size=(5, 6, 8))
MASKS = (RNG.random(size=(5, 6, 8)) < 0.2).astype(int)
SMALL = {"hidden_layer_sizes": (4, 4, 4, 4), "n_epochs": 1, "device": "cpu", "random_state": 0}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def detector():
    return FCDD(**SMALL).fit(IMAGES)


def drawn(display, column):
    """Return what is drawn in a column; each of its axes shows one image."""
    (pictures,) = zip(*(axes.images for axes in display.axes_[:, column]), strict=True)
    return pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 3])
def test_one_row_an_image(n, channels):
    X = IMAGES[:n, :channels]
    display = HeatmapDisplay.from_maps(X, MAPS[:n], masks=MASKS[:n])
    assert isinstance(display, HeatmapDisplay)
    assert display.axes_.shape == (n, 3)
    assert display.axes_[0, 0].figure is display.figure_
    assert [axis.get_title() for axis in display.axes_[0]] == ["image", "heat map", "mask"]
    scaled = (X - X.min()) / (X.max() - X.min())
    for row in range(n):
        picture, heat, mask = (axis.images[0].get_array() for axis in display.axes_[row])
        expected = scaled[row, 0] if channels == 1 else scaled[row].transpose(1, 2, 0)
        assert_allclose(picture, expected, atol=1e-6)
        assert_array_equal(heat, MAPS[row])
        assert_array_equal(mask, MASKS[row])
    display.figure_.canvas.draw()
    assert HeatmapDisplay.from_maps(X, MAPS[:n]).axes_.shape == (n, 2)


@pytest.mark.parametrize("scale", [lambda X: X > 0, lambda X: (100 * X + 128).astype(np.uint8)])
def test_any_range_of_values_is_drawn_from_black_to_white(scale):
    display = HeatmapDisplay.from_maps(scale(IMAGES), MAPS)
    pictures = np.array([picture.get_array() for picture in drawn(display, 0)])
    assert pictures.min() == 0 and pictures.max() == 1
    display = HeatmapDisplay.from_maps(np.full_like(IMAGES[:, :1], 7), MAPS)
    for picture in drawn(display, 0):
        assert not np.asarray(picture.get_array()).any()
        assert picture.get_clim() == (0, 1)


def test_all_heat_maps_share_one_scale_and_one_color_bar():
    display = HeatmapDisplay.from_maps(IMAGES, MAPS, masks=MASKS)
    assert {heat.get_clim() for heat in drawn(display, 1)} == {(0, MAPS.max())}
    assert {heat.get_cmap().name for heat in drawn(display, 1)} == {"inferno"}
    assert len(display.figure_.axes) == display.axes_.size + 1
    signed = HeatmapDisplay.from_maps(IMAGES, MAPS - 0.5)
    assert {heat.get_clim() for heat in drawn(signed, 1)} == {(MAPS.min() - 0.5, MAPS.max() - 0.5)}


def test_colors_scale_and_figure_may_be_chosen(detector):
    figure = plt.figure()
    ways = [
        lambda **how: HeatmapDisplay.from_maps(IMAGES, MAPS, **how),
        lambda **how: HeatmapDisplay.from_estimator(detector, IMAGES, **how),
        lambda **how: HeatmapDisplay(IMAGES, MAPS).plot(**how),
    ]
    for way in ways:
        figure.clear()
        display = way(cmap="viridis", im_kw={"vmax": 9, "alpha": 0.5}, fig=figure)
        assert display.figure_ is figure
        for heat in drawn(display, 1):
            assert heat.get_clim() == (0, 9)
            assert heat.get_cmap().name == "viridis"
            assert heat.get_alpha() == 0.5
        assert {picture.get_cmap().name for picture in drawn(display, 0)} == {"gray"}


def test_masks_that_nobody_has_drawn_are_left_blank():
    masks = MASKS.copy()
    masks[1] = -1
    masks[2] = 0
    display = HeatmapDisplay.from_maps(IMAGES, MAPS, masks=masks)
    assert [len(axis.images) for axis in display.axes_[:3, 2]] == [1, 0, 1]
    assert display.axes_[2, 2].images[0].get_clim() == (0, 1)
    assert not display.axes_[1, 2].get_frame_on() and display.axes_[2, 2].get_frame_on()


def test_from_estimator_draws_what_the_detector_gives(detector):
    display = HeatmapDisplay.from_estimator(detector, IMAGES, masks=MASKS)
    assert_array_equal(display.X, IMAGES)
    assert_array_equal(display.maps, detector.explain(IMAGES))
    assert_array_equal(display.masks, MASKS)
    scores = detector.anomaly_score(IMAGES)
    assert_array_equal(display.scores, scores)
    titles = [axis.get_title() for axis in display.axes_[:, 0]]
    assert titles == [f"score {score:.3g}" for score in scores]


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, torch.as_tensor, np.ndarray.tolist])
def test_flat_rows_are_drawn_as_the_images_they_are(kind):
    rows = IMAGES.reshape(len(IMAGES), -1)
    detector = FCDD(input_shape=(3, 6, 8), **SMALL).fit(kind(rows))
    display = HeatmapDisplay.from_estimator(detector, kind(rows))
    assert_array_equal(display.X, IMAGES)
    assert_array_equal(display.maps, detector.explain(IMAGES))


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "scaled"])
def test_pipelines_transform_for_the_detector_and_draw_what_was_given(steps):
    rows = 100 * IMAGES.reshape(len(IMAGES), -1)
    pipeline = make_pipeline(*steps, FCDD(input_shape=(3, 6, 8), **SMALL)).fit(rows)
    display = HeatmapDisplay.from_estimator(pipeline, rows)
    assert_array_equal(display.X, 100 * IMAGES)
    transformed = steps[0].transform(rows) if steps else rows
    assert_array_equal(display.maps, pipeline[-1].explain(transformed))
    assert_array_equal(display.scores, -pipeline.score_samples(rows))


def test_any_detector_that_explains_will_do():
    class Brightness:
        def explain(self, X):
            return X.mean(axis=1)

        def score_samples(self, X):
            return -X.mean(axis=(1, 2, 3))

    display = HeatmapDisplay.from_estimator(Brightness(), IMAGES)
    assert_array_equal(display.maps, IMAGES.mean(axis=1))


def test_tensors_and_lists_are_taken():
    masks = MASKS.tolist()
    display = HeatmapDisplay.from_maps(
        torch.tensor(IMAGES, requires_grad=True), torch.tensor(MAPS), masks=masks, scores=[1.5] * 5
    )
    assert_array_equal(display.X, IMAGES)
    assert_array_equal(display.maps, MAPS)
    assert display.axes_[4, 0].get_title() == "score 1.5"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": IMAGES[0]}, r"X must hold images.*one channel or three; got shape \(3, 6, 8\)"),
        ({"X": IMAGES[:, :2]}, r"got shape \(5, 2, 6, 8\).*X\[:, :1\]"),
        ({"X": IMAGES[:0]}, r"got shape \(0, 3, 6, 8\)"),
        ({"X": IMAGES.reshape(5, -1)}, r"got shape \(5, 144\)"),
        ({"maps": MAPS[:3]}, r"maps must have shape \(5, 6, 8\).*got \(3, 6, 8\)"),
        ({"maps": MAPS.transpose(0, 2, 1)}, r"maps must have shape .*got \(5, 8, 6\)"),
        ({"masks": MASKS[0]}, r"masks must have shape \(5, 6, 8\).*got \(6, 8\)"),
        ({"masks": MASKS.reshape(5, -1)}, r"masks must have shape .*got \(5, 48\)"),
        ({"scores": [1.0]}, r"scores must have shape \(5,\).*got \(1,\)"),
        ({"X": IMAGES * np.inf}, "must be finite"),
        ({"maps": MAPS * np.nan}, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    given = {"X": IMAGES, "maps": MAPS, **changed}
    for make in (HeatmapDisplay, HeatmapDisplay.from_maps):
        with pytest.raises(ValueError, match=message):
            make(**given)
    assert not plt.get_fignums()


def test_estimators_that_do_not_explain_are_refused(detector):
    rows = IMAGES.reshape(5, -1)
    others = DeepSAD(), make_pipeline(StandardScaler(), DeepSAD()), make_pipeline(PCA(2)), 3
    for other, name in zip(others, ("DeepSAD", "DeepSAD", "PCA", "int"), strict=True):
        with pytest.raises(TypeError, match=rf"explain.*; {name} has no such method. Pass"):
            HeatmapDisplay.from_estimator(other, rows)
    with pytest.raises(NotFittedError):
        HeatmapDisplay.from_estimator(FCDD(), IMAGES)
    with pytest.raises(ValueError, match=r"expected \(3, 6, 8\)"):
        HeatmapDisplay.from_estimator(detector, IMAGES[:, :1])


@pytest.mark.filterwarnings("ignore:FCDD learns from labeled anomalies")
def test_tables_and_images_of_another_size_are_refused():
    rows = IMAGES.reshape(5, -1)
    table = FCDD(n_epochs=1, hidden_layer_sizes=(4, 4), device="cpu").fit(rows[:, :9])
    with pytest.raises(ValueError, match=r"values of shape \(5, 9\), as for a table. Pass images"):
        HeatmapDisplay.from_estimator(table, rows[:, :9])
    pipeline = make_pipeline(
        PCA(4), FCDD(**{**SMALL, "input_shape": (1, 2, 2), "hidden_layer_sizes": (4, 4)})
    ).fit(rows)
    with pytest.raises(ValueError, match=r"144 numbers, the detector's images \(1, 2, 2\)"):
        HeatmapDisplay.from_estimator(pipeline, rows)


def test_matplotlib_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    display = HeatmapDisplay(IMAGES, MAPS)
    with pytest.raises(ImportError, match="HeatmapDisplay.plot requires matplotlib"):
        display.plot()


# Texts

WORDS = ["warm", "sunny", "day", "cold", "rainy", "night"]
TEXTS = ["warm sunny day", "cold rainy night day"] * 10


@pytest.fixture(scope="module")
def words():
    return WordVectors({word: RNG.normal(size=4) for word in WORDS})


@pytest.fixture(scope="module")
def of_texts(words):
    return CVDD(words, n_contexts=2, n_epochs=3, random_state=0, device="cpu").fit(TEXTS)


def test_words_are_as_dark_as_they_weigh():
    display = TextDisplay.from_weights([["a", "$b$", "c"], []], [[0.1, 0.4, 0.0], []], titles="xy")
    axes = display.plot(cmap="Reds").ax_
    assert [text.get_text() for text in axes.texts] == ["x", "a", "$b$", "c", "y"]
    assert not axes.texts[2].get_parse_math()
    colors = [patch.get_facecolor() for patch in axes.patches]
    reds = plt.get_cmap("Reds")
    assert_allclose(colors, [reds(0.75 * share) for share in (0.25, 1.0, 0.0)])
    assert display.ax_.figure is display.figure_
    html = TextDisplay.from_weights([["<b>", "c"]], [[1.0, 0.5]], titles=["x<y"])._repr_html_()
    assert "&lt;b&gt;" in html and "x&lt;y" in html
    assert html.count("0.750)") == 1 and html.count("0.375)") == 1


def test_long_texts_go_on_in_the_next_line():
    axes = TextDisplay.from_weights([["word"] * 50], [np.ones(50)]).plot(width=4.0).ax_
    places = [text.get_position() for text in axes.texts]
    assert len({y for _, y in places}) > 3
    right = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert max(right) < axes.get_xlim()[1]


@pytest.mark.parametrize("context", [None, 1])
def test_weights_of_a_detector_are_those_of_the_nearest_context(of_texts, context):
    display = TextDisplay.from_estimator(of_texts, TEXTS[:2], context=context)
    distances, attention = of_texts.context_scores(TEXTS[:2]), of_texts.attention(TEXTS[:2])
    for text in range(2):
        k = int(distances[text].argmin()) if context is None else context
        assert_array_equal(display.weights[text], attention[text, :, k])
        score = of_texts.anomaly_score(TEXTS[:2])[text]
        assert display.titles[text] == f"score {score:.3g}, context {k}"
    assert display.tokens == [["warm", "sunny", "day"], ["cold", "rainy", "night", "day"]]


def test_texts_of_a_pipeline_and_of_ids(of_texts, words):
    made = CVDD(n_contexts=2, n_epochs=3, random_state=0, random_texts=False, device="cpu")
    pipeline = make_pipeline(words, made).fit(TEXTS)
    display = TextDisplay.from_estimator(pipeline, TEXTS[:2])
    alone = TextDisplay.from_estimator(
        made, words.fit(TEXTS).transform(TEXTS[:2]), tokens=display.tokens
    )
    assert display.tokens[0] == ["warm", "sunny", "day"]
    assert_array_equal(display.weights, alone.weights)
    with pytest.raises(ValueError, match="tokens="):
        TextDisplay.from_estimator(made, words.transform(TEXTS[:2]))


@pytest.mark.parametrize(
    ("tokens", "weights", "titles", "message"),
    [
        ([["a"]], [], None, "weights must be of the 1 texts"),
        ([["a"]], [[1.0]], ["x", "y"], "titles must be of the 1 texts"),
        ([["a", "b"]], [[1.0]], None, "Text 0 has 2 words"),
        ([["a"]], [[-1.0]], None, "at least 0"),
        ([["a"]], [[np.nan]], None, "finite"),
    ],
)
def test_weights_that_fit_no_words_are_refused(tokens, weights, titles, message):
    with pytest.raises(ValueError, match=message):
        TextDisplay.from_weights(tokens, weights, titles=titles)


def test_estimators_that_weigh_no_words_are_refused(of_texts, words):
    with pytest.raises(TypeError, match="DeepSAD has no such method"):
        TextDisplay.from_estimator(DeepSAD(), TEXTS)
    with pytest.raises(NotFittedError):
        TextDisplay.from_estimator(CVDD(words), TEXTS)
    with pytest.raises(ValueError, match="context=2 is no context of the detector, which has 2"):
        TextDisplay.from_estimator(of_texts, TEXTS, context=2)
