"""Searches that train their candidates together find what scikit-learn's searches find."""

import copy
import pickle
import re
import time

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import WithDropout, quick, table
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from test_callbacks import Spy, needs_callbacks

from skdeepad import Compute, DeepSAD, engine
from skdeepad.engine.single import Single
from skdeepad.engine.stack import Stack
from skdeepad.model_selection import (
    LabeledStratifiedKFold,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    labeled_roc_auc,
)
from skdeepad.networks import MLP

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:One or more of the (train|test) scores are non-finite"),
]

ORDER = np.random.default_rng(0).permutation(64)
X, Y = (part[ORDER] for part in table(64))
X_NEW = np.random.default_rng(1).normal(size=(20, 4))
FRAME = pd.DataFrame(X, columns=list("abcd"), index=ORDER)
IMAGES = np.random.default_rng(2).normal(size=(64, 1, 8, 8))
GROUPS = np.arange(64) % 8

FOLDS = LabeledStratifiedKFold(2, unlabeled="split")
LABELED_FOLDS = LabeledStratifiedKFold(2, unlabeled="drop")
SPLITS = list(FOLDS.split(X, Y))

SAD = quick("DeepSAD", n_branches=1, batch_size=16, pretrain=True)  # two stages
FOREST = IsolationForest(n_estimators=5, random_state=0)
RATES = {"lr": [1e-3, 3e-2]}
SHARES = {"max_samples": [0.3, 0.9]}
PIPELINE = Pipeline(
    [("scale", StandardScaler()), ("reduce", SelectKBest(k=3)), ("detect", clone(SAD))]
)
SEARCHES = {
    "grid": (StackedGridSearchCV, GridSearchCV),
    "randomized": (StackedRandomizedSearchCV, RandomizedSearchCV),
}
# Times are each search's own; these must be the same.
FOUND = [
    "best_index_",
    "best_params_",
    "feature_names_in_",
    "multimetric_",
    "n_splits_",
    "scorer_",
]


def margin(detector, X, y):
    """How far labeled normals lie above labeled anomalies: unlike an AUC, never the same twice."""
    decision = detector.decision_function(X)
    return decision[np.asarray(y) > 0].mean() - decision[np.asarray(y) < 0].mean()


def height(detector, X, y=None):
    """A score that needs no labels."""
    return detector.score_samples(X).mean()


def margin_and_height(detector, X, y):
    return {"margin": margin(detector, X, y), "height": height(detector, X)}


def worst(results):
    return int(np.argmin(results["mean_test_score"]))


def fitted(search, estimator=SAD, space=RATES, *, X=X, y=Y, cv=FOLDS, given=None, **options):
    """Return a search of a kind, fitted; what fit gets beside X and y is ``given``."""
    options = {"scoring": margin, "return_train_score": True, **options}
    return search(estimator, space, cv=cv, **options).fit(X, y, **(given or {}))


def compared(setting, kind="grid", rtol=1e-4, **ours):
    """Fit our search, with options of its own, and scikit-learn's; both must find the same.

    ``setting`` is called for each of them: some of what it gives can be used but once.
    """
    both = []
    for search, options in zip(SEARCHES[kind], (ours, {}), strict=True):
        given = setting()
        X_new = given.pop("X_new", X_NEW)
        both.append(fitted(search, **given, **options))
    assert_same(*both, X_new, rtol)
    return both


def assert_same(stacked, plain, X_new=X_NEW, rtol=1e-4):
    """Assert that a search has found what another one has, but for rounding."""
    assert [*stacked.cv_results_] == [*plain.cv_results_]
    for key, values in plain.cv_results_.items():
        actual = stacked.cv_results_[key]
        if key.startswith("param"):
            assert repr(actual) == repr(values)
        elif not key.endswith("_time"):
            assert_allclose(actual, values, rtol=rtol, atol=rtol, err_msg=key)
    assert attributes(stacked) == attributes(plain)
    for key in FOUND:
        assert shown(getattr(stacked, key, None)) == shown(getattr(plain, key, None)), key
    if hasattr(plain, "best_score_"):
        assert_allclose(stacked.best_score_, plain.best_score_, rtol=rtol)
    if hasattr(plain, "best_estimator_"):
        assert_same_best(stacked.best_estimator_, plain.best_estimator_, X_new)


def shown(value):
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))  # objects without a repr of their own


def assert_same_best(ours, theirs, X_new):
    """Assert that two refitted candidates, which no stack has trained, are the same."""
    assert type(ours) is type(theirs)
    assert repr(ours) == repr(theirs)
    assert attributes(ours) == attributes(theirs)
    assert_array_equal(ours.score_samples(X_new), theirs.score_samples(X_new))


def assert_unlike(search):
    """Assert that each candidate has a score of its own on each fold: a mix-up would show."""
    results = search.cv_results_
    for part in ("train", "test"):
        scores = [results[f"split{fold}_{part}_score"] for fold in range(search.n_splits_)]
        scores = np.sort(np.ravel(scores))
        assert (np.diff(scores) > 1e-3 * np.abs(scores[1:])).all()


def attributes(estimator):
    return {key for key in vars(estimator) if key.endswith("_")}


@pytest.fixture
def sizes(monkeypatch):
    """Collect the numbers of members of all that is trained; 1 is a model by itself."""
    numbers = []
    for kind in (Single, Stack):

        def note(model, members, init=kind.__init__):
            numbers.append(len(members))
            init(model, members)

        monkeypatch.setattr(kind, "__init__", note)
    return numbers


# They find what scikit-learn's find

POWERS = [lambda X: X, lambda X: X**3]

SETTINGS = {
    "two parameters": lambda: {"space": {"lr": [1e-3, 3e-2], "eta": [0.3, 3.0]}},
    "several grids": lambda: {
        "space": [RATES, {"eta": [3.0], "hidden_layer_sizes": [(6, 3), (8, 4)]}]
    },
    "a pipeline": lambda: {"estimator": PIPELINE, "space": {"detect__lr": [1e-3, 3e-2]}},
    "transformers": lambda: {
        "estimator": PIPELINE,
        "space": {
            "scale": [StandardScaler(), "passthrough"],
            "reduce__k": [2, 3],
            "detect__lr": [1e-3, 3e-2],
        },
    },
    "a transformer or none": lambda: {
        "estimator": PIPELINE,
        "space": {"reduce": [PCA(2), SelectKBest(k=2), "passthrough"]},
    },
    "transformers that cannot be hashed": lambda: {
        "estimator": make_pipeline(FunctionTransformer(), SAD),
        "space": {
            "functiontransformer__func": POWERS,
            "deepsad__lr": [1e-3, 3e-2],
        },
    },
    "detectors": lambda: {
        "estimator": PIPELINE,
        "space": {
            "detect": [SAD, quick("HSC"), quick("AutoEncoder"), quick("SSAD"), FOREST],
            "reduce__k": [2, 4],
        },
    },
    "a pipeline of a detector": lambda: {
        "estimator": Pipeline([("detect", SAD)]),
        "space": {"detect__lr": [1e-3, 3e-2]},
    },
    "a network of the package": lambda: {
        "estimator": clone(SAD).set_params(network=MLP, pretrain=False)
    },
    "images": lambda: {"X": IMAGES, "X_new": IMAGES[:5] + 1},
    "a frame": lambda: {"X": FRAME, "y": pd.Series(Y, index=ORDER), "X_new": FRAME[:9]},
    "a frame in a pipeline": lambda: {
        "estimator": PIPELINE,
        "space": {"detect__lr": [1e-3, 3e-2]},
        "X": FRAME,
        "X_new": FRAME[:9],
    },
    "lists": lambda: {"X": X.tolist(), "y": Y.tolist()},
    "no labels": lambda: {"y": None, "scoring": height, "cv": KFold(2)},
    "no labels in a pipeline": lambda: {
        "estimator": make_pipeline(StandardScaler(), SAD),
        "space": {"deepsad__lr": [1e-3, 3e-2]},
        "y": None,
        "scoring": height,
        "cv": KFold(2),
    },
    "groups": lambda: {"cv": GroupKFold(2), "given": {"groups": GROUPS}},
    "a number of folds": lambda: {"cv": 3},
    "unlabeled rows in all folds": lambda: {"cv": LabeledStratifiedKFold(2)},
    "folds that can be read once": lambda: {"cv": (split for split in SPLITS)},
    "folds that can be drawn once": lambda: {
        "cv": LabeledStratifiedKFold(2, shuffle=True, random_state=np.random.RandomState(0))
    },
    "a test fold": lambda: {"cv": SPLITS[1:]},
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_grid_search_finds_what_scikit_learns_finds(setting, sizes):
    _, plain = compared(setting)
    assert max(sizes) > 1
    assert_unlike(plain)


DRAWN = {
    "distributions": lambda: {
        "space": {"lr": loguniform(1e-3, 1e-1), "eta": loguniform(0.1, 10)},
        "random_state": 3,
    },
    "several spaces": lambda: {
        "space": [{"lr": loguniform(1e-3, 1e-1)}, {"eta": loguniform(0.1, 10)}],
        "random_state": 0,
    },
    "a generator": lambda: {
        "space": {"lr": loguniform(1e-3, 1e-1)},
        "random_state": np.random.RandomState(0),
    },
    "a pipeline": lambda: {
        "estimator": PIPELINE,
        "space": {"detect__lr": loguniform(1e-3, 1e-1), "reduce__k": [2, 3, 4]},
        "random_state": 0,
    },
}


@pytest.mark.parametrize("setting", DRAWN.values(), ids=DRAWN)
def test_randomized_search_finds_what_scikit_learns_finds(setting, sizes):
    _, plain = compared(lambda: {"n_iter": 4, **setting()}, "randomized")
    assert max(sizes) > 1
    assert_unlike(plain)


SCORINGS = {
    "the detector's own": {"scoring": None},
    "a name": {"scoring": "roc_auc", "cv": LABELED_FOLDS},
    "names": {
        "scoring": ["roc_auc", "average_precision"],
        "refit": "average_precision",
        "cv": LABELED_FOLDS,
    },
    "a dict": {"scoring": {"auc": labeled_roc_auc, "margin": margin}, "refit": "margin"},
    "a function of several": {"scoring": margin_and_height, "refit": "height"},
    "a choice of your own": {"refit": worst},
    "no refit": {"refit": False},
    "several and no refit": {"scoring": margin_and_height, "refit": False},
    "test scores only": {"return_train_score": False},
}


@pytest.mark.parametrize("options", SCORINGS.values(), ids=SCORINGS)
def test_scores_and_refits_are_those_of_scikit_learn(options, sizes):
    _, plain = compared(lambda: dict(options))
    assert max(sizes) > 1
    assert hasattr(plain, "best_estimator_") == (options.get("refit") is not False)


CONTAINERS = {
    "list": lambda rows: rows.tolist(),
    "index of pandas": pd.Index,
    "few bits": lambda rows: rows.astype(np.uint8),
    "many bits": lambda rows: rows.astype(np.uint64),
    "counted from the end": lambda rows: rows - 64,
    "backwards": lambda rows: rows[::-1],
    "mask": lambda rows: np.isin(np.arange(64), rows),
    "list of booleans": lambda rows: np.isin(np.arange(64), rows).tolist(),
    "some twice": lambda rows: np.r_[rows, rows[:7]],
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_folds_may_be_given_in_any_way(container):
    cv = [(container(train), test) for train, test in SPLITS]
    _, plain = compared(lambda: {"cv": cv, "refit": False})
    assert_unlike(plain)


class Noted(LabeledStratifiedKFold):
    """Notes the folds it draws."""

    def split(self, X, y=None, groups=None):
        self.drawn = [*getattr(self, "drawn", []), *super().split(X, y, groups)]
        return iter(self.drawn)


def test_folds_are_drawn_once():
    """Models are judged on the rows that they have not been trained on."""
    cv = Noted(2, unlabeled="split", shuffle=True)
    results = fitted(StackedGridSearchCV, cv=cv).cv_results_
    assert len(cv.drawn) == 2
    for candidate, parameters in enumerate(ParameterGrid(RATES)):
        for fold, (train, test) in enumerate(cv.drawn):
            own = clone(SAD).set_params(**parameters).fit(X[train], Y[train])
            for part, rows in (("train", train), ("test", test)):
                score = results[f"split{fold}_{part}_score"][candidate]
                assert_allclose(score, margin(own, X[rows], Y[rows]), rtol=1e-4)


def test_rows_in_no_fold_do_not_matter():
    spoiled = np.where(Y[:, None] == 0, np.nan, X)
    _, plain = compared(lambda: {"X": spoiled, "cv": LABELED_FOLDS, "refit": False})
    assert_unlike(plain)


def test_groups_are_routed():
    with config_context(enable_metadata_routing=True):
        compared(SETTINGS["groups"])


class Negating(DeepSAD):
    """A detector with a fit of its own."""

    def fit(self, X, y=None):
        return super().fit(X, -y)


class NegatingPipeline(Pipeline):
    """The same for a pipeline."""

    def fit(self, X, y=None):
        return super().fit(X, -y)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (Negating(**SAD.get_params(deep=False)), "lr"),
        (Pipeline([("detect", Negating(**SAD.get_params(deep=False)))]), "detect__lr"),
        (NegatingPipeline(PIPELINE.steps), "detect__lr"),
    ],
    ids=["detector", "last step", "pipeline"],
)
def test_a_fit_of_your_own_is_not_left_out(estimator, name):
    compared(lambda: {"estimator": estimator, "space": {name: [1e-3, 3e-2]}})


# They do it in stacks


@pytest.mark.parametrize(
    ("estimator", "space", "expected"),
    [
        (SAD, {"lr": [1e-3, 1e-2, 3e-2]}, [6, 6]),  # pretraining and training
        (PIPELINE, {"detect__lr": [1e-3, 1e-2, 3e-2]}, [6, 6]),
        (PIPELINE, {"reduce__k": [2, 3], "detect__eta": [0.5, 1.0, 2.0]}, [6, 6, 6, 6]),
        (SAD, {"n_epochs": [1, 2, 3]}, [6, 2, 2, 2]),
        (PIPELINE, {"detect": [SAD, quick("HSC"), quick("SSAD")]}, [2, 2, 2]),
    ],
    ids=["detector", "pipeline", "numbers of features", "numbers of epochs", "detectors"],
)
def test_models_that_are_alike_are_trained_as_one(estimator, space, expected, sizes):
    fitted(StackedGridSearchCV, estimator, space, refit=False)
    assert sizes == expected


def test_stacks_are_no_larger_than_max_models_and_scores_are_the_same(sizes):
    searches = []
    for max_models, expected in ((None, [4]), (3, [2, 2]), (1, [1] * 4)):
        sizes.clear()
        searches.append(fitted(StackedGridSearchCV, refit=False, max_models=max_models))
        assert sizes == expected * 2
    for search in searches[1:]:
        assert_same(search, searches[0])


class Counted(StandardScaler):
    """Notes what it is fitted to."""

    seen = []

    def fit(self, X, y=None, sample_weight=None):
        self.seen.append(X.copy())
        return super().fit(X, y, sample_weight)


def test_transformers_are_fitted_once_a_fold_for_candidates_that_share_them(monkeypatch):
    monkeypatch.setattr(Counted, "seen", [])
    space = {"deepsad__lr": [1e-3, 1e-2, 3e-2], "counted__with_mean": [True, False]}
    pipeline = make_pipeline(Counted(), SAD)
    stacked = fitted(StackedGridSearchCV, pipeline, space, refit=False)
    assert len(Counted.seen) == 4
    for train, _ in SPLITS:
        assert sum(np.array_equal(X[train], seen) for seen in Counted.seen) == 2
    plain = fitted(GridSearchCV, pipeline, space, refit=False)
    assert len(Counted.seen) == 4 + 12
    assert_same(stacked, plain)
    assert_unlike(plain)


# What cannot be stacked

ONE_BY_ONE = {
    "compiled": (
        "compile=True",
        lambda: {"estimator": clone(SAD).set_params(compute=Compute(compile=True))},
    ),
    "a network": (
        "network is code",
        lambda: {"estimator": clone(SAD).set_params(network=WithDropout, pretrain=False)},
    ),
    "a part that is deep": (
        "no deep detector",
        lambda: {"estimator": quick("HybridDetector"), "space": {"autoencoder__lr": [1e-3, 1e-2]}},
    ),
    "not deep": (
        "no deep detector",
        lambda: {"estimator": quick("SSAD"), "space": {"kappa": [0.5, 2.0]}},
    ),
    "of scikit-learn": ("no deep detector", lambda: {"estimator": FOREST, "space": SHARES}),
    "a pipeline": (
        "no deep detector",
        lambda: {
            "estimator": make_pipeline(StandardScaler(), quick("SSAD")),
            "space": {"ssad__kappa": [0.5, 2.0]},
        },
    ),
    "masks": (
        "fit was given masks",
        lambda: {
            "estimator": quick("FCDD"),
            "space": {"lr": [1e-3]},
            "X": IMAGES,
            "X_new": IMAGES[:5] + 1,
            "given": {"masks": (IMAGES[:, 0] > 0).astype(int) * (Y < 0)[:, None, None]},
        },
    ),
    "folds that can be read once": (
        "no deep detector",
        lambda: {"estimator": FOREST, "space": SHARES, **SETTINGS["folds that can be read once"]()},
    ),
    "folds that can be drawn once": (
        "no deep detector",
        lambda: {
            "estimator": FOREST,
            "space": SHARES,
            **SETTINGS["folds that can be drawn once"](),
        },
    ),
}


def assert_one_by_one(setting, reason, kind, sizes, capsys):
    compared(setting, kind, rtol=0, verbose=1)
    assert set(sizes) <= {1}
    told = capsys.readouterr().out.splitlines()
    [line] = [line for line in told if "one by one" in line]
    assert line.startswith(f"{SEARCHES[kind][0].__name__} trains models one by one: ")
    assert reason in line


@pytest.mark.parametrize(("reason", "setting"), ONE_BY_ONE.values(), ids=ONE_BY_ONE)
def test_what_cannot_be_stacked_is_left_to_grid_search(setting, reason, sizes, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    assert_one_by_one(setting, reason, "grid", sizes, capsys)


@pytest.mark.parametrize("random_state", [3, np.random.RandomState(3)], ids=["number", "generator"])
def test_what_cannot_be_stacked_is_left_to_randomized_search(random_state, sizes, capsys):
    def setting():
        state = copy.deepcopy(random_state)
        space = {"max_samples": loguniform(0.1, 1)}
        return {"estimator": FOREST, "space": space, "n_iter": 3, "random_state": state}

    assert_one_by_one(setting, "no deep detector", "randomized", sizes, capsys)


MIXED = {
    "detect": [
        quick("SSAD"),
        SAD,
        FOREST,
        quick("DeepSAD", network=WithDropout, pretrain=False),
    ]
}


def test_those_that_can_be_stacked_are(sizes, capsys):
    _, plain = compared(lambda: {"estimator": PIPELINE, "space": MIXED}, verbose=1)
    assert sizes[:4] == [1, 1, 2, 2]  # two folds with a network, then the stack
    assert_unlike(plain)
    told = capsys.readouterr().out
    assert "one by one" not in told
    for name, reason in (
        ("SSAD", "it is no deep detector"),
        ("IsolationForest", "it is no deep detector"),
        ("DeepSAD", "network is code"),
    ):
        assert told.count(f"Each {name} is trained by itself: {reason}") == 1


@pytest.mark.parametrize(
    ("estimator", "space"),
    [(SAD, RATES), (PIPELINE, MIXED), (FOREST, SHARES)],
    ids=["stacked", "mixed", "not stacked"],
)
def test_nothing_is_told_without_verbose(estimator, space, capfd):
    fitted(StackedGridSearchCV, estimator, space)
    assert capfd.readouterr() == ("", "")


@needs_callbacks
@pytest.mark.parametrize("follows", ["the detector", "a pipeline", "the search"])
def test_callbacks_are_called_as_in_scikit_learn(follows, sizes, capsys):
    tasks, both = [], []
    for kind in SEARCHES["grid"]:
        spy = Spy()
        detector, pipeline = clone(SAD), clone(PIPELINE)
        pipeline.set_params(detect=detector)
        search = kind(pipeline, {"detect__lr": [1e-3, 1e-2]}, scoring=margin, cv=FOLDS, verbose=1)
        followed = {"the detector": detector, "a pipeline": pipeline, "the search": search}
        followed[follows].set_callbacks(spy)
        search.set_params(return_train_score=True).fit(X, Y)
        tasks.append((spy.begun, spy.ended))
        both.append(search)
    assert_same(*both)
    assert set(sizes) == {1}
    assert tasks[0] == tasks[1]
    assert "callbacks follow one model" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_change_nothing():
    compared(lambda: {"estimator": PIPELINE, "space": MIXED}, n_jobs=2)


class SlowToCopy(float):
    """A number whose copies take their time."""

    def __deepcopy__(self, memo):
        time.sleep(0.1)
        return self


@pytest.mark.parametrize(("of_joblib", "own"), [(2, None), (None, 2)])
def test_threads_train_stacks_of_their_own_and_change_nothing(of_joblib, own, sizes):
    space = {"lr": [SlowToCopy(1e-3), 3e-3, 1e-2, 3e-2]}  # the others overtake the first one
    with joblib.parallel_config("threading", n_jobs=of_joblib):
        stacked = fitted(StackedGridSearchCV, space=space, cv=SPLITS[1:], n_jobs=own)
    assert sizes == [2, 2, 2, 2, 1, 1]  # two stages, and those of the refit
    assert_same(stacked, fitted(GridSearchCV, space=space, cv=SPLITS[1:]))


# Errors

REFUSED = {
    "a parameter": ({"param_grid": {"depth": [1]}}, {}, "Invalid parameter 'depth'"),
    "a grid": ({"param_grid": {"lr": []}}, {}, "non-empty"),
    "a score": ({"scoring": "beauty"}, {}, "scoring"),
    "a choice of scores": ({"scoring": {"margin": margin}, "refit": True}, {}, "refit"),
    "folds": ({"cv": "five"}, {}, "cv"),
    "a number of folds": ({"cv": 100}, {}, "number of splits"),
    "no groups": ({"cv": GroupKFold(2)}, {}, "groups"),
    "a number of models": ({"max_models": 0}, {}, "max_models"),
    "a score of errors": ({"error_score": "ignore"}, {}, "error_score"),
    "labels": ({}, {"y": Y[:-1]}, "inconsistent"),
}


@pytest.fixture(scope="module")
def found():
    """Return a fitted search."""
    return fitted(StackedGridSearchCV)


def assert_untouched(search, found):
    """Assert that a shallow copy of a search has kept what the search has found."""
    assert attributes(search) == attributes(found)
    for key in attributes(found):
        assert getattr(search, key) is getattr(found, key)


@pytest.mark.parametrize(("changes", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said_before_any_training(found, changes, given, message, sizes):
    search = copy.copy(found).set_params(**changes)
    with pytest.raises(ValueError, match=message):
        search.fit(**{"X": X, "y": Y, **given})
    assert sizes == []
    assert_untouched(search, found)


FAILING = {
    "a loss that is not finite": (SAD, {"lr": [1e-3, 1e30, 1e-2]}),
    "layers": (SAD, {"hidden_layer_sizes": [(8, 4), (0,), (6, 3)]}),
    "a rate": (SAD, {"lr": [1e-3, -1.0, 1e-2]}),
    "a transformer": (make_pipeline(PCA(), SAD), {"pca__n_components": [2, 99, 3]}),
    "a detector by itself": (PIPELINE, {"detect": [SAD, quick("SSAD", nu=-1), quick("SSAD")]}),
}


@pytest.mark.parametrize(
    ("case", "error_score"), [*((case, np.nan) for case in FAILING), ("a rate", -5.0)]
)
def test_a_candidate_that_fails_is_warned_of_and_the_others_are_not_touched(case, error_score):
    both = []
    for search in SEARCHES["grid"]:
        with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 6"):
            both.append(fitted(search, *FAILING[case], error_score=error_score))
    assert_same(*both)
    for part in ("test", "train"):
        one, failed, other = both[0].cv_results_[f"mean_{part}_score"]
        assert_array_equal(failed, error_score)
        assert np.isfinite([one, other]).all()


@pytest.mark.parametrize(("estimator", "space"), FAILING.values(), ids=FAILING)
def test_an_error_that_is_to_be_raised_is_that_of_scikit_learn(estimator, space):
    told = []
    for search in SEARCHES["grid"]:
        with pytest.raises(ValueError) as caught:
            fitted(search, estimator, space, error_score="raise")
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]


def test_where_all_fail_it_is_said_why():
    space = {"lr": [1e30, 2e30]}
    for kind in SEARCHES["grid"]:
        with pytest.raises(ValueError, match=r"All the 4 fits failed[\s\S]*finite"):
            fitted(kind, space=space)


@pytest.mark.parametrize("error_score", [np.nan, "raise"])
def test_what_has_been_found_stays_where_training_fails(error_score, found):
    search = copy.copy(found).set_params(param_grid={"lr": [1e30]}, error_score=error_score)
    with pytest.raises(ValueError, match="finite"):
        search.fit(X, Y)
    assert_untouched(search, found)


# They are estimators of scikit-learn


@pytest.mark.parametrize("kind", SEARCHES)
def test_parameters_are_those_of_scikit_learn_and_one_more(kind):
    ours, theirs = (search(SAD, RATES) for search in SEARCHES[kind])
    expected = {**theirs.get_params(deep=False), "max_models": None}
    assert repr(sorted(ours.get_params(deep=False).items())) == repr(sorted(expected.items()))
    names = [*theirs.get_params(deep=False), "max_models"]
    values = {name: f"value of {name}" for name in names if name != "estimator"}
    changed = clone(ours).set_params(**values, estimator__lr=0.5)
    for each in (changed, clone(changed)):
        params = each.get_params()
        assert {name: params[name] for name in values} == values
        assert params["estimator__lr"] == 0.5
        assert "max_models='value of max_models'" in repr(each)


def pickled(estimator):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("scoring", [None, margin, {"margin": margin}], ids=["own", "one", "dict"])
@pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
def test_copies_are_as_good(scoring, copied):
    search = fitted(StackedGridSearchCV, scoring=scoring, refit="margin")
    again = copied(search)
    assert_same(again, search, rtol=0)
    assert again.score(X, Y) == search.score(X, Y)
    assert attributes(clone(search)) == set()


def test_a_search_in_a_cross_validation():
    scores = [
        cross_val_score(
            search(PIPELINE, {"detect__lr": [1e-3, 3e-2]}, scoring=margin, cv=FOLDS),
            X,
            Y,
            scoring=margin,
            cv=FOLDS,
            error_score="raise",
        )
        for search in SEARCHES["grid"]
    ]
    assert_array_equal(*scores)  # those of models that no stack has trained


def test_times_are_those_of_training(monkeypatch):
    pauses = [0.0, 0.5]  # of the scaler, which is fitted once a fold
    trained, fit = [], StandardScaler.fit
    train_together = engine.train_together

    def timed(*args):
        started = time.perf_counter()
        train_together(*args)
        trained.append(time.perf_counter() - started)

    def slow(self, X, y=None, sample_weight=None):
        time.sleep(pauses.pop())
        return fit(self, X, y, sample_weight)

    monkeypatch.setattr(engine, "train_together", timed)
    monkeypatch.setattr(StandardScaler, "fit", slow)
    spaces = [
        {"detect": [quick("SSAD")]},
        {"detect__n_epochs": [1, 20], "detect__random_state": [0, 1]},
    ]
    started = time.perf_counter()
    search = fitted(StackedGridSearchCV, PIPELINE, spaces, refit=False)
    wall = time.perf_counter() - started
    seconds, deviation = (search.cv_results_[f"{key}_fit_time"] for key in ("mean", "std"))
    assert seconds.shape == deviation.shape == (5,)
    assert (seconds > 0).all()
    assert deviation[0] > 0.2  # half the pause
    assert (deviation[1:] < 0.2).all()
    assert 0.9 * sum(trained) + 0.5 <= seconds.sum() * search.n_splits_ <= wall


def test_a_time_is_a_share_of_that_of_stacks_the_model_is_in():
    few, many = fitted(StackedGridSearchCV, space={"n_epochs": [1, 40]}).cv_results_[
        "mean_fit_time"
    ]
    assert many > 2 * few


@pytest.mark.parametrize("writeable", [True, False])
def test_what_is_passed_in_stays_as_it_is(writeable):
    rows, labels = X.astype(np.float32), Y.astype(np.int8)  # of these no copy needs to be made
    given = [rows, labels, *(part for split in copy.deepcopy(SPLITS) for part in split)]
    before = copy.deepcopy(given)
    for part in given:
        part.flags.writeable = writeable
    cv = list(zip(given[2::2], given[3::2], strict=True))
    pipeline = clone(PIPELINE)
    space = {"detect": [quick("DeepSAD", input_noise=0.5), quick("HSC")], "scale": [Counted()]}
    shown = repr((pipeline, space))
    for estimator, values in ((pipeline, space), (pipeline["detect"], RATES)):
        stacked = fitted(StackedGridSearchCV, estimator, values, X=rows, y=labels, cv=cv)
        assert stacked.estimator is estimator
        assert_same(stacked, fitted(GridSearchCV, estimator, values, X=rows, y=labels, cv=cv))
    for part, expected in zip(given, before, strict=True):
        assert_array_equal(part, expected)
    assert repr((pipeline, space)) == shown
    for part in (pipeline, *pipeline.named_steps.values(), *space["detect"], *space["scale"]):
        assert attributes(part) == set()
