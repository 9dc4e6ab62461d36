"""
====================================================
Time series: from labels of points to scores of them
====================================================

Three sensors of a machine are a series in time. Windows of it are the rows of a detector, labels of
points become labels of windows, and scores of windows become scores of points again. It takes about
half a minute on two cores.
"""

# %%
# A machine
# ---------
# It turns at a speed that varies a little, its sensors drift, and now and then one of them spikes,
# stands still, runs twice as fast, is noisy, or is out of step with the others.

from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from skdeepad import DeepSAD, DeepSVDD
from skdeepad.features import make_windows, point_scores

KINDS = ("spike", "still", "twice as fast", "noisy", "out of step")


def signal(turn):
    """Return what three sensors measure (n, 3) at angles (n,)."""
    angles = turn[:, None] + np.arange(3)
    return np.sin(angles) + 0.4 * np.sin(2 * angles + 1)


def machine(n, n_anomalies, seed):
    """Return a series (n, 3), labels of its points (n,), and where each anomaly is, by start."""
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.cumsum(rng.normal(1 / 20, 0.002, n))
    series, y, found = signal(turn), np.ones(n, dtype=int), {}
    strange = (signal(2 * turn), signal(turn + 2))
    for i in range(n_anomalies):
        kind, sensor = KINDS[i % len(KINDS)], rng.integers(3)
        length = 2 if kind == "spike" else rng.integers(20, 40)
        start = int((i + rng.uniform(0.2, 0.8)) * n / n_anomalies)
        here = np.s_[start : start + length, sensor]
        series[here] = {
            "spike": series[here] + rng.choice([-2.5, 2.5]),
            "still": series[start, sensor],
            "twice as fast": strange[0][here],
            "noisy": series[here] + rng.normal(0, 0.7, length),
            "out of step": strange[1][here],
        }[kind]
        y[here[0]], found[start] = -1, kind
    drift = 0.2 * np.sin(2 * np.pi * (np.arange(n)[:, None] / 700 + rng.uniform(0, 1, 3)))
    return series + drift + rng.normal(0, 0.2, series.shape), y, found


train, truth_train, found = machine(4000, 10, seed=0)
test, truth, found_test = machine(6000, 30, seed=1)
scaler = StandardScaler().fit(train)
train, test = (scaler.transform(series).astype(np.float32) for series in (train, test))

# %%
# Windows
# -------
# Ten anomalies are in the series to learn from, one of each kind is known, and nobody has looked at
# the other points. A window of 48 points, two to three turns, is anomalous if one of its points is
# known to be.

y = np.zeros(len(train), dtype=int)
known = list(found)[len(KINDS)]  # where the first that is not known begins
y[:known] = np.minimum(truth_train[:known], 0)
WIDTH = 48
X, labels = make_windows(train, y, width=WIDTH, step=2)
X_test, truth_of_windows = make_windows(test, truth, width=WIDTH)
print(f"{len(X)} windows {X[0].shape}, {(labels < 0).sum()} of them known anomalies")

# %%
# Detectors
# ---------
# Convolutions along time, beside the same detectors with the network for tables, which are given
# the same windows as flat rows.


def flat(windows):
    """Return windows as rows of a table."""
    return windows.reshape(len(windows), -1)


scores = {}
print("ROC AUC of windows in %      convolutions   network for tables")
for name, detector, rows in (
    ("DeepSVDD, no labels", DeepSVDD(random_state=0), labels == 0),
    ("DeepSAD", DeepSAD(random_state=0), labels <= 0),
):
    aucs = []
    for form in (np.asarray, flat):
        detector.fit(form(X)[rows], labels[rows])
        scores[name, form] = detector.anomaly_score(form(X_test))
        aucs.append(100 * roc_auc_score(truth_of_windows < 0, scores[name, form]))
    print(f"{name:25}{aucs[0]:13.1f} {aucs[1]:20.1f}")

# %%
# Back to points
# --------------
# A point is in 48 windows. Those around an anomaly are anomalous, and hold normal points as well:
# their mean marks too much. What is anomalous in all of its windows, by the least of their scores,
# is in the anomaly.

print("\nDeepSAD by point             ROC AUC in %   average precision in %")
points = {}
for combination in ("mean", "min"):
    points[combination] = point_scores(
        scores["DeepSAD", np.asarray], n_points=len(test), width=WIDTH, combination=combination
    )
    auc = roc_auc_score(truth < 0, points[combination])
    precision = average_precision_score(truth < 0, points[combination])
    print(f"{combination:25}{100 * auc:13.1f} {100 * precision:20.1f}")

# %%
# A part of the new series
# ------------------------
# What is shaded is anomalous, whether it has been found or not.

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit("The picture needs matplotlib: pip install 'skdeepad[plot]'") from None

shown = slice(0, 1000)
fig, (above, below) = plt.subplots(
    2, sharex=True, figsize=(9, 5), height_ratios=(3, 2), layout="constrained"
)
above.plot(test[shown] - 5 * np.arange(3), linewidth=0.8)
above.margins(y=0.12)
above.set(yticks=[], ylabel="three sensors", title="DeepSAD: which points are anomalous")
for combination, color in (("mean", "tab:gray"), ("min", "tab:red")):
    below.plot(points[combination][shown], color=color, label=f"{combination} of its windows")
below.set(yscale="log", xlabel="time", ylabel="anomaly score of points")
below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
starts = [start for start in found_test if start in range(shown.stop)]
for start in starts:
    end = start + np.argmax(truth[start:] > 0)
    for ax in (above, below):
        ax.axvspan(start, end, color="tab:orange", alpha=0.3, linewidth=0)
    above.text(start, above.get_ylim()[1], found_test[start], ha="left", va="top", fontsize=8)
folder = Path(globals().get("__file__", "here")).parent  # a gallery runs it without __file__
fig.savefig(folder / "time_series.png", dpi=120)
plt.show()
