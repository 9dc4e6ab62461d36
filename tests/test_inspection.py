"""Heat maps, words by weight, relevances of columns: what is drawn, and what cannot be."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import (
    CVDD,
    FCDD,
    DeepSAD,
    ExplanationDisplay,
    HeatmapDisplay,
    TextDisplay,
    WordVectors,
)

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


def test_each_heat_map_may_have_a_scale_of_its_own():
    maps = MAPS * 10.0 ** np.arange(5)[:, None, None] - 0.3
    display = HeatmapDisplay.from_maps(IMAGES, maps, masks=MASKS, scale="row")
    limits = [heat.get_clim() for heat in drawn(display, 1)]
    assert limits == [(of_one.min(), of_one.max()) for of_one in maps]
    assert len(display.figure_.axes) == display.axes_.size, "a color bar holds for no two maps"
    display = HeatmapDisplay(IMAGES, maps).plot(scale="row", im_kw={"vmin": -1, "vmax": 9})
    assert {heat.get_clim() for heat in drawn(display, 1)} == {(-1, 9)}
    display = HeatmapDisplay.from_maps(IMAGES[:1], np.ones((1, 6, 8)), scale="row")
    display.figure_.canvas.draw()
    with pytest.raises(ValueError, match="scale='column': expected 'shared'.*or 'row'"):
        HeatmapDisplay.from_maps(IMAGES, MAPS, scale="column")


def test_a_scale_for_each_goes_with_a_detector_too(detector):
    display = HeatmapDisplay.from_estimator(detector, IMAGES, scale="row")
    limits = [heat.get_clim() for heat in drawn(display, 1)]
    assert limits == [(heat.min(), heat.max()) for heat in detector.explain(IMAGES)]


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
    forest = IsolationForest()
    others = forest, make_pipeline(StandardScaler(), forest), make_pipeline(PCA(2)), 3
    names = "IsolationForest", "IsolationForest", "PCA", "int"
    for other, name in zip(others, names, strict=True):
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
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for display in (HeatmapDisplay(IMAGES, MAPS), ExplanationDisplay(np.eye(3))):
        name = type(display).__name__
        with pytest.raises(ImportError, match=f"{name}.plot requires matplotlib"):
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


def test_words_of_negative_weight_are_blue():
    # The third weight of the first text is of no word, and darkens none.
    display = TextDisplay.from_weights([["a", "b"], ["c", "d"]], [[0.2, -0.4, 9.0], [0.0, -1e-3]])
    reds, blues, greens = map(plt.get_cmap, ("Reds", "Blues", "Greens"))
    colors = [patch.get_facecolor() for patch in display.plot().ax_.patches]
    assert_allclose(colors, [reds(0.75 * 0.5), blues(0.75), reds(0.0), blues(0.75)])
    chosen = display.plot(negative_cmap="Greens").ax_.patches
    assert_allclose(chosen[1].get_facecolor(), greens(0.75))
    html = display._repr_html_()
    assert html.count("(214, 39, 40, 0.375)") == html.count("(214, 39, 40, 0.000)") == 1
    assert html.count("(31, 119, 180, 0.750)") == 2


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
    in_a_pipeline = TextDisplay.from_estimator(make_pipeline(of_texts), TEXTS[:2])
    alone = TextDisplay.from_estimator(of_texts, TEXTS[:2])
    assert_array_equal(in_a_pipeline.weights, alone.weights)
    with pytest.raises(ValueError, match="tokens="):
        TextDisplay.from_estimator(made, words.transform(TEXTS[:2]))


class Strangeness(BaseEstimator):
    """Finds words as strange as the numbers that stand for them."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def explain(self, X):
        return X.sum(axis=2)

    def score_samples(self, X):
        return -X.sum(axis=(1, 2))


WORTH = {"warm": [-0.5], "sunny": [0.25], "day": [0.0], "cold": [2.0], "rainy": [0.125]}


def test_relevances_of_words_are_those_that_the_detector_gives():
    texts = ["warm sunny day", "cold rainy"]
    vectors = WordVectors(WORTH, center=False)
    pipeline = make_pipeline(vectors, Strangeness()).fit(texts)
    display = TextDisplay.from_estimator(pipeline, texts, values="relevance")
    assert display.tokens == [["warm", "sunny", "day"], ["cold", "rainy"]]
    assert_array_equal(display.weights, [[-0.5, 0.25, 0.0], [2.0, 0.125, 0.0]])
    assert display.titles == ["score -0.25", "score 2.12"]
    colors = [patch.get_facecolor() for patch in display.plot().ax_.patches]
    assert_allclose(colors[:2], [plt.get_cmap("Blues")(0.75), plt.get_cmap("Reds")(0.375)])
    alone = TextDisplay.from_estimator(
        pipeline[-1], vectors.transform(texts), tokens=display.tokens, values="relevance"
    )
    assert_array_equal(alone.weights, display.weights)


def test_relevances_are_of_no_one_context(of_texts):
    detector = Strangeness()
    with pytest.raises(ValueError, match="context=1 does not go with values='relevance'.*Leave it"):
        TextDisplay.from_estimator(detector, TEXTS, values="relevance", context=1)
    with pytest.raises(ValueError, match="values='weights': expected 'attention' or 'relevance'"):
        TextDisplay.from_estimator(of_texts, TEXTS, values="weights")
    with pytest.raises(TypeError, match=r"attention\(X\).*Strangeness has no such method"):
        TextDisplay.from_estimator(detector, TEXTS)
    with pytest.raises(TypeError, match=r"explain\(X\).*IsolationForest has no such"):
        TextDisplay.from_estimator(make_pipeline(IsolationForest()), TEXTS, values="relevance")


@pytest.mark.parametrize(
    ("tokens", "weights", "titles", "message"),
    [
        ([["a"]], [], None, "weights must be of the 1 texts"),
        ([["a"]], [[1.0]], ["x", "y"], "titles must be of the 1 texts"),
        ([["a", "b"]], [[1.0]], None, "Text 0 has 2 words"),
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


# Tables

NAMES = ["age", "balance", "amount", "country"]
VALUES = np.array([[0.25, -0.5, 3.0, -0.125], [1.0, 0.0, -2.0, 0.5], [-0.1, 0.2, 0.0, 0.1]])
TABLE = pd.DataFrame(
    {
        "age": [31, 40, 50],
        "balance": [np.nan, 2.0, 3.0],
        "amount": [912.0, 1.0, 2.0],
        "country": ["NO", "SE", "DK"],
    }
)


def labels_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_bars_are_as_long_as_the_values_and_the_largest_is_on_top():
    display = ExplanationDisplay.from_values(VALUES[:1], feature_names=NAMES)
    ax, bars = display.ax_, display.bars_
    assert [bar.get_width() for bar in bars] == [3.0, -0.5, 0.25, -0.125]
    assert labels_of(ax.yaxis) == ["amount", "balance", "age", "country"]
    assert_array_equal(ax.get_yticks(), [bar.get_y() + bar.get_height() / 2 for bar in bars])
    assert ax.yaxis_inverted() and ax.get_yticks()[0] == 0
    assert [text.get_text() for text in ax.texts] == ["+3", "-0.5", "+0.25", "-0.125"]
    positive, negative, *others = (bar.get_facecolor() for bar in bars)
    assert [positive, negative] == others and positive != negative
    red, blue = positive, negative
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]
    assert display.figure_ is ax.figure and ax.get_title() == ""
    display.figure_.canvas.draw()


def test_columns_beyond_the_most_relevant_are_added_up():
    display = ExplanationDisplay.from_values(VALUES[:1], feature_names=NAMES, max_columns=2)
    assert [bar.get_width() for bar in display.bars_] == [3.0, -0.5, 0.25 - 0.125]
    assert labels_of(display.ax_.yaxis) == ["amount", "balance", "2 other columns"]
    assert [bar.get_alpha() for bar in display.bars_] == [None, None, 0.5]
    assert labels_of(display.plot(max_columns=3).ax_.yaxis)[-1] == "1 other column"
    assert labels_of(display.plot(max_columns=4).ax_.yaxis)[-1] == "country"
    wide = RNG.normal(size=(1, 50))
    display = ExplanationDisplay.from_values(wide)
    widths = [bar.get_width() for bar in display.bars_]
    assert len(widths) == 11
    assert_allclose(sum(widths), wide.sum())
    assert np.abs(widths[:10]).min() >= np.sort(np.abs(wide[0]))[-10]
    assert labels_of(display.ax_.yaxis)[0] == f"x{np.abs(wide).argmax()}"


def test_what_a_row_holds_is_written_beside_the_names():
    display = ExplanationDisplay.from_values(VALUES[:1], X=TABLE[:1])
    expected = ["amount = 912", "balance = nan", "age = 31", "country = NO"]
    assert labels_of(display.ax_.yaxis) == expected
    names = ["a", "b", "c", "$d$"]
    display = ExplanationDisplay.from_values(
        VALUES[:1],
        feature_names=names,
        X=np.array([[0.123456, 123456.78, None, "x" * 100]], dtype=object),
    )
    dollars = f"$d$ = {'x' * 23}…{'x' * 23}"
    assert labels_of(display.ax_.yaxis) == ["c = None", "b = 123456.8", "a = 0.1235", dollars]
    assert not display.ax_.get_yticklabels()[3].get_parse_math()
    several = ExplanationDisplay.from_values(VALUES, X=TABLE)
    assert labels_of(several.ax_.xaxis) == ["amount", "age", "country", "balance"]


def test_rows_are_called_by_number_and_score_or_by_title():
    scores = [4.0, 0.51234, -1.0]

    def rows(n=3, **given):
        ax = ExplanationDisplay.from_values(VALUES[:n], **given).ax_
        return labels_of(ax.yaxis) if n > 1 else ax.get_title()

    assert rows() == ["row 0", "row 1", "row 2"]
    assert rows(scores=scores) == ["row 0, score 4", "row 1, score 0.512", "row 2, score -1"]
    assert rows(titles=["a", "b", "c"]) == ["a", "b", "c"]
    assert rows(n=1, scores=[4.0]) == "score 4"
    assert rows(n=1, scores=[4.0], titles=["$5 and $6"]) == "$5 and $6, score 4"


def test_several_rows_are_a_heat_map_centered_on_0():
    display = ExplanationDisplay.from_values(VALUES, feature_names=NAMES)
    # Mean absolute values: 0.45, 0.23, 1.67, 0.24.
    assert labels_of(display.ax_.xaxis) == ["amount", "age", "country", "balance"]
    assert_array_equal(display.im_.get_array(), VALUES[:, [2, 0, 3, 1]])
    assert display.im_.get_clim() == (-3.0, 3.0)
    assert len(display.figure_.axes) == 2
    assert not hasattr(display, "bars_")
    display.plot(max_columns=1)
    expected = np.c_[VALUES[:, 2], VALUES[:, [0, 1, 3]].sum(axis=1)]
    assert_allclose(display.im_.get_array(), expected)
    assert labels_of(display.ax_.xaxis) == ["amount", "3 other columns"]
    display.figure_.canvas.draw()


@pytest.mark.parametrize("max_columns", [1, 10])
def test_rows_of_a_scale_each_have_1_as_their_largest(max_columns):
    values = np.r_[VALUES, np.zeros((1, 4))]
    display = ExplanationDisplay.from_values(values, scale="row", max_columns=max_columns)
    drawn_values = np.asarray(display.im_.get_array())
    assert_allclose(np.abs(drawn_values).max(axis=1), [1, 1, 1, 0])
    assert display.im_.get_clim() == (-1, 1)
    display.plot(max_columns=max_columns)
    shared = np.asarray(display.im_.get_array())
    assert_allclose(drawn_values * np.abs(shared).max(axis=1, keepdims=True), shared)


def test_relevances_of_0_are_drawn_and_so_are_many_rows():
    display = ExplanationDisplay.from_values(np.zeros((100, 3)))
    assert display.im_.get_clim() == (-1, 1)
    assert labels_of(display.ax_.yaxis)[:2] == ["row 0", "row 3"]
    assert len(labels_of(display.ax_.yaxis)) == 34
    assert display.figure_.get_size_inches()[1] < 20
    ExplanationDisplay.from_values(np.zeros((1, 3))).figure_.canvas.draw()


@pytest.mark.parametrize("n", [1, 3])
def test_long_names_leave_room_for_what_is_drawn(n):
    sizes = []
    for names in (NAMES, [f"days since the previous {'transaction ' * 8} {i}" for i in range(4)]):
        display = ExplanationDisplay.from_values(VALUES[:n], feature_names=names)
        display.figure_.canvas.draw()
        box = display.ax_.get_window_extent()
        sizes.append([box.width, box.height])
        figure = display.figure_.bbox
        names_of = display.ax_.xaxis if n > 1 else display.ax_.yaxis
        for label in names_of.get_ticklabels():
            of_label = label.get_window_extent()
            assert of_label.x0 >= 0 and of_label.y0 >= 0 and of_label.x1 <= figure.x1
        for color_bar in display.figure_.axes[1:]:
            of_label = color_bar.yaxis.label.get_window_extent()
            assert of_label.y0 >= 0 and of_label.y1 <= figure.y1
    assert_allclose(sizes[1], sizes[0], rtol=0.35)


def test_colors_and_axes_may_be_chosen():
    figure, axes = plt.subplots(1, 2)
    display = ExplanationDisplay.from_values(VALUES[:1], cmap="PiYG", ax=axes[0])
    assert display.ax_ is axes[0] and display.figure_ is figure
    assert display.bars_[0].get_facecolor() == plt.get_cmap("PiYG")(0.85)
    display = ExplanationDisplay(VALUES).plot(cmap="PiYG", ax=axes[1])
    assert display.ax_ is axes[1] and display.im_.get_cmap().name == "PiYG"


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist, pd.DataFrame])
def test_relevances_and_rows_of_any_kind_are_taken(kind):
    display = ExplanationDisplay.from_values(kind(VALUES), X=kind(VALUES))
    assert_array_equal(display.values, VALUES)
    assert_array_equal(display.X.astype(float), VALUES)


def test_from_estimator_draws_the_explanation(monkeypatch):
    asked = []

    def explain(estimator, X, *, background=None):
        asked.append((estimator, X, background))
        return SimpleNamespace(
            values=VALUES[: len(X)], feature_names=NAMES, scores=np.array([4.0, 3.0, 2.0])[: len(X)]
        )

    module = ModuleType("skdeepad.inspection._explain")
    module.explain = explain
    monkeypatch.setitem(sys.modules, module.__name__, module)
    rows, rest = TABLE[:1], TABLE[1:]
    display = ExplanationDisplay.from_estimator("a detector", rows, background=rest, max_columns=2)
    assert asked == [("a detector", rows, rest)]
    assert labels_of(display.ax_.yaxis) == ["amount = 912", "balance = nan", "2 other columns"]
    assert display.ax_.get_title() == "score 4"
    display = ExplanationDisplay.from_estimator(
        "a detector", TABLE, feature_names=list("abcd"), titles=["x", "y", "z"], scale="row"
    )
    assert asked[1][2] is None
    assert labels_of(display.ax_.xaxis) == ["c", "a", "d", "b"]
    assert labels_of(display.ax_.yaxis) == ["x, score 4", "y, score 3", "z, score 2"]
    assert display.im_.get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": VALUES[0]}, r"relevances of a table.*got shape \(4,\). Pass values\[None\]"),
        ({"values": VALUES[:0]}, r"got shape \(0, 4\)"),
        ({"values": MAPS}, r"got shape \(5, 6, 8\).*HeatmapDisplay draws those of images"),
        ({"values": VALUES * np.nan}, "values must be finite"),
        ({"feature_names": ["a"]}, r"feature_names must have shape \(4,\).*got \(1,\)"),
        ({"X": TABLE[:1]}, r"X must have shape \(3, 4\).*got \(1, 4\).*of the same table"),
        ({"scores": [1.0]}, r"scores must have shape \(3,\).*got \(1,\)"),
        ({"titles": ["a", "b"]}, r"titles must have shape \(3,\).*got \(2,\)"),
        ({"max_columns": 0}, "max_columns=0: expected a whole number, at least 1"),
        ({"max_columns": 2.5}, "max_columns=2.5: expected a whole number"),
        ({"scale": "column"}, "scale='column': expected 'shared'.*or 'row'"),
    ],
)
def test_explanations_that_cannot_be_drawn_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        ExplanationDisplay.from_values(**{"values": VALUES, **changed})
    assert not plt.get_fignums()
