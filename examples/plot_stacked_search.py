"""
========================
A grid search in seconds
========================

Small networks spend most of their training on starting operations, not on arithmetic.
:class:`~skdeepad.model_selection.StackedGridSearchCV` trains all candidates on all folds as one
large model, and is otherwise :class:`~sklearn.model_selection.GridSearchCV`: same candidates,
folds, scores and winner.

It takes about a minute on two cores, most of it for the ordinary search at the end.
"""

# %%
# Data
# ----
# A table of cell nuclei; malignant tumors are the anomalies. Most training rows are unlabeled, and
# one in ten of those is an anomaly that nobody has found.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepSAD
from skdeepad.datasets import load_breast_cancer_anomaly, make_partial_labels
from skdeepad.model_selection import LabeledStratifiedKFold, StackedGridSearchCV, labeled_roc_auc

X, truth = load_breast_cancer_anomaly(return_X_y=True)
X_pool, X_test, truth_pool, truth_test = train_test_split(
    X, truth, test_size=0.4, stratify=truth, random_state=0
)
rows, y = make_partial_labels(
    truth_pool, labeled_anomalies=15, labeled_normals=30, pollution=0.1, random_state=0
)

# %%
# Search
# ------
# Four weights of the labels times four learning rates on five folds are 80 models. The scaler is
# fitted once a fold.

detector = DeepSAD(hidden_layer_sizes=(32, 16, 8), n_branches=1, n_epochs=40, random_state=0)
arguments = {
    "estimator": make_pipeline(StandardScaler(), detector),
    "param_grid": {
        "deepsad__eta": [0.1, 1.0, 3.0, 10.0],
        "deepsad__lr": [1e-4, 1e-3, 3e-3, 1e-2],
    },
    "scoring": labeled_roc_auc,
    "cv": LabeledStratifiedKFold(n_splits=5, shuffle=True, random_state=0),
    "error_score": "raise",
}
started = time.perf_counter()
stacked = StackedGridSearchCV(**arguments).fit(X_pool[rows], y)
seconds = time.perf_counter() - started
print(f"80 models as one: {seconds:.1f} s, best: {stacked.best_params_}")
print(f"test ROC AUC: {stacked.score(X_test, truth_test):.3f}")

# %%
# The scores of the grid, in percent:

scores = 100 * np.reshape(stacked.cv_results_["mean_test_score"], (4, 4))
figure, axes = plt.subplots(figsize=(4.5, 3.6), layout="constrained")
image = axes.imshow(scores, cmap="viridis")
for (row, column), score in np.ndenumerate(scores):
    dark = score < scores.mean()
    axes.text(column, row, f"{score:.1f}", ha="center", va="center", color="w" if dark else "k")
axes.set_xticks(range(4), arguments["param_grid"]["deepsad__lr"])
axes.set_yticks(range(4), arguments["param_grid"]["deepsad__eta"])
axes.set(xlabel="lr", ylabel="eta", title="cross-validated ROC AUC (%)")
figure.savefig("stacked_search.png", dpi=120)

# %%
# The ordinary way
# ----------------
# One model after the other, in one process:

started = time.perf_counter()
ordinary = GridSearchCV(**arguments).fit(X_pool[rows], y)
ordinary_seconds = time.perf_counter() - started
difference = np.abs(
    ordinary.cv_results_["mean_test_score"] - stacked.cv_results_["mean_test_score"]
)
print(f"80 models one by one: {ordinary_seconds:.1f} s, best: {ordinary.best_params_}")
print(f"{ordinary_seconds / seconds:.1f} times as long, scores differ by {difference.max():.4f}")
