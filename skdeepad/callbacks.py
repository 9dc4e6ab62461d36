"""Progress of training, for scikit-learn's callbacks and for ``verbose``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tqdm import tqdm

from skdeepad.engine import Observer, Record

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in below scikit-learn 1.9: there is no ``set_callbacks``."""


class FitObserver:
    """Tells scikit-learn's callbacks, and the user's terminal, how far a fit is.

    The task tree is fit > stage > epoch. A callback's stop flag at the end of an epoch ends its
    stage; at the end of a stage it ends training.

    Parameters
    ----------
    estimator : DeepDetector
        The detector that is being fitted.
    X, y : object
        Training data as the user passed them, for callbacks that ask for them.
    """

    estimator: Any
    X: Any
    y: Any

    def __init__(self, estimator: Any, X: Any, y: Any) -> None:
        self.estimator, self.X, self.y = estimator, X, y
        self.stopped = False
        self.task: Any = None

    def expects(self, n_stages: int) -> None:
        """Open the fit."""
        if getattr(self.estimator, "_skl_callbacks", None):
            self.task = self.begin(self.estimator._init_callback_context(max_subtasks=n_stages))

    def stage(self, name: str, fitted_now: Callable[[Record], Any] | None) -> StageObserver:
        """Return the observer of a stage; ``fitted_now(record)`` gives fitted attributes."""
        return StageObserver(self, name, fitted_now)

    def ends(self) -> None:
        """Close the fit."""
        self.end(self.task)

    def begin(self, task: Any) -> Any:
        """Tell callbacks that a task begins."""
        return task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def end(self, task: Any, fitted: Any = None) -> bool:
        """Tell callbacks that a task ends; True if one of them asks to stop."""
        if task is None:
            return False
        return task.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, y=self.y, reconstruction_attributes=fitted
        )


class StageObserver(Observer):
    """Follows one stage; the engine calls it."""

    fit: FitObserver
    name: str
    fitted_now: Callable[[Record], Any] | None

    def __init__(
        self, fit: FitObserver, name: str, fitted_now: Callable[[Record], Any] | None
    ) -> None:
        self.fit, self.name, self.fitted_now = fit, name, fitted_now
        self.task: Any = None
        self.epoch: Any = None
        self.fitted: Any = None
        self.bar: Any = None

    def begins(self, n_epochs: int) -> int:
        """Open the stage; if training has been stopped, the model is made usable, no more."""
        n_epochs = 0 if self.fit.stopped else n_epochs
        if self.fit.task is not None:
            task = self.fit.task.subcontext(task_name=self.name, max_subtasks=n_epochs)
            self.task = self.fit.begin(task)
        estimator = self.fit.estimator
        if estimator.verbose:  # a bar that shows nothing would start a thread as well
            name = f"{type(estimator).__name__} {self.name}"
            self.bar = tqdm(total=n_epochs, desc=name, unit="epoch")
        return n_epochs

    def epoch_begins(self) -> None:
        """Open an epoch."""
        if self.task is not None:
            self.epoch = self.fit.begin(self.task.subcontext(task_name="epoch"))

    def epoch_ends(self, record: Record) -> bool:
        """Close an epoch; True ends the stage."""
        if self.bar is not None:
            last = {name: values[-1] for name, values in record.losses.items()}
            self.bar.set_postfix(last, refresh=False)
            self.bar.update()
        # A callable: the copy it makes is made only if a callback asks for it.
        if self.fitted_now is not None:
            self.fitted = partial(self.fitted_now, record)
        return self.fit.end(self.epoch, self.fitted)

    def ends(self, completed: bool) -> None:
        """Close the stage."""
        if self.bar is not None:
            self.bar.close()
        if completed:
            self.fit.stopped |= self.fit.end(self.task, self.fitted)
