"""Searches that train their candidates together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from joblib import parallel_config
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV  # what both derive from
from sklearn.utils import _safe_indexing, indexable  # documented, despite the first one's name
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _num_samples

from skdeepad.notices import warned_once
from skdeepad.stacking import Fit, content_of, fit_together, last_step, why_not_stacked

Scoring = str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None

_MAX_MODELS = {"max_models": [Interval(Integral, 1, None, closed="left"), None]}


class _StackedSearch(BaseSearchCV):
    """What both searches share: all models are trained first, then judged one after the other."""

    def fit(self, X: Any, y: ArrayLike | None = None, **params: Any) -> Self:
        """Train all candidates on all folds, judge them, and fit the best one to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or images of shape (n, channels, height, width).
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, 0 unlabeled, -1 anomalous.
        **params : dict
            ``groups`` for the folds. With any others, which are for estimator or scorer, models are
            trained one by one.

        Returns
        -------
        self : object
            The fitted search.
        """
        self._validate_params()
        self._get_scorers()  # what is wrong with them is said before any training
        X, y = indexable(X, y)
        reason = self._why_one_by_one(params)
        if reason is not None:
            self._tell(reason)
            return super().fit(X, y, **params)
        # Drawn once: both may be random, or be read but once.
        splits = list(check_cv(self.cv, y).split(X, y, params.get("groups")))
        candidates = self._candidates()
        fits = [
            Fit(clone(self.estimator).set_params(**clone(parameters, safe=False)), X, *training)
            for parameters in candidates
            for training in _training_parts(splits, y)
        ]
        reasons = [why_not_stacked(fit.estimator) for fit in fits]
        if all(reasons):
            self._tell(next(filter(None, reasons), "there are none"))
            judging = _Judging(self, self.estimator, candidates, splits, self.n_jobs)
            judging.fit(X, y, **params)
        else:
            trained = self._train(fits, len(splits), _num_samples(X))
            judging = _Judging(self, trained.estimator(self.estimator), candidates, splits, 1)
            # Here, whatever backend joblib has been told to use: elsewhere there are no models.
            with parallel_config("sequential"):
                judging.fit(X, y, **params)
            trained.check(type(self).__name__)
        found = {name: value for name, value in vars(judging).items() if name.endswith("_")}
        if self.scoring is None:
            found["scorer_"] = check_scoring(self.estimator)
        if not all(reasons):
            seconds = np.reshape([fit.seconds for fit in fits], (len(candidates), -1))
            found["cv_results_"]["mean_fit_time"] = seconds.mean(axis=1)
            found["cv_results_"]["std_fit_time"] = seconds.std(axis=1)
        self.__dict__.update(found)
        return self

    def _train(self, fits: list[Fit], n_splits: int, n_samples: int) -> _Trained:
        """Train all candidates on all folds, and return them by what they are."""
        by_fold = [_rows_key(*fit.given()) for fit in fits[:n_splits]]
        keys = [
            (_parameters_key(fit.estimator), by_fold[number % n_splits])
            for number, fit in enumerate(fits)
        ]
        with warned_once():
            fit_together(fits, max_models=self.max_models, n_jobs=self.n_jobs, verbose=self.verbose)
        return _Trained(fits, keys, n_samples)

    def _why_one_by_one(self, params: dict[str, Any]) -> str | None:
        """Say why nothing can be stacked whatever the candidates are, or return None."""
        others = sorted(params.keys() - {"groups"})
        if others or (params and get_config()["enable_metadata_routing"]):
            return f"fit was given {', '.join(sorted(params))}"
        followed = (self, self.estimator, last_step(self.estimator))
        if any(getattr(each, "_skl_callbacks", None) for each in followed):
            return "callbacks follow one model"
        return None

    def _tell(self, reason: str) -> None:
        if self.verbose:
            print(f"{type(self).__name__} trains models one by one: {reason}.")


def _training_parts(splits: Sequence[Any], y: Any) -> list[tuple[Any, Any]]:
    """Return labels and rows of the training part of each fold."""
    return [(None if y is None else _safe_indexing(y, train), train) for train, _ in splits]


class _Judging(BaseSearchCV):
    """Scores listed candidates, in their order, on listed folds."""

    def __init__(
        self,
        search: Any,
        estimator: Any,
        candidates: list[dict[str, Any]],
        splits: Sequence[Any],
        n_jobs: int | None,
    ) -> None:
        super().__init__(
            estimator,
            scoring=search.scoring,
            n_jobs=n_jobs,
            pre_dispatch=search.pre_dispatch,
            refit=search.refit,
            cv=splits,
            verbose=search.verbose,
            error_score=search.error_score,
            return_train_score=search.return_train_score,
        )
        self.search, self.candidates, self.splits = search, candidates, splits

    def _run_search(self, evaluate_candidates: Callable[[list[dict[str, Any]]], Any]) -> None:
        evaluate_candidates(self.candidates)


class _Trained:
    """Models that have been trained, by what they are: parameters and rows.

    Parameters
    ----------
    fits : list of Fit
        Done.
    keys : list of hashable
        Of each: what its parameters and its rows were before it was fitted.
    n_samples : int
        Number of all rows, which the best candidate is fitted to at last.
    """

    def __init__(self, fits: list[Fit], keys: list[Any], n_samples: int) -> None:
        self.fits: dict[Any, list[Fit]] = {}
        self.n_samples = n_samples
        self.missing: list[str] = []
        for key, fit in zip(keys, fits, strict=True):
            self.fits.setdefault(key, []).append(fit)

    def check(self, search: str) -> None:
        """Raise an error if a model was looked for in vain."""
        if self.missing:
            raise RuntimeError(
                f"{search} has no model for {self.missing[0]}, one of {len(self.missing)} that it "
                "should have trained. This is a fault of skdeepad, or of an estimator whose "
                "parameters change when it is cloned: use GridSearchCV."
            )

    def estimator(self, like: Any) -> Any:
        """Return an unfitted copy of an estimator whose ``fit`` takes over what was trained.

        A search clones it for each candidate and fold, and once more for the refit.
        """
        own_class = type(like)

        def fit(self_: Any, X: Any, y: Any = None) -> Any:
            self_.__class__ = own_class  # scorers and users see nothing but the real one
            waiting = self.fits.get((_parameters_key(self_), _rows_key(X, y)), [])
            if waiting:
                done = waiting.pop(0)
                if done.error is not None:
                    raise done.error
                vars(self_).update(vars(done.estimator))
                return self_
            if _num_samples(X) != self.n_samples:
                self.missing.append(repr(self_))
            return self_.fit(X, y)

        looked_up = clone(like)
        looked_up.__class__ = type(own_class.__name__, (own_class,), {"fit": fit})
        return looked_up


def _parameters_key(estimator: Any) -> Any:
    """Return what is equal for estimators of equal parameters."""
    leaves = {
        name: value
        for name, value in estimator.get_params().items()
        if not hasattr(value, "get_params") and not name.endswith("steps")
    }
    return tuple((name, content_of(leaves[name])) for name in sorted(leaves))


def _rows_key(X: Any, y: Any) -> Any:
    """Return what is equal for equal rows and labels."""
    return content_of(X), content_of(None if y is None else np.asarray(y))


class StackedGridSearchCV(_StackedSearch, GridSearchCV):
    """Grid search that trains its candidates on all folds as few large models.

    A drop-in for :class:`~sklearn.model_selection.GridSearchCV`: same candidates, folds and scores,
    up to rounding, in a fraction of the time where networks are small. A step of training then is
    mostly overhead, and is paid once for all models that are alike: of one architecture, and with
    equal batches, epochs and steps in each. Candidates that differ in these go into stacks of
    their own.

    The estimator is a deep detector, or a :class:`~sklearn.pipeline.Pipeline` that ends in one; its
    transformers are fitted once a fold for candidates that share them. What cannot be stacked (a
    network of your own, ``compile=True``, callbacks, detectors that are not deep, parameters of
    ``fit``) is trained as in scikit-learn, and `verbose` says why.

    Parameters
    ----------
    estimator : estimator
        A detector, or a pipeline that ends in one.
    param_grid : dict or list of dict
        Values to try, by name.
    scoring : str, callable, list, tuple or dict, default=None
        How a fitted estimator is judged; None: by its own ``score``. With few labels use
        :data:`~skdeepad.model_selection.labeled_roc_auc`.
    n_jobs : int, default=None
        Number of processes; each trains stacks of its own.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best candidate is fitted to all rows.
    cv : int, cross-validation generator or iterable, default=None
        The folds; with few labels use
        :class:`~skdeepad.model_selection.LabeledStratifiedKFold`.
    verbose : int, default=0
        As in scikit-learn; and whether to say why models are not stacked.
    pre_dispatch : int or str, default="2*n_jobs"
        As in scikit-learn, for what cannot be stacked.
    error_score : "raise" or float, default=nan
        Score of a candidate that could not be fitted.
    return_train_score : bool, default=False
        Whether to score training rows as well.
    max_models : int, default=None
        Most models in a stack. None: as many as half the free memory holds.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As in scikit-learn. A fit time is the model's share of the time of its stacks.
    best_estimator_ : estimator
        The best candidate, fitted to all rows.
    best_score_ : float
        Its mean score over the folds.
    best_params_ : dict
        Its values.
    best_index_ : int
        Its place in ``cv_results_``.
    scorer_ : callable or dict
        What has judged.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.

    See Also
    --------
    StackedRandomizedSearchCV : Tries some candidates drawn at random.
    DeepEnsemble : Several models for one answer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSAD
    >>> from skdeepad.model_selection import (
    ...     LabeledStratifiedKFold,
    ...     StackedGridSearchCV,
    ...     labeled_roc_auc,
    ... )
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(110, 2)), rng.normal(scale=4, size=(10, 2))])
    >>> y = np.r_[np.zeros(90), np.ones(20), -np.ones(10)].astype(int)
    >>> search = StackedGridSearchCV(
    ...     DeepSAD(hidden_layer_sizes=(16, 8), random_state=0),
    ...     {"eta": [0.1, 1.0, 10.0], "lr": [1e-3, 1e-2]},
    ...     cv=LabeledStratifiedKFold(n_splits=5),
    ...     scoring=labeled_roc_auc,
    ... ).fit(X, y)  # thirty models, trained as one
    >>> bool(search.best_score_ > 0.7)
    True
    """

    _parameter_constraints: dict[str, Any] = {**GridSearchCV._parameter_constraints, **_MAX_MODELS}

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
        max_models: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_models = max_models

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class StackedRandomizedSearchCV(_StackedSearch, RandomizedSearchCV):
    """Randomized search that trains its candidates on all folds as few large models.

    A drop-in for :class:`~sklearn.model_selection.RandomizedSearchCV`: same candidates, folds and
    scores, up to rounding; see :class:`StackedGridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        A detector, or a pipeline that ends in one.
    param_distributions : dict or list of dict
        Distributions, or lists of values, to draw from, by name.
    n_iter : int, default=10
        Number of candidates.
    scoring : str, callable, list, tuple or dict, default=None
        How a fitted estimator is judged; None: by its own ``score``. With few labels use
        :data:`~skdeepad.model_selection.labeled_roc_auc`.
    n_jobs : int, default=None
        Number of processes; each trains stacks of its own.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best candidate is fitted to all rows.
    cv : int, cross-validation generator or iterable, default=None
        The folds; with few labels use
        :class:`~skdeepad.model_selection.LabeledStratifiedKFold`.
    verbose : int, default=0
        As in scikit-learn; and whether to say why models are not stacked.
    pre_dispatch : int or str, default="2*n_jobs"
        As in scikit-learn, for what cannot be stacked.
    random_state : int, RandomState instance or None, default=None
        Determines the candidates.
    error_score : "raise" or float, default=nan
        Score of a candidate that could not be fitted.
    return_train_score : bool, default=False
        Whether to score training rows as well.
    max_models : int, default=None
        Most models in a stack. None: as many as half the free memory holds.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As in scikit-learn. A fit time is the model's share of the time of its stacks.
    best_estimator_ : estimator
        The best candidate, fitted to all rows.
    best_score_ : float
        Its mean score over the folds.
    best_params_ : dict
        Its values.
    best_index_ : int
        Its place in ``cv_results_``.
    scorer_ : callable or dict
        What has judged.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.

    See Also
    --------
    StackedGridSearchCV : Tries all combinations of listed values.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import loguniform
    >>> from skdeepad import DeepSAD
    >>> from skdeepad.model_selection import StackedRandomizedSearchCV
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(100, 2)), rng.normal(scale=4, size=(20, 2))])
    >>> y = np.r_[np.ones(100), -np.ones(20)].astype(int)
    >>> order = rng.permutation(120)
    >>> search = StackedRandomizedSearchCV(
    ...     DeepSAD(hidden_layer_sizes=(16, 8), random_state=0),
    ...     {"eta": loguniform(0.1, 10), "weight_decay": loguniform(1e-6, 1e-2)},
    ...     n_iter=5,
    ...     cv=3,
    ...     random_state=0,
    ... ).fit(X[order], y[order])  # fifteen models, trained as one
    >>> bool(search.best_score_ > 0.7)
    True
    """

    _parameter_constraints: dict[str, Any] = {
        **RandomizedSearchCV._parameter_constraints,
        **_MAX_MODELS,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
        max_models: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_models = max_models

    def _candidates(self) -> list[dict[str, Any]]:
        return list(
            ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)
        )
