"""The contract that every detector keeps, checked on anybody's detector.

scikit-learn's own checks pass no label of an anomaly, and overlook a detector that moves a global
random generator or loses the labels in ``fit_predict``. These do not.
"""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone

from skdeepad.base import fitted_state, learns_from_labels

__all__ = ["check_detector"]

# These change no score, by their nature; what random_state does is a check of its own.
_WITHOUT_EFFECT = {"n_jobs", "random_state", "verbose"}


def check_detector(
    estimator: Any,
    *,
    parameters: Mapping[str, Any] | None = None,
    without_effect: Collection[str] = (),
    expected_failed_checks: Mapping[str, str] | None = None,
) -> None:
    """Check that a detector keeps the contract of this package, and scikit-learn's.

    It is fitted to small tables some hundred times, so pass one that trains within a fraction of a
    second. The checks are, in this order:

    - scikit-learn's :func:`~sklearn.utils.estimator_checks.check_estimator`;
    - there is no ``classes_``, from which scikit-learn would take it for a classifier;
    - scores and threshold are finite, larger scores are more normal, so that rows far from all
      others have smaller ones than they,
      ``decision_function = score_samples - offset_``, ``predict`` is its sign, and `contamination`
      is the share of the rows without labeled anomalies that is flagged;
    - labels of -1 make rows like the labeled ones more anomalous, if the detector learns from
      labels, as :func:`skdeepad.base.learns_from_labels` has it;
    - ``fit_predict`` uses labels as ``fit`` does;
    - the same ``random_state`` gives the same bits, in a clone as well;
    - with a ``random_state`` the global generators of NumPy, torch and Python are neither moved nor
      read;
    - copies and pickles score alike;
    - ``fit`` that fails or is interrupted leaves the model that was fitted before;
    - two detectors trained as one are what each is by itself, within a thousandth, if they can be
      stacked, as :func:`skdeepad.stacking.why_not_stacked` has it;
    - each parameter of its own, that is none of this package's base classes, changes the scores or
      ``history_``: numbers are doubled or, where that is refused, halved.

    Warnings are ignored meanwhile. What has to be left out is printed.

    Parameters
    ----------
    estimator : estimator
        A detector that takes tables; it is cloned, never fitted in place.
    parameters : dict, default=None
        Other values for parameters, by their names: tried instead of the double. They are needed
        for what is no number, and may be of inherited parameters, too.
    without_effect : collection of str, default=()
        Parameters that are meant to change no score, such as the size of a cache.

    expected_failed_checks : dict of str to str, default=None
        Checks that the detector is known to fail, and why, by their names; they are printed.

    Raises
    ------
    AssertionError
        If checks fail. It names all of them.

    See Also
    --------
    skdeepad.base.learns_from_labels : Whether a detector should be given labeled anomalies.

    Examples
    --------
    >>> from skdeepad import DeepSAD
    >>> from skdeepad.testing import check_detector
    >>> small = {"hidden_layer_sizes": (8, 4), "n_epochs": 5, "lr": 0.01, "device": "cpu"}
    >>> check_detector(DeepSAD(**small), parameters={"pretrain": True})
    """
    wanted = {"parameters": parameters, "without_effect": without_effect}
    expected = dict(expected_failed_checks or {})
    if unknown := expected.keys() - CHECKS.keys():
        raise ValueError(f"There are no checks {sorted(unknown)}; there are {list(CHECKS)}.")
    failed: dict[str, Exception] = {}
    for name, check in CHECKS.items():
        more = wanted if name == "check_parameters" else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(_seeded(estimator), **more)
        except Exception as error:
            failed[name] = error
    for name in failed.keys() & expected.keys():
        _note(f"{name} fails, as expected: {expected[name]}")
    if errors := {name: error for name, error in failed.items() if name not in expected}:
        told = "; ".join(
            f"{name}: {type(error).__name__}: {error}" for name, error in errors.items()
        )
        first = next(iter(errors.values()))
        raise AssertionError(f"{type(estimator).__name__} fails {told}") from first


def check_scikit_learn(estimator: Any) -> None:
    """Run all of scikit-learn's checks, and name the one that fails."""
    from sklearn.utils.estimator_checks import check_estimator  # imports all of its estimators

    for result in check_estimator(estimator, on_skip=None, on_fail=None):
        if result["status"] == "failed":
            error = result["exception"]
            raise AssertionError(f"{result['check_name']}: {error}") from error


def check_no_classes(estimator: Any) -> None:
    """Assert that scikit-learn has no reason to take the detector for a classifier."""
    X, y, _ = _table()
    estimator.fit(X, y)
    _require(
        not hasattr(estimator, "classes_"),
        "it has classes_, so that scikit-learn recodes the labels, anomalies among them",
    )


def check_scores(estimator: Any) -> None:
    """Assert that scores are numbers, one a row, and that larger ones are more normal."""
    X, y, truth = _table(120)
    new, _, truth_new = _table(120, seed=1)
    estimator.fit(X, y)
    for rows in (X, new, 100 * new):
        scores = estimator.score_samples(rows)
        _require(
            isinstance(scores, np.ndarray), f"score_samples returned a {type(scores).__name__}"
        )
        _require(
            (scores.shape, scores.dtype) == ((len(rows),), np.float64),
            f"score_samples must give one float64 a row; got {scores.dtype} of shape "
            f"{scores.shape} for {len(rows)} rows",
        )
        _require(np.isfinite(scores).all(), f"{(~np.isfinite(scores)).sum()} scores are not finite")
    _require(np.isfinite(estimator.offset_), f"offset_ is {estimator.offset_}")
    for rows, true in ((X, truth), (new, truth_new)):
        area = _area(true, estimator.score_samples(rows))
        _require(
            area > 0.5,
            f"rows far from the others, some of them labeled -1, have larger scores than they in "
            f"{1 - area:.0%} of all pairs; larger must be more normal",
        )
    if hasattr(estimator, "anomaly_score"):
        assert_array_equal(estimator.anomaly_score(new), -estimator.score_samples(new))
    if hasattr(estimator, "score"):
        _require(
            estimator.score(new, truth_new) == _area(truth_new, estimator.decision_function(new)),
            "score must be the area under the ROC curve of decision_function",
        )


def check_threshold(estimator: Any) -> None:
    """Assert that offset_, decision_function, predict and contamination belong together."""
    X, y, _ = _table(120)
    estimator.fit(X, y)
    scores, decision = estimator.score_samples(X), estimator.decision_function(X)
    assert_array_equal(decision, scores - estimator.offset_)
    predicted = estimator.predict(X)
    _require(np.issubdtype(predicted.dtype, np.integer), f"predict gives {predicted.dtype}")
    assert_array_equal(predicted, np.where(decision >= 0, 1, -1))
    share = estimator.get_params().get("contamination")
    if not isinstance(share, float):
        return
    counted = scores[y >= 0]
    wanted = np.ceil(share * (len(counted) - 1))
    below, up_to = (counted < estimator.offset_).sum(), (counted <= estimator.offset_).sum()
    # Of equal scores all or none are flagged.
    _require(
        below <= wanted <= max(up_to, below),
        f"contamination={share} of {len(counted)} rows that are not labeled -1 is {wanted:.0f}; "
        f"{below} have scores below offset_",
    )


def check_labels_matter(estimator: Any) -> None:
    """Assert that labels of -1 make like rows more anomalous, if the detector learns from them."""
    if not learns_from_labels(estimator):
        return
    gains = []
    for seed in range(2):
        X, truth = _hidden_anomalies(seed)
        X_new, truth_new = _hidden_anomalies(seed + 100)
        y = np.where(np.cumsum(truth < 0) <= 20, np.minimum(truth, 0), 0)
        areas = [
            _area(truth_new, clone(estimator).fit(X, labels).score_samples(X_new))
            for labels in (None, y)
        ]
        gains.append(areas[1] - areas[0])
    _require(
        np.mean(gains) > 0.005,
        f"20 labels of -1 changed the area under the ROC curve of rows like them by "
        f"{np.mean(gains):.3f}; it must grow. Train longer, if there was too little training to "
        "learn from them, or set _learns_from_labels = False",
    )


def check_fit_predict(estimator: Any) -> None:
    """Assert that fit_predict uses the labels."""
    X, y, _ = _table()
    direct = clone(estimator).fit(X, y)
    assert_array_equal(estimator.fit_predict(X, y), direct.predict(X))
    _require_same(estimator, direct, X, "fit_predict(X, y) gave another model than fit(X, y)")


def check_random_state(estimator: Any) -> None:
    """Assert that the same random_state gives the same bits."""
    X, y, _ = _table()
    first = clone(estimator).fit(X, y)
    _require_same(first, estimator.fit(X, y), X, "a second fit gave another model")
    _require_same(first, clone(estimator).fit(X, y), X, "a clone gave another model")
    if "random_state" not in estimator.get_params(deep=False):
        return
    one, other = (
        clone(estimator).set_params(random_state=np.random.RandomState(5)).fit(X, y)
        for _ in range(2)
    )
    _require_same(one, other, X, "two RandomState(5) gave two models")


def check_global_generators(estimator: Any) -> None:
    """Assert that no global generator is moved or read."""
    import torch

    X, y, _ = _table()
    models = []
    with _generators_restored():
        for seed in (12345, 54321):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            before = _generators()
            models.append(clone(estimator).fit(X, y))
            models[-1].predict(X)
            for name, state in _generators().items():
                _require(state == before[name], f"the global generator of {name} was moved")
    _require_same(models[0], models[1], X, "the model depends on a global generator's state")


def check_copies(estimator: Any) -> None:
    """Assert that pickles and copies are the same model, and can be fitted again."""
    X, y, _ = _table()
    unfitted = pickle.loads(pickle.dumps(estimator))
    _require(not fitted_state(unfitted), "a pickle of what is not fitted is fitted")
    estimator.fit(X, y)
    for way, other in {
        "pickle": pickle.loads(pickle.dumps(estimator)),
        "copy.deepcopy": copy.deepcopy(estimator),
    }.items():
        _require_same(other, estimator, X, f"{way} gave another model")
        _require_same(other.fit(X, y), estimator, X, f"fitted anew, what {way} gave differs")


def check_failed_fit(estimator: Any) -> None:
    """Assert that fit that fails, or is interrupted, leaves the earlier model."""
    X, y, _ = _table()
    other = X[:, :-1] + 1
    infinite = other.copy()
    infinite[5] = np.inf
    failures = {
        "fails for labels of another length": (other, y[:-1]),
        "fails for infinite features": (infinite, y),
    }
    for why, given in failures.items():
        _require_kept(clone(estimator).fit(X, y), X, why, given)
    if "lr_schedule" in estimator.get_params(deep=False):
        fitted = clone(estimator).fit(X, y).set_params(lr_schedule=_interrupting())
        _require_kept(fitted, X, "is interrupted in training", (other, y))


def check_stacked(estimator: Any) -> None:
    """Assert that detectors trained as one are what each is by itself."""
    from skdeepad.deep import reseed
    from skdeepad.stacking import Fit, fit_together, why_not_stacked

    X, y, _ = _table()
    reason = why_not_stacked(estimator, X, y)
    if reason is not None:
        _note(f"{type(estimator).__name__} is not trained as one with others: {reason}.")
        return
    members = [reseed(clone(estimator), seed) for seed in (1, 2)]
    fits = [Fit(clone(member), X, y) for member in members]
    fit_together(fits)
    for member, fit in zip(members, fits, strict=True):
        if fit.error is not None:
            raise fit.error
        alone = member.fit(X, y).score_samples(X)
        # Scores near 0 are differences of larger numbers.
        near = 1e-3 * np.abs(alone).mean()
        message = "trained as one with another, the detector scores otherwise than by itself"
        assert_allclose(
            fit.estimator.score_samples(X), alone, rtol=1e-3, atol=near, err_msg=message
        )


def check_parameters(
    estimator: Any,
    parameters: Mapping[str, Any] | None = None,
    without_effect: Collection[str] = (),
) -> None:
    """Assert that the detector's own parameters, and those that are given, change something."""
    given = parameters or {}
    X, y, _ = _table()
    reference = clone(estimator).fit(X, y)
    known = dict.fromkeys(given) | estimator.get_params()
    names = [*own_parameters(estimator), *given]
    for name in dict.fromkeys(names):
        if name not in given and name in _WITHOUT_EFFECT.union(without_effect):
            continue
        values = [given[name]] if name in given else list(_others(known[name]))
        fitted, value = _fitted_with(estimator, name, values, X, y, must=name in given)
        if fitted is None:
            _note(
                f"{name}={known[name]!r} was not varied. Pass "
                f"parameters={{{name!r}: another value}}."
            )
            continue
        _require(
            _differ(fitted, reference, X),
            f"{name} has no effect: with {value!r} instead of {known[name]!r} scores and history_ "
            "are the same. Name it in without_effect if it is meant to have none",
        )


CHECKS: dict[str, Callable[..., None]] = {
    check.__name__: check
    for check in (
        check_scikit_learn,
        check_no_classes,
        check_scores,
        check_threshold,
        check_labels_matter,
        check_fit_predict,
        check_random_state,
        check_global_generators,
        check_copies,
        check_failed_fit,
        check_stacked,
        check_parameters,
    )
}


def own_parameters(estimator: Any) -> list[str]:
    """Return the parameters that a detector has beyond those of this package's base classes."""
    bases = [
        base
        for base in type(estimator).__mro__[1:]
        if base.__module__.partition(".")[0] == "skdeepad" and is_dataclass(base)
    ]
    inherited = {each.name for base in bases for each in fields(base)}
    return [name for name in estimator.get_params(deep=False) if name not in inherited]


def _others(value: Any) -> Iterator[Any]:
    """Yield numbers to try instead of one: the double, and the half."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return
    half = value // 2 if isinstance(value, Integral) else value / 2
    yield from (other for other in (2 * value or 1, half) if other != value)


def _fitted_with(
    estimator: Any, name: str, values: list[Any], X: Any, y: Any, must: bool
) -> tuple[Any, Any]:
    """Return the detector fitted with the first of the values that is not refused, and which."""
    for value in values:
        try:
            return clone(estimator).set_params(**{name: value}).fit(X, y), value
        except ValueError:
            if must:
                raise
    return None, None


def _differ(one: Any, other: Any, X: Any) -> bool:
    """Tell whether scores, threshold or history of two fitted detectors differ."""
    return bool(
        one.offset_ != other.offset_
        or (one.score_samples(X) != other.score_samples(X)).any()
        or getattr(one, "history_", None) != getattr(other, "history_", None)
    )


def _require(holds: Any, message: str) -> None:
    """Assert, also where Python is told to leave out assertions."""
    if not holds:
        raise AssertionError(message)


def _note(text: str) -> None:
    print(text)


def _seeded(estimator: Any) -> Any:
    """Return a clone; what of its random states is None becomes 0."""
    copied = clone(estimator)
    unset = {
        name: 0
        for name, value in copied.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    }
    return copied.set_params(**unset)


def _table(
    n: int = 60, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.int_]]:
    """Return rows, labels of all three kinds, and what the rows are; every eighth is far off."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    truth = np.where(np.arange(n) % 8 == 7, -1, 1)
    X[truth < 0] += 4
    y = np.where(np.arange(n) % 8 == 3, 1, 0)
    y[15::16] = -1
    return X, y, truth


def _hidden_anomalies(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Return rows with anomalies amid the spread of the others, and what they are.

    Without labels they cannot be told apart.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 3)) * [3, 1, 1]
    X[:60] = rng.normal(size=(60, 3)) * 0.5 + [3, 0, 0]
    return X, np.where(np.arange(300) < 60, -1, 1)


def _area(truth: NDArray[np.int_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve: larger scores should be more normal."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth > 0, scores))


def _require_same(one: Any, other: Any, X: Any, message: str) -> None:
    """Assert that two fitted detectors are equal bit for bit."""
    _require(one.offset_ == other.offset_, f"{message}: offset_ differs")
    assert_array_equal(one.score_samples(X), other.score_samples(X), err_msg=message)


def _require_kept(fitted: Any, X: Any, why: str, given: tuple[Any, Any]) -> None:
    """Assert that a fitted detector is the same model after fit failed."""
    before, scores = fitted_state(fitted), fitted.score_samples(X)
    try:
        fitted.fit(*given)
    except (Exception, KeyboardInterrupt):
        after = fitted_state(fitted)
        changed = [
            name
            for name in sorted(before.keys() | after.keys())
            if name not in after or name not in before or after[name] is not before[name]
        ]
        _require(not changed, f"fit that {why} changed {', '.join(changed)}")
        assert_array_equal(fitted.score_samples(X), scores, err_msg=f"after fit that {why}")
    else:
        _note(f"{type(fitted).__name__} was not tried further: fit never {why}.")


def _interrupting() -> Callable[[float], float]:
    """Return a schedule of learning rates that is interrupted at its second call."""
    calls: list[float] = []

    def schedule(progress: float) -> float:
        if calls:
            raise KeyboardInterrupt
        calls.append(progress)
        return 1.0

    return schedule


def _generators() -> dict[str, Any]:
    """Return the states of the global generators, as what can be compared."""
    import torch

    kind, keys, *numbers = np.random.get_state()  # noqa: NPY002
    return {
        "Python's random": random.getstate(),
        "NumPy": (kind, np.asarray(keys).tobytes(), *numbers),
        "torch": bytes(torch.get_rng_state().numpy()),
    }


@contextmanager
def _generators_restored() -> Iterator[None]:
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
