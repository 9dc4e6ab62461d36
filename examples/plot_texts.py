"""
=========================================
Texts: what is normal, word by word
=========================================

:class:`~skdeepad.CVDD` learns from texts what they have in common, as a few contexts, and says of
each word how much it counts for them. Here the texts are documentation: that of scikit-learn is
normal, and that of other libraries is not.

It takes about half a minute on two cores.
"""

# %%
# Texts
# -----
# What is installed documents itself: of each library we take what its classes and functions say of
# themselves before they list their parameters.

import importlib
import inspect
import pkgutil
import re
import warnings
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import OneClassSVM

from skdeepad import CVDD, TextDisplay, WordVectors


def documentation(name):
    """Return the descriptions of the public classes and functions of a library's modules."""
    library = importlib.import_module(name)
    found = {}
    for module in [name, *(f"{name}.{sub.name}" for sub in pkgutil.iter_modules(library.__path__))]:
        if "._" in module or module.endswith(("conftest", "tests", "testing")):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                members = vars(importlib.import_module(module))
            except ImportError:  # what needs something that is not installed
                continue
        for key, value in members.items():
            text = inspect.getdoc(value) if callable(value) else None
            text, *_ = re.split(r"\n(?:Parameters|Args|Example)", text or "")
            if not key.startswith("_") and len(text) > 150:
                found.setdefault(text)
    return list(found)


normal, *others = (documentation(name) for name in ("sklearn", "numpy", "scipy", "torch"))
others = [text for texts in others for text in texts]
train, normal_test = train_test_split(normal, test_size=0.4, random_state=0)
test = normal_test + others
truth = np.repeat([1, -1], [len(normal_test), len(others)])
print(f"{len(train)} texts to learn from; {len(normal_test)} others of them, {len(others)} not")

# %%
# Word vectors
# ------------
# Pretrained vectors, such as GloVe's, are a file that :class:`~skdeepad.WordVectors` reads. To need
# no file, we make vectors from which words occur in the same texts.

counts = CountVectorizer(stop_words="english", token_pattern=r"[a-z]{3,}", min_df=5)
occurs = (counts.fit_transform(normal + others) > 0).astype(float)
expected = np.outer(occurs.sum(axis=0), occurs.sum(axis=0)) / occurs.shape[0]
together = (occurs.T @ occurs).toarray()
association = np.log(np.maximum(together / expected, 1))  # positive pointwise mutual information
embedded = TruncatedSVD(50, random_state=0).fit_transform(association)
vectors = dict(zip(counts.get_feature_names_out(), embedded, strict=True))

# %%
# Contexts
# --------
# CVDD is given the texts themselves. A one-class SVM on the mean of each text's word vectors is the
# usual baseline.

detector = CVDD(WordVectors(vectors), random_state=0).fit(train)
baseline = make_pipeline(
    WordVectors(vectors, output="mean"), Normalizer(), OneClassSVM(kernel="linear", nu=0.1)
).fit(train)
for name, model in {"CVDD": detector, "one-class SVM": baseline}.items():
    print(f"{name}: AUC {roc_auc_score(truth, model.score_samples(test)):.2f}")
for k, words in enumerate(detector.top_words(train, n_words=8)):
    print(f"context {k}: {', '.join(words)}")

# %%
# Word by word
# ------------
# Of the two most normal of the new texts and the two most anomalous ones we look at the beginning.
# The darker a word, the more it weighs in the comparison with the nearest context.

order = np.argsort(detector.anomaly_score(test))
shown = [" ".join(test[i].split()[:60]) for i in (*order[:2], *order[-2:])]
display = TextDisplay.from_estimator(detector, shown).plot()
if "__file__" in globals():  # a page shows the figure itself
    display.figure_.savefig(Path(__file__).with_suffix(".png"), dpi=110)
