"""Folds that spread labeled rows evenly and know what to do with unlabeled ones."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, indexable

from skdeepad.inputs import check_labels
from skdeepad.notices import warn

_UNLABELED_MODES = ("train", "split", "drop")

# Instead of a fold number: the row is trained on in every fold, or used in none.
_ALWAYS_TRAIN = -1
_NEVER_USED = -2

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Row numbers of a training set and of its test fold."""


def n_rows(X: Any) -> int:
    """Return the number of rows of an indexable container, sparse matrices included."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def deal(
    labels: NDArray[np.int8], n_splits: int, rng: np.random.RandomState | None = None
) -> NDArray[np.intp]:
    """Return the fold of each row, an array of shape (n_samples,).

    Anomalies, normals and unlabeled rows are spread one after the other, each as evenly
    as can be. A kind that does not divide by ``n_splits`` leaves some folds one row
    short; the next kind begins with these, so that whole folds differ by one row too.
    """
    folds = np.empty(labels.size, dtype=np.intp)
    n_dealt = 0
    # Unlabeled rows come last: the folds of the labeled ones do not depend on them.
    for sign in (-1, 1, 0):
        rows = np.flatnonzero(labels == sign)
        if rng is not None:
            rng.shuffle(rows)
        places = np.arange(n_dealt, n_dealt + rows.size) % n_splits
        sizes = np.bincount(places, minlength=n_splits)
        folds[rows] = np.repeat(np.arange(n_splits), sizes)
        n_dealt += rows.size
    return folds


def train_and_test(folds: NDArray[np.intp], n_splits: int) -> Iterator[Fold]:
    """Yield the training and the test rows of each fold, both in ascending order."""
    for fold in range(n_splits):
        train = np.flatnonzero((folds != fold) & (folds != _NEVER_USED))
        yield train, np.flatnonzero(folds == fold)


def check_n_splits(n_splits: Any, name: str, owner: str) -> int:
    """Return the number of folds as an int, or raise for anything below two."""
    is_whole = isinstance(n_splits, numbers.Integral) and not isinstance(n_splits, bool)
    if not is_whole or n_splits < 2:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be a whole number of at least 2. "
            f"Got {n_splits!r} instead."
        )
    return int(n_splits)


def check_choice(value: object, choices: Sequence[str], name: str, owner: str) -> None:
    """Raise unless the value is one of the given strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"The {name!r} parameter of {owner} must be one of {', '.join(map(repr, choices))}. "
            f"Got {value!r} instead."
        )


class LabeledStratifiedKFold(BaseCrossValidator):
    r"""Stratified k-fold cross-validation when only some rows are labeled.

    Labeled anomalies (y < 0) and labeled normals (y > 0) are each spread evenly over the
    folds, and each labeled row is in exactly one test fold. What happens to unlabeled
    rows (y = 0) is the user's choice.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2 and at most the number of labeled anomalies.

    unlabeled : {"train", "split", "drop"}, default="train"
        Where unlabeled rows go:

        - "train": into every training set and no test fold. Nothing that can be learned
          from is wasted; use it to choose hyper-parameters by labeled rows.
        - "split": spread over the folds like the labeled rows, so that every row is in
          exactly one test fold. Use it for out-of-fold scores of unlabeled rows, or if
          there are no labeled normals.
        - "drop": left out altogether, as if they had not been collected.

        The labeled rows fall into the same test folds in all three modes.

    shuffle : bool, default=False
        Whether to shuffle the rows of each kind before they are spread. Without it, each
        kind is cut into consecutive blocks, as in
        :class:`~sklearn.model_selection.StratifiedKFold`: neighboring rows, which in
        recorded data are often near duplicates, then stay in one fold.

    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. An int gives the same folds at each call of ``split``,
        which a fair comparison of two detectors needs.

    See Also
    --------
    cross_val_anomaly_scores : Out-of-fold anomaly scores of all rows.
    labeled_roc_auc_score : ROC AUC of the labeled rows.

    Notes
    -----
    Each test fold must be able to tell anomalies from normals, so there have to be at
    least ``n_splits`` labeled rows of either kind. There is one exception: if **no**
    normal is labeled and ``unlabeled="split"``, the unlabeled rows of each test fold
    stand in for normals in the scores of this module. A few labeled normals, fewer than
    ``n_splits``, are an error in every mode, because some folds would then measure one
    thing and the other folds another.

    Standing in has a price: an anomaly hidden among the unlabeled rows counts as a
    normal. If a share :math:`\pi` of the unlabeled rows are anomalies that score like
    the labeled ones, the measured ROC AUC is, in expectation [1]_ [2]_,

    .. math:: \mathrm{AUC}' = (1 - \pi) \, \mathrm{AUC} + \pi / 2,

    biased towards 1/2. It grows with :math:`\mathrm{AUC}`, so that a search still prefers
    the better candidate as long as this assumption holds.

    Tools that train on part of a training set thin out the labels as well. For
    :func:`~sklearn.model_selection.learning_curve`, pass ``shuffle=True`` there, since it
    takes the first rows of each training set otherwise. For ``HalvingGridSearchCV``,
    prefer a parameter of the detector, such as its number of epochs, as the resource:
    ``resource="n_samples"`` subsamples test folds too, and with few labels leaves them
    without an anomaly.

    References
    ----------
    .. [1] Menon, A. K., van Rooyen, B., Ong, C. S., Williamson, R. C. "Learning from
           corrupted binary labels via class-probability estimation." ICML 2015.
    .. [2] Jain, S., White, M., Radivojac, P. "Recovering true classifier performance in
           positive-unlabeled learning." AAAI 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.model_selection import LabeledStratifiedKFold
    >>> X = np.zeros((8, 1))
    >>> y = np.array([-1, -1, 0, 0, 0, 0, 1, 1])
    >>> for mode in ("train", "split", "drop"):
    ...     train, test = next(LabeledStratifiedKFold(2, unlabeled=mode).split(X, y))
    ...     print(mode, train, test)
    train [1 2 3 4 5 7] [0 6]
    split [1 4 5 7] [0 2 3 6]
    drop [1 7] [0 6]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        unlabeled: Literal["train", "split", "drop"] = "train",
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        # Splitters check here rather than in split, as all of scikit-learn's do: they
        # have no fit, and set_params does not exist.
        owner = type(self).__name__
        self.n_splits: int = check_n_splits(n_splits, "n_splits", owner)
        check_choice(unlabeled, _UNLABELED_MODES, "unlabeled", owner)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise ValueError(
                f"The 'shuffle' parameter of {owner} must be True or False. "
                f"Got {shuffle!r} instead."
            )
        if random_state is not None and not shuffle:
            raise ValueError(
                "random_state has no effect while shuffle is False. Set shuffle=True, or leave "
                "random_state at None."
            )
        self.unlabeled = unlabeled
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored, present for compatibility with scikit-learn.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        return self.n_splits

    def split(self, X: Any, y: ArrayLike | None = None, groups: Any = None) -> Iterator[Fold]:
        """Yield the row numbers of each training set and test fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The rows to split; only their number is used.

        y : array-like of shape (n_samples,)
            Labels: whole numbers read by their sign, +1 normal, 0 unlabeled, -1 anomaly.

        groups : object, default=None
            Ignored with a warning, present for compatibility with scikit-learn.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Row numbers of the training set, ascending.

        test : ndarray of shape (n_test,)
            Row numbers of the test fold, ascending.

        Raises
        ------
        ValueError
            If y is missing or holds anything but whole numbers, or if there are fewer
            labeled anomalies or labeled normals than folds (see Notes of the class).
        """
        if groups is not None:
            warn(f"The groups parameter is ignored by {type(self).__name__}")
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs y, the labels to spread over the folds. Got None. "
                "Pass y, or split rows without labels by sklearn.model_selection.KFold."
            )
        X, y = indexable(X, y)
        labels = check_labels(y, n_rows(X), for_training=False)
        self._check_counts(labels)
        rng = check_random_state(self.random_state) if self.shuffle else None
        folds = deal(labels, self.n_splits, rng)
        if self.unlabeled == "train":
            folds[labels == 0] = _ALWAYS_TRAIN
        elif self.unlabeled == "drop":
            folds[labels == 0] = _NEVER_USED
        yield from train_and_test(folds, self.n_splits)

    def _check_counts(self, labels: NDArray[np.int8]) -> None:
        """Raise if some test fold would lack anomalies, or rows to compare them with."""
        n_anomalies, n_unlabeled, n_normals = (np.sum(labels == sign) for sign in (-1, 0, 1))
        if n_anomalies < self.n_splits:
            raise ValueError(self._too_few("anomalies (y < 0)", n_anomalies) + ".")
        stand_in = self.unlabeled == "split" and n_normals == 0 and n_unlabeled >= self.n_splits
        if n_normals < self.n_splits and not stand_in:
            raise ValueError(
                self._too_few("normals (y > 0)", n_normals)
                + ', or use unlabeled="split" with no label above 0: then unlabeled rows, at '
                "least one for each fold, stand in for normals."
            )

    def _too_few(self, kind: str, count: int) -> str:
        """Return what was expected, what came and what to do, to be continued."""
        remedy = f"Set n_splits to {count} or less, or label" if count >= 2 else "Label"
        return (
            f"n_splits={self.n_splits} needs at least {self.n_splits} labeled {kind}, one to "
            f"test on in each fold. Got {count}. {remedy} more rows"
        )
