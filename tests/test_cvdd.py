"""Context vector data description: the thesis's formulas, texts in every form, what it says."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdeepad import CVDD, engine
from skdeepad.detectors.cvdd import ContextObjective
from skdeepad.engine import Batch
from skdeepad.features import WordVectors
from skdeepad.networks import SelfAttention, build_attention
from skdeepad.synthetic import RandomWords

RNG = np.random.default_rng(0)
WORDS = [f"zq{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(120)]
TABLE = np.vstack([np.zeros(8), RNG.normal(size=(120, 8))]).astype(np.float32)
VECTORS = dict(zip(WORDS, TABLE[1:], strict=True))


def made_ids(n, first, last, seed, most=12, share=0.7):
    """Return ids of texts, a share of whose words are from ``first`` on, before ``last``."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((n, most), dtype=int)
    for row in ids:
        length = rng.integers(3, most + 1)
        row[:length] = np.where(
            rng.random(length) < share,
            rng.integers(first, last, length),
            rng.integers(1, 121, length),
        )
    return ids


NORMAL, OTHER = made_ids(200, 1, 31, 0), made_ids(60, 31, 61, 1)
TEST = np.vstack([made_ids(100, 1, 31, 2), made_ids(100, 31, 121, 3)])
TRUTH = np.repeat([1, -1], 100)
TEXTS = [" ".join(WORDS[i - 1] for i in row if i) for row in NORMAL]


def quick(vectors=TABLE, **params):
    return CVDD(
        vectors, **{"n_epochs": 5, "lr": 0.01, "random_state": 0, "device": "cpu", **params}
    )


def random_objective(vectors=None, seed=0, **numbers):
    """Return an objective whose weights and contexts are not those of the start."""
    numbers = {"orthogonality": 0.7, "eta": 2.0, **numbers}
    network = build_attention(8, 5, 3, seed)
    objective = ContextObjective(network, vectors, 0, "mean", (0.5,), 10, **numbers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        objective.contexts.normal_(generator=generator)
        network.heads.weight.mul_(5.0)
    return objective


def by_hand(objective, text, y, alpha=0.5, weight=0.7, eta=2.0):
    """Return loss, distances and attention of one text of words (l, d), as the thesis has them."""
    into = objective.network.hidden.weight.detach().double().numpy().T  # (d, d_a)
    out_of = objective.network.heads.weight.detach().double().numpy().T  # (d_a, r)
    contexts = objective.contexts.detach().double().numpy().T  # (d, r)
    words = np.asarray(text, dtype=np.float64).T  # (d, l)
    logits = np.tanh(words.T @ into) @ out_of  # (l, r)
    attention = np.exp(logits) / np.exp(logits).sum(axis=0)
    means = words @ attention
    lengths = np.linalg.norm(contexts, axis=0) * np.linalg.norm(means, axis=0)
    cosines = (contexts * means).sum(axis=0) / lengths
    d = (1 - cosines) / 2
    sigma = np.exp(-alpha * d) / np.exp(-alpha * d).sum()
    weighted = (sigma * d).sum()
    of_text = {0: weighted, 1: eta * weighted, -1: -eta * np.log(weighted)}[y]
    overlap = np.square(contexts.T @ contexts - np.eye(3)).sum()
    return of_text + weight * overlap, d, attention


# The formulas


@pytest.mark.parametrize("y", [0, 1, -1])
@pytest.mark.parametrize("form", ["vectors", "few ids", "many ids"])
def test_loss_is_the_one_of_the_thesis(y, form):
    table = torch.tensor(TABLE if form == "few ids" else TABLE[:7])
    ids = torch.tensor([[1, 2, 3, 4, 2, 0], [5, 6, 0, 0, 0, 0]])
    x = table[ids] if form == "vectors" else ids.float()
    objective = random_objective(None if form == "vectors" else table)
    losses = objective("loss", Batch(x, torch.full((2,), y, dtype=torch.int8)))
    scores, attention = objective("context_scores", x), objective("attention", x)
    for row, length in enumerate((5, 2)):
        expected, d, weights = by_hand(objective, table[ids[row, :length]], y)
        assert_allclose(losses[row].item(), expected, rtol=1e-5)
        assert_allclose(scores[row].detach(), d, rtol=1e-5)
        assert_allclose(attention[row, :length].detach(), weights, rtol=1e-5)
        assert (attention[row, length:] == 0).all()
    assert_allclose(objective("score", x).detach(), scores.detach().mean(1))


def test_gradients_are_those_of_the_formula():
    objective = random_objective().double()
    x = torch.tensor(TABLE[made_ids(3, 1, 31, 0, most=4)]).double()
    y = torch.tensor([0, 1, -1])
    parameters = list(objective.parameters())

    def loss(*tensors):
        names = [name for name, _ in objective.named_parameters()]
        state = dict(zip(names, tensors, strict=True))
        return torch.func.functional_call(objective, state, ("loss", Batch(x, y)))

    assert torch.autograd.gradcheck(loss, parameters)


def test_words_of_padding_change_nothing():
    objective = random_objective()
    x = torch.tensor(TABLE[NORMAL[:5]])
    longer = torch.cat([x, torch.zeros(5, 3, 8)], 1)
    assert_allclose(objective.score(longer).detach(), objective.score(x).detach(), rtol=1e-6)


def test_contexts_start_from_centres_of_mean_vectors():
    detector = quick(lr=1e-30, n_epochs=1).fit(NORMAL)
    means = np.array([TABLE[row[row > 0]].mean(axis=0) for row in NORMAL])
    inertia = KMeans(3, n_init=20, random_state=0).fit(means).inertia_
    assert_allclose(np.linalg.norm(detector.contexts_, axis=1), 1, rtol=1e-6)
    # Of unit length they are rays; the centres along them cluster about as well as the best.
    along = np.maximum(means @ detector.contexts_.T, 0)
    distances = np.square(means).sum(axis=1)[:, None] - np.square(along)
    assert distances.min(axis=1).sum() < 1.1 * inertia


def test_labeled_anomalies_are_not_among_what_contexts_start_from():
    X = np.vstack([NORMAL, OTHER])
    y = np.repeat([0, -1], [200, 60])
    params = {"lr": 1e-30, "n_epochs": 1}
    assert_array_equal(quick(**params).fit(X, y).contexts_, quick(**params).fit(NORMAL).contexts_)


def test_alpha_is_annealed_in_equal_parts_of_the_training():
    objective = ContextObjective(build_attention(8, 5, 3, 0), None, 0, "mean", (0.0, 1.0, 2.0), 7)
    assert float(objective.alpha) == 0
    seen = [objective.after_epoch(epoch, None, {}) or float(objective.alpha) for epoch in range(7)]
    assert seen == [0, 0, 1, 1, 2, 2, 2]


def test_orthogonality_keeps_contexts_apart():
    def largest_cosine(weight):
        contexts = quick(orthogonality=weight, n_epochs=20).fit(NORMAL).contexts_
        units = contexts / np.linalg.norm(contexts, axis=1, keepdims=True)
        return np.abs(units @ units.T - np.eye(3)).max()

    assert largest_cosine(10.0) < 0.05 < largest_cosine(0.0)


# Training


@pytest.mark.parametrize(("random_texts", "share"), [(False, 0.4), (True, 0.7)])
def test_training_helps_without_labels(random_texts, share):
    train, same = (made_ids(n, 1, 31, seed, share=share) for n, seed in ((200, 0), (100, 2)))
    test = np.vstack([same, made_ids(100, 31, 121, 3, share=share)])
    areas = []
    for training in ({"n_epochs": 30}, {"n_epochs": 1, "lr": 1e-30}):
        detector = quick(random_texts=random_texts).set_params(**training).fit(train)
        areas.append(roc_auc_score(TRUTH, detector.score_samples(test)))
    assert areas[0] > areas[1] + 0.03


def test_random_texts_are_of_any_words_and_as_long_as_the_texts():
    objective = random_objective(torch.tensor(TABLE))
    assert objective.noise_shapes((64, 12)) == {}
    words = RandomWords(120)
    x = torch.tensor(NORMAL).float()
    noise = torch.randn(*words.noise_shape(x.shape), generator=torch.Generator().manual_seed(0))
    made, _ = words(x, noise)
    assert_array_equal(made > 0, x > 0)
    counts = np.bincount(made[made > 0].int(), minlength=121)[1:]
    assert len(counts) == 120 and counts.min() > 0
    assert counts[:30].sum() / counts.sum() == pytest.approx(1 / 4, abs=0.05)
    extreme, _ = words(x[:2], torch.tensor([-40.0, 40.0])[:, None].expand(2, 12))
    assert set(extreme.unique().tolist()) <= {0.0, 1.0, 120.0}


def test_every_third_text_is_one_of_random_words_unless_it_is_a_labeled_anomaly():
    detector = quick().fit(NORMAL)
    x, y = torch.tensor(NORMAL[:9]).float(), torch.tensor([0, 1, 0, 0, 1, -1, 0, 0, 1])
    noise = torch.randn(9, 12, generator=torch.Generator().manual_seed(0))
    batch = detector._objective_.prepare(Batch(x, y, {"synthetic": noise}))
    changed = (batch.x != x).any(1)
    assert changed.tolist() == [False, False, True, False, False, False, False, False, True]
    assert batch.y.tolist() == [0, 1, -1, 0, 1, -1, 0, 0, -1]
    unlike = quick(random_texts=False).fit(NORMAL)
    assert unlike._objective_.noise_shapes((64, 12)) == {}
    assert (detector.contexts_ != unlike.contexts_).any()
    of_vectors = quick(None).fit(TABLE[NORMAL])  # it has no vocabulary to draw from
    assert_allclose(of_vectors.contexts_, unlike.contexts_, atol=1e-5)


def test_labels_help():
    contaminated = np.vstack([NORMAL, OTHER])  # nobody has said of most what they are
    y = np.zeros(260, dtype=int)
    areas = []
    for n_labeled in (0, 15):
        y[245:] = -1 if n_labeled else 0
        # Here texts of random words are what labeled ones are.
        detector = quick(n_epochs=30, random_texts=False).fit(contaminated, y)
        scores = detector.score_samples(TEST)
        areas.append(roc_auc_score(TRUTH, scores))
    assert areas[1] > areas[0] + 0.02


def test_every_weight_moves():
    first = quick(n_epochs=1, lr=1e-30).fit(NORMAL)
    last = quick().fit(NORMAL)
    for before, after in zip(
        first._objective_.parameters(), last._objective_.parameters(), strict=True
    ):
        assert (before != after).all()


def test_attention_over_one_word_is_not_trained():
    X = RNG.normal(size=(50, 4))
    with pytest.warns(UserWarning, match="a text of one word"):
        detector = CVDD(n_epochs=3, random_state=0).fit(X)
    untrained = build_attention(4, 150, 3, 0)
    assert detector.network_.hidden.weight.shape == untrained.hidden.weight.shape
    assert_array_equal(detector.attention(X), np.ones((50, 1, 3)))
    contexts = detector.contexts_ / np.linalg.norm(detector.contexts_, axis=1, keepdims=True)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert_allclose(detector.context_scores(X), (1 - units @ contexts.T) / 2, atol=1e-6)


# Forms of texts


def test_vectors_ids_and_texts_are_the_same():
    of_ids = quick(random_texts=False).fit(NORMAL)
    of_vectors = quick(None).fit(TABLE[NORMAL])
    flat = quick(None, input_shape=(12, 8)).fit(TABLE[NORMAL].reshape(200, -1))
    of_texts = quick(WordVectors(VECTORS, center=False), random_texts=False).fit(TEXTS)
    assert_array_equal(of_vectors.score_samples(TABLE[TEST]), flat.score_samples(TABLE[TEST]))
    assert_allclose(of_vectors.score_samples(TABLE[TEST]), of_ids.score_samples(TEST), atol=1e-5)
    assert_allclose(of_texts.score_samples(TEXTS), of_ids.score_samples(NORMAL), atol=1e-5)


def test_texts_in_a_pipeline_and_in_a_grid():
    pipeline = make_pipeline(WordVectors(VECTORS), quick(None))
    alone = quick(WordVectors(VECTORS), random_texts=False)
    assert_allclose(
        pipeline.fit(TEXTS).score_samples(TEXTS), alone.fit(TEXTS).score_samples(TEXTS), atol=1e-5
    )
    y = np.tile([1, -1], 100)
    search = GridSearchCV(alone, {"vectors__max_tokens": [11, None], "n_contexts": [1, 2]}, cv=2)
    search.fit(TEXTS, y)
    assert search.best_estimator_.word_vectors_.output == "ids"
    assert alone.vectors.output == "sequence"  # what was passed is not changed


def test_texts_without_a_known_word_have_a_score():
    detector = quick(WordVectors(VECTORS)).fit(TEXTS)
    with pytest.warns(UserWarning, match="no word that has|have no vector"):
        assert_array_equal(detector.context_scores(["strange", "?"]), np.full((2, 3), 0.5))
    of_ids = quick().fit(NORMAL)
    with pytest.warns(UserWarning, match="2 of 3 texts hold no word.*first row 0"):
        scores = of_ids.anomaly_score(np.vstack([np.zeros((2, 12)), NORMAL[:1]]))
    assert_array_equal(scores[:2], 0.5)
    with_empty = np.vstack([NORMAL, np.zeros((5, 12))])
    with pytest.warns(UserWarning, match="5 of 205 texts hold no word"):
        assert np.isfinite(quick().fit(with_empty).score_samples(NORMAL)).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_word_vectors_does_not_matter_to_distances(size):
    X = TABLE[NORMAL] * np.float32(size)
    scores = quick(None, n_epochs=1, lr=1e-30).fit(X).context_scores(X)
    assert np.isfinite(scores).all() and np.ptp(scores) > 0.1


@pytest.mark.parametrize(
    ("vectors", "X", "message"),
    [
        (TABLE, NORMAL + 0.5, "whole numbers from 0 to 120"),
        (TABLE, NORMAL - 1, "whole numbers from 0 to 120.*got -1"),
        (TABLE, NORMAL + 115, "whole numbers from 0 to 120"),
        (TABLE[1:], NORMAL, "must begin with a row of zeros"),
        (TABLE * np.nan, NORMAL, "vectors contains NaN"),
        (TABLE[0], NORMAL, "Expected 2D array"),
        (TABLE, TABLE[NORMAL], "ids of words"),
        (None, np.zeros((5, 1, 4, 4)), "word vectors"),
        (None, np.zeros((5, 4, 4)), "No text of X holds a word"),
        (TABLE, np.zeros((5, 12)), "No text of X holds a word"),
        (TABLE, TEXTS, "WordVectors|numbers"),
        (None, TEXTS, "WordVectors|numbers"),
        (WordVectors(VECTORS), "one text", "list"),
        (WordVectors(VECTORS), NORMAL, "str|shape"),
    ],
)
def test_what_are_no_texts_is_refused_before_training(vectors, X, message, monkeypatch):
    monkeypatch.setattr(engine, "train_alone", None)
    with pytest.raises((ValueError, TypeError), match=message):
        quick(vectors).fit(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"combination": 3}, "below n_contexts=3"),
        ({"combination": "max"}, "combination"),
        ({"alphas": ()}, "one or more numbers"),
        ({"alphas": (0.0, -1.0)}, "at least 0"),
        ({"alphas": (0.0, np.nan)}, "at least 0"),
        ({"vectors": "glove.txt"}, "vectors"),
        ({"vectors": VECTORS}, "vectors"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        quick(**params).fit(NORMAL)


# What it says


def test_combinations_of_context_scores():
    detector = quick().fit(NORMAL)
    distances = detector.context_scores(TEST)
    assert distances.shape == (200, 3) and (distances >= 0).all() and (distances <= 1).all()
    expected = {"mean": distances.mean(axis=1), "min": distances.min(axis=1), 2: distances[:, 2]}
    for combination, values in expected.items():
        scores = quick(combination=combination).fit(NORMAL).anomaly_score(TEST)
        assert_allclose(scores, values, rtol=1e-6)


def test_attention_sums_to_one_over_words():
    attention = quick().fit(NORMAL).attention(NORMAL)
    assert attention.shape == (200, 12, 3)
    assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
    assert (attention[NORMAL == 0] == 0).all()


def test_top_words_are_the_most_attended_of_the_nearest_texts():
    detector = quick(WordVectors(VECTORS), n_epochs=20).fit(TEXTS)
    tokens = detector.word_vectors_.tokenize(TEXTS)
    found = detector.top_words(TEXTS, n_words=4, n_texts=7)
    attention, distances = detector.attention(TEXTS), detector.context_scores(TEXTS)
    for k, words in enumerate(found):
        counts = {}
        for row in np.argsort(distances[:, k], kind="stable")[:7]:
            by_weight = sorted(range(len(tokens[row])), key=lambda i: -attention[row, i, k])
            distinct = dict.fromkeys(tokens[row][i] for i in by_weight)
            for word in list(distinct)[:4]:
                counts[word] = counts.get(word, 0) + 1
        assert len(words) == 4
        assert (
            sorted((counts[word] for word in words), reverse=True)
            == sorted(counts.values(), reverse=True)[:4]
        )
    # From ids with the words beside them it is the same.
    of_ids = make_pipeline(WordVectors(VECTORS, output="ids"), quick()).fit(TEXTS)
    beside = of_ids[-1].top_words(of_ids[0].transform(TEXTS), of_ids[0].tokenize(TEXTS))
    assert len(beside) == 3
    with pytest.raises(ValueError, match="tokens="):
        of_ids[-1].top_words(NORMAL)
    with pytest.raises(ValueError, match="of the 200 texts"):
        of_ids[-1].top_words(NORMAL, tokens[:5])


# Copies, and what happens elsewhere


def test_models_of_texts_are_copied_and_pickled():
    detector = quick(WordVectors(VECTORS)).fit(TEXTS)
    expected = detector.score_samples(TEXTS)
    for other in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        assert_array_equal(other.score_samples(TEXTS), expected)
        with torch.no_grad():
            for weight in other.network_.parameters():
                weight.zero_()
        assert (other.score_samples(TEXTS) != expected).any()
    assert_array_equal(detector.score_samples(TEXTS), expected)
    assert not hasattr(clone(detector), "contexts_")


def test_a_failed_fit_leaves_the_earlier_model():
    detector = quick(WordVectors(VECTORS)).fit(TEXTS)
    expected = detector.score_samples(TEXTS)
    with pytest.raises(ValueError, match="no word|has a vector"):
        detector.fit(["strange words", "alone"])
    assert_array_equal(detector.score_samples(TEXTS), expected)


def test_rows_of_one_text_depend_on_it_alone():
    detector = quick().fit(NORMAL)
    one_by_one = np.concatenate([detector.score_samples(TEST[[i]]) for i in range(20)])
    assert_allclose(one_by_one, detector.score_samples(TEST)[:20], rtol=1e-5)


def test_self_attention_is_a_mean_of_words():
    attention = SelfAttention(8, 5, 2)
    same = torch.ones(3, 4, 8)
    assert_allclose(attention(same).detach(), np.ones((3, 2, 8)), rtol=1e-5)
