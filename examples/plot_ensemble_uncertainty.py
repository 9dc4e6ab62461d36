"""
=========================================
How sure is it? An ensemble's uncertainty
=========================================

Networks that differ by their seeds agree where there were rows to learn from, and disagree
elsewhere. :class:`~skdeepad.DeepEnsemble` trains its members as one model; ``score_std`` measures
their disagreement.

It takes about ten seconds.
"""

# %%
# A table of two columns
# ----------------------
# Two groups of normal rows, and a few verified anomalies between them.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepEnsemble, DeepSAD
from skdeepad.datasets import load_breast_cancer_anomaly, make_partial_labels

rng = np.random.default_rng(0)
groups = [rng.normal(center, 0.5, size=(150, 2)) for center in ([-2, 0], [2, 1])]
anomalies = rng.normal([0, -1], 0.3, size=(8, 2))
X = np.vstack([*groups, anomalies])
y = np.r_[np.zeros(300), -np.ones(8)]

small = DeepSAD(hidden_layer_sizes=(32, 16, 8), n_branches=1, n_epochs=60)
ensemble = DeepEnsemble(small, n_estimators=20, random_state=0).fit(X, y)

# %%
# On the left the score that the members give together, on the right how much they disagree: little
# among the rows, known anomalies included, and more and more beyond them.

sides = np.linspace(-5, 5, 80)
grid = np.stack(np.meshgrid(sides, sides), axis=-1).reshape(-1, 2)
maps = {
    "anomaly score": ensemble.anomaly_score(grid),
    "disagreement": ensemble.score_std(grid),
}
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for axes, (title, values) in zip(panels, maps.items(), strict=True):
    image = axes.pcolormesh(sides, sides, np.log1p(values - values.min()).reshape(80, 80))
    axes.scatter(*X[y == 0].T, s=4, color="white", label="unlabeled")
    axes.scatter(*X[y < 0].T, s=25, color="red", marker="x", label="known anomalies")
    axes.set(title=f"{title} (log scale)", aspect="equal")
    figure.colorbar(image, ax=axes, shrink=0.8)
panels[0].legend(loc="upper left")
figure.savefig("ensemble_uncertainty.png", dpi=120)

# %%
# A real one
# ----------
# Cell nuclei, with five verified tumors. The members' mean ranks better than most members do alone.
# Rows on which the threshold decides wrongly are those they disagree on.

X, truth = load_breast_cancer_anomaly(return_X_y=True)
X_pool, X_test, truth_pool, truth_test = train_test_split(
    X, truth, test_size=0.4, stratify=truth, random_state=0
)
rows, y = make_partial_labels(truth_pool, labeled_anomalies=5, pollution=0.1, random_state=0)
member = make_pipeline(StandardScaler(), small)
ensemble = DeepEnsemble(member, n_estimators=20, random_state=0).fit(X_pool[rows], y)
alone = [roc_auc_score(truth_test, each.score_samples(X_test)) for each in ensemble.estimators_]
together = roc_auc_score(truth_test, ensemble.score_samples(X_test))
print(
    f"members: test ROC AUC {np.min(alone):.3f} to {np.max(alone):.3f}, mean {np.mean(alone):.3f}"
)
print(f"together: {together:.3f}")

# %%
# Distances grow with their spread, so disagreement is set against the distance from the threshold:
# how many standard deviations of the members lie between.

margin = np.abs(ensemble.decision_function(X_test)) / ensemble.score_std(X_test)
wrong = ensemble.predict(X_test) != truth_test
for name, chosen in (
    ("least sure", margin < np.median(margin)),
    ("most sure", margin >= np.median(margin)),
):
    print(f"{name} half of the rows: {100 * wrong[chosen].mean():.0f}% judged wrongly")
