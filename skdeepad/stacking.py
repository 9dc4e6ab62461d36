"""Fit many detectors, those that are alike as one."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing  # part of scikit-learn's documented API
from sklearn.utils.validation import _num_samples
from torch import nn

from skdeepad import engine
from skdeepad.base import fitted_state, restore_fitted_state
from skdeepad.callbacks import FitObserver
from skdeepad.engine import Rows, Training


class Fit:
    """A detector that is to be fitted to some rows, and how that went.

    :func:`fit_together` takes a list of them.

    Parameters
    ----------
    estimator : estimator
        Not fitted: a detector, or a pipeline that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows. Detectors that are given the same object share one copy of it.
    y : array-like of shape (n_rows,) or None
        Labels of the rows that are meant; those of a row that is meant twice must agree.
    rows : array of int of shape (n_rows,) or of bool of shape (n_samples,), optional
        Which rows of X are meant, by default all.

    Attributes
    ----------
    estimator : estimator
        Fitted, if there was no error.
    error : Exception or None
        What fitting raised.
    seconds : float
        Time of its own, and its share of that of the stacks it was in.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSVDD
    >>> from skdeepad.stacking import Fit, fit_together
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> fit = Fit(DeepSVDD(n_epochs=1, random_state=0), X, None, rows=np.arange(40))
    >>> fit_together([fit])
    >>> fit.error is None, fit.estimator.predict(X).shape
    (True, (60,))
    """

    estimator: Any
    X: Any
    y: Any
    rows: NDArray[np.intp] | None
    detector: Any
    # What is known from plan to complete.
    placed: Rows | None
    trainings: list[Training]
    observer: FitObserver | None
    labels: NDArray[np.int8] | None
    features: Any
    before: dict[str, Any] | None

    def __init__(self, estimator: Any, X: Any, y: Any, rows: NDArray[Any] | None = None) -> None:
        self.estimator, self.X, self.y = estimator, X, y
        self.rows = None if rows is None else np.arange(_num_samples(X))[rows]
        self.detector = last_step(estimator)
        self.error: Exception | None = None
        self.seconds: float = 0.0
        self.why_alone: str | None = None
        self.apart: str | None = None
        self.forgets()

    def transform(self, heads: dict[Any, Any]) -> None:
        """Fit all steps of a pipeline but the last, unless the same are in the dict ``heads``."""
        if not is_pipeline(self.estimator) or len(self.estimator.steps) == 1:
            return
        head = self.estimator[:-1]
        parts = (self.rows, None if self.y is None else np.asarray(self.y))
        given = [None if part is None else part.tobytes() for part in parts]
        key = content_of(head), id(self.X), *given
        if key not in heads:
            heads[key] = self._transformed(head)
        head, self.X, self.error = heads[key]
        self.rows = None
        self.estimator.steps = [*head.steps, self.estimator.steps[-1]]

    def _transformed(self, head: Any) -> tuple[Any, Any, Exception | None]:
        started = time.perf_counter()
        try:
            return head, head.fit_transform(self._chosen(), self.y), None
        except Exception as error:
            return head, None, error
        finally:
            self.seconds += time.perf_counter() - started

    def given(self) -> tuple[Any, Any]:
        """Return the rows that are meant, and their labels."""
        return self._chosen(), self.y

    def _chosen(self) -> Any:
        return self.X if self.rows is None else _safe_indexing(self.X, self.rows)

    def alone(self) -> None:
        """Fit the detector by itself."""
        started = time.perf_counter()
        try:
            self.detector.fit(self._chosen(), self.y)
        except Exception as error:
            self.error = error
        self.seconds += time.perf_counter() - started

    def take(self, done: Fit) -> None:
        """Take over what has come of a copy of this fit, perhaps in another process."""
        self.detector, self.error, self.seconds = done.detector, done.error, done.seconds
        if is_pipeline(self.estimator):
            name, _ = self.estimator.steps[-1]
            self.estimator.steps = [*self.estimator.steps[:-1], (name, self.detector)]
        else:
            self.estimator = self.detector

    def plan(self, shared: dict[Any, Any]) -> None:
        """Make ready what is to be trained; what fits may have in common is in ``shared``."""
        started = time.perf_counter()
        self.before = fitted_state(self.detector)
        try:
            try:
                self._plan(shared)
            except Exception:
                if self.rows is None:
                    raise
                # Rows that are not meant may be at fault: those that are by themselves.
                self.X, self.rows = self._chosen(), None
                self._plan(shared)
        except Exception as error:
            self.fails(error)
        self.seconds += time.perf_counter() - started

    def _plan(self, shared: dict[Any, Any]) -> None:
        detector = self.detector
        detector._validate_params()
        features, labels = detector._checked(self.X, self.y, self.rows)
        if self.rows is not None and len(self.rows) < 2:
            raise ValueError(f"Expected at least two rows to learn from, got {len(self.rows)}.")
        features = shared.setdefault(id(self.X), features)

        def place(features: Any, labels: Any, shape: Any, device: Any, stream: Any) -> Rows:
            key = id(features), shape, device, stream
            if key not in shared:
                shared[key] = Rows.place(features, None, shape, device, stream)
            return shared[key].labeled(labels, self.rows)

        self.observer = FitObserver(detector, self.X, self.y)
        self.placed = detector._placed(features, labels, place)
        self.trainings = detector._trainings(self.placed, self.observer)
        self.labels = labels
        self.features = features  # shared: its own rows are copied when they are looked at

    def complete(self) -> None:
        """Keep what came of the trainings."""
        started = time.perf_counter()
        try:
            scores = self.detector._complete(self.trainings, self.placed, self.observer)
            features = self.features if self.rows is None else self.features[self.rows]
            self.detector._finish(scores, self.labels, features)
        except Exception as error:
            self.fails(error)
        self.forgets()
        self.seconds += time.perf_counter() - started

    def fails(self, error: Exception) -> None:
        """Note what went wrong; the detector is what it was before."""
        self.error = error
        restore_fitted_state(self.detector, self.before or {})

    def has_training(self, number: int) -> bool:
        """Tell whether there is a training of that number."""
        return number < len(self.trainings)

    def forgets(self) -> None:
        """Let go of what was needed for training alone."""
        self.placed, self.trainings, self.observer = None, [], None
        self.labels, self.features, self.before = None, None, None


def is_pipeline(estimator: Any) -> bool:
    """Tell whether an estimator is a pipeline that is fitted as scikit-learn's are."""
    return isinstance(estimator, Pipeline) and type(estimator).fit is Pipeline.fit


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or what is no pipeline itself."""
    return estimator.steps[-1][1] if is_pipeline(estimator) else estimator


def content_of(value: Any) -> Any:
    """Return what is equal for values that are alike."""
    try:
        if isinstance(value, nn.Module):  # joblib takes a copy of a tensor for another one
            tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
            arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
            value = copy.deepcopy(value).to("meta"), arrays
        return joblib.hash(value)
    except (PicklingError, AttributeError, TypeError, ValueError, RuntimeError):
        # A lambda, say, or a lazy network: like itself alone.
        return id(value)


def why_not_stacked(
    estimator: Any, X: ArrayLike | None = None, y: ArrayLike | None = None
) -> str | None:
    """Say why a detector cannot be trained as one with others, or return None if it can.

    Parameters
    ----------
    estimator : estimator
        A detector, or a pipeline that ends in one.
    X : array-like of shape (n_samples, n_features), default=None
        Rows as the detector gets them. With some, its losses are tried: torch cannot compute all
        of them for several models at once.
    y : array-like of shape (n_samples,), default=None
        Their labels.

    Returns
    -------
    str or None
        The reason.

    Examples
    --------
    >>> from skdeepad import Compute, DeepSAD
    >>> from skdeepad.stacking import why_not_stacked
    >>> why_not_stacked(DeepSAD()) is None
    True
    >>> why_not_stacked(DeepSAD(compute=Compute(compile=True)))
    'compile=True makes a graph of one model'
    """
    detector = last_step(estimator)
    # Asked for what it takes, whatever class it is of.
    # A frozen estimator answers for what it holds: its class does not.
    if not hasattr(type(detector), "_why_not_stacked"):
        return "it is no deep detector, or only a part of it is"
    if any(getattr(each, "_skl_callbacks", None) for each in (estimator, detector)):
        return "callbacks follow one model"
    reason = detector._why_not_stacked()
    if reason is not None or X is None:
        return reason
    fits = [Fit(clone(detector), X, y) for _ in range(2)]
    for fit in fits:
        fit.plan({})
        if fit.error is not None:
            raise fit.error
    stages = zip(*(fit.trainings for fit in fits), strict=True)
    return next(filter(None, map(engine.why_not_together, stages)), None)


@contextmanager
def told_of_killed_process(what: str) -> Iterator[None]:
    """Say what a process of joblib was doing when it was killed."""
    try:
        yield
    except TerminatedWorkerError as error:
        raise RuntimeError(
            f"A process that was fitting {what} was killed, most probably for want of memory: "
            "lower n_jobs, or the number of models in a stack (max_models)."
        ) from error


def fit_together(
    fits: list[Fit],
    *,
    max_models: int | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> None:
    """Fit detectors, each as its own ``fit`` would, those that are alike as one.

    Transformers of pipelines that are the same, and are given the same rows, are fitted once.

    Parameters
    ----------
    fits : list of Fit
        What is to be done. Errors are noted there, not raised.
    max_models : int, default=None
        Most models in a stack; None: as many as half the free memory holds.
    n_jobs : int, default=None
        Number of processes, as in joblib, each with a part of the stacked detectors, and of those
        that cannot be stacked.
    verbose : int, default=0
        Whether to tell of these.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSVDD
    >>> from skdeepad.stacking import Fit, fit_together
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> fits = [Fit(DeepSVDD(n_epochs=1, random_state=seed), X, None) for seed in range(3)]
    >>> fit_together(fits)
    >>> alone = DeepSVDD(n_epochs=1, random_state=2).fit(X)
    >>> together = fits[2].estimator
    >>> bool(np.allclose(together.score_samples(X), alone.score_samples(X), rtol=1e-3))
    True
    """
    heads: dict[Any, Any] = {}
    for fit in fits:
        fit.transform(heads)
    fits = [fit for fit in fits if fit.error is None]
    reasons = {fit: why_not_stacked(fit.detector) for fit in fits}
    others = [[fit] for fit in fits if reasons[fit]]
    stacked = [fit for fit in fits if not reasons[fit]]
    n_stacks = min(effective_n_jobs(n_jobs), len(stacked))
    stacks = [stacked[number::n_stacks] for number in range(n_stacks)]
    jobs = [delayed(_each_alone)(part) for part in others]
    jobs += [delayed(_fit_in_stacks)(part, max_models) for part in stacks]
    names = ", ".join(sorted({type(fit.detector).__name__ for fit in fits}))
    with told_of_killed_process(f"some of {len(fits)} detectors ({names})"):
        all_done = Parallel(n_jobs=n_jobs)(jobs)
    for part, done in zip([*others, *stacks], all_done, strict=True):
        for fit, result in zip(part, done, strict=True):
            fit.take(result)
            reasons[fit] = reasons[fit] or result.why_alone
            fit.apart = result.apart
    if verbose:
        _tell(fits, reasons)


def _tell(fits: list[Fit], reasons: dict[Fit, str | None]) -> None:
    """Say which detectors were not trained as one, and why."""
    names = [type(fit.detector).__name__ for fit in fits]
    for name, reason in {(name, reasons[fit]) for name, fit in zip(names, fits, strict=True)}:
        if reason:
            print(f"Each {name} is trained by itself: {reason}.")
    apart = Counter(
        (name, fit.apart)
        for name, fit in zip(names, fits, strict=True)
        if fit.apart and not reasons[fit]
    )
    for (name, difference), count in apart.items():
        print(f"{count} of {names.count(name)} {name} trained apart: {difference}.")


def _each_alone(fits: list[Fit]) -> list[Fit]:
    for fit in fits:
        fit.alone()
    return fits


def _fit_in_stacks(fits: list[Fit], max_models: int | None) -> list[Fit]:
    with engine.undisturbed():
        return _in_stages(fits, max_models)


def _in_stages(fits: list[Fit], max_models: int | None) -> list[Fit]:
    shared: dict[Any, Any] = {}
    try:
        for fit in fits:
            fit.plan(shared)
        number = 0
        while going := [fit for fit in fits if fit.error is None and fit.has_training(number)]:
            trainings = [fit.trainings[number] for fit in going]
            engine.train_together(trainings, max_models)
            for fit, training in zip(going, trainings, strict=True):
                fit.seconds += training.record.seconds
                fit.why_alone = fit.why_alone or training.record.why_alone
                fit.apart = fit.apart or training.record.apart
                if training.record.error is not None:
                    fit.fails(training.record.error)
            number += 1
        for fit in fits:
            if fit.error is None:
                fit.complete()
    except BaseException:  # an interrupted detector is what it was before
        for fit in fits:
            if fit.before is not None:
                restore_fitted_state(fit.detector, fit.before)
        raise
    finally:
        for fit in fits:
            fit.forgets()
    return fits
