"""Check_detector: it passes detectors that keep the contract, and names what others break."""

import subprocess
import sys
from numbers import Real

import numpy as np
import pytest
import torch
from conftest import quick
from sklearn.utils._param_validation import Interval

from skdeepad import AutoEncoder, DeepSAD, testing
from skdeepad.base import BaseDetector, fitted_state
from skdeepad.deep import draw_seeds
from skdeepad.parameters import parameter
from skdeepad.testing import CHECKS, check_detector

# `check_detector` ignores warnings; its parts are called by themselves here.
pytestmark = pytest.mark.filterwarnings("ignore")


class Projections(BaseDetector):
    """A detector from outside: far from the mean of some projections, or near a labeled anomaly."""

    reach: float = parameter(default=1.0, constraint=[Interval(Real, 0, None, closed="neither")])
    n_projections: int = 4
    random_state: int | np.random.RandomState | None = None

    def _rng(self):
        return np.random.default_rng(draw_seeds(self.random_state, ["projections"])["projections"])

    def _fit(self, X, y):
        self.projections_ = self._rng().normal(size=(X.shape[1], self.n_projections))
        codes = X[y >= 0] @ self.projections_
        self.mean_, self.deviation_ = codes.mean(axis=0), codes.std(axis=0) + 1e-6
        self.known_ = X[y < 0]

    def _anomaly_score(self, X):
        far = np.abs((X @ self.projections_ - self.mean_) / self.deviation_).mean(axis=1)
        if not len(self.known_):
            return far
        squared = ((X[:, None] - self.known_) ** 2).sum(axis=2).min(axis=1)
        return far + 5 * np.exp(-squared / self.reach**2)


SMALL_DEEP_SAD = DeepSAD(hidden_layer_sizes=(8, 4), n_epochs=5, lr=0.01, device="cpu")


@pytest.mark.parametrize(
    ("detector", "options"),
    [
        (SMALL_DEEP_SAD, {"parameters": {"hidden_layer_sizes": (4,), "pretrain": True}}),
        (quick("AutoEncoder"), {"parameters": {"compute__precision": "bfloat16"}}),
        (Projections(), {}),
    ],
    ids=["DeepSAD", "AutoEncoder", "from outside"],
)
def test_detectors_that_keep_the_contract_pass(detector, options, capsys):
    assert check_detector(detector, **options) is None
    assert not fitted_state(detector)
    assert "not varied" not in capsys.readouterr().out


class IgnoresLabels(Projections):
    def _fit(self, X, y):
        super()._fit(X, np.zeros_like(y))


class AttractedByLabels(Projections):
    def _anomaly_score(self, X):
        without = np.abs((X @ self.projections_ - self.mean_) / self.deviation_).mean(axis=1)
        return 2 * without - super()._anomaly_score(X)


class WrongSign(Projections):
    def _anomaly_score(self, X):
        return -super()._anomaly_score(X)


class NotANumber(Projections):
    def score_samples(self, X):
        scores = super().score_samples(X)
        return np.where(scores < -20, np.nan, scores)


class HalfPrecision(Projections):
    def score_samples(self, X):
        return super().score_samples(X).astype(np.float32)


class MovesTorch(Projections):
    def _fit(self, X, y):
        torch.manual_seed(0)
        super()._fit(X, y)


class MovesNumPy(Projections):
    def _anomaly_score(self, X):
        np.random.normal()
        return super()._anomaly_score(X)


class ReadsNumPy(Projections):
    def _rng(self):
        return np.random.default_rng(np.random.get_state()[1])


class IgnoresRandomState(Projections):
    def _rng(self):
        return np.random.default_rng()


class WithoutEffect(Projections):
    unused: float = 1.0


class DropsLabels(Projections):
    def fit_predict(self, X, y=None):
        return self.fit(X).predict(X)


class LosesTheModel(Projections):
    def fit(self, X, y=None):
        for name in fitted_state(self):
            delattr(self, name)
        return super().fit(X, y)


class LosesTheModelInterrupted(AutoEncoder):
    def _fit_rows(self, X, y, **more):
        try:
            return super()._fit_rows(X, y, **more)
        except KeyboardInterrupt:
            self.offset_ = 0.0
            raise


class HasClasses(Projections):
    def _fit(self, X, y):
        super()._fit(X, y)
        self.classes_ = np.unique(y)


class AnotherThreshold(Projections):
    def decision_function(self, X):
        return self.score_samples(X) - self.offset_ / 2


class AnotherShare(Projections):
    def _threshold(self, scores, y):
        return -float(np.quantile(-scores, self.contamination))  # labeled anomalies count


class ForgetsInFiles(Projections):
    def __getstate__(self):
        state = super().__getstate__()
        return {**state, "known_": state["known_"][:0]} if "known_" in state else state


class ScoresOtherwiseInAStack(AutoEncoder):
    def _complete(self, trainings, rows, observer):
        self.alone_ = observer is not None and not hasattr(self, "stacked")
        return super()._complete(trainings, rows, observer)

    def _placed(self, X, y, place=None, **more):
        if place is None:
            return super()._placed(X, y, **more)
        self.stacked = True
        return super()._placed(X, y, place, **more)

    def _score_of(self, values):
        return values if self.alone_ else 1.1 * values


class SetsInInit(Projections):
    def __init__(self, contamination=0.1):
        self.contamination = contamination
        self.reach, self.n_projections, self.random_state = 1.0, 4, 0
        self.number_of_fits = 0


BROKEN = [
    (SetsInInit, "check_scikit_learn", "check_no_attributes_set_in_init"),
    (HasClasses, "check_no_classes", "classes_"),
    (WrongSign, "check_scores", "larger must be more normal"),
    (NotANumber, "check_scores", "not finite"),
    (HalfPrecision, "check_scores", "float32"),
    (AnotherThreshold, "check_threshold", "not equal"),
    (AnotherShare, "check_threshold", "contamination=0.1"),
    (IgnoresLabels, "check_labels_matter", "0.000; it must grow"),
    (AttractedByLabels, "check_labels_matter", "by -0.*; it must grow"),
    (DropsLabels, "check_fit_predict", "not equal|another model"),
    (IgnoresRandomState, "check_random_state", "a second fit gave another model"),
    (MovesTorch, "check_global_generators", "of torch was moved"),
    (MovesNumPy, "check_global_generators", "of NumPy was moved"),
    (ReadsNumPy, "check_global_generators", "depends on a global generator"),
    (ForgetsInFiles, "check_copies", "pickle gave another model"),
    (LosesTheModel, "check_failed_fit", "fails for labels of another length changed deviation_"),
    (LosesTheModelInterrupted, "check_failed_fit", "is interrupted in training changed offset_"),
    (ScoresOtherwiseInAStack, "check_stacked", "otherwise than by itself"),
    (WithoutEffect, "check_parameters", "unused has no effect: with 2.0 instead of 1.0"),
]


def small(cls):
    """Return a broken detector, quick, with a seed."""
    if issubclass(cls, AutoEncoder):
        return cls(n_epochs=2, hidden_layer_sizes=(8, 4), device="cpu", random_state=0)
    return cls(random_state=0) if cls is not SetsInInit else cls()


@pytest.mark.parametrize(("cls", "name", "message"), BROKEN, ids=lambda value: str(value)[-40:])
def test_what_breaks_the_contract_is_named(cls, name, message):
    with pytest.raises(AssertionError, match=rf"(?s){message}"):
        CHECKS[name](small(cls))


@pytest.mark.parametrize(("cls", "name", "message"), BROKEN, ids=lambda value: str(value)[-40:])
@pytest.mark.slow
def test_a_broken_detector_fails_as_a_whole(cls, name, message):
    # scikit-learn's checks see some of it first.
    with pytest.raises(AssertionError, match=f"^{cls.__name__} fails check_") as error:
        check_detector(small(cls))
    assert name in str(error.value) or "check_scikit_learn" in str(error.value)


def test_every_check_is_shown_to_catch_something():
    assert {name for _, name, _ in BROKEN} == set(CHECKS)


def test_parameters_that_cannot_be_varied_are_named(capsys):
    testing.check_parameters(quick("SSAD"), without_effect=["degree", "coef0", "cache_size", "tol"])
    out = capsys.readouterr().out
    assert "gamma='scale' was not varied. Pass parameters={'gamma': another value}" in out
    assert "max_iter=-1 was not varied" in out
    assert "nu=" not in out
    assert "degree" not in out


def test_a_number_whose_double_is_refused_is_halved():
    class Narrow(Projections):
        reach: float = parameter(default=1.0, constraint=[Interval(Real, 0, 1.5, closed="neither")])

    testing.check_parameters(Narrow(random_state=0))

    class Deaf(Narrow):
        def _anomaly_score(self, X):
            return np.abs(X @ self.projections_).mean(axis=1)

    with pytest.raises(AssertionError, match="with 0.5 instead of 1.0"):
        testing.check_parameters(Deaf(random_state=0))


def test_values_that_are_passed_must_be_legal():
    with pytest.raises(AssertionError, match="check_parameters.*'reach' parameter"):
        check_detector(Projections(), parameters={"reach": -7.0})


def test_own_parameters_are_those_of_no_base_class_of_the_package():
    assert testing.own_parameters(DeepSAD()) == ["eta"]
    assert testing.own_parameters(Projections()) == ["n_projections", "random_state", "reach"]


@pytest.mark.slow
def test_it_needs_no_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from skdeepad import SSAD\n"
        "from skdeepad.testing import check_detector\n"
        "without = ['kernel', 'gamma', 'degree', 'coef0', 'cache_size', 'max_iter', 'tol']\n"
        "check_detector(SSAD(), without_effect=without); print('passed')"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("passed"), done.stderr


class WrongWayRound(Projections):
    """Its scores have the wrong sign, and it has classes_."""

    def _fit(self, X, y):
        super()._fit(X, y)
        self.classes_ = np.array([-1, 1])

    def _anomaly_score(self, X):
        return -super()._anomaly_score(X)


def test_all_that_fails_is_named_and_what_is_expected_to_is_left_out(capsys):
    with pytest.raises(AssertionError, match="check_no_classes: .*; check_scores: "):
        check_detector(WrongWayRound())
    known = {
        "check_scikit_learn": "classes_",
        "check_no_classes": "it is one",
        "check_scores": "so",
    }
    known |= {"check_labels_matter": "the sign", "check_threshold": "the sign"}
    check_detector(WrongWayRound(), expected_failed_checks=known)
    assert "check_scores fails, as expected: so" in capsys.readouterr().out
    with pytest.raises(ValueError, match="There are no checks"):
        check_detector(WrongWayRound(), expected_failed_checks={"check_nothing": ""})
