"""
================================================
Where is the defect? Heat maps of magnetic tiles
================================================

:class:`~skdeepad.FCDD` gives a score for each image and a heat map of where it comes from. It is
trained here on photographs of faultless tiles alone: blobs pasted into them (confetti) stand in for
defects. Then a few real defects are labeled, with masks of the pixels they cover.

The photographs are read from ``defects/magnetic_tile.npz`` in the folder that the environment
variable ``SKDEEPAD_DATA`` names (Huang, Qiu and Yuan, The Visual Computer, 2020); where there are
none, textures with scratches are drawn in their place. It takes about two minutes on two cores.
"""

# %%
# Tiles
# -----
# Near copies of a tile share a group, so the split is by group. Exposures differ: each image is
# standardized by itself.

import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from skdeepad import FCDD, HeatmapDisplay

SIDE = 64


def photographs(path):
    """Return images (n, 1, 64, 64), masks, whether a tile is defective, and its group."""
    with np.load(path) as file:
        images, masks, y, groups = (file[name] for name in ("images", "masks", "y", "group"))
    blocks = (len(images), SIDE, images.shape[1] // SIDE, SIDE, images.shape[2] // SIDE)
    masks = (masks.reshape(blocks).mean((2, 4)) >= 0.25).astype(np.int8)
    return images.reshape(blocks).mean((2, 4))[:, None], masks, y == 1, groups


def textures(n=700, n_defective=200):
    """Return brushed surfaces; some have a dark or a bright scratch."""
    rng = np.random.default_rng(0)
    images = gaussian_filter(rng.normal(size=(n, 1, SIDE, SIDE)), (0, 0, 4, 0.7))
    masks = np.zeros((n, SIDE, SIDE), dtype=np.int8)
    for row in range(n_defective):
        start, turn = rng.uniform(8, SIDE - 8, 2), rng.uniform(np.pi)
        steps = rng.uniform(4, 24) * np.linspace(-0.5, 0.5, 60)[:, None]
        y, x = (start + steps * [np.sin(turn), np.cos(turn)]).round().astype(int).T % SIDE
        masks[row, y, x] = 1
        images[row, 0, y, x] += rng.choice([-1, 1]) * images.std() * 3
    return images, masks, np.arange(n) < n_defective, np.arange(n)


path = Path(os.environ.get("SKDEEPAD_DATA", "")) / "defects" / "magnetic_tile.npz"
images, masks, defective, groups = photographs(path) if path.exists() else textures()
images = images - images.mean((1, 2, 3), keepdims=True)
images = (images / images.std((1, 2, 3), keepdims=True)).astype(np.float32)

rng = np.random.default_rng(0)
order = rng.permutation(np.unique(groups))
test = np.isin(groups, order[: round(0.4 * len(order))])
marked = masks.any((1, 2))
normal = np.flatnonzero(~test & ~defective)
labeled = rng.permutation(np.flatnonzero(~test & defective & marked))[:20]
test = np.flatnonzero(test & (marked | ~defective))

# %%
# Without and with labels
# -----------------------
# A few filters are enough to see it work on a laptop; the default network is the thesis's.

settings = {
    "hidden_layer_sizes": (8, 16, 16, 8),
    "augment": ["flip", "crop"],
    "batch_size": 64,
    "random_state": 0,
}
rows = np.r_[normal, labeled]
y = np.where(defective[rows], -1, 0)
known = np.where(defective[rows, None, None], masks[rows], -1)  # -1: nobody has looked
detectors = {
    "confetti": FCDD(n_epochs=16, **settings).fit(images[normal]),
    "20 labels with masks": FCDD(n_epochs=8, **settings).fit(images[rows], y, masks=known),
}
print("trained on             image AUC   pixel AUC")
for name, detector in detectors.items():
    image_auc = roc_auc_score(defective[test], detector.anomaly_score(images[test]))
    heat = detector.explain(images[test])
    pixel_auc = roc_auc_score(masks[test].ravel(), heat.ravel())
    print(f"{name:22} {100 * image_auc:9.1f} {100 * pixel_auc:11.1f}")

# %%
# Heat maps
# ---------
# One colour scale for all: the maps are comparable with each other, and their mean is the score.

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

shown = test[defective[test]][:5]
display = HeatmapDisplay.from_estimator(detectors["confetti"], images[shown], masks=masks[shown])
folder = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
display.figure_.savefig(folder / "heat_maps.png", dpi=120)
plt.show()
