"""
================================
Why is this payment an alert?
================================

A table of payments holds three kinds of fraud: drained accounts, foreign nights and card testing.
Nearly all are unlabeled; five of each kind are known. A pipeline turns categories into columns,
standardizes numbers and trains :class:`~skdeepad.DeepSAD`. Its highest alerts are then explained in
the columns that a clerk knows: each is replaced by those of ordinary payments, and gets what that
does to the score.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skdeepad import DeepSAD
from skdeepad.inspection import ExplanationDisplay, explain, nearest_cases

# %%
# Payments, and what is wrong with some
# -------------------------------------
#
# What each kind of fraud changes is known here, which it seldom is: the columns in ``CAUSES``.

CAUSES = {
    "drained account": ["amount", "share of balance"],
    "foreign night": ["hour", "country"],
    "card testing": ["payments in last hour", "merchant"],
}


def payments(n, n_frauds, rng):
    """Draw ordinary payments and, behind them, frauds of each kind."""
    total = n + n_frauds * len(CAUSES)
    table = pd.DataFrame(
        {
            "amount": rng.lognormal(3.5, 0.6, total).round(2),
            "share of balance": rng.beta(1.5, 30, total).round(3),
            "hour": rng.normal(14, 3, total).clip(6, 22).round(1),
            "country": rng.choice(["DE", "FR", "NL"], total, p=[0.9, 0.06, 0.04]),
            "merchant": rng.choice(["grocery", "fuel", "travel", "online"], total),
            "payments in last hour": rng.poisson(0.4, total),
            "age of customer": rng.normal(45, 12, total).clip(18, 90).round(),
            "days since last payment": rng.exponential(2, total).round(1),
        }
    )
    kinds = np.repeat(["", *CAUSES], [n, *[n_frauds] * len(CAUSES)])
    drained, foreign, testing = (kinds == kind for kind in CAUSES)
    table.loc[drained, "amount"] = rng.lognormal(6, 0.2, n_frauds).round(2)
    table.loc[drained, "share of balance"] = rng.uniform(0.7, 1.0, n_frauds).round(3)
    table.loc[foreign, "hour"] = rng.uniform(0.5, 4, n_frauds).round(1)
    table.loc[foreign, "country"] = "BR"
    table.loc[testing, "payments in last hour"] = rng.integers(7, 13, n_frauds)
    table.loc[testing, "merchant"] = "gift cards"
    return table, kinds


rng = np.random.default_rng(0)
train, kinds = payments(3000, 15, rng)
y = np.zeros(len(train), dtype=int)
for kind in CAUSES:
    y[np.flatnonzero(kinds == kind)[:5]] = -1
new, kinds_of_new = payments(1000, 4, rng)

# %%
# A pipeline from raw columns to a score
# --------------------------------------

categories = ["country", "merchant"]
numbers = [column for column in train if column not in categories]
pipeline = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
        (StandardScaler(), numbers),
    ),
    DeepSAD(random_state=0),
).fit(train, y)

alerts = np.argsort(pipeline.score_samples(new))[:12]
print(f"{(kinds_of_new[alerts] != '').sum()} of the 12 highest alerts are frauds")

# %%
# Why these?
# ----------
#
# A row of the heat map is an alert. The columns that the frauds changed are red.

ordinary = train[y == 0].sample(300, random_state=0)
ExplanationDisplay.from_estimator(
    pipeline,
    new.iloc[alerts],
    background=ordinary,
    titles=[kind or "no fraud" for kind in kinds_of_new[alerts]],
    scale="row",
)

# %%
# How often are the columns of largest relevance those that the fraud changed?

explanation = explain(pipeline, new.iloc[alerts], background=ordinary)
for kind, causes in CAUSES.items():
    rows = explanation.values[kinds_of_new[alerts] == kind]
    largest = np.argsort(-rows, axis=1)[:, : len(causes)]
    hits = np.isin(np.array(explanation.feature_names)[largest], causes).mean()
    print(f"{kind}: {hits:.0%} of the columns that were changed")

# %%
# One alert, and a case like it
# -----------------------------
#
# Relevance adds up to the score less that of ordinary payments. The nearest known fraud, as the
# detector sees it, is of the same kind.

alert = new.iloc[alerts[:1]]
ExplanationDisplay.from_estimator(pipeline, alert, background=ordinary)

# %%
cases = nearest_cases(pipeline, alert, train, y)
print(f"nearest known fraud: {kinds[cases.anomalies[0, 0]]}")
print(train.iloc[cases.anomalies[0]].T.to_string(header=False))
