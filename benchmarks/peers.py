"""Other libraries' detectors with their defaults, fitted and judged as ours are.

PyOD comes with the ``benchmarks`` extra; where it is not installed its methods are left out.
"""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM


def pyod_deep_svdd(n_features, seed, quick):
    from pyod.models.deep_svdd import DeepSVDD

    settings = {"epochs": 1} if quick else {}
    return DeepSVDD(n_features=n_features, random_state=seed, verbose=0, **settings)


def pyod_auto_encoder(n_features, seed, quick):
    from pyod.models.auto_encoder import AutoEncoder

    settings = {"epoch_num": 1} if quick else {}
    return AutoEncoder(random_state=seed, verbose=0, device="cpu", **settings)


# What makes a detector for rows of so many features, and the labels it is given, if any.
MAKERS = {
    "OneClassSVM": lambda n_features, seed, quick: OneClassSVM(),
    "IsolationForest": lambda n_features, seed, quick: IsolationForest(random_state=seed),
    "LocalOutlierFactor": lambda n_features, seed, quick: LocalOutlierFactor(novelty=True),
    "RandomForest": lambda n_features, seed, quick: RandomForestClassifier(random_state=seed),
    "PyOD DeepSVDD": pyod_deep_svdd,
    "PyOD AutoEncoder": pyod_auto_encoder,
}
PEERS = tuple(MAKERS)


def is_installed(name):
    """Tell whether the library that a peer comes from is there."""
    return not name.startswith("PyOD") or importlib.util.find_spec("pyod") is not None


class Peer(BaseEstimator):
    """A peer by its name, which learns from flat rows that are not labeled anomalies.

    ``RandomForest`` learns to tell labeled anomalies from all other rows.
    """

    def __init__(self, name, quick=False, random_state=None):
        self.name, self.quick, self.random_state = name, quick, random_state

    def fit(self, X, y=None):
        X = np.asarray(X).reshape(len(X), -1)
        known = np.zeros(len(X), dtype=bool) if y is None else np.asarray(y) < 0
        self.model_ = MAKERS[self.name](X.shape[1], self.random_state, self.quick)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs are not ours to mend
            if self.name == "RandomForest":
                self.model_.fit(X, known)
            else:
                self.model_.fit(X[~known])
        return self

    def anomaly_score(self, X):
        """Return larger scores for more anomalous rows."""
        X = np.asarray(X).reshape(len(X), -1)
        if self.name.startswith("PyOD"):
            return self.model_.decision_function(X)
        if self.name == "RandomForest":
            return self.model_.predict_proba(X)[:, 1]
        return -self.model_.score_samples(X)

    def predict(self, X):
        """Return -1 for anomalies by the peer's own threshold, else +1."""
        predicted = self.model_.predict(np.asarray(X).reshape(len(X), -1))
        if self.name.startswith("PyOD") or self.name == "RandomForest":
            return np.where(predicted == 1, -1, 1)
        return predicted
