"""The contract that every detector keeps, checked on every detector the package lists."""

import copy
import functools
import inspect
import io
import os
import pickle
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest import SkipTest

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from conftest import (
    DEEP,
    DETECTORS,
    LEARNERS,
    NON_LEARNERS,
    OF_ROWS,
    REFUSE_EARLY_STOPPING,
    REPRESENTATIVES,
    TEXTS,
    UNLABELED_ARE_NORMAL,
    WANT_ANOMALIES,
    WANT_MAPS,
    PlainDecoder,
    quick,
    table,
    with_dropout,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_inplace_ensure_writeable,
    check_param_validation,
    parametrize_with_checks,
)
from sklearn.utils.fixes import parse_version
from torch import nn

import skdeepad
from skdeepad import SSAD, SSDGM, Compute, testing
from skdeepad.datasets import load_breast_cancer_anomaly, load_digits_anomaly
from skdeepad.engine import batches
from skdeepad.networks import MLP

# Detectors that do not learn from labels say so, and those that want labeled anomalies; that is
# tested in one place.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:.*learns from labeled anomalies:skdeepad.LabelWarning"),
    # Training is short here, and rows are few.
    pytest.mark.filterwarnings("ignore:The generator of AGAD makes nearly"),
    pytest.mark.filterwarnings("ignore:The discriminator of AGAD has won"),
    # A table's rows are texts of one word.
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
    # Of what is far from scaled, and what tells no rows apart, one is warned elsewhere.
    pytest.mark.filterwarnings("ignore:X is not scaled"),
    pytest.mark.filterwarnings("ignore:float32, which networks compute in, cannot hold"),
    pytest.mark.filterwarnings("ignore:.*tells no rows apart:skdeepad.CollapseWarning"),
]

of_the_base_class = pytest.mark.of_the_base_class
slow = pytest.mark.slow

X, Y = table()
X_NEW = np.random.default_rng(1).normal(size=(30, 4))


@functools.cache
def _fitted(name):
    return quick(name).fit(X, Y)


def fitted(name):
    """Return a detector fitted to the table; it is trained once for all tests."""
    return copy.deepcopy(_fitted(name))


def fitted_attributes(detector):
    return {key for key in vars(detector) if key.endswith("_") and not key.startswith("__")}


def assert_same_model(detector, other, X_new=X_NEW):
    """Assert that two fitted detectors are equal bit for bit."""
    assert_array_equal(detector.score_samples(X_new), other.score_samples(X_new))
    assert detector.offset_ == other.offset_


@contextmanager
def unchanged(detector):
    """Assert that a fitted detector is the same model after the block as before."""
    scores, attributes = detector.score_samples(X_NEW), fitted_attributes(detector)
    kept = {key: getattr(detector, key) for key in attributes}
    yield
    assert fitted_attributes(detector) == attributes
    for key, value in kept.items():
        assert getattr(detector, key) is value
    assert_array_equal(detector.score_samples(X_NEW), scores)


# scikit-learn's own checks


@pytest.mark.filterwarnings("ignore::skdeepad.LabelWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@parametrize_with_checks([quick(name) for name in REPRESENTATIVES])
def test_scikit_learn_checks(estimator, check):
    run_check(estimator, check)


@slow
@pytest.mark.filterwarnings("ignore::skdeepad.LabelWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@parametrize_with_checks([quick(name) for name in DETECTORS if name not in REPRESENTATIVES])
def test_scikit_learn_checks_of_the_others(estimator, check):
    run_check(estimator, check)


def run_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as skip:
        pytest.fail(f"No check is excused, but one was skipped: {skip}")


@of_the_base_class
@pytest.mark.filterwarnings("ignore::skdeepad.LabelWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize(
    "check",
    [
        check_dataframe_column_names_consistency,
        check_inplace_ensure_writeable,
        check_param_validation,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_checks_outside_check_estimator(name, check):
    check(DETECTORS[name][0].__name__, quick(name))


# Labels


def test_there_is_no_classes(name):
    testing.check_no_classes(quick(name))


@of_the_base_class
@pytest.mark.parametrize("name", LEARNERS)
def test_labels_make_like_rows_more_anomalous(name):
    # SSDGM takes longer to see what labels are of.
    params = {"n_epochs": 30, "lr": 1e-2} if name.startswith("SSDGM") else {"n_epochs": 15}
    if name in TEXTS:
        params = {"n_epochs": 100, "lr": 1e-2}
    testing.check_labels_matter(quick(name, **{"lr": 3e-3, **params}))


@slow
@pytest.mark.parametrize("name", ["DeepSAD", "HSC", "SSAD"])
def test_labeled_anomalies_become_more_anomalous(name):
    # Anomalies lie within the spread of the normal rows along the first axis, so that without
    # labels they cannot be told apart; a tenth of the unlabeled rows are anomalies too.
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def draw(n, n_anomalies, rng=rng):
            rows = rng.normal(size=(n, 3)) * [3, 1, 1]
            rows[:n_anomalies] = rng.normal(size=(n_anomalies, 3)) * 0.5 + [3, 0, 0]
            return rows, np.where(np.arange(n) < n_anomalies, -1, 1)

        rows, truth = draw(400, 60)
        rows_new, truth_new = draw(400, 100)
        y = np.where(np.arange(400) < 20, truth, 0)
        detector = quick(name, n_epochs=30, random_state=seed)
        without = detector.fit(rows).score(rows_new, truth_new)
        gains.append(detector.fit(rows, y).score(rows_new, truth_new) - without)
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("label", [-1, 1])
def test_learners_use_each_kind_of_label(name, label):
    y = np.where(label == Y, Y, 0)
    if label == 1:
        y[-1] = -1
    without = np.where(y == label, 0, y)
    params = {"eta": 3.0} if label == 1 else {}
    detector = quick(name, **params)
    scores = detector.fit(X, y).score_samples(X)
    uses = label == -1 or name not in UNLABELED_ARE_NORMAL
    assert (scores != detector.fit(X, without).score_samples(X)).any() == uses


@pytest.mark.parametrize("name", NON_LEARNERS)
@pytest.mark.parametrize("labels", ["anomalies", "normals", "both"])
def test_non_learners_leave_labeled_anomalies_out(name, labels):
    y = {"anomalies": np.minimum(Y, 0), "normals": (np.arange(60) < 40) * 1, "both": Y}[labels]
    kept = y >= 0
    with pytest.warns(skdeepad.LabelWarning, match="does not learn from labels"):
        with_labels = quick(name).fit(X, y)
    assert_same_model(with_labels, quick(name).fit(X[kept]))


def test_fit_predict_uses_labels(name):
    detector, direct = quick(name), fitted(name)
    assert_array_equal(detector.fit_predict(X, Y), direct.predict(X))
    assert_same_model(detector, direct)
    assert (direct.score_samples(X) != quick(name).fit(X).score_samples(X)).any()


@of_the_base_class
def test_labels_reach_the_detector_in_a_pipeline(name):
    pipeline, other = (make_pipeline(StandardScaler(), quick(name)) for _ in range(2))
    assert_array_equal(pipeline.fit_predict(X, Y), other.fit(X, Y).predict(X))
    assert_array_equal(pipeline.score_samples(X), other.score_samples(X))
    assert pipeline.score(X, Y) == other[-1].score(other[0].transform(X), Y)
    without = clone(pipeline).fit(X)
    assert (pipeline.score_samples(X) != without.score_samples(X)).any()


LABEL_FORMS = {
    "list": list,
    "tuple": tuple,
    "list of floats": lambda y: [float(label) for label in y],
    "float32": lambda y: y.astype(np.float32),
    "int8": lambda y: y.astype(np.int8),
    "objects": lambda y: np.array([int(label) for label in y], dtype=object),
    "column": lambda y: y[:, None],
    "pandas": pd.Series,
    "pandas with an index": lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
    "pandas nullable": lambda y: pd.Series(y, dtype="Int64"),
    "pandas column": lambda y: pd.DataFrame({"label": y}),
    "polars": pl.Series,
    "torch": torch.tensor,
    "torch floats": lambda y: torch.tensor(y, dtype=torch.bfloat16, requires_grad=True),
    "torch column": lambda y: torch.tensor(y)[:, None],
}


@of_the_base_class
@pytest.mark.parametrize("form", LABEL_FORMS)
def test_all_forms_of_labels_are_equal(name, form):
    assert_same_model(quick(name).fit(X, LABEL_FORMS[form](Y)), fitted(name))


@of_the_base_class
def test_labels_are_read_by_their_sign(name):
    with pytest.warns(skdeepad.LabelWarning, match="read by their sign"):
        other = quick(name).fit(X, Y * 3)
    assert_same_model(other, fitted(name))


def with_one(value, dtype=object):
    y = Y.astype(dtype)
    y[5] = value
    return y


BAD_LABELS = {
    "booleans": (Y > 0, "boolean"),
    "list of booleans": (list((Y > 0).tolist()), "boolean"),
    "object booleans": (with_one(True), "boolean|True"),
    "object NumPy booleans": (with_one(np.True_), "boolean|True"),
    "nullable booleans": (pd.Series(Y > 0, dtype="boolean"), "boolean"),
    "torch booleans": (torch.tensor(Y > 0), "boolean"),
    "a fraction": (with_one(0.5, float), "fraction"),
    "NaN": (with_one(np.nan, float), "NaN"),
    "infinity": (with_one(np.inf, float), "infinity"),
    "None": (with_one(None), "None|NaN"),
    "missing": (pd.Series(Y, dtype="Int64").where(Y > 0), "NA|NaN"),
    "strings": (np.where(Y < 0, "anomaly", "normal"), "values"),
    "object strings": (
        np.where(Y < 0, "anomaly", "normal").astype(object),
        "values such as '(anomaly|normal)'",
    ),
    "strings of digits": (Y.astype(str), "values"),
    "object strings of digits": (Y.astype(str).astype(object), "values"),
    "pandas strings of digits": (pd.Series(Y.astype(str)), "values"),
    "complex": (Y.astype(complex), "complex"),
    "dates": (np.full(len(Y), "2020-01-01", dtype="datetime64[D]"), "datetime64"),
    "too short": (Y[:-1], r"shape \(59,\)"),
    "too long": (np.r_[Y, 0], r"shape \(61,\)"),
    "empty": ([], r"shape \(0,\)"),
    "two columns": (np.c_[Y, Y], r"shape \(60, 2\)"),
    "one row": (Y[None], r"shape \(1, 60\)"),
    "a number": (1, r"shape \(\)"),
    "anomalies only": (-np.ones(len(Y)), "anomalies"),
}


@of_the_base_class
@pytest.mark.parametrize("problem", BAD_LABELS)
def test_bad_labels_are_refused_before_training(name, problem, monkeypatch):
    y, message = BAD_LABELS[problem]
    detector, unfitted = fitted(name), quick(name)

    def trains(*args, **kwargs):
        raise AssertionError("training began")

    with monkeypatch.context() as patch, unchanged(detector):
        patch.setattr(type(detector), "_fit", trains)
        for one in (detector, unfitted):
            with pytest.raises(ValueError, match=rf"(?s){message}") as error:
                one.fit(X, y)
            assert "+1 for normal, 0 for unlabeled, -1 for anomalous" in str(error.value)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


@of_the_base_class
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.where(Y < 0, -2, Y), "from -2 to 1"),
        (np.where(Y > 0, 5, Y), "from -1 to 5"),
        (np.arange(60) // 20, "from 0 to 2"),
        (np.where(np.arange(60) < 6, 1, 0), "6 rows of \\+1 among 54 of 0 and none of -1"),
    ],
)
def test_labels_of_another_convention_are_warned_of(name, y, message):
    with pytest.warns(skdeepad.LabelWarning, match=message):
        quick(name).fit(X, y)


@of_the_base_class
@pytest.mark.parametrize(
    "y",
    [
        None,
        np.zeros(60),
        np.ones(60),
        Y,
        np.where(Y > 0, 0, Y),
        np.where(Y == 0, 1, Y),
        np.where(np.arange(60) < 50, 1, 0),
        np.where(np.arange(60) == 0, -1, np.arange(60) < 6),
    ],
    ids=["none", "zeros", "ones", "three", "-1, 0", "-1, +1", "many +1", "few +1, one -1"],
)
def test_legal_labels_are_not_warned_of(name, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick(name).fit(X, y)
    texts = [str(warning.message) for warning in caught]
    if name in TEXTS:
        texts = [text for text in texts if "takes each row for a text of one word" not in text]
    if name in NON_LEARNERS:
        texts = [text for text in texts if "does not learn from labels" not in text]
    missing = y is None or (y >= 0).all()
    assert len(texts) == (missing and name in WANT_ANOMALIES)
    assert all("learns from labeled anomalies, and y has none" in text for text in texts)
    assert all(warning.filename == __file__ for warning in caught)


# The threshold


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.25, 1 / 3, 0.5])
def test_contamination_is_the_share_of_rows_that_are_not_labeled_anomalies(name, contamination):
    detector = quick(name, contamination=contamination).fit(X, Y)
    scores = detector.score_samples(X)
    counted = Y >= 0
    flagged = (detector.predict(X) == -1)[counted].sum()
    wanted = np.ceil(contamination * (counted.sum() - 1))
    if name.endswith("rank-mean"):  # of rows of the same ranks all or none are flagged
        assert flagged <= wanted <= (scores[counted] <= detector.offset_).sum()
    else:
        assert flagged == wanted
    assert detector.offset_ == np.quantile(scores[counted], contamination)


def test_auto_contamination_is_the_own_boundary_or_an_error(name):
    detector = quick(name, contamination="auto")
    if detector._has_own_boundary():
        assert np.isfinite(detector.fit(X, Y).offset_)
        return
    with pytest.raises(ValueError, match=r"has none.*contamination=0.1"):
        detector.fit(X, Y)
    assert not fitted_attributes(detector)


# Scores


def test_signs_and_types(name):
    detector = fitted(name)
    rows = np.r_[X_NEW, X_NEW + 9]
    scores = detector.score_samples(rows)
    decision = detector.decision_function(rows)
    predicted = detector.predict(rows)
    assert scores.dtype == decision.dtype == np.float64
    assert scores.shape == decision.shape == predicted.shape == (60,)
    assert np.issubdtype(predicted.dtype, np.integer)
    assert_array_equal(detector.anomaly_score(rows), -scores)
    assert_array_equal(decision, scores - detector.offset_)
    assert_array_equal(predicted, np.where(decision >= 0, 1, -1))
    assert set(predicted) == {-1, 1}
    assert isinstance(detector.offset_, float)


@of_the_base_class
def test_score_is_the_area_under_the_roc_curve_of_labeled_rows(name):
    detector = fitted(name)
    labeled = Y != 0
    expected = roc_auc_score(Y[labeled] > 0, detector.decision_function(X)[labeled])
    score = detector.score(X, Y)
    assert score == expected
    assert type(score) is float
    assert detector.score(X, list(Y * 7.0)) == expected


@of_the_base_class
@pytest.mark.parametrize("y", [np.zeros(60), np.ones(60), -np.ones(60), np.maximum(Y, 0)])
def test_score_is_nan_where_a_kind_of_label_is_missing(name, y):
    detector = quick(name).fit(X)
    with pytest.warns(UndefinedMetricWarning, match="one of them is missing"):
        assert np.isnan(detector.score(X, y))


@of_the_base_class
def test_score_needs_labels(name):
    detector = quick(name).fit(X)
    with pytest.raises(ValueError, match=r"pass y with \+1"):
        detector.score(X, None)
    with pytest.raises(ValueError, match="one label for each of the 60 rows"):
        detector.score(X, Y[:-1])


# Features


def with_value(value):
    bad = X.copy()
    bad[7, 2] = value
    return bad


BAD_FEATURES = {
    "NaN": (with_value(np.nan), "NaN"),
    "infinity": (with_value(-np.inf), "infinity"),
    "too large for float32": (with_value(1e300), "too large|finite"),
    "no row": (X[:0], r"0 sample"),
    "no column": (X[:, :0], r"0 feature"),
    "one dimension": (X[:, 0], "Expected 2D|Reshape"),
    "sparse": (csr_matrix(X), "[Ss]parse"),
    "strings": (X.astype(str).astype(object) + np.array("x", dtype=object), "convert|numeric"),
    "complex": (X + 1j, "[Cc]omplex"),
    "None": (None, "2D array|NoneType|scalar"),
}


# NumPy warns of the numbers that scikit-learn then refuses.
numpy_may_warn = pytest.mark.filterwarnings(
    "ignore:overflow encountered in cast:RuntimeWarning",
    "ignore:invalid value encountered in reduce:RuntimeWarning",
)


@of_the_base_class
@numpy_may_warn
@pytest.mark.parametrize("problem", BAD_FEATURES)
def test_bad_features_are_refused(name, problem):
    bad, message = BAD_FEATURES[problem]
    detector, unfitted = fitted(name), quick(name)
    with unchanged(detector):
        for method in (detector.fit, detector.predict, detector.score_samples, unfitted.fit):
            with pytest.raises((ValueError, TypeError), match=message):
                method(bad)
        with pytest.raises((ValueError, TypeError), match=message):
            detector.score(bad, Y)
    assert not fitted_attributes(unfitted)


@pytest.mark.parametrize("axes", [(4, 1), (2, 2), (4, 1, 1, 1)])
def test_rows_that_no_default_network_reads_are_refused(name, axes):
    rows = X.reshape(60, *axes)
    if isinstance(quick(name), SSAD):  # it needs no network
        assert_same_model(quick(name).fit(rows, Y), quick(name).fit(X, Y))
        return
    if name in TEXTS and len(axes) == 2:  # these are some
        assert quick(name).fit(rows, Y).input_shape_ == axes
        return
    detector, unfitted = fitted(name), quick(name)
    with unchanged(detector):
        for each in (detector, unfitted):
            with pytest.raises(ValueError, match="network=|takes tables and images|CVDD takes"):
                each.fit(rows, Y)
    assert not fitted_attributes(unfitted)


@of_the_base_class
def test_one_row_is_too_few_to_fit_but_not_to_score(name):
    with pytest.raises(ValueError, match="minimum of 2|1 sample|at least 2"):
        quick(name).fit(X[:1])
    assert quick(name).fit(X).predict(X[:1]).shape == (1,)


@of_the_base_class
def test_another_number_of_features_is_refused(name):
    detector = quick(name).fit(X)
    with pytest.raises(ValueError, match="expecting 4 features"):
        detector.predict(X[:, :3])


@of_the_base_class
@pytest.mark.filterwarnings("ignore::skdeepad.CollapseWarning")
@pytest.mark.parametrize("n_constant", [1, 3, 4])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_constant_columns_are_no_obstacle(name, n_constant, value):
    constant = X.copy()
    constant[:, :n_constant] = value
    detector = quick(name).fit(constant, Y)
    assert np.isfinite(detector.score_samples(constant)).all()
    assert np.isfinite(detector.offset_)


@of_the_base_class
@numpy_may_warn
@pytest.mark.filterwarnings("ignore::skdeepad.CollapseWarning")
@pytest.mark.filterwarnings("ignore:SSAD stopped after")
@pytest.mark.parametrize("scale", [1e-30, 1e5, 1e15, 1e25, 1e30, 1e38])
@pytest.mark.parametrize("where", ["everywhere", "in one place"])
def test_extreme_values_train_a_usable_model_or_name_the_cause(name, scale, where):
    # Values of either sign up to 3e38, which float32 just holds.
    extreme = np.clip(X, -3, 3) * scale if where == "everywhere" else with_value(scale)
    detector = quick(name)
    problem = ""
    try:
        detector.fit(extreme, Y)
    except ValueError as error:
        problem = str(error)
    if problem:
        assert "scale" in problem or "too large" in problem
        assert not fitted_attributes(detector)
    else:
        assert np.isfinite(detector.score_samples(extreme)).all()
        assert np.isfinite(detector.offset_)


@pytest.mark.parametrize("scale", [1e6, 1e12, 1e18, 1e30, 1e38])
def test_rows_far_beyond_the_training_data_are_anomalies(name, scale):
    if isinstance(quick(name), SSDGM):
        pytest.skip("a classifier does not enclose the normal rows")
    if name in TEXTS:
        pytest.skip("directions alone count")
    detector = quick(name).fit(X)
    far = np.array([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, 1.0]]) * scale
    assert not np.isnan(detector.score_samples(far)).any()
    assert_array_equal(detector.predict(far), [-1, -1])


def as_float32_frame(X):
    return pd.DataFrame(X, columns=[f"feature {i}" for i in range(X.shape[1])])


X_BFLOAT16 = torch.tensor(X, dtype=torch.bfloat16)

FEATURE_FORMS = {
    "list": (lambda X: X.tolist(), X),
    "float32": (lambda X: X.astype(np.float32), X.astype(np.float32)),
    "Fortran order": (np.asfortranarray, X),
    "a view": (lambda X: np.repeat(X, 2, axis=1)[:, ::2], X),
    "objects": (lambda X: X.astype(object), X),
    "integers": (lambda X: np.round(X * 10).astype(np.int16), np.round(X * 10)),
    "pandas": (as_float32_frame, X),
    "polars": (lambda X: pl.DataFrame(X, schema=list("abcd")), X),
    "torch float64": (torch.tensor, X),
    "torch float32": (lambda X: torch.tensor(X, dtype=torch.float32), X.astype(np.float32)),
    "torch bfloat16": (lambda X: X_BFLOAT16, X_BFLOAT16.float().numpy()),
    "torch float16": (
        lambda X: torch.tensor(X, dtype=torch.float16),
        X.astype(np.float16).astype(float),
    ),
    "torch with gradient": (lambda X: torch.tensor(X, requires_grad=True), X),
    "torch not contiguous": (lambda X: torch.tensor(X.T.copy()).T, X),
}


@of_the_base_class
@pytest.mark.parametrize("form", FEATURE_FORMS)
def test_all_forms_of_features_are_equal(name, form):
    convert, equal = FEATURE_FORMS[form]
    rows = convert(X)
    detector, other = quick(name).fit(rows, Y), quick(name).fit(equal, Y)
    scores = detector.score_samples(rows)
    assert type(scores) is np.ndarray
    assert_array_equal(scores, other.score_samples(equal))
    assert detector.offset_ == other.offset_


@of_the_base_class
@pytest.mark.parametrize(
    "as_frame",
    [
        as_float32_frame,
        pytest.param(
            lambda X: pl.DataFrame(X, list("abcd")),
            marks=pytest.mark.skipif(
                parse_version(sklearn.__version__) < parse_version("1.9"),
                reason="scikit-learn < 1.9 does not read the names of polars 2",
            ),
        ),
    ],
)
def test_columns_keep_their_names(name, as_frame):
    frame = as_frame(X)
    detector = quick(name).fit(frame, Y)
    assert list(detector.feature_names_in_) == list(frame.columns)
    swapped = frame[list(frame.columns)[::-1]]
    with pytest.raises(ValueError, match="same order|feature names"):
        detector.predict(swapped)
    assert not hasattr(quick(name).fit(X), "feature_names_in_")


@of_the_base_class
def test_refitting_to_other_columns(name):
    detector = quick(name).fit(as_float32_frame(X), Y).fit(X[:, :3], Y)
    assert detector.n_features_in_ == 3
    assert not hasattr(detector, "feature_names_in_")
    assert_same_model(detector, quick(name).fit(X[:, :3], Y), X_NEW[:, :3])


@of_the_base_class
def test_failed_fit_keeps_names_and_sizes(name):
    detector = quick(name).fit(as_float32_frame(X), Y)
    with pytest.raises(ValueError, match="booleans"):
        detector.fit(X[:, :3], Y > 0)
    assert detector.n_features_in_ == 4
    assert len(detector.feature_names_in_) == 4


@of_the_base_class
def test_features_on_disk_are_read_where_they_are(name, tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, X.astype(np.float32))
    mapped = np.load(path, mmap_mode="r")
    detector = quick(name).fit(mapped, Y)
    assert_same_model(detector, quick(name).fit(X.astype(np.float32), Y))
    assert_array_equal(detector.score_samples(mapped), detector.score_samples(np.array(mapped)))


def test_nothing_is_written_to_features_and_labels(name):
    rows, labels = X.astype(np.float32), Y.copy()
    quick(name).fit(rows, labels).predict(rows)
    assert_array_equal(rows, X.astype(np.float32))
    assert_array_equal(labels, Y)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_score_of_a_row_depends_on_that_row_alone(name, n_threads):
    # More rows than a slice holds, whatever the slice.
    many = np.random.default_rng(0).normal(size=(9000, 4))
    detector = quick(name, batch_size=1024) if name in DEEP else quick(name)
    detector.fit(many[:500])
    # In another kernel the last bits differ, and with them ties with training rows.
    rounding = {"rtol": 1e-6, "atol": 1 / 500 if name.endswith("rank-mean") else 0}
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        scores = detector.score_samples(many)
        assert_array_equal(detector.score_samples(many[::-1]), scores[::-1])
        few = detector.score_samples(many[:32])
        for rows in ([0], [8191], [8192], [8999], range(8000, 8999)):
            others = np.random.default_rng(1).normal(size=many.shape) * 10
            others[rows] = many[rows]
            assert_array_equal(detector.score_samples(others)[rows], scores[rows])
            np.testing.assert_allclose(detector.score_samples(many[rows]), scores[rows], **rounding)
        for rows in ([0], [31], range(17), range(31, 2, -1)):
            assert_array_equal(detector.score_samples(many[rows]), few[rows])
        np.testing.assert_allclose(few, scores[:32], **rounding)
    finally:
        torch.set_num_threads(before)


@of_the_base_class
def test_training_on_more_rows_than_a_slice(name):
    params = {"batch_size": 1024} if name in DEEP else {}
    many = np.random.default_rng(0).normal(size=(5000, 2))
    detector = quick(name, contamination=0.2, **params).fit(many)
    assert (detector.predict(many) == -1).sum() == 1000


# Images

IMAGES = np.random.default_rng(2).normal(size=(40, 1, 8, 8))
IMAGE_LABELS = np.where(np.arange(40) < 4, -1, 0)
FLAT = IMAGES.reshape(40, 64)


@pytest.mark.parametrize("name", OF_ROWS)
def test_images_and_flat_rows_are_the_same(name):
    of_images = quick(name).fit(IMAGES, IMAGE_LABELS)
    of_rows = quick(name, input_shape=(1, 8, 8)).fit(FLAT, IMAGE_LABELS)
    of_tensors = quick(name).fit(torch.tensor(IMAGES), IMAGE_LABELS)
    expected = of_images.score_samples(IMAGES)
    for detector in (of_images, of_rows, of_tensors):
        assert detector.n_features_in_ == 64
        assert detector.input_shape_ == (1, 8, 8)
        assert detector.offset_ == of_images.offset_
        for form in (IMAGES, FLAT, torch.tensor(IMAGES, dtype=torch.float32)):
            assert_array_equal(detector.score_samples(form), expected)


@pytest.mark.parametrize("name", DEEP)
def test_images_scored_by_a_detector_of_rows(name):
    detector = quick(name).fit(FLAT)
    if name in WANT_MAPS:  # they read a row as a signal, and have no use for another shape
        with pytest.raises(ValueError, match=r"shape \(1, 8, 8\); expected \(1, 1, 64\)"):
            detector.score_samples(IMAGES)
        return
    assert detector.input_shape_ == (64,)
    assert_array_equal(detector.score_samples(IMAGES), detector.score_samples(FLAT))


@of_the_base_class
@pytest.mark.parametrize("name", OF_ROWS)
@pytest.mark.parametrize("shape", [(1, 4, 16), (4, 4, 4), (1, 8, 9), (3, 8, 8)])
def test_images_of_another_shape_are_refused(name, shape):
    other = np.zeros((10, *shape))
    with pytest.raises(ValueError, match=r"expected \(1, 8, 8\)"):
        quick(name, input_shape=(1, 8, 8)).fit(other)
    with pytest.raises(ValueError, match=r"expected \(1, 8, 8\)"):
        quick(name).fit(IMAGES).predict(other)


@pytest.mark.parametrize("name", OF_ROWS)
@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((1, 8, 9), "has 72 numbers"),
        ((4, 4), "has 16 numbers|takes tables and images"),
        ((65,), "has 65 numbers"),
        ((-1, 8, -8), "positive whole numbers"),
        ((0, 8, 8), "positive whole numbers"),
        ((1.0, 8, 8), "positive whole numbers"),
        ((), "positive whole numbers"),
    ],
)
def test_input_shape_must_fit_the_rows(name, input_shape, message):
    detector = quick(name, input_shape=input_shape)
    with pytest.raises(ValueError, match=message):
        detector.fit(FLAT)
    assert not fitted_attributes(detector)


# Interruption


@of_the_base_class
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_interrupted_training_leaves_the_earlier_model(name, share):
    calls = []
    quick(name, lr_schedule=lambda progress: calls.append(progress) or 1.0).fit(X, Y)
    last_call = int(share * (len(calls) - 1))
    calls.clear()

    def interrupts(progress):
        if len(calls) == last_call:
            raise KeyboardInterrupt
        calls.append(progress)
        return 1.0

    kept, unfitted = fitted(name), quick(name)
    with unchanged(kept):
        for detector in (kept, unfitted):
            calls.clear()
            detector.set_params(lr_schedule=interrupts)
            with pytest.raises(KeyboardInterrupt):
                detector.fit(X + 1, Y)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    kept.set_params(lr_schedule="constant").fit(X, Y)  # and it can be fitted again
    assert_same_model(kept, fitted(name))


def test_every_method_wants_a_fitted_detector(name):
    detector = quick(name)
    methods = [
        method
        for method, function in inspect.getmembers(type(detector), inspect.isfunction)
        if not method.startswith(("_", "fit")) and "X" in inspect.signature(function).parameters
    ]
    assert {"anomaly_score", "decision_function", "predict", "score"} < {*methods}
    for method in methods:
        labels = (Y,) if method == "score" else ()
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(detector, method)(X, *labels)


# Randomness


def test_same_seed_same_model(name):
    detector = quick(name, random_state=3)
    assert_same_model(detector.fit(X, Y), quick(name, random_state=3).fit(X, Y))
    assert_same_model(clone(detector).fit(X, Y), detector)
    seeded = np.random.RandomState(5)
    other = np.random.RandomState(5)
    assert_same_model(
        quick(name, random_state=seeded).fit(X), quick(name, random_state=other).fit(X)
    )


@of_the_base_class
@pytest.mark.parametrize("own_network", [False, True])
def test_same_seed_same_model_in_threads(name, own_network):
    if own_network and name not in DEEP:
        pytest.skip("has no network")
    params = {"network": with_dropout(name), "decoder": PlainDecoder} if own_network else {}
    seeds = [0, 1, 2, 3] * 2
    serial = [quick(name, random_state=seed, **params).fit(X, Y) for seed in seeds[:4]]
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(quick(name, random_state=seed, **params).fit, X, Y) for seed in seeds]
        parallel = [fit.result() for fit in fits]
    for seed, detector in zip(seeds, parallel, strict=True):
        assert_same_model(detector, serial[seed])
    if "random_state" in detector.get_params():
        assert (serial[0].score_samples(X) != serial[1].score_samples(X)).any()


@of_the_base_class
def test_number_of_threads_does_not_change_the_model(name):
    before = torch.get_num_threads()
    rows = np.random.default_rng(0).normal(size=(3000, 4))
    try:
        models = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            models.append(quick(name, **({"batch_size": 512} if name in DEEP else {})).fit(rows))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert_same_model(*models, rows)


_IN_ANOTHER_PROCESS = """
import sys, warnings, pickle
import numpy as np
warnings.simplefilter("ignore")
with open(sys.argv[1], "rb") as file:
    models, X, y, scores = pickle.load(file)
from sklearn.base import clone
for name, model in models.items():
    assert (model.score_samples(X) == scores[name]).all(), name + " loaded"
    assert (clone(model).fit(X, y).score_samples(X) == scores[name]).all(), name + " refitted"
print("all equal", len(models))
"""


@slow
def test_models_load_and_train_alike_in_another_process(tmp_path):
    models = {name: quick(name).fit(X, Y) for name in DETECTORS}
    scores = {name: model.score_samples(X) for name, model in models.items()}
    path = tmp_path / "models.pkl"
    path.write_bytes(pickle.dumps((models, X, Y, scores)))
    done = subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"all equal {len(DETECTORS)}"


@slow  # files and clones of the others are compared above
@pytest.mark.parametrize("name", ["DeepSAD", "SSAD", "DeepEnsemble"])
def test_grid_search_in_two_processes(name):
    def search(n_jobs):
        pipeline = make_pipeline(StandardScaler(), quick(name))
        grid = {f"{pipeline.steps[-1][0]}__contamination": [0.1, 0.2]}
        if name in DEEP:
            grid[f"{pipeline.steps[-1][0]}__lr"] = [1e-3, 1e-2]
        return GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, truth)

    order = np.random.default_rng(0).permutation(60)
    truth = np.where(Y == 0, 1, Y)[order]
    one, two = (search(n_jobs).cv_results_ for n_jobs in (1, 2))
    for key in one:
        if "time" not in key:
            assert_array_equal(one[key], two[key])


@pytest.fixture
def global_generators_untouched():
    def state():
        numpy_state = np.random.get_state()
        return random.getstate(), numpy_state[1].tobytes(), numpy_state[2:], torch.get_rng_state()

    before = state()
    yield
    after = state()
    assert before[:3] == after[:3]
    assert torch.equal(before[3], after[3])


@pytest.mark.usefixtures("global_generators_untouched")
@pytest.mark.parametrize("random_state", [0, None])
def test_global_generators_are_not_moved(name, random_state):
    quick(name, random_state=random_state).fit(X, Y).predict(X)


@pytest.mark.usefixtures("global_generators_untouched")
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("random_state", [0, None])
def test_global_generators_are_not_moved_by_a_network_with_dropout(name, random_state):
    detector = quick(
        name, network=with_dropout(name), decoder=PlainDecoder, random_state=random_state
    )
    detector.fit(X, Y).predict(X)


@of_the_base_class
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("own_network", [False, True])
def test_global_generators_are_not_read(name, own_network):
    params = {"network": with_dropout(name), "decoder": PlainDecoder} if own_network else {}
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    seeded, unseeded = [], []
    try:
        for global_seed in (0, 1):
            np.random.seed(global_seed)
            torch.manual_seed(global_seed)
            seeded.append(quick(name, **params).fit(X, Y))
        for _ in range(2):
            np.random.seed(0)
            torch.manual_seed(0)
            unseeded.append(quick(name, random_state=None, **params).fit(X, Y))
    finally:
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
    assert_same_model(*seeded)
    assert (unseeded[0].score_samples(X) != unseeded[1].score_samples(X)).all()


@pytest.mark.parametrize("name", DEEP)
def test_scoring_is_repeatable_with_a_network_with_dropout(name):
    detector = quick(name, network=with_dropout(name), decoder=PlainDecoder).fit(X, Y)
    assert_array_equal(detector.score_samples(X), detector.score_samples(X))


# Copies and files


def through_joblib(detector):
    file = io.BytesIO()
    joblib.dump(detector, file)
    file.seek(0)
    return joblib.load(file)


@of_the_base_class
@pytest.mark.parametrize(
    "copied",
    [
        lambda detector: pickle.loads(pickle.dumps(detector)),
        lambda detector: pickle.loads(pickle.dumps(detector, protocol=2)),
        through_joblib,
        copy.deepcopy,
        copy.copy,
    ],
    ids=["pickle", "pickle protocol 2", "joblib", "deepcopy", "copy"],
)
def test_copies_are_equal(name, copied):
    detector = fitted(name)
    other = copied(detector)
    assert other is not detector
    assert fitted_attributes(other) == fitted_attributes(detector)
    assert_same_model(detector, other)
    assert_same_model(detector, other.fit(X, Y))
    assert not fitted_attributes(copied(quick(name)))


@pytest.mark.parametrize("name", OF_ROWS)
def test_deep_copies_share_no_weights(name):
    detector = fitted(name)
    other = copy.deepcopy(detector)
    with torch.no_grad():
        for parameter in other.network_.parameters():
            parameter.zero_()
    assert (other.score_samples(X) != detector.score_samples(X)).any()


@pytest.mark.parametrize("name", OF_ROWS)
def test_models_trained_on_a_gpu_load_without_one(name, monkeypatch):
    on_gpu = torch.cuda.is_available()
    detector = quick(name, device="cuda" if on_gpu else "cpu").fit(X, Y)
    network, scores = detector.network_, detector.score_samples(X)
    if not on_gpu:
        detector.device_ = torch.device("cuda")
    file = pickle.dumps(detector)
    assert detector.network_ is network
    state = detector.__getstate__()
    assert all(weight.device.type == "cpu" for weight in state["network_"].parameters())
    assert state["network_"] is not network

    def only_cpu(device):
        if torch.device(device).type != "cpu":
            raise ValueError("there is no GPU")
        return torch.device(device)

    monkeypatch.setattr("skdeepad.engine.resolve_device", only_cpu)
    loaded = pickle.loads(file)
    assert loaded.device_ == torch.device("cpu")
    assert all(weight.device.type == "cpu" for weight in loaded.network_.parameters())
    np.testing.assert_allclose(loaded.score_samples(X), scores, rtol=1e-4 if on_gpu else 0)
    # Modules that share weights (an objective and its network) still do.
    with torch.no_grad():
        for weight in loaded.network_.parameters():
            weight.zero_()
    assert (loaded.score_samples(X) != scores).all()


# Training trains


@pytest.mark.parametrize("name", OF_ROWS)
@pytest.mark.parametrize("pretrain", [True, False])
def test_every_weight_moves_and_the_given_network_does_not(name, pretrain):
    torch_state = torch.get_rng_state()
    if name in WANT_MAPS:
        network = with_dropout(name)((1, 1, 4))
        decoder = with_dropout(name)((1, 1, 4))  # it takes no part
    else:
        network = MLP((4,), (8, 4))
        decoder = network.decoder()
    torch.set_rng_state(torch_state)
    generator = nn.Sequential(network, decoder)
    given_weights = copy.deepcopy(list(generator.parameters()))
    detector = quick(name, network=network, decoder=decoder, generator=generator)
    given = generator if "generator" in detector.get_params() else network
    if "pretrain" in detector.get_params():
        detector.set_params(pretrain=pretrain)
    detector.fit(X, Y)
    pairs = list(zip(given.parameters(), detector.network_.parameters(), strict=True))
    if hasattr(detector, "decoder_"):
        pairs += zip(decoder.parameters(), detector.decoder_.parameters(), strict=True)
    for before, after in pairs:
        assert (before != after).any()
    for before, after in zip(given_weights, generator.parameters(), strict=True):
        assert torch.equal(before, after)
    assert all(not module.training for module in detector.network_.modules())


def split(rows, truth, seed, n_labeled):
    """Return normal training rows, a few labeled anomalies among them, and a test set."""
    train, test, y_train, y_test = train_test_split(rows, truth, random_state=seed, stratify=truth)
    normal, anomalous = np.flatnonzero(y_train > 0), np.flatnonzero(y_train < 0)[:n_labeled]
    y = np.r_[np.zeros(len(normal)), -np.ones(len(anomalous))]
    return train[np.r_[normal, anomalous]], y, test, y_test


def trained_and_untrained(name, rows, truth, n_labeled, **params):
    """Return the mean areas under the ROC curve over two seeds."""
    areas = []
    for seed in range(2):
        train, y, test, y_test = split(rows, truth, seed, n_labeled)
        cls, setting = DETECTORS[name]
        known = {key: params[key] for key in params.keys() & cls().get_params().keys()}
        detector = cls(**setting, **known, random_state=seed, device="cpu")
        trained = detector.fit(train, y).score(test, y_test)
        detector.set_params(lr=1e-30, n_epochs=1)
        if "pretrain" in detector.get_params():
            detector.set_params(pretrain=False)
        areas.append((trained, detector.fit(train, y).score(test, y_test)))
    return np.mean(areas, axis=0)


# Training of those that learn from labels is seen on the next data.
@pytest.mark.parametrize(
    "name",
    [
        name if name == "DeepSVDD" else pytest.param(name, marks=slow)
        for name in DEEP
        if name in NON_LEARNERS or name in WANT_MAPS
    ],
)
def test_training_helps_on_digits(name):
    rows, truth = load_digits_anomaly(normal=3, return_X_y=True)
    params = {}
    if name in WANT_MAPS:
        params = {"input_shape": (1, 8, 8), "hidden_layer_sizes": (8, 8), "n_epochs": 200}
    trained, untrained = trained_and_untrained(name, rows, truth, n_labeled=0, **params)
    assert trained > 0.93
    assert trained > untrained + 0.02


@pytest.mark.parametrize(
    "name", [name if name == "DeepSAD" else pytest.param(name, marks=slow) for name in OF_ROWS]
)
def test_training_on_breast_cancer(name):
    # The distance to the mean nearly tells these classes apart, so only labels can add to it.
    rows, truth = load_breast_cancer_anomaly(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    params = {"lr": 3e-3} if name.startswith("AGAD") else {}  # 30 steps of its own are few
    trained, untrained = trained_and_untrained(
        name, rows, truth, n_labeled=15, hidden_layer_sizes=(32, 16), n_epochs=30, **params
    )
    assert trained > 0.8
    if name in LEARNERS:
        assert trained > untrained + 0.03


# Streaming


@of_the_base_class
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_streaming_gives_the_same_bits(name, early_stopping, monkeypatch):
    if early_stopping and name in REFUSE_EARLY_STOPPING:
        pytest.skip("refuses early stopping")
    # Two steps a chunk, so that both buffers are filled more than once an epoch.
    monkeypatch.setattr(batches, "_CHUNK_BYTES", 2 * 8 * 4 * 4)
    streamed, of_buffers = [], batches.Rows._streamed
    monkeypatch.setattr(
        batches.Rows,
        "_streamed",
        lambda rows, positions: streamed.append(rows) or of_buffers(rows, positions),
    )
    models = []
    for stream in (True, False):
        params = {"batch_size": 8, "early_stopping": early_stopping}
        models.append(quick(name, compute=Compute(stream=stream), **params).fit(X, Y))
        assert bool(streamed) == stream
        streamed.clear()
    assert_same_model(*models)


# Whatever the data


@of_the_base_class
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::skdeepad.LabelWarning")
@pytest.mark.filterwarnings("ignore::skdeepad.CollapseWarning")
@pytest.mark.filterwarnings("ignore:SSAD stopped after")  # rows may be few and many times the same
def test_any_small_table_can_be_fitted(name, data):
    n, p = data.draw(st.integers(2, 40), label="n"), data.draw(st.integers(1, 6), label="p")
    rows = np.random.default_rng(data.draw(st.integers(0, 99), label="seed")).normal(size=(n, p))
    kind = data.draw(st.sampled_from(["normal", "duplicates", "integers"]), label="kind")
    if kind == "duplicates":
        rows = rows[np.arange(n) % max(1, n // 3)]
    elif kind == "integers":
        rows = np.round(rows)
    y = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n), label="y"))
    if (y < 0).all():
        y[0] = 0
    y = y.astype(data.draw(st.sampled_from([np.int8, np.int64, np.float32, object]), label="type"))
    params = {}
    if name in DEEP:
        params["batch_size"] = data.draw(st.sampled_from([2, 3, 7, 100]), label="batch_size")
    detector = quick(name, **params).fit(rows, y)
    scores = detector.score_samples(rows)
    assert np.isfinite(scores).all()
    assert np.isfinite(detector.offset_)
    assert set(detector.predict(rows)) <= {-1, 1}
