"""Kinds of faults that users reported of libraries like this one: nothing is wrong in silence."""

import copy
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
import tqdm
from conftest import DEEP, PlainDecoder, quick, table, with_dropout
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import skdeepad
from skdeepad import (
    FCDD,
    SSAD,
    AutoEncoder,
    CollapseWarning,
    Compute,
    DeepEnsemble,
    DeepSAD,
    DeepSVDD,
    HybridDetector,
    LabelWarning,
)
from skdeepad.engine import Batch
from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    StackedGridSearchCV,
    cross_val_anomaly_scores,
    labeled_roc_auc,
)
from skdeepad.model_selection import _stacked_search as stacked_search
from skdeepad.networks import lenet_mnist
from skdeepad.stacking import Fit, fit_together

pytestmark = [
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly"),
    pytest.mark.filterwarnings("ignore:The discriminator of AGAD has won"),
]

X, Y = table()
FAST = {"hidden_layer_sizes": (8, 4), "n_epochs": 2, "random_state": 0, "device": "cpu"}


def told(call):
    """Return the texts of what a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught]


# Searches find their models by what they are


def search():
    return StackedGridSearchCV(
        make_pipeline(StandardScaler(), DeepSAD(n_branches=1, **FAST)),
        {"deepsad__eta": [0.1, 10.0], "deepsad__lr": [1e-3, 1e-2]},
        scoring=labeled_roc_auc,
        cv=LabeledStratifiedKFold(2),
        error_score="raise",
    )


SEARCHES = [
    partial(kind, scoring=labeled_roc_auc, cv=LabeledStratifiedKFold(2), error_score="raise")
    for kind in (StackedGridSearchCV, GridSearchCV)
]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_gives_the_same_whatever_joblib_has_been_told(backend):
    alone = search().fit(X, Y)
    with joblib.parallel_config(backend, n_jobs=2):
        other = search().fit(X, Y)
    key = "mean_test_score"
    assert_allclose(other.cv_results_[key], alone.cv_results_[key], rtol=1e-6)
    assert_allclose(other.best_estimator_[-1].offset_, alone.best_estimator_[-1].offset_, rtol=1e-4)


def test_models_are_found_in_any_order():
    fits = [
        stacked_search.Fit(DeepSAD(eta=eta, **FAST), X, Y[rows], rows)
        for eta in (1.0, 2.0)
        for rows in (np.r_[0:40, 55:60], np.arange(20, 60))
    ]
    keys = [
        (stacked_search._parameters_key(fit.estimator), stacked_search._rows_key(*fit.given()))
        for fit in fits
    ]
    stacked_search.fit_together(fits)
    trained = stacked_search._Trained(fits, keys, n_samples=60)
    like = trained.estimator(DeepSAD(**FAST))
    for fit in fits[::-1]:
        found = clone(like).set_params(eta=fit.estimator.eta).fit(*fit.given())
        assert type(found) is DeepSAD
        assert found._objective_ is fit.estimator._objective_
    assert trained.missing == []
    clone(like).set_params(eta=3.0).fit(X[20:], Y[20:])
    assert len(trained.missing) == 1


def test_networks_may_be_searched_over():
    """They are copied on the way, and are known by what they hold."""
    torch.manual_seed(0)
    sizes = [nn.Linear(4, size, bias=False) for size in (4, 4, 2)]
    searches = [search(DeepSAD(**FAST), {"network": sizes}) for search in SEARCHES]
    ours, theirs = (each.fit(X, np.where(Y == 0, 1, Y)).cv_results_ for each in searches)
    assert_allclose(ours["mean_test_score"], theirs["mean_test_score"], rtol=1e-6)


class ChangesWhenCloned(DeepSAD):
    """Its parameter is another one in each clone."""

    def __sklearn_clone__(self):
        return type(self)(eta=self.eta + 1, **FAST)


def test_a_model_that_is_missing_is_an_error():
    spoilt = StackedGridSearchCV(
        ChangesWhenCloned(**FAST), {"lr": [1e-3]}, scoring=labeled_roc_auc, cv=2
    )
    with pytest.raises(RuntimeError, match="has no model for ChangesWhenCloned"):
        spoilt.fit(X, np.where(Y < 0, -1, 1)[np.random.default_rng(0).permutation(60)])


# Forked processes


def score_and_fit(detector, rows):
    return detector.score_samples(rows)[0], clone(detector).fit(rows).offset_


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_scores_and_fits():
    """Large enough for several threads: those of the parent are not in its child."""
    rows = np.random.default_rng(0).normal(size=(64, 1, 28, 28))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        detector = DeepSVDD(n_epochs=1, pretrain=False, batch_size=64, random_state=0).fit(rows)
        expected = detector.score_samples(rows)[0], detector.offset_
        with multiprocessing.get_context("fork").Pool(1) as pool:
            result = pool.apply_async(score_and_fit, (detector, rows)).get(120)
    finally:
        torch.set_num_threads(before)
    assert_allclose(result, expected, rtol=1e-3)


def child_borrows(queue):
    from skdeepad.engine import borrowed_global_rng

    with borrowed_global_rng(0):
        queue.put("done")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_lock_that_is_held_at_the_fork_is_free_in_the_child():
    from skdeepad.engine import borrowed_global_rng

    held, release = threading.Event(), threading.Event()

    def hold():
        with borrowed_global_rng(0):
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=child_borrows, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == "done"
    finally:
        release.set()
        holder.join()
        child.join(60)


# Masks of FCDD


def test_the_loss_of_a_mask_is_one_logarithm_of_the_mean_over_the_defect():
    """Thesis, section 3.1.2: the two terms of equation 3.1 over both kinds of pixels."""
    rng = np.random.default_rng(0)
    images, masks = rng.normal(size=(12, 1, 8, 8)), np.zeros((12, 8, 8), int)
    masks[-3:, 2:4, 3:6] = 1
    y = np.where(masks.any((1, 2)), -1, 0)
    detector = FCDD(eta=2.0, **FAST).fit(images, y, masks=masks)
    objective = detector._objective_
    given = torch.from_numpy(np.concatenate([images, masks[:, None]], 1)).float()
    with torch.no_grad():
        ours = objective.loss(Batch(given, torch.from_numpy(y)))
        field = objective.fields[0]
        heat = objective.explain(given).double().numpy() * field.stride**2
        maps = objective.score(given).double().numpy()
    normal = maps[:-3]
    defect = [
        2.0 * (np.mean(A * (1 - M)) - np.log(1 - np.exp(-np.mean(A * M))))
        for A, M in zip(heat[-3:], masks[-3:], strict=True)
    ]
    assert_allclose(ours.numpy(), np.r_[normal, defect], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: np.ma.masked_array(masks, masks > 0), "masks holds .* masked values"),
        (lambda masks: masks + 0j, "masks must hold 0 and 1"),
    ],
)
def test_masks_that_would_lose_something_are_refused(change, message):
    images, masks = np.random.default_rng(0).normal(size=(20, 1, 8, 8)), np.zeros((20, 8, 8))
    masks[-3:, 2:4, 2:4] = 1
    with pytest.raises(ValueError, match=message):
        FCDD(**FAST).fit(images, np.where(np.arange(20) < 17, 0, -1), masks=change(masks))


@pytest.mark.slow
def test_masks_help():
    """Small spots on a texture: heat maps hit them better when some have been shown."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(140, 1, 28, 28))
    images = base[:, :, 2:-2, 2:-2] + base[:, :, 4:, 2:-2] + base[:, :, 2:-2, 4:]
    masks = np.zeros((140, 24, 24), int)
    for number in range(90, 140):
        down, right = rng.integers(3, 18, 2)
        masks[number, down : down + 4, right : right + 4] = 1
        images[number, 0][masks[number] == 1] = rng.normal(0, 0.3, 16) + 1.2
    y = np.where(np.arange(140) < 90, 0, -1)
    train, test = np.r_[0:90, 90:100], np.arange(100, 140)

    def hits(**given):
        detector = FCDD(
            hidden_layer_sizes=(16, 32), n_epochs=25, batch_size=32, random_state=0, device="cpu"
        ).fit(images[train], y[train], **given)
        heat = detector.explain(images[test])
        pairs = zip(masks[test], heat, strict=True)
        return np.mean([sklearn.metrics.roc_auc_score(m.ravel(), h.ravel()) for m, h in pairs])

    assert hits(masks=masks[train]) > hits() + 0.03


# Scores that tell no rows apart


@pytest.mark.parametrize("name", [name for name in DEEP if "-" not in name])
def test_constant_scores_are_told_of_with_their_cause(name):
    far = np.random.default_rng(0).normal(size=(60, 4)) + 1e9  # float32 cannot tell them apart
    texts = told(lambda: quick(name).fit(far, Y))
    [text] = [text for text in texts if "nearly the same score" in text]
    assert "all columns are constant, as float32 holds them" in text
    assert not any("nearly the same score" in text for text in told(lambda: quick(name).fit(X, Y)))


def test_ssad_tells_of_scores_that_differ_by_rounding_alone():
    corners = np.random.default_rng(0).integers(0, 2, size=(300, 4)).astype(float)
    with pytest.warns(CollapseWarning, match="nearly the same score.*degenerate dual"):
        SSAD().fit(corners)
    assert not told(lambda: SSAD().fit(X, Y))


# What conversion would lose


def with_mask(values, where):
    return np.ma.masked_array(values, mask=where)


DATES = pd.date_range("2020-01-01", periods=60)
LOST = {
    "masked X": (with_mask(X, X > 2), Y, "X holds .* masked values"),
    "masked y": (X, with_mask(Y, Y == -1), "y holds .* masked values"),
    "dates": (np.tile(DATES.to_numpy()[:, None], 4), Y, "dates or times"),
    "spans": (np.ones((60, 4), dtype="timedelta64[s]"), Y, "dates or times"),
    "a column of dates": (pd.DataFrame({"a": X[:, 0], "when": DATES}), Y, "'when'"),
    "a column of text": (pd.DataFrame({"a": X[:, 0], "kind": ["x", "y"] * 30}), Y, "'kind'"),
    "a category": (
        pd.DataFrame({"a": X[:, 0], "kind": pd.Categorical(["x", "y"] * 30)}),
        Y,
        "'kind'",
    ),
}


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("name", ["DeepSAD", "SSAD", "FCDD"])
def test_what_would_be_lost_is_refused(name, kind):
    rows, labels, message = LOST[kind]
    with pytest.raises(ValueError, match=message):
        quick(name).fit(rows, labels)


def test_what_loses_nothing_is_taken():
    expected = quick("DeepSAD").fit(X, Y).offset_
    frame = pd.DataFrame(X).astype(object)
    for rows, labels in ((np.ma.masked_array(X), np.ma.masked_array(Y)), (frame, Y)):
        assert quick("DeepSAD").fit(rows, labels).offset_ == expected


def shifted(column, by, scale=1.0):
    rows = X.copy()
    rows[:, column] = rows[:, column] * scale + by
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (shifted(0, 1.7e9), "float32.*cannot hold what varies in columns 0"),
        (shifted(1, 0, 2000.0), "X is not scaled: deviations of columns differ by a factor of"),
        (shifted(1, 5000.0), "X is not scaled: a column's mean is"),
    ],
)
@pytest.mark.parametrize("name", ["DeepSAD", "HSC"])
def test_rows_that_nobody_has_scaled_are_warned_of_once(name, rows, message):
    texts = [text for text in told(lambda: quick(name).fit(rows, Y)) if "tandardize" in text]
    assert len(texts) == 1
    assert texts[0].startswith(message.partition(".*")[0])


def test_what_computes_in_float64_is_not_told_of_float32():
    texts = told(lambda: quick("SSAD").fit(shifted(0, 1.7e9), Y))
    assert not any("float32" in text for text in texts)
    assert any(text.startswith("X is not scaled: a column's mean is") for text in texts)


def test_images_of_whole_numbers_are_warned_of():
    images = np.random.default_rng(0).integers(0, 255, size=(40, 1, 8, 8))
    assert any("images of whole numbers" in text for text in told(lambda: quick("HSC").fit(images)))
    texts = told(lambda: quick("DeepSVDD").fit(images / 255))
    assert not any("whole numbers" in text for text in texts)


# Wrappers leave rows to what they wrap


def test_missing_values_and_columns_of_text_are_the_members_matter():
    missing = X.copy()
    missing[0, 0] = np.nan
    one = DeepSVDD(n_branches=1, pretrain=False, **FAST)
    filled = DeepEnsemble(make_pipeline(SimpleImputer(), one), 2, random_state=0).fit(missing)
    assert np.isfinite(filled.score_samples(missing)).all()
    with pytest.raises(ValueError, match="NaN"):
        DeepEnsemble(one, 2).fit(missing)
    frame = pd.DataFrame({"a": X[:, 0], "kind": np.where(X[:, 1] > 0, "x", "y")})
    columns = make_column_transformer(
        (StandardScaler(), ["a"]), (OneHotEncoder(sparse_output=False), ["kind"])
    )
    ensemble = DeepEnsemble(make_pipeline(columns, one), 2, bootstrap=True, random_state=0)
    scores = ensemble.fit(frame).score_samples(frame)
    assert scores.shape == (60,)
    assert list(ensemble.feature_names_in_) == ["a", "kind"]
    with pytest.raises(ValueError, match="feature names"):
        ensemble.predict(frame.rename(columns={"a": "b"}))


def test_hybrids_work_where_transformers_give_frames():
    expected = HybridDetector(None, AutoEncoder(**FAST), random_state=0).fit(X).score_samples(X)
    for output in ("pandas", "polars"):
        with sklearn.config_context(transform_output=output):
            hybrid = HybridDetector(None, AutoEncoder(**FAST), random_state=0).fit(X)
            assert_array_equal(hybrid.score_samples(X), expected)


def test_a_frozen_member_stays_as_it_is():
    fitted = DeepSAD(**FAST).fit(X, Y)
    ensemble = DeepEnsemble(FrozenEstimator(fitted), 2).fit(X + 1)
    for member in ensemble.estimators_:
        assert_array_equal(member.score_samples(X), fitted.score_samples(X))


def test_members_warn_once_and_at_the_users_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DeepEnsemble(quick("HSC"), 3).fit(X)
    assert len(caught) == 1
    assert caught[0].category is LabelWarning
    assert caught[0].filename == __file__


# The autoencoder as a transformer


@pytest.mark.parametrize(
    "target",
    [np.where(X[:, 0] > 0, "spam", "ham"), X[:, 0] > 0, np.where(X[:, 0] > 0, 1, -1), X[:, 0]],
    ids=["text", "booleans", "signs", "numbers"],
)
def test_before_a_classifier_targets_are_none_of_its_business(target):
    codes = AutoEncoder(**FAST).fit(X).transform(X)
    assert_array_equal(AutoEncoder(**FAST).fit_transform(X, target), codes)
    if target.dtype.kind != "f":
        pipeline = make_pipeline(AutoEncoder(**FAST), LogisticRegression()).fit(X, target)
        assert_array_equal(pipeline[0].transform(X), codes)


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8)])
def test_codes_are_decoded(shape):
    rows = np.random.default_rng(0).normal(size=(60, *shape))
    detector = AutoEncoder(**FAST).fit(rows)
    decoded = detector.inverse_transform(detector.transform(rows))
    assert decoded.shape == rows.shape
    errors = np.square(decoded - rows).reshape(60, -1).mean(1)
    assert_allclose(errors, detector.anomaly_score(rows), rtol=1e-4)
    with pytest.raises(ValueError, match="codes have 4"):
        detector.inverse_transform(np.zeros((2, 3)))


# Files


@pytest.mark.parametrize("package", ["skdeepad", "torch", "scikit-learn"])
def test_a_file_of_another_version_is_warned_of(package):
    detector = DeepSAD(**FAST).fit(X)
    state = detector.__getstate__()
    state["_versions"] = {**state["_versions"], package: "99.0"}
    other = DeepSAD.__new__(DeepSAD)
    with pytest.warns(UserWarning, match=f"{package} 99.0"):
        other.__setstate__(state)
    assert_array_equal(other.score_samples(X), detector.score_samples(X))
    assert not told(lambda: pickle.loads(pickle.dumps(detector)))
    assert not told(lambda: copy.deepcopy(detector))


# Traces


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


LARGE = {  # large enough for several threads
    "images": ((200, 1, 28, 28), {"batch_size": 200}),
    "table": ((600, 200), {"batch_size": 300, "hidden_layer_sizes": (1024, 512), "n_branches": 1}),
}


def large(kind):
    """Return a detector of large steps that keeps to one thread, rows and labels."""
    shape, settings = LARGE[kind]
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    detector = DeepSVDD(
        n_epochs=1, pretrain=False, random_state=0, device="cpu", compute=Compute(one_thread=True)
    )
    return detector.set_params(**settings), rows, np.where(np.arange(len(rows)) % 9, 1, -1)


@pytest.mark.parametrize("kind", LARGE)
def test_one_thread_gives_one_model_whatever_there_are(kind, two_threads):
    detector, rows, _ = large(kind)
    models = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        models.append(clone(detector).fit(rows))
        models[-1].scores = models[-1].score_samples(rows)
    assert_array_equal(models[0].scores, models[1].scores)
    assert models[0].history_ == models[1].history_


class SeesThreads(nn.Linear):
    seen = set()

    def __init__(self, input_shape):
        super().__init__(*input_shape, 4, bias=False)

    def forward(self, x):
        if len(x) > 3:  # what is tried on fewer rows has no effect
            self.seen.add(torch.get_num_threads())
        return super().forward(x)


def test_all_that_has_an_effect_is_computed_on_one_thread(two_threads):
    """What is held out, too: its loss decides when training ends."""
    SeesThreads.seen.clear()
    detector = DeepSVDD(network=SeesThreads, early_stopping=True, pretrain=False, **FAST)
    detector.fit(X).predict(X)
    assert SeesThreads.seen == {1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGE)
def test_one_thread_gives_one_model_in_every_process(kind, two_threads):
    detector, rows, y = large(kind)
    alone, in_two = (
        cross_validate(detector, rows, y, cv=2, n_jobs=n_jobs, return_estimator=True)
        for n_jobs in (1, 2)
    )
    for one, other in zip(alone["estimator"], in_two["estimator"], strict=True):
        assert_array_equal(one.score_samples(rows), other.score_samples(rows))


class SwitchesGradientsOff(nn.Linear):
    def __init__(self, input_shape):
        super().__init__(*input_shape, 4, bias=False)

    def forward(self, x):
        codes = super().forward(x)
        torch.set_grad_enabled(False)
        return codes


def state_of_the_process():
    """Return what other code may have set, or would be surprised by."""
    with ThreadPoolExecutor(1) as pool:
        in_a_new_thread = pool.submit(torch.get_num_threads).result()
    return {
        "threads of torch": (torch.get_num_threads(), in_a_new_thread),
        "modes": (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")),
        "defaults": (torch.get_default_dtype(), torch.get_default_device()),
        "generators": (
            random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist(),
        ),
        "precision": (torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "of NumPy": (np.geterr(), np.get_printoptions()),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "environment": dict(os.environ),
        "monitor": tqdm.tqdm.monitor,
        "folder": os.getcwd(),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
    }  # fmt: skip


@pytest.mark.parametrize("own_network", [False, True])
def test_a_fit_leaves_no_trace(name, own_network, two_threads):
    if own_network and name not in DEEP:
        pytest.skip("has no network")
    params = {"network": with_dropout(name), "decoder": PlainDecoder} if own_network else {}
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch now imports a part of itself
    before, threads = state_of_the_process(), set(threading.enumerate())
    quick(name, **params).fit(X, Y).predict(X)
    assert threads.issuperset(threading.enumerate())
    after = state_of_the_process()
    for what, state in before.items():
        assert after[what] == state, what


@pytest.mark.slow
def test_a_first_fit_leaves_the_environment():
    """torch writes to it once in a process."""
    code = (
        "import os, numpy\nfrom skdeepad import DeepSVDD\nbefore = dict(os.environ)\n"
        "DeepSVDD(n_epochs=1, pretrain=False, device='cpu').fit(numpy.eye(4))\n"
        "assert os.environ == before, os.environ.keys() - before"
    )
    environment = {**os.environ}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


class SwitchesGradientsOnAndOff(nn.Linear):
    """Leaves gradients on where they were off, for scores; off when it is made."""

    def __init__(self, input_shape):
        super().__init__(*input_shape, 4, bias=False)
        torch.set_grad_enabled(False)

    def forward(self, x):
        torch.set_grad_enabled(True)
        return super().forward(x)


def switches_gradients_off(progress):
    torch.set_grad_enabled(False)
    return 1.0


def test_gradients_are_on_in_training_and_as_they_were_after_it():
    try:
        with pytest.raises(ValueError, match="has a gradient. .* switch gradients off"):
            DeepSAD(network=SwitchesGradientsOff, **FAST).fit(X, Y)
        assert torch.is_grad_enabled()
        plain = partial(nn.Linear, 4, 4, bias=False)
        for given, alike in (
            ({"network": SwitchesGradientsOnAndOff}, {"network": plain}),
            ({"lr_schedule": switches_gradients_off}, {"lr_schedule": "constant"}),
        ):
            detector = DeepSAD(**FAST, **given).fit(X, Y)
            assert torch.is_grad_enabled()
            expected = DeepSAD(**FAST, **alike).fit(X, Y).score_samples(X)
            assert_array_equal(detector.score_samples(X), expected)
            assert torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),  # stands for one that is not the detector's
    ],
)
def test_a_mode_around_a_detector_does_not_change_it(mode):
    alone = DeepSAD(**FAST).fit(X, Y)
    scores, pair = alone.score_samples(X), [DeepSAD(**FAST) for _ in range(2)]
    with mode():
        assert_array_equal(alone.score_samples(X), scores)
        assert_array_equal(DeepSAD(**FAST).fit(X, Y).score_samples(X), scores)
        fits = [Fit(detector, X, Y) for detector in pair]
        fit_together(fits)
    for fit in fits:
        assert_allclose(fit.estimator.score_samples(X), scores, rtol=1e-5)


def test_another_default_type_is_refused_before_training():
    detector = DeepSAD(**FAST).fit(X, Y)
    scores = detector.score_samples(X)
    torch.set_default_dtype(torch.float64)
    try:
        assert_array_equal(detector.score_samples(X), scores)
        with pytest.raises(ValueError, match="default type is torch.float64: expected torch.flo"):
            detector.fit(X, Y)
    finally:
        torch.set_default_dtype(torch.float32)


# Errors that say what to do


def lof(**params):
    return HybridDetector(make_pipeline(StandardScaler(), LocalOutlierFactor(**params)))


class Picture:
    """An image that is no array, as one of PIL."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __array__(self, dtype=None, copy=None):
        return np.array(self.pixels, dtype=dtype)


class Rows(nn.Linear):
    def __init__(self):
        super().__init__(4, 4, bias=False)


class Nothing(Rows):
    def forward(self, x):
        return super().forward(x)[:, :0]


class Wide(Rows):
    def forward(self, x):
        return super().forward(x).expand(2**45, 2, 4).contiguous().sum(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DeepSVDD(**FAST).fit(X, np.r_[0, -np.ones(59)]), "1 row to train on"),
        (lambda: HybridDetector().fit(X, np.r_[0, -np.ones(59)]), "1 row to train"),
        (lambda: DeepSAD(lr_schedule=lambda p: None, **FAST).fit(X), "it returned None"),
        (lambda: DeepSAD(lr_schedule=lambda p: -1.0, **FAST).fit(X), "it returned -1.0"),
        (lambda: DeepSAD(network=nn.Linear, **FAST).fit(X), "cannot be called with"),
        (lambda: DeepSAD(network=torch.relu, **FAST).fit(X), "cannot be called with {}: no sig"),
        (lambda: DeepSAD(network=nn.Sequential, **FAST).fit(X), "has nothing to train: exp"),
        (lambda: DeepSAD(network=Rows().double(), **FAST).fit(X), r"network.float\(\)"),
        (lambda: DeepSAD(network=Nothing, **FAST).fit(X), r"returned \(2, 0\)"),
        (lambda: DeepSAD(network=lenet_mnist, **FAST).fit(X), r"got input_shape=\(4,\)"),
        (lambda: HybridDetector(LocalOutlierFactor()).fit(X), "Pass detector__novelty=True"),
        (lambda: lof().fit(X), "detector__localoutlierfactor__novelty=True"),
        (lambda: DeepEnsemble(LocalOutlierFactor()).fit(X), "Pass estimator__novelty=True"),
        (lambda: DeepSAD(input_shape=(1, 2, 3.9)).fit(X), "positive whole numbers"),
        (lambda: DeepSAD(**FAST).fit(X, [None, "a"] * 30), "None of type NoneType"),
        (lambda: DeepSAD(**FAST).fit(np.zeros((60, 2), "f8,f8")), "structured_to_unstructured"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("augment", "came"),
    [
        (lambda x: None, "it returned NoneType"),
        (lambda x: x[:2], r"it returned \(2, 4\) of torch.float32"),
        (lambda x: x > 0, r"it returned \(3, 4\) of torch.bool"),
        (lambda x: x.to("meta"), r"it returned \(3, 4\) of torch.float32 on meta"),
        (lambda x: x.to_sparse(), "torch.sparse_coo"),
        (lambda x: x / 0, "NaN or infinity, of rows"),
        (lambda x: x if len(x) < 4 else x * np.nan, "NaN or infinity, of rows"),
    ],
)
def test_what_augment_returns_is_looked_at(augment, came):
    with pytest.raises(ValueError, match=f"augment must return .*{came}"):
        DeepSAD(augment=augment, **FAST).fit(X)


def test_augment_may_return_another_precision():
    plain = DeepSAD(augment=lambda x: x, **FAST).fit(X, Y).score_samples(X)
    double = DeepSAD(augment=lambda x: x.double(), **FAST).fit(X, Y).score_samples(X)
    assert_array_equal(double, plain)


def test_errors_of_a_users_factory_are_its_own():
    def factory(input_shape):
        return nn.Linear(*input_shape, None)

    with pytest.raises(TypeError, match=r"^(?!.*cannot be called)"):
        DeepSAD(network=factory, **FAST).fit(X)


@pytest.mark.parametrize(
    "kind", ["text", "objects", "a list", "dates", "periods", "intervals", "lists"]
)
@pytest.mark.parametrize("name", ["DeepSAD", "SSAD"])
def test_columns_that_are_no_numbers_are_named(name, kind):
    dates = pd.date_range("2020", periods=60)
    first = {"dates": [pd.Timestamp(date) for date in dates]}.get(kind, ["x"] * 60)
    rows = np.array([*zip(first, X[:, 0], strict=True)], dtype=object)
    given = {
        "text": rows.astype(str) if kind == "text" else None,
        "a list": rows.tolist(),
        "periods": pd.DataFrame({"0": dates.to_period("D"), "b": X[:, 0]}),
        "intervals": pd.DataFrame({"0": pd.interval_range(0, 60), "b": X[:, 0]}),
        "lists": pl.DataFrame({"0": [[1.0, 2.0]] * 60, "b": X[:, 0]}),
    }.get(kind, rows)
    message = r"are no numbers, could not convert: '?0'? \(.*\)\. Encode"
    with pytest.raises((ValueError, TypeError), match=message):
        quick(name).fit(given)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (TensorDataset(torch.zeros(60, 4)), "X is a TensorDataset: expected an array"),
        (DataLoader(TensorDataset(torch.zeros(60, 4))), "X is a DataLoader"),
        ((row for row in X), "X is a generator"),
        ({"a": X[:, 0]}, "X is a dict"),
        ("rows.csv", "X is a str"),
        (None, "X is a NoneType"),
        (torch.zeros(60, 4).to_sparse(), "cannot become an array"),
        (torch.zeros(60, 4, device="meta"), "cannot become an array"),
    ],
)
def test_what_holds_no_rows_is_refused_by_name(rows, message):
    with pytest.raises(TypeError, match=message):
        quick("DeepSAD").fit(rows)


def test_images_that_are_no_arrays_are_read():
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 8))
    scores = quick("DeepSAD").fit(images).score_samples(images)
    pictures = [Picture(image) for image in images]
    assert_array_equal(quick("DeepSAD").fit(pictures).score_samples(pictures), scores)


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"hidden_layer_sizes": (2**40, 2**40)}, r"The model of DeepSAD for rows of shape \(4,\)"),
        ({"n_branches": 2**40}, "The model of DeepSAD"),
        ({"network": lambda: nn.Linear(4, 2**45)}, "The model of DeepSAD"),
        ({"network": Wide}, r"The network for two rows of shape \(4,\)"),
    ],
)
def test_a_network_too_large_is_a_want_of_memory(params, what):
    with pytest.raises(MemoryError, match=f"{what}.* does not fit .*torch said"):
        DeepSAD(**{**FAST, **params}).fit(X)


class Killed(DeepSAD):
    def fit(self, X, y=None):
        os.kill(os.getpid(), signal.SIGKILL)


def fit_two(detector):
    fit_together([Fit(detector, X, Y), Fit(clone(detector), X, Y)], n_jobs=2)


def scores_of_folds(detector):
    cross_val_anomaly_scores(detector, X, Y, cv=2, n_jobs=2)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are not killed so here")
@pytest.mark.parametrize("how", [fit_two, scores_of_folds])
def test_a_killed_process_is_told_of_with_the_detector(how):
    with pytest.raises(RuntimeError, match="A process that was fitting .*Killed.* was killed"):
        how(Killed(**FAST))


def test_want_of_memory_says_of_what(monkeypatch):
    def wants(self, x):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried")

    detector = DeepSAD(**FAST).fit(X)
    monkeypatch.setattr(type(detector._objective_), "score", wants)
    with pytest.raises(MemoryError, match=r"Scoring slices of 2048 rows of shape \(4,\)"):
        detector.score_samples(X)


def test_finite_rows_have_finite_scores():
    detector = AutoEncoder(n_epochs=1, random_state=0).fit(X)
    far = np.zeros((3, 4))
    far[1:, 0] = 1e20, 9.96921e36
    scores = detector.score_samples(far)
    assert np.isfinite(scores).all()
    assert scores[2] < scores[1] < scores[0]
    assert skdeepad.AutoEncoder is AutoEncoder
