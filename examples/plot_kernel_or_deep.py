"""
================================================
When a kernel method beats a deep one
================================================

:class:`~skdeepad.SSAD` and :class:`~skdeepad.DeepSAD` learn from the same labels. This example
has one task for each of them: two moons in the plane, where an outline has to be followed closely
and a kernel does just that; and pictures of digits among which anomalies hide that nobody has
labeled, which a kernel follows just as closely, and a network less so.

It takes about half a minute on two cores.
"""

# %%
# Two tasks
# ---------
# Of either kind a few anomalies are labeled (-1). Among the digits, one in six of the unlabeled
# rows (0) is an anomaly as well.

import time
from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import StandardScaler

from skdeepad import SSAD, DeepSAD
from skdeepad.datasets import load_digits_anomaly, make_partial_labels
from skdeepad.model_selection import LabeledStratifiedKFold, labeled_roc_auc


def moons(seed):
    """Two moons are normal, points all around them are not."""
    rng = np.random.default_rng(seed)
    normal, _ = make_moons(1200, noise=0.08, random_state=seed)
    anomalies = rng.uniform([-2, -1.5], [3, 2], size=(1010, 2))
    X = StandardScaler().fit(normal).transform(np.concatenate([normal, anomalies]))
    truth = np.repeat([1, -1], [1200, 1010])
    train = np.r_[:200, 1200:1210]
    y = np.where(truth[train] < 0, -1, 0)
    test = np.setdiff1d(np.arange(len(X)), train)
    return X[train], y, X[test], truth[test]


def digits(seed):
    """Pictures of 9 are normal; twenty unlabeled ones show something else."""
    X, truth = load_digits_anomaly(normal=9, return_X_y=True)
    X, X_test, truth, truth_test = train_test_split(
        X / 16, truth, test_size=0.5, stratify=truth, random_state=seed
    )
    rows, y = make_partial_labels(truth, labeled_anomalies=10, pollution=1 / 6, random_state=seed)
    return X[rows], y, X_test, truth_test


# %%
# Two methods
# -----------
# The width of the kernel is chosen by cross-validation on the training rows; no normal row is
# labeled, so the unlabeled rows of a fold stand for them. DeepSAD is taken as it is.


def kernel_method(X, y):
    """Return a search over the width of the kernel."""
    gammas = np.array([0.3, 1, 3, 10]) / (X.shape[1] * X.var())
    folds = LabeledStratifiedKFold(5, unlabeled="split", shuffle=True, random_state=0)
    return GridSearchCV(SSAD(), {"gamma": gammas}, cv=folds, scoring=labeled_roc_auc)


fitted = {}
print("task     method   ROC AUC in %, three draws   seconds to fit, search included")
for task in (moons, digits):
    for name in ("SSAD", "DeepSAD"):
        aucs, seconds = [], []
        for seed in range(3):
            X, y, X_test, truth = task(seed)
            detector = kernel_method(X, y) if name == "SSAD" else DeepSAD(random_state=seed)
            start = time.perf_counter()
            detector.fit(X, y)
            seconds.append(time.perf_counter() - start)
            aucs.append(100 * roc_auc_score(truth > 0, detector.decision_function(X_test)))
            if seed == 0:
                fitted[task, name] = detector, X, y
        print(f"{task.__name__:8} {name:8} {np.round(aucs, 1)!s:27} {np.mean(seconds):.1f}")

# %%
# What they have learned
# ----------------------
# The kernel method's outline of the moons is the tighter one: the network's is open where no
# anomaly was known. Far from all training rows the kernel method's score is 0 everywhere, though,
# so that it no longer tells a strange row from a stranger one.

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

fig, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
grid = np.stack(np.meshgrid(np.linspace(-3.2, 3.2, 150), np.linspace(-3.8, 3.4, 150)), axis=-1)
for ax, name in zip(axes, ("SSAD", "DeepSAD"), strict=True):
    detector, X, y = fitted[moons, name]
    score = detector.decision_function(grid.reshape(-1, 2))
    rank = score.argsort().argsort().reshape(150, 150) / score.size
    ax.contourf(grid[..., 0], grid[..., 1], rank, levels=20, cmap="Blues_r")
    ax.contour(grid[..., 0], grid[..., 1], score.reshape(150, 150), levels=[0], colors="black")
    ax.scatter(*X[y == 0].T, s=8, color="tab:orange", label="unlabeled")
    ax.scatter(*X[y < 0].T, s=40, color="tab:red", marker="x", label="labeled anomaly")
    ax.set_title(f"{name}: darker = more anomalous, line = threshold")
axes[0].legend(loc="upper right")
folder = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
fig.savefig(folder / "kernel_or_deep.png", dpi=120)
plt.show()
