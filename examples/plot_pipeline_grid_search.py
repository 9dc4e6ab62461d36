"""
================================================
Pipeline and grid search with few labels
================================================

A table of cell nuclei: most rows are unlabeled and one in ten of those is an anomaly that
nobody has found yet; a few anomalies and a few normal rows have been verified. The detector
stands behind a :class:`~sklearn.preprocessing.StandardScaler` in a pipeline, and a grid search
chooses its hyper-parameters by the labeled rows alone. At the end the test set, whose ground
truth has been kept aside, tells whether that was worth it.

It takes less than a minute on two cores.
"""

# %%
# Data
# ----
# Malignant tumors are the anomalies. :func:`~skdeepad.datasets.make_partial_labels` hides most
# of the training labels: -1 marks a verified anomaly, +1 a verified normal row, and 0 a row
# that nobody has looked at.

from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepSAD
from skdeepad.datasets import load_breast_cancer_anomaly, make_partial_labels
from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc

X, truth = load_breast_cancer_anomaly(return_X_y=True)
X_pool, X_test, truth_pool, truth_test = train_test_split(
    X, truth, test_size=0.4, stratify=truth, random_state=0
)
rows, y_train = make_partial_labels(
    truth_pool, labeled_anomalies=15, labeled_normals=30, pollution=0.1, random_state=0
)
X_train = X_pool[rows]
print(
    f"{len(y_train)} training rows: {(y_train == -1).sum()} labeled anomalies, "
    f"{(y_train == 1).sum()} labeled normal, {(y_train == 0).sum()} unlabeled, of which "
    f"{(truth_pool[rows][y_train == 0] == -1).sum()} are anomalies"
)

# %%
# Search
# ------
# scikit-learn's own splitters take "unlabeled" for a class of its own, and its scorers return
# NaN. :class:`~skdeepad.model_selection.LabeledStratifiedKFold` spreads the labeled rows over
# the folds and keeps all unlabeled rows in every training set;
# :data:`~skdeepad.model_selection.labeled_roc_auc` looks at labeled rows only.

detector = DeepSAD(random_state=0)
search = GridSearchCV(
    Pipeline([("scale", StandardScaler()), ("detect", detector)]),
    {
        "detect__anomaly_fraction": [None, 0.25],
        "detect__hidden_layer_sizes": [(32, 16), (128, 64, 32)],
        "detect__n_epochs": [5, 40],
    },
    scoring=labeled_roc_auc,
    cv=LabeledStratifiedKFold(n_splits=3, shuffle=True, random_state=0),
    error_score="raise",
    verbose=3,
)
search.fit(X_train, y_train)

# %%
# Fifteen labeled anomalies are few, and the cross-validated figure is as uncertain as that: it
# tells a bad setting from a good one, and not the best from the second best.

chosen = ", ".join(f"{name.split('__')[1]}={value}" for name, value in search.best_params_.items())
print(f"best parameters: {chosen}")
print(f"cross-validated ROC AUC over the labeled rows: {search.best_score_:.3f}")

# %%
# Test
# ----
# The isolation forest sees the same rows, and has no use for the labels.

forest = IsolationForest(random_state=0).fit(X_train)
forest_auc = roc_auc_score(truth_test, forest.score_samples(X_test))
print(f"test ROC AUC, DeepSAD with the best parameters: {search.score(X_test, truth_test):.3f}")
print(f"test ROC AUC, IsolationForest: {forest_auc:.3f}")
