"""
======================================================
What the generator cannot redraw: AGAD on small digits
======================================================

:class:`~skdeepad.AGAD` trains a generator to reconstruct normal images, and to fail on labeled
anomalies and on its own reconstructions; the score is what is left over. The digit 3 is normal
here, and a few images of the other nine may be labeled. It takes about a minute on two cores.
"""

# %%
# Digits
# ------
# 100 unlabeled threes, and none or 20 labeled images of other digits. Pixels lie in [-1, 1]; the
# images of 8 x 8 pixels are resized to 16 x 16 for the generator.

from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from skdeepad import AGAD
from skdeepad.datasets import load_digits_anomaly

digits = load_digits_anomaly(normal=3)
images = (2 * digits.images - 1).astype(np.float32)
rng = np.random.default_rng(0)
threes = rng.permutation(np.flatnonzero(digits.target > 0))
others = rng.permutation(np.flatnonzero(digits.target < 0))
unlabeled, test = threes[:100], np.r_[threes[100:], others[100:600]]
anomalous = digits.target[test] < 0

# %%
# With and without the contextual adversarial term
# ------------------------------------------------
# ``contextual_adversarial=0`` leaves out what asks the generator to fail; with no labels that is an
# ordinary adversarial autoencoder. A third of the paper's filters are enough for these images.

print("ROC AUC in %           labeled anomalies:     0    20")
detectors = {}
for weight in (0, 15):
    aucs = []
    for n_labeled in (0, 20):
        rows = np.r_[unlabeled, others[:n_labeled]]
        detector = AGAD(
            contextual_adversarial=weight,
            hidden_layer_sizes=(20, 40, 80),
            n_epochs=80,
            random_state=0,
        ).fit(images[rows], np.where(digits.target[rows] < 0, -1, 0))
        aucs.append(100 * roc_auc_score(anomalous, detector.anomaly_score(images[test])))
        detectors[weight, n_labeled] = detector
    print(
        f"contextual_adversarial={weight:<3}                " + "".join(f"{a:6.1f}" for a in aucs)
    )

# %%
# Residuals
# ---------
# Three normal digits and five others, what the generator makes of them, and the squared residual of
# each pixel: what adds to the squared score. ``HeatmapDisplay.from_estimator(detector, images)``
# draws the first and the last side by side, as it does for FCDD.

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

detector, shown = detectors[15, 20], images[np.r_[test[:3], test[-5:]]]
made, residuals = detector.reconstruct(shown), detector.explain(shown)
fig, axes = plt.subplots(3, len(shown), figsize=(9, 3.8), layout="constrained")
for column, score in enumerate(detector.anomaly_score(shown)):
    axes[0, column].imshow(shown[column, 0], cmap="gray", vmin=-1, vmax=1)
    axes[0, column].set_title(f"{score:.1f}")
    axes[1, column].imshow(made[column, 0], cmap="gray", vmin=-1, vmax=1)
    axes[2, column].imshow(residuals[column], cmap="inferno", vmin=0, vmax=residuals.max())
for axis, name in zip(axes[:, 0], ("image, score", "reconstruction", "residual²"), strict=True):
    axis.set_ylabel(name)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
folder = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
fig.savefig(folder / "reconstructions.png", dpi=120)
plt.show()
