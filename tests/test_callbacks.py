"""Progress: scikit-learn's callbacks, stop flags, and ``verbose``."""

import copy

import numpy as np
import pytest
import sklearn
import torch
from conftest import DEEP, quick, table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from skdeepad import AGAD, CVDD, EarlyStopping
from skdeepad.deep import DeepDetector
from skdeepad.detectors.deep_svdd import SoftBoundaryObjective
from skdeepad.model_selection import labeled_roc_auc

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not learn from labels:skdeepad.LabelWarning"),
    pytest.mark.filterwarnings("ignore:X is a table, and CVDD takes"),
]
HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")
needs_callbacks = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn < 1.9")

X, Y = table()


# The n_epochs of SSDGM's two models are those of two stages, which these tests take for one.
EVERY_DETECTOR = pytest.mark.parametrize(
    "detector", [name for name in DEEP if name != "SSDGM-M1+M2"], indirect=True
)


# One of each kind: two turns, a stage before the last, what is fitted after each epoch, a head.
@pytest.fixture(params=["AGAD", "DeepSAD", "DeepSVDD-soft-boundary", "SSDGM"])
def detector(request):
    """Return a detector of each kind in turn, with as many epochs as the tests count on."""
    detector = quick(request.param, n_epochs=4)
    if "pretrain" in detector.get_params():
        detector.set_params(pretrain=True, pretraining__n_epochs=3)
    return detector


class Spy:
    """A callback that notes what happens, and stops where it is told to."""

    def __init__(self, stop=lambda path: False):
        self.begun, self.ended, self.stop = [], [], stop
        self.setups = self.teardowns = 0

    def setup(self, estimator, context):
        self.setups += 1

    def teardown(self, estimator, context):
        self.teardowns += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(path_of(context))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(path_of(context))
        return self.stop(path_of(context))


class Keeper(Spy):
    """A callback that asks for the data and for the detector as it is, and keeps them."""

    def __init__(self, stop=lambda path: False):
        super().__init__(stop)
        self.kept, self.data = {}, []

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.data.append((X, y))
        if fitted_estimator is not None:
            assert type(fitted_estimator) is type(estimator)
            self.kept[path_of(context)] = (fitted_estimator, fitted_estimator.score_samples(X))
        return super().on_fit_task_end(estimator, context)


def path_of(context):
    """Return the path of a task, such as ("train", 2) for the third epoch, () for the fit."""
    path = []
    while context.parent is not None:
        path.insert(0, context.task_id if context.task_name == "epoch" else context.task_name)
        context = context.parent
    return tuple(path)


def tree(detector):
    """Return the paths of all tasks in the order they begin, under no stop flag."""
    stages = {"train": detector.n_epochs}
    if "pretrain" in detector.get_params():
        stages = {"pretrain": detector.pretraining.n_epochs, **stages}
    paths = [()]
    for stage, n_epochs in stages.items():
        paths += [(stage,), *((stage, epoch) for epoch in range(n_epochs))]
    return paths


@pytest.mark.skipif(HAS_CALLBACKS, reason="scikit-learn >= 1.9")
def test_below_1_9_there_are_no_callbacks(detector):
    assert not hasattr(detector, "set_callbacks")
    detector.fit(X, Y)


# The task tree


@needs_callbacks
@EVERY_DETECTOR
def test_a_fit_is_made_of_stages_and_these_of_epochs(detector):
    spy = Spy()
    detector.set_callbacks(spy).fit(X, Y)
    assert spy.begun == tree(detector)
    assert sorted(spy.ended) == sorted(spy.begun)
    assert spy.ended[-1] == ()
    assert spy.ended.index(("train",)) > spy.ended.index(("train", detector.n_epochs - 1))
    assert spy.setups == spy.teardowns == 1


@needs_callbacks
@EVERY_DETECTOR
def test_callbacks_do_not_change_the_model(detector):
    expected = clone(detector).fit(X, Y)
    keeper = Keeper()
    detector.set_callbacks(Spy(), keeper).fit(X, Y)
    assert_array_equal(detector.score_samples(X), expected.score_samples(X))
    assert detector.history_ == expected.history_
    assert all(given[0] is X and given[1] is Y for given in keeper.data)


@needs_callbacks
def test_callbacks_are_torn_down_after_a_failure(detector):
    spy = Spy()
    detector.set_params(lr_schedule=lambda progress: 1 / 0).set_callbacks(spy)
    with pytest.raises(ZeroDivisionError):
        detector.fit(X, Y)
    assert spy.setups == spy.teardowns == 1
    assert not [key for key in vars(detector) if key.endswith("_")]


# The detector a callback is given


@needs_callbacks
@pytest.mark.parametrize("callback", [Spy, Keeper])
def test_a_copy_is_made_only_for_callbacks_that_ask_for_it(detector, callback, monkeypatch):
    made, copied = [], []
    fitted_now, deepcopy = DeepDetector._fitted_now, copy.deepcopy

    def spy_on_fitted_now(self, *args):
        made.append(self)
        return fitted_now(self, *args)

    def spy_on_deepcopy(value, *args):
        if isinstance(value, torch.nn.Module):
            copied.append(value)
        return deepcopy(value, *args)

    monkeypatch.setattr(DeepDetector, "_fitted_now", spy_on_fitted_now)
    monkeypatch.setattr(copy, "deepcopy", spy_on_deepcopy)
    detector.set_callbacks(callback()).fit(X, Y)
    assert bool(made) == bool(copied) == (callback is Keeper)


@needs_callbacks
@EVERY_DETECTOR
def test_the_given_detector_is_what_training_that_ends_there_gives(detector):
    if isinstance(detector, CVDD):  # its alphas are spread over the epochs
        detector.set_params(alphas=(0.0,))
    keeper = Keeper()
    detector.set_callbacks(keeper).fit(X, Y)
    epochs = [path for path in keeper.kept if path[0] == "train" and len(path) == 2]
    assert epochs == [("train", epoch) for epoch in range(4)]
    for path, (fitted, scores) in keeper.kept.items():
        # Training went on since, in other weights than these.
        assert_array_equal(fitted.score_samples(X), scores)
        ended = clone(detector).set_params(n_epochs=path[1] + 1 if len(path) == 2 else 4).fit(X, Y)
        assert_array_equal(scores, ended.score_samples(X))
        assert fitted.offset_ == ended.offset_
        assert_array_equal(fitted.predict(X), ended.predict(X))
        assert fitted.history_ == ended.history_
        assert fitted.n_epochs_ == ended.n_epochs_
        assert {key for key in vars(fitted) if key.endswith("_")} == {
            key for key in vars(ended) if key.endswith("_")
        }


@needs_callbacks
def test_the_given_detector_has_what_is_fitted_to_the_final_weights_alone(monkeypatch):
    # The radius is then solved once, when training ends.
    monkeypatch.setattr(SoftBoundaryObjective, "after_epoch", lambda self, *given: None)
    keeper = Keeper()
    detector = quick("DeepSVDD-soft-boundary", contamination="auto", n_epochs=3)
    detector.set_callbacks(keeper).fit(X, Y)
    for epoch in range(3):
        fitted, _ = keeper.kept[("train", epoch)]
        ended = clone(detector).set_params(n_epochs=epoch + 1).fit(X, Y)
        assert fitted.radius_ == ended.radius_ > 0
        assert fitted.offset_ == ended.offset_


@needs_callbacks
def test_the_given_detector_does_not_share_the_model_being_trained(detector):
    class Breaks(Keeper):
        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            if fitted_estimator is not None:
                with torch.no_grad():
                    for weight in fitted_estimator.network_.parameters():
                        weight.fill_(float("nan"))
                for values in fitted_estimator.history_["train"].values():
                    values.append("broken")

    expected = clone(detector).fit(X, Y)
    detector.set_callbacks(Breaks()).fit(X, Y)
    assert_array_equal(detector.score_samples(X), expected.score_samples(X))
    assert detector.history_ == expected.history_


@needs_callbacks
def test_early_stopping_gives_the_best_epoch_at_the_end_of_the_stage(detector):
    if isinstance(detector, AGAD):
        pytest.skip("refuses early stopping")
    keeper = Keeper()
    detector.set_params(early_stopping=EarlyStopping(n_iter_no_change=2), n_epochs=8)
    detector.set_callbacks(keeper).fit(X, Y)
    _, scores = keeper.kept[("train",)]
    assert_array_equal(scores, detector.score_samples(X))


# Stop flags


@needs_callbacks
@pytest.mark.parametrize("last", [0, 1])
def test_a_stop_flag_at_an_epoch_ends_training(detector, last):
    spy = Spy(stop=lambda path: path == ("train", last))
    detector.set_callbacks(spy).fit(X, Y)
    assert detector.n_epochs_ == last + 1
    assert ("train", last + 1) not in spy.begun
    assert {len(values) for values in detector.history_["train"].values()} == {last + 1}
    ended = clone(detector).set_params(n_epochs=last + 1).fit(X, Y)
    assert_array_equal(detector.score_samples(X), ended.score_samples(X))
    assert detector.offset_ == ended.offset_


@needs_callbacks
def test_a_stop_flag_at_an_epoch_of_pretraining_ends_that_stage_alone(detector):
    if "pretrain" not in detector.get_params():
        pytest.skip("is not pretrained")
    detector.set_callbacks(Spy(stop=lambda path: path == ("pretrain", 0))).fit(X, Y)
    ended = clone(detector).set_params(pretraining__n_epochs=1).fit(X, Y)
    assert_array_equal(detector.score_samples(X), ended.score_samples(X))
    assert detector.n_epochs_ == 4


@needs_callbacks
def test_a_stop_flag_at_the_end_of_a_stage_ends_training_with_a_usable_model(detector):
    spy = Spy(stop=len)  # of every task but the fit
    detector.set_callbacks(spy).fit(X, Y)
    trained = [path for path in spy.begun if path[:1] == ("train",) and len(path) == 2]
    first, *others = detector.history_
    if others:
        assert trained == []
        assert detector.n_epochs_ == 0
        assert len(detector.history_[first]["loss"]) == 1
    else:
        assert detector.n_epochs_ == len(trained) == 1
    assert np.isfinite(detector.score_samples(X)).all()
    assert set(detector.predict(X)) == {-1, 1}
    assert np.isfinite(detector.offset_)


# scikit-learn's own callbacks


@needs_callbacks
@pytest.mark.parametrize("wrap", ["alone", "pipeline", "grid search"])
def test_progress_bar(detector, wrap, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    truth = np.random.default_rng(0).permutation(np.where(Y == 0, 1, Y))
    name = type(detector).__name__
    estimator = {
        "alone": lambda: detector,
        "pipeline": lambda: make_pipeline(StandardScaler(), detector),
        "grid search": lambda: GridSearchCV(detector, {"lr": [1e-3, 1e-2]}, cv=2),
    }[wrap]()
    estimator.set_callbacks(ProgressBar()).fit(X, truth)
    shown = capsys.readouterr().out
    assert name in shown
    assert "100%" in shown
    assert "train" in shown or wrap == "grid search"
    if wrap == "alone":
        assert shown.count("train") >= 1
        assert ("pretrain" in shown) == ("pretrain" in detector.get_params())
    expected = clone(estimator).fit(X, truth)
    assert_array_equal(estimator.score_samples(X), expected.score_samples(X))


@needs_callbacks
def test_scoring_monitor_logs_a_score_an_epoch(detector):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring=labeled_roc_auc)
    detector.set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs().data
    logged = [row["score"] for row in log if row["task_name"] == "epoch"]
    ended = [
        clone(detector).set_params(n_epochs=n_epochs).fit(X, Y).score(X, Y)
        for n_epochs in range(1, 5)
    ]
    assert len(logged) == 4
    assert_allclose(logged, ended, rtol=1e-12)  # two ways to sum up the same ranks
    assert_allclose(logged[-1], detector.score(X, Y), rtol=1e-12)
    assert [row["task_name"] for row in log if row["task_name"] != "epoch"] == ["train"]


@needs_callbacks
def test_callbacks_can_be_taken_away(detector):
    spy = Spy()
    detector.set_callbacks(spy).fit(X, Y)
    count = len(spy.begun)
    detector.set_callbacks().fit(X, Y)
    assert len(spy.begun) == count


# verbose


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_writes_progress_to_stderr(detector, verbose, capfd):
    detector.set_params(verbose=verbose).fit(X, Y).predict(X)
    out, err = capfd.readouterr()
    assert out == ""
    if not verbose:
        assert err == ""
        return
    for stage in detector.history_:
        assert f"{type(detector).__name__} {stage}" in err
        n_epochs = max(map(len, detector.history_[stage].values()))
        assert f"{n_epochs}/" in err
    assert "loss=" in err
    assert "100%" in err


def test_progress_is_closed_after_an_interrupt(detector, capfd):
    def interrupts(progress):
        raise KeyboardInterrupt

    detector.set_params(verbose=1, lr_schedule=interrupts)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(X, Y)
    assert capfd.readouterr().err.endswith("\n")
