"""Tests of the splitter, the scorers and the out-of-fold scores for partial labels."""

import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    make_scorer,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    RepeatedKFold,
    ShuffleSplit,
    cross_validate,
    learning_curve,
)
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    cross_val_anomaly_scores,
    labeled_average_precision,
    labeled_average_precision_score,
    labeled_balanced_accuracy,
    labeled_balanced_accuracy_score,
    labeled_partial_roc_auc,
    labeled_partial_roc_auc_score,
    labeled_roc_auc,
    labeled_roc_auc_score,
)

MODES = ("train", "split", "drop")
DECISION_METRICS = (
    labeled_roc_auc_score,
    labeled_partial_roc_auc_score,
    labeled_average_precision_score,
)
SCORERS = (
    labeled_roc_auc,
    labeled_partial_roc_auc,
    labeled_average_precision,
    labeled_balanced_accuracy,
)


class CenterDetector(OutlierMixin, BaseEstimator):
    """Distance to the mean of the rows not known to be anomalies.

    The labels matter (known anomalies push the center away by ``repulsion``), and those
    that ``fit`` has seen are kept, to be compared with those that it should have seen.
    """

    def __init__(self, repulsion=0.0, n_steps=1):
        self.repulsion = repulsion
        self.n_steps = n_steps

    def fit(self, X, y=None):
        """Keep y, compute the center and a threshold."""
        X = np.asarray(X, dtype=float)
        self.y_seen_ = None if y is None else np.array(y)
        anomalies = np.zeros(len(X), bool) if y is None else self.y_seen_ < 0
        self.center_ = X[~anomalies].mean(axis=0)
        if anomalies.any():
            self.center_ = self.center_ - self.repulsion * X[anomalies].mean(axis=0)
        self.offset_ = np.quantile(self.score_samples(X[~anomalies]), 0.1)
        return self

    def score_samples(self, X):
        """Return minus the distance to the center."""
        return -np.linalg.norm(np.asarray(X, dtype=float) - self.center_, axis=1)

    def decision_function(self, X):
        """Return the scores above the threshold."""
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return +1 for inliers and -1 for outliers."""
        return np.where(self.decision_function(X) >= 0, 1, -1)


@pytest.fixture
def data():
    """Return 90 unlabeled rows (9 hidden anomalies), 20 normals and 10 anomalies, mixed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    y = np.r_[np.zeros(90), np.ones(20), -np.ones(10)].astype(int)
    X[81:90] += 1.5
    X[110:] += 1.5
    order = rng.permutation(120)
    return X[order], y[order]


def labels_of(n_anomalies, n_unlabeled, n_normals, seed=0):
    """Return labels with the given counts in random order."""
    y = np.repeat([-1, 0, 1], [n_anomalies, n_unlabeled, n_normals])
    return np.random.default_rng(seed).permutation(y)


def split_rows(cv, y):
    """Return the (train, test) pairs of a splitter."""
    return list(cv.split(np.zeros((len(y), 1)), y))


# Splitting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "train_counts", "test_counts"),
    [
        ("train", {-1: 8, 0: 100, 1: 16}, {-1: 2, 1: 4}),
        ("split", {-1: 8, 0: 80, 1: 16}, {-1: 2, 0: 20, 1: 4}),
        ("drop", {-1: 8, 1: 16}, {-1: 2, 1: 4}),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_split_counts_of_each_mode(mode, train_counts, test_counts, shuffle):
    """Ten anomalies, 100 unlabeled rows and 20 normals fall exactly into five parts."""
    y = labels_of(10, 100, 20)
    cv = LabeledStratifiedKFold(
        5, unlabeled=mode, shuffle=shuffle, random_state=0 if shuffle else None
    )
    for train, test in split_rows(cv, y):
        assert Counter(y[train].tolist()) == train_counts
        assert Counter(y[test].tolist()) == test_counts


def test_split_by_hand():
    """A remainder of one kind is made up for by the next kind."""
    y = np.array([1, -1, 0, 1, -1, 0, 1, -1, 0])
    train, test = split_rows(LabeledStratifiedKFold(2, unlabeled="split"), y)[0]
    # Anomalies 1 4 | 7; normals begin where the anomalies ran out: 0 | 3 6; then 2 5 | 8.
    assert_array_equal(test, [0, 1, 2, 4, 5])
    assert_array_equal(train, [3, 6, 7, 8])


@given(
    n_splits=st.integers(2, 6),
    extra=st.tuples(*[st.integers(0, 15)] * 3),
    mode=st.sampled_from(MODES),
    shuffle=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_split_properties(n_splits, extra, mode, shuffle, seed):
    """Whatever the counts: a partition, stratified, with unlabeled rows where they belong."""
    y = labels_of(n_splits + extra[0], extra[1], n_splits + extra[2], seed)
    cv = LabeledStratifiedKFold(
        n_splits, unlabeled=mode, shuffle=shuffle, random_state=seed if shuffle else None
    )
    splits = split_rows(cv, y)
    assert len(splits) == cv.get_n_splits() == n_splits

    rows = np.arange(len(y))
    used = rows[y != 0] if mode == "drop" else rows
    tested = rows if mode == "split" else rows[y != 0]
    for train, test in splits:
        assert_array_equal(np.union1d(train, test), used)
        assert np.intersect1d(train, test).size == 0
        assert np.all(np.diff(train) > 0) and np.all(np.diff(test) > 0)
    assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), tested)
    for sign in (-1, 1) if mode != "split" else (-1, 0, 1):
        sizes = [np.sum(y[test] == sign) for _, test in splits]
        assert max(sizes) - min(sizes) <= 1
    sizes = [len(test) for _, test in splits]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shuffle", [False, True])
def test_labeled_rows_share_folds_in_all_modes(shuffle):
    """The mode moves unlabeled rows only."""
    y = labels_of(7, 40, 13)
    seed = 3 if shuffle else None
    by_mode = []
    for mode in MODES:
        cv = LabeledStratifiedKFold(3, unlabeled=mode, shuffle=shuffle, random_state=seed)
        by_mode.append([test[y[test] != 0].tolist() for _, test in split_rows(cv, y)])
    assert by_mode[0] == by_mode[1] == by_mode[2]


def test_split_without_shuffle_keeps_neighbors_together():
    """Each kind is cut into consecutive blocks."""
    y = np.repeat([-1, 1], [6, 6])
    tests = [test.tolist() for _, test in split_rows(LabeledStratifiedKFold(3), y)]
    assert tests == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


def test_split_seed():
    """An int repeats its folds; a generator moves on."""
    y = labels_of(10, 10, 10)

    def folds(random_state):
        cv = LabeledStratifiedKFold(shuffle=True, random_state=random_state)
        return [test.tolist() for _, test in split_rows(cv, y)]

    assert folds(0) == folds(0)
    assert folds(0) != folds(1)
    generator = np.random.RandomState(0)
    assert folds(generator) == folds(0)
    assert folds(generator) != folds(0)  # a generator moves on


@pytest.mark.parametrize("dtype", [np.int8, np.int64, float, object])
def test_split_reads_whole_numbers_by_sign(dtype):
    """Any positive is a normal and any negative an anomaly, in any number type."""
    signs = labels_of(6, 9, 7)
    y = (signs * np.arange(2, 2 + signs.size)).astype(dtype)
    for mode in MODES:
        cv = LabeledStratifiedKFold(3, unlabeled=mode)
        for (train, test), (train_, test_) in zip(
            split_rows(cv, y), split_rows(cv, signs), strict=True
        ):
            assert_array_equal(train, train_)
            assert_array_equal(test, test_)


def test_split_takes_lists_frames_and_sparse_rows():
    """Containers and their indices do not matter."""
    pd = pytest.importorskip("pandas")
    y = labels_of(4, 6, 4)
    X = np.arange(28.0).reshape(14, 2)
    cv = LabeledStratifiedKFold(2, unlabeled="split")
    expected = list(cv.split(X, y))
    index = [f"row {i}" for i in range(14)]
    for rows, labels in (
        (X.tolist(), y.tolist()),
        (pd.DataFrame(X, index=index), pd.Series(y, index=index)),
        (csr_matrix(X), pd.Series(y, dtype="Int64")),
    ):
        for (train, test), (train_, test_) in zip(cv.split(rows, labels), expected, strict=True):
            assert_array_equal(train, train_)
            assert_array_equal(test, test_)


def test_splitter_repr_and_copies():
    """Copies print and split like the original."""
    cv = LabeledStratifiedKFold(3, unlabeled="drop", shuffle=True, random_state=7)
    assert " ".join(repr(cv).split()) == (
        "LabeledStratifiedKFold(n_splits=3, random_state=7, shuffle=True, unlabeled='drop')"
    )
    y = labels_of(5, 5, 5)
    for copy in (clone(cv, safe=False), pickle.loads(pickle.dumps(cv))):
        assert copy is not cv
        assert repr(copy) == repr(cv)
        for (_, test), (_, test_) in zip(split_rows(copy, y), split_rows(cv, y), strict=True):
            assert_array_equal(test, test_)


def test_too_few_anomalies_names_both_numbers_and_the_remedy():
    """The message is enough to mend the call."""
    y = labels_of(3, 30, 10)
    with pytest.raises(ValueError, match=r"n_splits=5.*anomalies.*Got 3.*n_splits to 3 or less"):
        split_rows(LabeledStratifiedKFold(5), y)
    with pytest.raises(ValueError, match=r"n_splits=2.*Got 1\. Label more rows\.$"):
        split_rows(LabeledStratifiedKFold(2), labels_of(1, 30, 10))
    with pytest.raises(ValueError, match=r"Got 0"):
        split_rows(LabeledStratifiedKFold(2), labels_of(0, 30, 10))


@pytest.mark.parametrize("mode", MODES)
def test_some_normals_but_fewer_than_folds_is_an_error_in_every_mode(mode):
    """Folds with and without labeled normals would not be comparable."""
    y = labels_of(10, 30, 3)
    with pytest.raises(ValueError, match=r"n_splits=5.*normals.*Got 3.*n_splits to 3.*'?split"):
        split_rows(LabeledStratifiedKFold(5, unlabeled=mode), y)


def test_without_normals_unlabeled_rows_stand_in_only_if_split():
    """The other modes test on no unlabeled row."""
    y = labels_of(10, 30, 0)
    for mode in ("train", "drop"):
        with pytest.raises(ValueError, match=r"normals.*Got 0.*unlabeled=\"split\""):
            split_rows(LabeledStratifiedKFold(5, unlabeled=mode), y)
    for _, test in split_rows(LabeledStratifiedKFold(5, unlabeled="split"), y):
        assert Counter(y[test].tolist()) == {-1: 2, 0: 6}
    with pytest.raises(ValueError, match="at least one for each fold"):
        split_rows(LabeledStratifiedKFold(5, unlabeled="split"), labels_of(10, 4, 0))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_splits": 1}, "n_splits.*at least 2. Got 1"),
        ({"n_splits": 2.0}, "n_splits.*whole number"),
        ({"n_splits": True}, "n_splits.*Got True"),
        ({"unlabeled": "test"}, "unlabeled.*'train', 'split', 'drop'. Got 'test'"),
        ({"unlabeled": None}, "unlabeled.*Got None"),
        ({"shuffle": 1}, "shuffle.*True or False. Got 1"),
        ({"random_state": 0}, "Set shuffle=True"),
    ],
)
def test_splitter_refuses_bad_parameters(parameters, match):
    """Parameters are checked when the splitter is made."""
    with pytest.raises(ValueError, match=match):
        LabeledStratifiedKFold(**parameters)


BAD_LABELS = [
    np.array([True, False] * 10),
    np.array(["normal", "anomaly"] * 10),
    np.array([1.0, -0.5] * 10),
    np.array([1.0, np.nan] * 10),
    np.array([1.0, np.inf] * 10),
    np.array([1, None] * 10, dtype=object),
    np.array([True, False] * 10, dtype=object),
    np.ones((20, 2), dtype=int),
]


@pytest.mark.parametrize("y", BAD_LABELS, ids=lambda y: f"{y.dtype}-{y.flat[1]}")
def test_bad_labels_are_refused_everywhere(y):
    """Only whole numbers in one column are labels."""
    X = np.zeros((20, 1))
    with pytest.raises(ValueError):
        next(LabeledStratifiedKFold(2).split(X, y))
    with pytest.raises(ValueError):
        cross_val_anomaly_scores(CenterDetector(), X, y)
    for metric in DECISION_METRICS:
        with pytest.raises(ValueError):
            metric(y, np.arange(20.0))
    with pytest.raises(ValueError):
        labeled_balanced_accuracy_score(y, np.ones(20))


def test_split_without_y_or_with_another_length():
    """No labels, or too few, cannot be spread."""
    cv = LabeledStratifiedKFold(2)
    with pytest.raises(ValueError, match="needs y.*KFold"):
        next(cv.split(np.zeros((4, 1))))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(cv.split(np.zeros((4, 1)), [1, -1, 1]))


def test_split_warns_that_groups_are_ignored():
    """Nobody shall believe that groups were kept together."""
    y = labels_of(2, 2, 2)
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        list(LabeledStratifiedKFold(2).split(np.zeros((6, 1)), y, groups=np.arange(6)))


# Scoring --------------------------------------------------------------------------------


@pytest.fixture
def scored():
    """Return labels, tied decision values, and the truth and anomaly scores they mean."""
    rng = np.random.default_rng(1)
    y = labels_of(30, 200, 70)
    decision = np.round(rng.normal(size=y.size) + 0.8 * y, 1)
    labeled = y != 0
    return y, decision, (y < 0)[labeled], -decision[labeled]


def test_metrics_equal_scikit_learns_on_the_labeled_rows(scored):
    """They are scikit-learn's, with the anomaly as the positive class."""
    y, decision, is_anomaly, anomaly_score = scored
    auc = labeled_roc_auc_score(y, decision)
    assert type(auc) is float
    assert auc == roc_auc_score(is_anomaly, anomaly_score)
    assert 0.6 < auc < 1.0
    assert labeled_average_precision_score(y, decision) == average_precision_score(
        is_anomaly, anomaly_score
    )
    assert labeled_partial_roc_auc_score(y, decision) == roc_auc_score(
        is_anomaly, anomaly_score, max_fpr=0.1
    )
    for max_fpr in (0.01, 0.3, 1.0):
        assert labeled_partial_roc_auc_score(y, decision, max_fpr=max_fpr) == roc_auc_score(
            is_anomaly, anomaly_score, max_fpr=max_fpr
        )
    y_pred = np.where(decision < 0, -1, 1)
    assert labeled_balanced_accuracy_score(y, y_pred) == balanced_accuracy_score(
        is_anomaly, anomaly_score > 0
    )


def test_roc_auc_is_the_share_of_ordered_pairs(scored):
    """The docstring's formula, by brute force."""
    y, decision, _, _ = scored
    pairs = decision[y < 0][:, None] - decision[y > 0]
    assert_allclose(
        labeled_roc_auc_score(y, decision), np.mean(pairs < 0) + 0.5 * np.mean(pairs == 0)
    )


def test_partial_roc_auc_by_hand():
    """The docstring's formula on a curve with one step."""
    # 10 normals; one anomaly below all of them, one above two. Up to a false-alarm rate of
    # 0.2 the recall is 1/2, so that A = 0.1 between 0.02 (random) and 0.2 (perfect).
    y = [1] * 10 + [-1, -1]
    decision = [*range(10), -1, 1.5]
    expected = 0.5 * (1 + (0.1 - 0.02) / (0.2 - 0.02))
    assert_allclose(labeled_partial_roc_auc_score(y, decision, max_fpr=0.2), expected)


def test_anomalies_are_the_positive_class():
    """A rare anomaly ranked first is perfect, ranked last the worst."""
    y = [-1, 1, 1, 1]
    assert labeled_average_precision_score(y, [-1, 0, 0, 0]) == 1.0
    assert labeled_average_precision_score(y, [1, 0, 0, 0]) == 0.25
    for metric in DECISION_METRICS:
        assert metric(y, [-1, 0, 0, 0]) > metric(y, [1, 0, 0, 0])


@pytest.mark.parametrize("metric", DECISION_METRICS)
def test_unlabeled_rows_do_not_move_the_score(metric, scored):
    """Neither their values nor their presence count."""
    y, decision, _, _ = scored
    moved = np.where(y == 0, 100.0, decision)
    assert metric(y, moved) == metric(y, decision) == metric(y[y != 0], decision[y != 0])
    assert metric(y * 3, decision) == metric(y, decision)


@pytest.mark.parametrize("metric", [*DECISION_METRICS, labeled_balanced_accuracy_score])
def test_unlabeled_rows_stand_in_if_no_normal_is_labeled(metric):
    """Then they count as if they were labeled normal."""
    rng = np.random.default_rng(2)
    y = labels_of(20, 50, 0)
    values = np.where(rng.normal(size=70) + y < 0, -1, 1)
    assert metric(y, values) == metric(np.where(y == 0, 1, y), values)
    assert metric(y, values) != 0.5


def test_bias_of_standing_in():
    """Hidden anomalies pull the score towards 1/2 as the docstrings say."""
    rng = np.random.default_rng(3)
    n, hidden = 2000, 0.2
    truth = np.r_[-np.ones(n), np.where(np.arange(5 * n) < 5 * n * hidden, -1, 1)].astype(int)
    decision = rng.normal(size=truth.size) + 1.0 * truth
    labels = np.r_[-np.ones(n), np.zeros(5 * n)].astype(int)
    expected = (1 - hidden) * labeled_roc_auc_score(truth, decision) + hidden / 2
    assert_allclose(labeled_roc_auc_score(labels, decision), expected, atol=0.01)
    y_pred = np.where(decision < 0, -1, 1)
    expected = (1 - hidden) * labeled_balanced_accuracy_score(truth, y_pred) + hidden / 2
    assert_allclose(labeled_balanced_accuracy_score(labels, y_pred), expected, atol=0.01)


def test_prevalence_equals_repeating_the_normals():
    """Weights do what more normals of the same kind would do."""
    y = np.array([-1, -1, -1, 1, 1, 1, 1, 0])
    decision = np.array([-3.0, -1.0, 2.0, -2.0, 0.0, 1.0, 3.0, 0.0])
    n_times = 6
    repeated = np.r_[y, np.tile(y[y > 0], n_times - 1)]
    values = np.r_[decision, np.tile(decision[y > 0], n_times - 1)]
    expected = labeled_average_precision_score(repeated, values)
    result = labeled_average_precision_score(y, decision, prevalence=3 / (3 + 4 * n_times))
    assert_allclose(result, expected)
    assert result < labeled_average_precision_score(y, decision)
    for prevalence in (0, 1, 1.5, "0.1", np.nan):
        with pytest.raises(ValueError, match="prevalence"):
            labeled_average_precision_score(y, decision, prevalence=prevalence)


@pytest.mark.parametrize("metric", [*DECISION_METRICS, labeled_balanced_accuracy_score])
@pytest.mark.parametrize("y", [[1, 1, 0], [0, 0, 0], [-1, -1, -1]])
def test_a_missing_side_is_an_error_that_counts_the_labels(metric, y):
    """An undefined score is an error, not NaN."""
    counts = f"{y.count(-1)} anomalies, {y.count(1)} normals and {y.count(0)} unlabeled"
    with pytest.raises(ValueError, match=f"{counts}.*LabeledStratifiedKFold"):
        metric(y, [1, -1, 1])


@pytest.mark.parametrize("metric", [*DECISION_METRICS, labeled_balanced_accuracy_score])
def test_metrics_refuse_other_lengths_and_nan(metric):
    """One finite value for each label."""
    with pytest.raises(ValueError, match="each of the 2 rows"):
        metric([1, -1, 0], [1, -1])
    with pytest.raises(ValueError):
        metric([1, -1, 0], [1, np.nan, 0])


def test_balanced_accuracy_refuses_other_predictions():
    """0/1 predictions or decision values would be misread."""
    with pytest.raises(ValueError, match=r"\+1 \(inlier\) and -1 \(outlier\).*predict"):
        labeled_balanced_accuracy_score([1, -1, -1], [0, 1, 1])


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.1])
def test_partial_roc_auc_refuses_bad_rates(max_fpr):
    """A rate is above 0 and at most 1."""
    with pytest.raises(ValueError, match="max_fpr"):
        labeled_partial_roc_auc_score([1, 1, -1], [1, 2, 0], max_fpr=max_fpr)


def test_scorers_equal_their_metrics_and_pickle(data):
    """A scorer is its metric on the right output of the detector."""
    X, y = data
    detector = CenterDetector().fit(X, y)
    decision, y_pred = detector.decision_function(X), detector.predict(X)
    expected = (
        labeled_roc_auc_score(y, decision),
        labeled_partial_roc_auc_score(y, decision),
        labeled_average_precision_score(y, decision),
        labeled_balanced_accuracy_score(y, y_pred),
    )
    assert len(set(expected)) == 4
    for scorer, value in zip(SCORERS, expected, strict=True):
        assert scorer(detector, X, y) == value
        assert pickle.loads(pickle.dumps(scorer))(detector, X, y) == value
        assert "labeled_" in repr(scorer)
    strict = make_scorer(
        labeled_partial_roc_auc_score, response_method="decision_function", max_fpr=0.5
    )
    assert strict(detector, X, y) == labeled_partial_roc_auc_score(y, decision, max_fpr=0.5)


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=5, random_state=0),
        OneClassSVM(),
        LocalOutlierFactor(novelty=True),
        make_pipeline(StandardScaler(), OneClassSVM()),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_scorers_work_on_scikit_learns_detectors(detector, data):
    """Other detectors can be scored in the same way, in pipelines too."""
    X, y = data
    detector = detector.fit(X)
    decision = detector.decision_function(X)[y != 0]
    expected = roc_auc_score(y[y != 0] < 0, -decision)
    assert labeled_roc_auc(detector, X, y) == expected


# Searches -------------------------------------------------------------------------------


def scores_by_hand(detector, X, y, cv):
    """Return the ROC AUC of the labeled rows of each test fold."""
    scores = []
    for train, test in cv.split(X, y):
        decision = clone(detector).fit(X[train], y[train]).decision_function(X[test])
        labeled = y[test] != 0
        scores.append(roc_auc_score(y[test][labeled] < 0, -decision[labeled]))
    return scores


@pytest.mark.parametrize("mode", MODES)
def test_cross_validate_passes_labels_on_untouched(mode, data):
    """Each fit sees the labels of its training rows; each score is the one by hand."""
    X, y = data
    cv = LabeledStratifiedKFold(5, unlabeled=mode, shuffle=True, random_state=0)
    detector = CenterDetector(repulsion=0.5)
    scoring = {"auc": labeled_roc_auc, "ap": labeled_average_precision}
    result = cross_validate(
        detector, X, y, cv=cv, scoring=scoring, return_estimator=True, error_score="raise"
    )
    for fitted, (train, _) in zip(result["estimator"], cv.split(X, y), strict=True):
        assert_array_equal(fitted.y_seen_, y[train])
        assert set(fitted.y_seen_) == ({-1, 1} if mode == "drop" else {-1, 0, 1})
    assert_allclose(result["test_auc"], scores_by_hand(detector, X, y, cv), rtol=1e-12)
    assert np.isfinite(result["test_ap"]).all()


def test_grid_search_scores_by_hand_and_in_processes(data):
    """The same scores and choice in one process and in two."""
    X, y = data
    cv = LabeledStratifiedKFold(5)
    repulsions = [-2.0, 0.0, 0.5]
    searches = [
        GridSearchCV(
            CenterDetector(),
            {"repulsion": repulsions},
            cv=cv,
            scoring=labeled_roc_auc,
            error_score="raise",
            n_jobs=n_jobs,
        ).fit(X, y)
        for n_jobs in (1, 2)
    ]
    for search in searches:
        assert_array_equal(search.best_estimator_.y_seen_, y)
        for i, repulsion in enumerate(repulsions):
            expected = scores_by_hand(CenterDetector(repulsion), X, y, cv)
            splits = [search.cv_results_[f"split{k}_test_score"][i] for k in range(5)]
            assert_allclose(splits, expected, rtol=1e-12)
        assert search.best_params_ == {"repulsion": 0.5}


@pytest.mark.parametrize(
    "search",
    [
        lambda **kwargs: RandomizedSearchCV(
            CenterDetector(), {"repulsion": [-2.0, 0.0, 0.5]}, n_iter=2, random_state=0, **kwargs
        ),
        lambda **kwargs: HalvingGridSearchCV(
            CenterDetector(),
            {"repulsion": [-2.0, 0.0, 0.5]},
            resource="n_steps",
            max_resources=9,
            random_state=0,
            **kwargs,
        ),
        lambda **kwargs: HalvingGridSearchCV(
            CenterDetector(),
            {"repulsion": [-2.0, 0.0, 0.5]},
            min_resources=100,
            factor=1.1,
            random_state=0,
            **kwargs,
        ),
    ],
    ids=["randomized", "halving", "halving by rows"],
)
@pytest.mark.parametrize("mode", MODES)
def test_other_searches(search, mode, data):
    """Random and halving searches run on the splitter and keep the labels."""
    X, y = data
    cv = LabeledStratifiedKFold(2, unlabeled=mode, shuffle=True, random_state=0)
    fitted = search(cv=cv, scoring=labeled_roc_auc, error_score="raise").fit(X, y)
    assert np.isfinite(fitted.cv_results_["mean_test_score"]).all()
    assert fitted.best_params_["repulsion"] >= 0.0
    assert_array_equal(fitted.best_estimator_.y_seen_, y)


def test_halving_asks_for_constant_folds(data):
    """scikit-learn recognizes that unseeded shuffling changes the folds."""
    X, y = data
    search = HalvingGridSearchCV(
        CenterDetector(),
        {"repulsion": [0.0, 0.5]},
        cv=LabeledStratifiedKFold(2, shuffle=True),
        scoring=labeled_roc_auc,
    )
    with pytest.raises(ValueError, match="consistent folds"):
        search.fit(X, y)


def test_learning_curve(data):
    """Shuffled parts of the training sets; the whole sets score as by hand."""
    X, y = data
    sizes, train_scores, test_scores = learning_curve(
        CenterDetector(repulsion=0.5),
        X,
        y,
        cv=LabeledStratifiedKFold(5),
        scoring=labeled_roc_auc,
        train_sizes=[0.5, 1.0],
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert_array_equal(sizes, [57, 114])  # of 90 unlabeled, 16 normals and 8 anomalies
    assert train_scores.shape == test_scores.shape == (2, 5)
    cv = LabeledStratifiedKFold(5)
    expected = scores_by_hand(CenterDetector(repulsion=0.5), X, y, cv)
    assert_allclose(test_scores[1], expected, rtol=1e-12)


def test_grid_search_without_normals(data):
    """Unlabeled rows stand in, and the better candidate is still found."""
    X, y = data
    y = np.where(y > 0, 0, y)
    search = GridSearchCV(
        CenterDetector(),
        {"repulsion": [-2.0, 0.5]},
        cv=LabeledStratifiedKFold(5, unlabeled="split"),
        scoring=labeled_roc_auc,
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_ == {"repulsion": 0.5}


def test_a_fold_without_anomalies_is_loud(data):
    """An error if asked for, else NaN with a warning that says why."""
    X, y = data
    order = np.argsort(y)
    detector = CenterDetector()
    with pytest.raises(ValueError, match="0 anomalies"):
        cross_validate(
            detector, X[order], y[order], cv=KFold(5), scoring=labeled_roc_auc,
            error_score="raise",
        )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = cross_validate(
            detector, X[order][::-1], y[order][::-1], cv=KFold(5), scoring=labeled_roc_auc
        )
    assert np.isnan(result["test_score"]).any()
    assert any("0 anomalies" in str(warning.message) for warning in caught)
    assert not any(isinstance(warning.message, FitFailedWarning) for warning in caught)


def test_metadata_routing(data):
    """The splitter takes part in scikit-learn's routing."""
    X, y = data
    cv = LabeledStratifiedKFold(5)
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            CenterDetector(), {"repulsion": [0.0]}, cv=cv, scoring=labeled_roc_auc
        ).fit(X, y)
    expected = scores_by_hand(CenterDetector(), X, y, cv)
    assert_allclose(search.best_score_, np.mean(expected), rtol=1e-12)


# Out-of-fold scores ---------------------------------------------------------------------


def out_of_fold(detector, X, y, splits):
    """Return the out-of-fold anomaly scores of a partition by a plain loop."""
    scores = np.full(len(X), np.nan)
    for train, test in splits:
        scores[test] = -clone(detector).fit(X[train], y[train]).score_samples(X[test])
    return scores


@pytest.mark.parametrize("cv", [None, 5, np.int64(4)])
def test_out_of_fold_scores_equal_a_loop(cv, data):
    """The default folds are those of the splitter."""
    X, y = data
    detector = CenterDetector(repulsion=0.5)
    scores = cross_val_anomaly_scores(detector, X, y, cv=cv)
    splits = LabeledStratifiedKFold(cv or 5, unlabeled="split").split(X, y)
    assert_array_equal(scores, out_of_fold(detector, X, y, splits))
    assert scores.dtype == np.float64
    assert not hasattr(detector, "center_")  # only clones were fitted
    assert scores[y < 0].mean() > scores[y > 0].mean()


def test_out_of_fold_scores_see_the_labels(data):
    """Labels reach fit as they are, from splitters and lists of folds alike."""
    X, y = data
    detector = CenterDetector(repulsion=0.5)
    with_labels = cross_val_anomaly_scores(detector, X, y, cv=KFold(5))
    without = cross_val_anomaly_scores(detector, X, cv=KFold(5))
    assert np.all(with_labels != without)
    splits = list(KFold(5).split(X))
    assert_array_equal(with_labels, out_of_fold(detector, X, y, splits))
    assert_array_equal(cross_val_anomaly_scores(detector, X, y, cv=splits), with_labels)
    assert_array_equal(cross_val_anomaly_scores(detector, X, 5 * y, cv=splits), with_labels)


def test_out_of_fold_scores_in_processes(data):
    """The same scores from one process and from two."""
    X, y = data
    detector = make_pipeline(StandardScaler(), CenterDetector(repulsion=0.5))
    one, two = (cross_val_anomaly_scores(detector, X, y, n_jobs=n) for n in (1, 2))
    assert_array_equal(one, two)
    splits = LabeledStratifiedKFold(unlabeled="split").split(X, y)
    assert_array_equal(one, out_of_fold(detector, X, y, splits))


def test_out_of_fold_scores_of_other_containers(data):
    """Lists, frames and sparse matrices give an array's scores."""
    pd = pytest.importorskip("pandas")
    X, y = data
    detector = CenterDetector()
    expected = cross_val_anomaly_scores(detector, X, y)
    index = [f"row {i}" for i in range(len(X))]
    frame = pd.DataFrame(X, index=index, columns=["a", "b"])
    scores = cross_val_anomaly_scores(detector, frame, pd.Series(y, index=index))
    assert type(scores) is np.ndarray
    assert_array_equal(scores, expected)
    assert_array_equal(cross_val_anomaly_scores(detector, X.tolist(), y.tolist()), expected)
    forest = IsolationForest(n_estimators=5, random_state=0)
    assert_array_equal(
        cross_val_anomaly_scores(forest, csr_matrix(X), y),
        cross_val_anomaly_scores(forest, X, y),
    )


def test_out_of_fold_scores_of_images():
    """Rows may have any shape."""

    class BrightnessDetector(CenterDetector):
        """The same, on the mean of each image."""

        def fit(self, X, y=None):
            assert X.shape[1:] == (1, 3, 3)
            return super().fit(X.mean(axis=(1, 2, 3))[:, None], y)

        def score_samples(self, X):
            return super().score_samples(X.reshape(len(X), -1).mean(axis=1)[:, None])

    images = np.random.default_rng(0).normal(size=(12, 1, 3, 3))
    images[7] += 10
    assert cross_val_anomaly_scores(BrightnessDetector(), images, cv=3).argmax() == 7


@pytest.mark.parametrize(
    "y",
    [
        None,
        np.zeros(12, int),
        np.r_[-1, np.zeros(11, int)],
        np.r_[-1, -1, 1, 1, np.zeros(8, int)],
    ],
    ids=["no y", "unlabeled", "one anomaly", "two and two"],
)
def test_out_of_fold_scores_need_no_labels(y):
    """Each row is scored, however few labels there are for the folds."""
    X = np.random.default_rng(0).normal(size=(12, 2))
    for cv in (2, 5, 12):
        assert np.isfinite(cross_val_anomaly_scores(CenterDetector(), X, y, cv=cv)).all()


def test_rows_in_no_test_fold_get_nan(data):
    """Rows that are always trained on have no out-of-fold score."""
    X, y = data
    detector = CenterDetector(repulsion=0.5)
    cv = LabeledStratifiedKFold(5)
    scores = cross_val_anomaly_scores(detector, X, y, cv=cv)
    assert_array_equal(np.isnan(scores), y == 0)
    assert_array_equal(scores, out_of_fold(detector, X, y, cv.split(X, y)))


def test_rows_in_several_test_folds_get_the_mean(data):
    """Repeated folds are averaged."""
    X, y = data
    detector = CenterDetector(repulsion=0.5)
    cv = RepeatedKFold(n_splits=4, n_repeats=3, random_state=0)
    splits = list(cv.split(X))
    rounds = [out_of_fold(detector, X, y, splits[4 * i : 4 * i + 4]) for i in range(3)]
    scores = cross_val_anomaly_scores(detector, X, y, cv=cv)
    assert_allclose(scores, np.mean(rounds, axis=0), rtol=1e-12)
    held_out = ShuffleSplit(n_splits=2, test_size=0.2, random_state=0)
    tested = np.concatenate([test for _, test in held_out.split(X)])
    scores = cross_val_anomaly_scores(detector, X, y, cv=held_out)
    assert_array_equal(np.flatnonzero(~np.isnan(scores)), np.unique(tested))


def test_rank_scale(data):
    """Ranks are taken within each test fold, and ties share theirs."""
    X, y = data
    detector = CenterDetector(repulsion=0.5)
    raw = cross_val_anomaly_scores(detector, X, y)
    ranks = cross_val_anomaly_scores(detector, X, y, scale="rank")
    for _, test in LabeledStratifiedKFold(5, unlabeled="split").split(X, y):
        assert_allclose(ranks[test], (rankdata(raw[test]) - 0.5) / len(test), rtol=1e-12)
    constant = cross_val_anomaly_scores(detector, np.ones((10, 1)), cv=5, scale="rank")
    assert_allclose(constant, 0.5)


def test_groups_stay_together(data):
    """Groups reach the splitter."""
    X, y = data
    groups = np.arange(len(X)) % 6
    scores = cross_val_anomaly_scores(CenterDetector(), X, y, groups=groups, cv=GroupKFold(3))
    splits = GroupKFold(3).split(X, y, groups)
    assert_array_equal(scores, out_of_fold(CenterDetector(), X, y, splits))


def test_out_of_fold_scores_refuse_bad_input(data):
    """Each message says what to change."""
    X, y = data
    detector = CenterDetector()
    with pytest.raises(TypeError, match="score_samples.*LocalOutlierFactor"):
        cross_val_anomaly_scores(LocalOutlierFactor(), X, y)
    with pytest.raises(ValueError, match="'scale'.*'raw', 'rank'. Got 'z'"):
        cross_val_anomaly_scores(detector, X, y, scale="z")
    for cv in (1, 0, True):
        with pytest.raises(ValueError, match="'cv'.*at least 2"):
            cross_val_anomaly_scores(detector, X, y, cv=cv)
    with pytest.raises(ValueError, match="cv=200.*Got 120"):
        cross_val_anomaly_scores(detector, X, y, cv=200)
    with pytest.raises(ValueError, match=r"groups.*GroupKFold\(5\)"):
        cross_val_anomaly_scores(detector, X, y, groups=np.arange(120))
    with pytest.raises(ValueError, match="inconsistent"):
        cross_val_anomaly_scores(detector, X, y[:-1])
    with pytest.raises(ValueError, match="needs y"):
        cross_val_anomaly_scores(detector, X, cv=LabeledStratifiedKFold(2))
