"""
===============================================================
The share of anomalies, place by place: SSDGM on two half moons
===============================================================

:class:`~skdeepad.SSDGM` says how rows of either class come about, and its score is the probability
that a row is anomalous. Unlabeled rows teach it what the classes look like. Here they are compared
with the same labels in the hands of a classifier. It takes about half a minute on two cores.
"""

# %%
# Two kinds of rows
# -----------------
# One moon is normal, the other anomalous: 400 and 100 unlabeled rows, of which a few anomalies are
# labeled.

from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skdeepad import SSDGM, DeepClassifier


def moons(n_labeled, seed):
    """Return standardized rows, their labels and the truth, and new rows with theirs."""
    sizes = (400, 100)
    X, moon = make_moons(sizes, noise=0.1, random_state=seed)
    X_new, moon_new = make_moons(sizes, noise=0.1, random_state=seed + 100)
    y = np.zeros(len(X), dtype=int)
    rng = np.random.default_rng(seed)
    y[rng.choice(np.flatnonzero(moon == 1), n_labeled, replace=False)] = -1
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), y, scaler.transform(X_new), moon_new == 1


# %%
# Labels and scores
# -----------------

print("ROC AUC in %, three draws:  labeled anomalies:   3    10")
fitted = {}
for cls in (SSDGM, DeepClassifier):
    means = []
    for n_labeled in (3, 10):
        aucs = []
        for seed in range(3):
            X, y, X_new, anomalous = moons(n_labeled, seed)
            detector = cls(random_state=seed, contamination="auto").fit(X, y)
            aucs.append(100 * roc_auc_score(anomalous, detector.anomaly_score(X_new)))
            fitted.setdefault((cls, n_labeled), (detector, X, y))
        means.append(np.mean(aucs))
    print(f"{cls.__name__:44}" + "".join(f"{mean:6.1f}" for mean in means))

# %%
# The picture
# -----------

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

grid = np.stack(np.meshgrid(np.linspace(-2.4, 2.8, 150), np.linspace(-2.9, 2.3, 150)), axis=-1)
fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for ax, cls in zip(axes, (SSDGM, DeepClassifier), strict=True):
    detector, X, y = fitted[cls, 10]
    rows = grid.reshape(-1, 2)
    share = detector.anomaly_score(rows) if cls is SSDGM else detector.anomaly_probability(rows)
    drawn = ax.contourf(grid[..., 0], grid[..., 1], share.reshape(150, 150), np.linspace(0, 1, 21))
    ax.contour(grid[..., 0], grid[..., 1], share.reshape(150, 150), levels=[0.5], colors="white")
    ax.scatter(*X[y == 0].T, s=6, color="tab:orange", label="unlabeled")
    ax.scatter(*X[y < 0].T, s=40, color="tab:red", marker="x", label="labeled anomaly")
    ax.set_title(f"{cls.__name__}, line = 1/2")
axes[0].legend(loc="upper right")
fig.colorbar(drawn, ax=axes, label="probability of an anomaly")
folder = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
fig.savefig(folder / "generative_model.png", dpi=120)
plt.show()
