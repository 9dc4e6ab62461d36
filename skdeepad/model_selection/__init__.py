"""Splitters, scorers and out-of-fold scores for data with few labels.

Labels follow one convention: y > 0 is a verified normal row, y < 0 a verified anomaly
and y = 0 an unlabeled row. scikit-learn's own tools take 0 for a third class, or for
the negative one, so they return NaN or a number that means something else. Those here
leave unlabeled rows out of every score, and labels reach ``fit`` as they were given.

Examples
--------
Choose a hyper-parameter by the ROC AUC of the labeled rows. All unlabeled rows stay in
every training set; the labeled rows are tested once each.

>>> import numpy as np
>>> from sklearn.model_selection import GridSearchCV
>>> from sklearn.svm import OneClassSVM
>>> from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc
>>> rng = np.random.default_rng(0)
>>> X = np.vstack([rng.normal(size=(110, 2)), rng.normal(scale=4, size=(10, 2))])
>>> y = np.r_[np.zeros(90), np.ones(20), -np.ones(10)].astype(int)
>>> search = GridSearchCV(
...     OneClassSVM(),
...     {"gamma": [0.1, 100.0]},
...     cv=LabeledStratifiedKFold(n_splits=5),
...     scoring=labeled_roc_auc,
...     error_score="raise",
... ).fit(X, y)
>>> search.best_params_
{'gamma': 0.1}
"""

from skdeepad.model_selection._out_of_fold import cross_val_anomaly_scores
from skdeepad.model_selection._scorers import (
    labeled_average_precision,
    labeled_average_precision_score,
    labeled_balanced_accuracy,
    labeled_balanced_accuracy_score,
    labeled_partial_roc_auc,
    labeled_partial_roc_auc_score,
    labeled_roc_auc,
    labeled_roc_auc_score,
)
from skdeepad.model_selection._splitters import LabeledStratifiedKFold
from skdeepad.model_selection._stacked_search import (
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
)

__all__ = [
    "LabeledStratifiedKFold",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "cross_val_anomaly_scores",
    "labeled_average_precision",
    "labeled_average_precision_score",
    "labeled_balanced_accuracy",
    "labeled_balanced_accuracy_score",
    "labeled_partial_roc_auc",
    "labeled_partial_roc_auc_score",
    "labeled_roc_auc",
    "labeled_roc_auc_score",
]
