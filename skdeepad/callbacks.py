"""Progress of training, for scikit-learn's callbacks and for ``verbose``."""

from __future__ import annotations

from contextlib import contextmanager

from tqdm import tqdm

try:
    from sklearn.callback import CallbackSupportMixin
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
    n_stages : int
        Number of stages to come.
    given : tuple (X, y)
        Training data as the user passed them, for callbacks that ask for them.
    """

    def __init__(self, estimator, n_stages, given):
        self.estimator, self.given = estimator, given
        self.stopped = False
        self.task = None
        if getattr(estimator, "_skl_callbacks", None):
            self.task = self.begin(estimator._init_callback_context(max_subtasks=n_stages))

    @contextmanager
    def stage(self, name, fitted_now):
        """Open a stage and yield its observer; ``fitted_now(record)`` gives fitted attributes."""
        observer = StageObserver(self, name, fitted_now)
        try:
            yield observer
        finally:
            if observer.bar is not None:
                observer.bar.close()
        self.stopped |= self.end(observer.task, observer.fitted)

    def ends(self):
        """Close the fit."""
        self.end(self.task)

    def begin(self, task):
        """Tell callbacks that a task begins."""
        X, y = self.given
        return task.call_on_fit_task_begin(estimator=self.estimator, X=X, y=y)

    def end(self, task, fitted=None):
        """Tell callbacks that a task ends; True if one of them asks to stop."""
        if task is None:
            return False
        X, y = self.given
        return task.call_on_fit_task_end(
            estimator=self.estimator, X=X, y=y, reconstruction_attributes=fitted
        )


class StageObserver:
    """Follows one stage; the engine calls it."""

    def __init__(self, fit, name, fitted_now):
        self.fit, self.name, self.fitted_now = fit, name, fitted_now
        self.task = self.epoch = self.fitted = None
        self.bar = None

    def begins(self, n_epochs):
        """Open the stage."""
        if self.fit.task is not None:
            task = self.fit.task.subcontext(task_name=self.name, max_subtasks=n_epochs)
            self.task = self.fit.begin(task)
        estimator = self.fit.estimator
        self.bar = tqdm(
            total=n_epochs,
            desc=f"{type(estimator).__name__} {self.name}",
            unit="epoch",
            disable=not estimator.verbose,
        )

    def epoch_begins(self):
        """Open an epoch."""
        if self.task is not None:
            self.epoch = self.fit.begin(self.task.subcontext(task_name="epoch"))

    def epoch_ends(self, record):
        """Close an epoch; True ends the stage."""
        self.bar.set_postfix(
            {name: values[-1] for name, values in record.losses.items()}, refresh=False
        )
        self.bar.update()
        # A callable: the copy it makes is made only if a callback asks for it.
        self.fitted = None if self.fitted_now is None else lambda: self.fitted_now(record)
        return self.fit.end(self.epoch, self.fitted)
