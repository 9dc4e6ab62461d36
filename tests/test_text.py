"""Texts as rows of word vectors: what is read, how texts are prepared, what rows hold."""

import gzip
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skdeepad import DeepSVDD, WordVectors

WORDS = ["cat", "dog", "bird", "sleeps", "runs", "don't", "café"]
RNG = np.random.default_rng(0)
VECTORS = {word: RNG.normal(size=3).astype(np.float32) for word in WORDS}
TEXTS = ["The cat sleeps; the DOG runs. 42!", "A bird", "dog dog cat"]
LINES = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items())


def plain(**params):
    return WordVectors(VECTORS, **{"center": False, **params})


def of_words(*words):
    return np.array([VECTORS[word] for word in words])


class KeyedVectors:
    """What gensim's have."""

    key_to_index = {word: place for place, word in enumerate(WORDS)}
    vectors = np.array(list(VECTORS.values()))


# Where vectors come from


@pytest.mark.parametrize("form", ["glove", "word2vec", "gzip", "spaces", "mapping", "gensim"])
def test_vectors_are_read_from_every_form(form, tmp_path):
    path = tmp_path / "vectors.txt"
    vectors = {"mapping": VECTORS, "gensim": KeyedVectors()}.get(form, path)
    if form == "gzip":
        path.write_bytes(gzip.compress(LINES.encode()))
    else:
        header = f"{len(WORDS) + (form == 'spaces')} 3\n" if form in ("word2vec", "spaces") else ""
        extra = "New York 1 2 3\n" if form == "spaces" else ""
        path.write_text(header + extra + LINES)
    rows = WordVectors(vectors, center=False).fit_transform(TEXTS)
    assert rows.dtype == np.float32
    assert_array_equal(rows, plain().fit_transform(TEXTS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("cat 1 2\ndog 1\n", "Line 2.*1 numbers where 2"),
        ("cat 1 2\ndog 1 2 3\n", "Line 2.*3 numbers where 2"),
        ("3 2\ncat 1 2\n", "tells of 3 words, and 1 follow"),
        ("cat 1 nan\n", "NaN, infinity"),
        ("cat 1 1e39\n", "NaN, infinity"),
        (b"cat\xff 1 2\n", "not UTF-8"),
        (b"PK\x03\x04", "zip archive"),
        ("42 1 2\nthe 1 2\n", "none of them can be a prepared word"),
    ],
)
def test_broken_files_are_refused_by_line(content, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        WordVectors(path).fit(TEXTS)


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        ("nowhere.txt", FileNotFoundError, "no such file.*nothing is downloaded"),
        (np.eye(3), TypeError, r"make dict\(zip"),
        ({"cat": [1, 2], "dog": [1]}, ValueError, "'dog' has 1 numbers.*have 2"),
        ({"cat": "one"}, ValueError, "no vector of numbers"),
        ({"cat": [[1.0]]}, ValueError, r"shape \(1, 1\)"),
        ({1: [1.0]}, TypeError, "must have words as keys"),
        ({}, ValueError, "0 words"),
    ],
)
def test_what_are_no_vectors_is_refused(vectors, error, message):
    with pytest.raises(error, match=message):
        WordVectors(vectors).fit(TEXTS)


def test_a_word_that_is_there_twice_is_told_of(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("cat 1 2\ncat 3 4\ndog 5 6\n")
    with pytest.warns(UserWarning, match="1 words twice, the first of them 'cat'"):
        rows = WordVectors(path, center=False).fit_transform(["cat"])
    assert_array_equal(rows[0, 0], [1, 2])


# How texts are prepared


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The CAT, the dog!", ["cat", "dog"]),  # "the" is a stop word
        ("cat42dog cat_dog", ["cat", "dog", "cat", "dog"]),
        ("cat's don't don\u2019t", ["cat"]),
        ("CAFÉ cafe\u0301", ["café", "café"]),
        ("unknown", []),
    ],
)
def test_texts_are_prepared_as_in_the_thesis(text, words):
    transformer = plain().fit(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert transformer.tokenize([text]) == [words]
        assert transformer.transform([text]).any(axis=2).sum() == min(len(words), 4)


def test_stop_words_and_short_words_are_left_out_as_asked():
    vectors = {word: np.ones(2) for word in ("the", "a", "cat", "ox")}
    text = ["The cat, a Cat, the ox"]
    for params, words in [
        ({}, ["cat", "cat"]),
        ({"stop_words": None}, ["the", "cat", "cat", "the"]),
        ({"stop_words": ["CAT"], "min_length": 1}, ["the", "a", "the", "ox"]),
        ({"tokenizer": str.split}, ["a", "the", "ox"]),
    ]:
        transformer = WordVectors(vectors, **params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "The" has no vector, nor "cat,"
            assert transformer.fit(text).tokenize(text) == [words]


@pytest.mark.parametrize("told", [3, "cat dog", [1, 2]])
def test_a_tokenizer_that_returns_no_words_is_refused(told):
    with pytest.raises(TypeError, match="tokenizer must return a list of str"):
        plain(tokenizer=lambda text: told).fit(TEXTS)


def test_what_a_tokenizer_overrides_is_told_of():
    with pytest.warns(UserWarning, match="stop_words and min_length are not applied"):
        plain(tokenizer=str.split, min_length=2).fit(["cat dog"])


# What rows hold


def test_rows_are_the_vectors_of_words_in_order():
    transformer = plain().fit(TEXTS)
    rows = transformer.transform(TEXTS)
    assert rows.shape == (3, 4, 3)
    assert_array_equal(rows[0], of_words("cat", "sleeps", "dog", "runs"))
    assert_array_equal(rows[1], np.vstack([of_words("bird"), np.zeros((3, 3))]))
    ids = plain(output="ids").fit_transform(TEXTS)
    assert ids.dtype == np.int32
    assert_array_equal(transformer.vectors_[ids], rows)
    assert transformer.words_[ids[0]].tolist() == ["cat", "sleeps", "dog", "runs"]
    assert transformer.words_[0] == "" and not transformer.vectors_[0].any()


def test_pools_are_those_of_the_formulas():
    texts = [*TEXTS, "bird cat cat"]  # a rare word and a frequent one
    bird, cat = of_words("bird")[0], of_words("cat")[0]
    mean, tfidf, largest = (
        plain(output=output).fit_transform(texts)[3] for output in ("mean", "tfidf", "max")
    )
    assert_allclose(mean, (bird + 2 * cat) / 3, rtol=1e-6)
    assert_allclose(largest, np.maximum(bird, cat))
    # Weights from scikit-learn, which knows of no vectors.
    rare, frequent = TfidfVectorizer(vocabulary=["bird", "cat"]).fit(texts).idf_
    assert rare > frequent
    expected = (rare * bird + 2 * frequent * cat) / (rare + 2 * frequent)
    assert_allclose(tfidf, expected, rtol=1e-6)


def test_vectors_are_centered_on_the_vocabulary():
    transformer, raw = WordVectors(VECTORS).fit(TEXTS), plain().fit(TEXTS)
    assert "don't" not in transformer.words_  # no text can have it, so it does not count
    mean = raw.vectors_[1:].mean(axis=0)
    assert_allclose(transformer.vectors_[1:], raw.vectors_[1:] - mean, rtol=1e-5)
    assert not transformer.vectors_[0].any()
    assert_array_equal(VECTORS["cat"], raw.vectors_[raw.words_ == "cat"][0])  # not changed in place
    alone = WordVectors({"cat": [1.0, 2.0]}).fit(["cat"])
    assert_array_equal(alone.vectors_[1], [1, 2])


def test_long_texts_are_cut_and_told_of():
    transformer = plain(max_tokens=2)
    with pytest.warns(UserWarning, match="2 of 3 texts, 67%, have more than n_tokens_ = 2"):
        rows = transformer.fit_transform(TEXTS)
    assert_array_equal(rows[0], of_words("cat", "sleeps"))
    assert transformer.n_tokens_ == 2
    longer = " ".join(["cat"] * 300)
    with pytest.warns(UserWarning, match="n_tokens_ = 256"):
        assert plain().fit([longer]).n_tokens_ == 256
    assert plain(max_tokens=None).fit([longer]).n_tokens_ == 300
    assert plain(max_tokens=2, output="mean").fit(TEXTS).n_tokens_ is None


def test_unknown_words_and_empty_texts_are_told_of():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transformer = plain().fit(["cat unknown", "strange", ""])
    told = " ".join(str(warning.message) for warning in caught)
    assert "2 of the 3 prepared words of X, 67%, have no vector" in told
    assert "2 of 3 texts have no word that has a vector, at positions 1, 2" in told
    assert all(warning.filename == __file__ for warning in caught)
    assert transformer.unknown_share_ == 2 / 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain().fit(TEXTS)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("cat", TypeError, r"Write \[text\]"),
        ([], ValueError, "text"),
        ([["cat"]], TypeError, "str"),
        (["cat", None], TypeError, "None|missing"),
        (["cat", np.nan], TypeError, "nan|missing"),
        ([b"cat"], TypeError, "bytes"),
        (np.array([["cat"]]), ValueError, r"shape \(1, 1\)"),
        (pd.DataFrame({"text": ["cat"]}), ValueError, "one column"),
        ({"cat"}, TypeError, "list, array or series"),
        (["unknown words"], ValueError, "None of the 2 prepared words of X has a vector"),
    ],
)
def test_what_are_no_texts_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        plain().fit(X)


@pytest.mark.parametrize(
    "X", [TEXTS, tuple(TEXTS), np.array(TEXTS), pd.Series(TEXTS, index=[5, 1, 3])]
)
def test_texts_come_in_every_form(X):
    assert_array_equal(plain().fit_transform(X), plain().fit_transform(TEXTS))


# As scikit-learn has it


def test_rows_go_into_pipelines_and_columns():
    table = pd.DataFrame({"text": TEXTS * 10, "number": np.arange(30.0)})
    columns = make_column_transformer(
        (plain(output="mean"), "text"), remainder="passthrough", verbose_feature_names_out=False
    )
    names = [*(f"wordvectors{i}" for i in range(3)), "number"]
    assert columns.fit(table).get_feature_names_out().tolist() == names
    pipeline = make_pipeline(plain(output="mean"), DeepSVDD(n_epochs=2, random_state=0))
    assert pipeline.fit(TEXTS * 10).score_samples(TEXTS).shape == (3,)
    assert not hasattr(plain().fit(TEXTS), "get_feature_names_out")


def test_clones_share_vectors_and_copies_keep_them():
    transformer = plain().fit(TEXTS)
    assert clone(transformer).vectors is VECTORS
    assert not hasattr(clone(transformer), "vectors_")
    copied = pickle.loads(pickle.dumps(transformer))
    assert_array_equal(copied.transform(TEXTS), transformer.transform(TEXTS))


def test_a_failed_fit_leaves_the_earlier_one():
    transformer = plain().fit(TEXTS)
    expected = transformer.transform(TEXTS)
    with pytest.raises(ValueError, match="has a vector"):
        transformer.fit(["unknown"])
    assert_array_equal(transformer.transform(TEXTS), expected)


@pytest.mark.parametrize(
    "params",
    [
        {"output": "sum"},
        {"stop_words": "german"},
        {"min_length": 0},
        {"max_tokens": 0},
        {"center": "yes"},
        {"tokenizer": "split"},
    ],
)
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        plain(**params).fit(TEXTS)
