"""Fit many detectors, those that are alike as one."""

from __future__ import annotations

import time

from joblib import Parallel, delayed
from sklearn.utils import _safe_indexing  # part of scikit-learn's documented API

from skdeepad import engine
from skdeepad.deep import DeepDetector
from skdeepad.engine import Rows


class Fit:
    """A detector that is to be fitted to some rows, and how that went.

    Parameters
    ----------
    detector : estimator
        Not fitted.
    X : array-like of shape (n_samples, n_features)
        Rows. Detectors that are given the same object share one copy of it.
    y : array-like of shape (n_rows,) or None
        Labels of the rows that are meant.
    rows : array of int of shape (n_rows,), optional
        Positions in X of the rows that are meant, by default all.

    Attributes
    ----------
    detector : estimator
        Fitted, if there was no error.
    error : Exception or None
        What fitting raised.
    seconds : float
        Time of its own, and its share of that of the stacks it was in.
    """

    def __init__(self, detector, X, y, rows=None):
        self.detector, self.X, self.y, self.rows = detector, X, y, rows
        self.error, self.seconds = None, 0.0

    def alone(self):
        """Fit the detector by itself; return it, what went wrong, and the time it took."""
        X = self.X if self.rows is None else _safe_indexing(self.X, self.rows)
        started = time.perf_counter()
        try:
            self.detector.fit(X, self.y)
        except Exception as error:
            self.error = error
        return self.detector, self.error, time.perf_counter() - started

    def begin(self, shared):
        """Get ready to fit in steps; what fits may have in common is in the dict ``shared``."""

        def share(features):
            return shared.setdefault(id(self.X), features)

        def place(features, labels, shape, device, stream):
            key = id(features), shape, device, stream
            if key not in shared:
                shared[key] = Rows.place(features, None, shape, device, stream)
            return shared[key].labeled(labels, self.rows)

        self.steps = self.detector._fit_in_steps(self.X, self.y, self.rows, share, place)

    def advance(self):
        """Go on to the next training and return it, or None at the end."""
        started = time.perf_counter()
        try:
            return next(self.steps, None)
        except Exception as error:
            self.error = error
            return None
        finally:
            self.seconds += time.perf_counter() - started


def why_not_stacked(detector):
    """Say why a detector cannot be trained as one with others, or return None if it can."""
    if isinstance(detector, DeepDetector):
        return detector._why_not_stacked()
    return "it is no deep detector, or only a part of it is"


def fit_together(fits, *, max_models=None, n_jobs=None, verbose=0):
    """Fit detectors, each as its own ``fit`` would, those that are alike as one.

    Parameters
    ----------
    fits : list of Fit
        What is to be done. Errors are noted there, not raised.
    max_models : int, default=None
        Most models in a stack; None: as many as half the free memory holds.
    n_jobs : int, default=None
        Number of processes for detectors that cannot be stacked, as in joblib.
    verbose : int, default=0
        Whether to tell of these.
    """
    reasons = [why_not_stacked(fit.detector) for fit in fits]
    if verbose:
        for fit, reason in dict(zip(map(_name, fits), reasons, strict=True)).items():
            if reason:
                print(f"Each {fit} is trained by itself: {reason}.")
    others = [fit for fit, reason in zip(fits, reasons, strict=True) if reason]
    done = Parallel(n_jobs=n_jobs)(delayed(fit.alone)() for fit in others)
    for fit, results in zip(others, done, strict=True):
        fit.detector, fit.error, fit.seconds = results
    _fit_in_stacks(
        [fit for fit, reason in zip(fits, reasons, strict=True) if not reason], max_models
    )


def _fit_in_stacks(fits, max_models):
    shared = {}
    for fit in fits:
        fit.begin(shared)
    while fits:
        trainings = {fit: fit.advance() for fit in fits}
        fits = [fit for fit in fits if trainings[fit] is not None]
        started = time.perf_counter()
        engine.train_together([trainings[fit] for fit in fits], max_models)
        for fit in fits:
            fit.seconds += (time.perf_counter() - started) / len(fits)


def _name(fit):
    return type(fit.detector).__name__
