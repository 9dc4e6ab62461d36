"""
==========================================
How many outlier-exposure images it takes
==========================================

Any images that are not normal can be labeled as anomalies, whatever they show: that is outlier
exposure. Here one class of CIFAR-10 is normal, and more and more images of CIFAR-100, which has no
class in common with it, are added as anomalies. :class:`~skdeepad.HSC` is tested on all ten
classes of CIFAR-10.

The images are read from the folder that the environment variable ``SKDEEPAD_DATA`` names. It
takes about ten minutes on two cores, with a thousand normal images and a small network.
"""

# %%
# Images
# ------

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from skdeepad import HSC
from skdeepad.networks import LeNet

folder = Path(os.environ.get("SKDEEPAD_DATA", ""))
if not (folder / "cifar10").exists():
    raise SystemExit("No CIFAR-10: set SKDEEPAD_DATA to the folder that holds cifar10/ and oe/.")
sys.path.insert(0, str(folder))
from load import load_images

AUTOMOBILE, STEPS = 1, 160
rng = np.random.default_rng(0)
images, labels, split, _ = load_images(folder / "cifar10" / "cifar10_jpeg.npz.xz")
auxiliary = load_images(folder / "oe" / "cifar100_train_jpeg.npz.xz")[0]
normal = rng.permutation(np.flatnonzero((split == 0) & (labels == AUTOMOBILE)))[:1000]
test = rng.permutation(np.flatnonzero(split == 1))[:2000]


def prepared(images):
    """Return (n, 3, 32, 32), standardized."""
    return ((images / 255 - 0.5) / 0.25).astype(np.float32).transpose(0, 3, 1, 2)


# %%
# More and more of them
# ---------------------
# Half of each batch are outlier-exposure images, however few there are, and all images are flipped,
# shifted and recolored at random. Without any, HSC falls back to DeepSVDD.

counts = (0, 1, 4, 16, 32, 64, 256, 1000)
aucs = []
print("images   ROC AUC in %, two draws")
for count in counts:
    of_draws = []
    for seed in range(2):
        draw = np.random.default_rng(seed).permutation(len(auxiliary))[:count]
        X = prepared(np.concatenate([images[normal], auxiliary[draw]]))
        y = np.repeat([0, -1], [len(normal), count])
        detector = HSC(
            network=partial(LeNet, filters=(16, 32, 64), dense=(64,), bias=count > 0),
            augment="standard",
            n_epochs=round(STEPS * (64 if count else 128) / len(normal)),
            random_state=seed,
        ).fit(X, y)
        scores = detector.anomaly_score(prepared(images[test]))
        of_draws.append(100 * roc_auc_score(labels[test] != AUTOMOBILE, scores))
    aucs.append(of_draws)
    print(f"{count:6} {np.round(of_draws, 1)!s:>17}", flush=True)

# %%
# The curve
# ---------

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(range(len(counts)), np.mean(aucs, axis=1), marker="o")
ax.plot(range(len(counts)), aucs, ".", color="tab:blue", alpha=0.4)
ax.set_xticks(range(len(counts)), counts)
ax.set(xlabel="outlier-exposure images", ylabel="ROC AUC in %", title="HSC, CIFAR-10 automobile")
here = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
fig.savefig(here / "outlier_exposure.png", dpi=120)
plt.show()
