"""Tests of the data loaders and of partial labels."""

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat
from sklearn.datasets import load_breast_cancer, load_digits

from skdeepad.datasets import (
    load_breast_cancer_anomaly,
    load_digits_anomaly,
    load_odds,
    make_partial_labels,
)

ODDS_SIZES = {  # rows, features, anomalies; Table 1 of the Deep SAD paper
    "arrhythmia": (452, 274, 66),
    "cardio": (1831, 21, 176),
    "satellite": (6435, 36, 2036),
    "satimage-2": (5803, 36, 71),
    "shuttle": (49097, 9, 3511),
    "thyroid": (3772, 6, 93),
}


@pytest.fixture(autouse=True)
def _global_rng_is_left_alone():
    """Fail a test that moves NumPy's global generator."""
    before = np.random.get_state()
    yield
    after = np.random.get_state()
    assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


# ODDS tables


def synthetic_table(name, seed=0):
    """Return X and 0/1 labels of the published size, in small integers as some files are."""
    n_rows, n_features, n_anomalies = ODDS_SIZES[name]
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, size=(n_rows, n_features), dtype=np.uint8)
    y = rng.permutation((np.arange(n_rows) < n_anomalies).astype(np.uint8))
    return X, y


def write_table(path, X, y):
    """Write a table as ODDS does (labels in a column) or as .npz."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".mat":
        savemat(path, {"X": X, "y": y.reshape(-1, 1)})
    else:
        np.savez(path, X=X, y=y)


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
@pytest.mark.parametrize("name", ODDS_SIZES)
def test_odds_reads_rows_and_labels(name, suffix, tmp_path):
    """Every row and label of a file arrives, with the labels in our convention."""
    X, y = synthetic_table(name)
    write_table(tmp_path / f"{name}{suffix}", X, y)

    table = load_odds(name, tmp_path)

    assert_array_equal(table.data, X)
    assert table.data.dtype == np.float64
    assert_array_equal(table.target == -1, y == 1)
    assert_array_equal(table.target == 1, y == 0)
    assert table.filename == str(tmp_path / f"{name}{suffix}")
    assert table.target_names.tolist() == ["anomaly", "normal"]
    assert name in table.DESCR


def test_odds_pair(tmp_path):
    """``return_X_y`` returns the Bunch's two arrays."""
    write_table(tmp_path / "thyroid.npz", *synthetic_table("thyroid"))
    table = load_odds("thyroid", tmp_path)
    X, y = load_odds("thyroid", tmp_path, return_X_y=True)
    assert_array_equal(X, table.data)
    assert_array_equal(y, table.target)


@pytest.mark.parametrize("subfolder", ["", "odds"])
def test_odds_folder_from_environment(subfolder, tmp_path, monkeypatch):
    """SKDEEPAD_DATA names the folder, and data_home goes before it."""
    named, other = tmp_path / "named", tmp_path / "other"
    for home, seed in ((named, 0), (other, 1)):
        home.mkdir()
        write_table(home / subfolder / "thyroid.npz", *synthetic_table("thyroid", seed))
    monkeypatch.setenv("SKDEEPAD_DATA", str(named))
    assert_array_equal(load_odds("thyroid").data, synthetic_table("thyroid", 0)[0])
    assert_array_equal(load_odds("thyroid", str(other)).data, synthetic_table("thyroid", 1)[0])


def test_odds_unknown_name_lists_the_names():
    """A wrong name says which names there are."""
    with pytest.raises(ValueError, match="arrhythmia, cardio, .* Got 'annthyroid'"):
        load_odds("annthyroid")


def test_odds_missing_file_says_where_and_what_to_do(tmp_path, monkeypatch):
    """The message names files, folders, the site and the two ways to give the folder."""
    monkeypatch.delenv("SKDEEPAD_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as missing:
        load_odds("satimage-2", tmp_path)
    for part in (
        "satimage-2.mat",
        "satimage-2.npz",
        str(tmp_path),
        str(tmp_path / "odds"),
        "http://odds.cs.stonybrook.edu",
        "data_home",
        "SKDEEPAD_DATA",
    ):
        assert part in str(missing.value)


@pytest.mark.parametrize("value", [None, ""])
def test_odds_without_a_folder(value, monkeypatch):
    """No folder at all is said to be the reason."""
    monkeypatch.delenv("SKDEEPAD_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("SKDEEPAD_DATA", value)
    with pytest.raises(FileNotFoundError, match="SKDEEPAD_DATA is not set.*stonybrook"):
        load_odds("cardio")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:-1], y[:-1]), r"\(3772, 6\).*Got X of shape \(3771, 6\)"),
        (lambda X, y: (X[:, :5], y), r"\(3772, 6\).*Got X of shape \(3772, 5\)"),
        (lambda X, y: (X.T, y), r"\(3772, 6\).*Got X of shape \(6, 3772\)"),
        (lambda X, y: (X, y[:-1]), "3772 labels.*3771 labels"),
        (lambda X, y: (X, 1 - y), "93 anomalies. Got 3679"),
        (lambda X, y: (X, y + 1), r"0 \(normal\) and 1 \(anomalous\). Got the values \[1, 2\]"),
    ],
    ids=["rows", "columns", "transposed", "labels", "count", "coding"],
)
@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_odds_refuses_another_table(change, message, suffix, tmp_path):
    """A file that is not the published table says what was expected and what came."""
    write_table(tmp_path / f"thyroid{suffix}", *change(*synthetic_table("thyroid")))
    with pytest.raises(ValueError, match=message):
        load_odds("thyroid", tmp_path)


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>" + 300 * b" "])
def test_odds_refuses_a_file_of_another_kind(content, suffix, tmp_path):
    """A web page saved in place of the file is an error that says so."""
    (tmp_path / f"thyroid{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"could not be read .*Expected a {suffix} file"):
        load_odds("thyroid", tmp_path)


def test_odds_never_unpickles(tmp_path):
    """Object arrays, which would run code when read, are refused."""
    X, y = synthetic_table("thyroid")
    np.savez(tmp_path / "thyroid.npz", X=X.astype(object), y=y)
    with pytest.raises(ValueError, match="real numbers. Got X of kind object"):
        load_odds("thyroid", tmp_path)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda X, y: (X.astype(object), y), "X of kind (cell|object)"),
        (lambda X, y: (X, y.astype(object)), "y of kind (cell|object)"),
        (lambda X, y: (X + 0j, y), "X of kind complex128"),
        (lambda X, y: (X, y + 0j), "y of kind complex128"),
        (lambda X, y: (X, y.astype(str)), "y of kind (char|str)"),
    ],
)
@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_odds_names_what_is_no_number(change, kind, suffix, tmp_path):
    X, y = synthetic_table("thyroid")
    write_table(tmp_path / f"thyroid{suffix}", *change(X.astype(float), y.astype(int)))
    with pytest.raises(ValueError, match=f"thyroid must hold real numbers. Got {kind}"):
        load_odds("thyroid", tmp_path)


def matlab_element(kind, content):
    """Return an element of a MATLAB file, filled up to 8 bytes."""
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matlab_matrix(name, shape, kind, n_bytes):
    """Return an array of a MATLAB file without its content."""
    flags = matlab_element(6, struct.pack("<II", kind, 0))
    sizes = matlab_element(5, struct.pack("<2i", *shape))
    content = flags + sizes + matlab_element(1, name) + struct.pack("<II", 9, n_bytes)
    return struct.pack("<II", 14, len(content) + n_bytes) + content


def written_matlab(*elements):
    """Return what writes a MATLAB file of compressed elements."""

    def write(folder):
        content = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
        for element in elements:
            packed = zlib.compress(element, 1)
            content += struct.pack("<II", 15, len(packed)) + packed
        (folder / "thyroid.mat").write_bytes(content)

    return write


def written_npz(shape, dtype="<f8", content=b""):
    """Return what writes an .npz file whose X has a header and, compressed, a content."""

    def write(folder):
        header = io.BytesIO()
        about = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        y = io.BytesIO()
        np.save(y, np.zeros(3772))
        with zipfile.ZipFile(folder / "thyroid.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", header.getvalue() + content, compresslevel=1)
            archive.writestr("y.npy", y.getvalue())

    return write


def written_too_large(folder):
    with (folder / "thyroid.mat").open("wb") as file:
        file.truncate(2**33)  # takes no space


def written_in_part(folder):
    savemat(folder / "thyroid.mat", dict(zip("Xy", synthetic_table("thyroid"), strict=True)))
    file = folder / "thyroid.mat"
    file.write_bytes(file.read_bytes()[:2000])


NO_LABELS = matlab_matrix(b"y", (3772, 1), 6, 0)
BOMBS = {
    "unpacks": (
        written_matlab(matlab_matrix(b"X", (2**23, 2), 6, 2**27) + bytes(2**27), NO_LABELS),
        "it unpacks to",
    ),
    "in another array": (
        written_matlab(
            matlab_matrix(b"other", (2**23, 2), 6, 2**27) + bytes(2**27),
            matlab_matrix(b"X", (3772, 6), 6, 0),
            NO_LABELS,
        ),
        "it unpacks to",
    ),
    "says to be large": (
        written_matlab(NO_LABELS, matlab_matrix(b"X", (2**29, 6), 6, 2**32 - 200)),
        r"Got X of shape \(536870912, 6\)",
    ),
    "cells": (
        written_matlab(matlab_matrix(b"X", (2**24, 2), 1, 0), NO_LABELS),
        r"Got X of shape \(16777216, 2\)",
    ),
    "npz unpacks": (written_npz((2**24, 1), content=bytes(2**27)), "it unpacks to"),
    "npz says to be large": (written_npz((2**40, 6)), r"Got X of shape \(1099511627776, 6\)"),
    "npz of long texts": (written_npz((3772, 6), "<U1000000"), "Got X of kind str32000000"),
    "a large file": (written_too_large, "it has 8589934592 bytes"),
    "a part of a file": (written_in_part, "it is cut off within an array"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_odds_looks_at_sizes_before_it_reads(bomb, tmp_path):
    """A small file may unpack, or say to unpack, to what no memory holds."""
    write, message = BOMBS[bomb]
    write(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"thyroid.*{message}"):
            load_odds("thyroid", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_odds_names_missing_arrays(tmp_path):
    """A file without the arrays X and y says which one is missing."""
    np.savez(tmp_path / "thyroid.npz", X=np.zeros((3772, 6)))
    with pytest.raises(ValueError, match="has no array y"):
        load_odds("thyroid", tmp_path)


def test_odds_matlab_73_says_how_to_convert(tmp_path):
    """MATLAB's newer format, which SciPy cannot read, has a message of its own."""
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "shuttle.mat").write_bytes(header + bytes(512))
    with pytest.raises(ValueError, match=r"v7\.3.*-v7.*h5py.*shuttle\.npz"):
        load_odds("shuttle", tmp_path)


def real_data_folder():
    """Return the folder with the published tables, or None."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKDEEPAD_DATA") or beside_checkout)
    return folder if folder.is_dir() else None


@pytest.mark.parametrize("name", ODDS_SIZES)
def test_odds_published_tables(name):
    """The published files pass the check and hold what the paper's Table 1 says."""
    folder = real_data_folder()
    if folder is None:
        pytest.skip("no ODDS files: SKDEEPAD_DATA is not set")
    try:
        X, y = load_odds(name, folder, return_X_y=True)
    except FileNotFoundError:
        pytest.skip(f"no {name} in {folder}")
    n_rows, n_features, n_anomalies = ODDS_SIZES[name]
    assert X.shape == (n_rows, n_features)
    assert np.isfinite(X).all()
    assert (y == -1).sum() == n_anomalies
    assert (y == 1).sum() == n_rows - n_anomalies


# Embedded data


@pytest.mark.parametrize("normal", range(10))
def test_digits(normal):
    """Rows, images and ground truth agree with scikit-learn's digits."""
    source = load_digits()
    digits = load_digits_anomaly(normal=normal)
    assert_array_equal(digits.data * 16, source.data)
    assert digits.data.min() == 0
    assert digits.data.max() == 1
    assert_array_equal(digits.images[:, 0] * 16, source.images)
    assert_array_equal(digits.digit, source.target)
    assert_array_equal(digits.target, [1 if digit == normal else -1 for digit in source.target])
    X, y = load_digits_anomaly(normal=normal, return_X_y=True)
    assert_array_equal(X, digits.data)
    assert_array_equal(y, digits.target)


@pytest.mark.parametrize("normal", [-1, 10, 3.0, "3", True, None])
def test_digits_refuses_what_is_no_digit(normal):
    """Only an int from 0 to 9 is a digit."""
    with pytest.raises(ValueError, match="an int from 0 to 9. Got"):
        load_digits_anomaly(normal=normal)


def test_breast_cancer():
    """Malignant rows are the anomalies."""
    source = load_breast_cancer()
    table = load_breast_cancer_anomaly()
    assert_array_equal(table.data, source.data)
    names = source.target_names[source.target]
    assert_array_equal(table.target == -1, names == "malignant")
    assert_array_equal(table.target == 1, names == "benign")
    assert table.feature_names == source.feature_names.tolist()
    X, y = load_breast_cancer_anomaly(return_X_y=True)
    assert_array_equal(X, table.data)
    assert_array_equal(y, table.target)


# Partial labels


def make_truth(n_normals, *n_by_class, seed=0):
    """Return shuffled ground truth: normal rows, and anomalies of the classes -1, -2, ..."""
    kinds = [1, *(-1 - k for k in range(len(n_by_class)))]
    y = np.repeat(kinds, [n_normals, *n_by_class])
    return np.random.default_rng(seed).permutation(y)


def count(truth, indices, y_partial):
    """Return labeled anomalies, labeled normals, unlabeled anomalies and unlabeled normals."""
    is_anomaly = truth[indices] < 0
    return (
        int(np.sum(y_partial == -1)),
        int(np.sum(y_partial == 1)),
        int(np.sum(is_anomaly & (y_partial == 0))),
        int(np.sum(~is_anomaly & (y_partial == 0))),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Counts by hand for 6,000 normal rows and nine classes of 6,000 anomalies (MNIST).
        # gamma_l = 0.05: m = 0.05 / 0.95 * 6000 = 315.8
        ({"labeled_anomalies": 0.05, "pollution": 0.0}, (316, 0, 0, 6000)),
        # gamma_p = 0.1: p = 0.1 / 0.9 * 6000 = 666.7, then m = 0.05 / 0.95 * 6667 = 350.9
        ({"labeled_anomalies": 0.05, "pollution": 0.1}, (351, 0, 667, 6000)),
        ({"pollution": 0.1}, (0, 0, 667, 6000)),
        ({"labeled_anomalies": 100, "pollution": 0.1}, (100, 0, 667, 6000)),
        # size = 6000 / (0.1 + 0.9 * 0.85) = 6936.4, so 693.6 labeled normal rows;
        # p = 0.1 / 0.9 * 5306 = 589.6; m = 0.05 / 0.95 * 6590 = 346.8
        (
            {"labeled_anomalies": 0.05, "labeled_normals": 0.1, "pollution": 0.1},
            (347, 694, 590, 5306),
        ),
        # size = (6000 + 0.9 * 200) / (0.1 + 0.9 * 0.9) = 6791.2; p = 0.1 / 0.9 * 5321 = 591.2
        (
            {"labeled_anomalies": 200, "labeled_normals": 0.1, "pollution": 0.1},
            (200, 679, 591, 5321),
        ),
        # p = 0.1 / 0.9 * 5400 = 600; m = 0.05 / 0.95 * 6600 = 347.4
        (
            {"labeled_anomalies": 0.05, "labeled_normals": 600, "pollution": 0.1},
            (347, 600, 600, 5400),
        ),
        # everything stays in: 0.05 * 60000
        ({"labeled_anomalies": 0.05}, (3000, 0, 51000, 6000)),
        ({"labeled_anomalies": 7, "labeled_normals": 0.05}, (7, 3000, 53993, 3000)),
        # of 54,000 anomalies and of 6,000 normal rows
        (
            {"labeled_anomalies": 0.05, "labeled_normals": 0.1, "share_of": "each_kind"},
            (2700, 600, 51300, 5400),
        ),
        # p = 0.1 / 0.9 * 5400
        (
            {
                "labeled_anomalies": 0.001,
                "labeled_normals": 0.1,
                "pollution": 0.1,
                "share_of": "each_kind",
            },
            (54, 600, 600, 5400),
        ),
        ({}, (0, 0, 54000, 6000)),
        ({"labeled_normals": 1.0, "share_of": "each_kind", "pollution": 0}, (0, 6000, 0, 0)),
    ],
)
def test_counts_by_hand(options, expected):
    """The numbers of rows follow the docstring's formulas."""
    truth = make_truth(6000, *[6000] * 9)
    assert count(truth, *make_partial_labels(truth, random_state=0, **options)) == expected


def test_the_papers_tables():
    """1 % of the training set labeled and no pollution, as for the ODDS tables of the paper."""
    for n_rows, _, n_anomalies in ODDS_SIZES.values():
        truth = make_truth(n_rows - n_anomalies, n_anomalies)
        _, y_partial = make_partial_labels(
            truth, labeled_anomalies=0.01, pollution=0, random_state=0
        )
        assert abs(np.mean(y_partial == -1) - 0.01) <= 0.5 / len(y_partial)


@given(
    n_normals=st.integers(30, 300),
    anomaly_share=st.floats(0, 0.3),
    normal_share=st.floats(0, 0.3),
    pollution=st.floats(0, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_shares_of_the_training_set(n_normals, anomaly_share, normal_share, pollution, seed):
    """Shares are exact to the nearest row, and labels are the truth."""
    truth = make_truth(n_normals, 300, 300, 300, seed=seed)
    indices, y_partial = make_partial_labels(
        truth,
        labeled_anomalies=anomaly_share,
        labeled_normals=normal_share,
        pollution=pollution,
        random_state=seed,
    )
    m_anomaly, m_normal, n_polluting, n_unlabeled = count(truth, indices, y_partial)
    size = len(indices)

    assert m_normal + n_unlabeled == n_normals
    assert abs(n_polluting - pollution * (n_polluting + n_unlabeled)) <= 0.5 + 1e-9
    assert abs(m_anomaly - anomaly_share * size) <= 0.5 + 1e-9 or m_anomaly == 1
    # rounded first, so the rounding of the other two adds to its own
    assert abs(m_normal - normal_share * size) <= 1.5 or m_normal == 1
    assert (m_anomaly > 0) == (anomaly_share > 0)
    assert (m_normal > 0) == (normal_share > 0)
    labeled = y_partial != 0
    assert_array_equal(y_partial[labeled], np.sign(truth[indices][labeled]))
    assert_array_equal(indices, np.unique(indices))


@given(
    n_by_class=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    asked=st.data(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_known_classes_and_counts(n_by_class, asked, seed):
    """Labels come from as many classes as asked for, or from the named ones only."""
    truth = make_truth(20, *n_by_class, seed=seed)
    n_classes = len(n_by_class)
    k = asked.draw(st.integers(1, n_classes))
    m_anomaly = asked.draw(st.integers(0, min(n_by_class)))

    indices, y_partial = make_partial_labels(
        truth, labeled_anomalies=m_anomaly, known_classes=k, random_state=seed
    )
    assert_array_equal(indices, np.arange(len(truth)))
    assert np.sum(y_partial == -1) == m_anomaly
    assert len(np.unique(truth[y_partial == -1])) <= k

    named = asked.draw(st.lists(st.integers(-n_classes, -1), min_size=1, unique=True))
    m_named = int(np.isin(truth, named).sum())
    _, y_partial = make_partial_labels(
        truth, labeled_anomalies=m_named, known_classes=named, random_state=seed
    )
    assert_array_equal(y_partial == -1, np.isin(truth, named))


@given(
    share=st.floats(0, 1),
    n_anomalies=st.integers(1, 200),
    n_normals=st.integers(1, 200),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_shares_of_each_kind(share, n_anomalies, n_normals, seed):
    """A share of all the anomalies, at least one if any, and nothing is left out."""
    truth = make_truth(n_normals, n_anomalies, seed=seed)
    indices, y_partial = make_partial_labels(
        truth,
        labeled_anomalies=share,
        labeled_normals=share,
        share_of="each_kind",
        random_state=seed,
    )
    assert_array_equal(indices, np.arange(len(truth)))
    for sign, n_kind in ((-1, n_anomalies), (1, n_normals)):
        m = np.sum(y_partial == sign)
        assert abs(m - share * n_kind) <= 0.5 or m == 1
        assert (m > 0) == (share > 0)
        assert np.all(truth[y_partial == sign] == sign)


def test_pollution_comes_from_all_classes():
    """Only the labels are restricted to the known classes, as in the paper."""
    truth = make_truth(300, *[50] * 9)
    indices, y_partial = make_partial_labels(
        truth, labeled_anomalies=20, pollution=0.3, known_classes=[-4], random_state=0
    )
    assert set(truth[indices][y_partial == -1]) == {-4}
    polluting = truth[indices][(y_partial == 0) & (truth[indices] < 0)]
    assert set(polluting) == set(range(-9, 0))


def test_every_anomaly_and_every_class_can_be_drawn():
    """Over the seeds each row is labeled, and pollutes, about as often as any other."""
    truth = make_truth(40, 10, 10)
    labeled, polluting, classes = np.zeros(60), np.zeros(60), np.zeros(2)
    n_seeds = 400
    for seed in range(n_seeds):
        indices, y_partial = make_partial_labels(
            truth, labeled_anomalies=5, pollution=0.2, random_state=seed
        )
        labeled[indices[y_partial == -1]] += 1
        polluting[indices[(y_partial == 0) & (truth[indices] < 0)]] += 1
        _, y_partial = make_partial_labels(
            truth, labeled_anomalies=1, known_classes=1, random_state=seed
        )
        classes[-1 - truth[y_partial == -1][0]] += 1
    # 5 and 10 of 20 anomalies: binomial standard deviations of 8.7 and 10; five of them
    assert_allclose(labeled[truth < 0], n_seeds / 4, atol=45)
    assert_allclose(polluting[truth < 0], n_seeds / 2, atol=50)
    assert_allclose(classes, n_seeds / 2, atol=50)


def test_same_seed_same_rows_and_larger_shares_add_rows():
    """One seed gives one training set; more labels or pollution keep what was there."""
    truth = make_truth(500, 100, 100)

    def draw(**options):
        options = {"labeled_anomalies": 0.05, "pollution": 0.1, "random_state": 3} | options
        indices, y_partial = make_partial_labels(truth, **options)
        return set(indices), set(indices[y_partial == -1])

    rows, labeled = draw()
    assert draw() == (rows, labeled)
    assert draw(random_state=np.random.RandomState(3)) == (rows, labeled)
    assert draw(random_state=4)[1] != labeled
    more_rows, more_labeled = draw(labeled_anomalies=0.1)
    assert labeled < more_labeled
    assert rows < more_rows
    assert draw(labeled_normals=10)[1] <= labeled
    assert labeled <= draw(pollution=0.2)[1]


def test_random_state_none_draws_anew():
    """Without a seed, two calls differ."""
    truth = make_truth(50, 50)
    state = np.random.get_state()
    try:
        first, second = (make_partial_labels(truth, labeled_anomalies=25)[1] for _ in range(2))
    finally:
        np.random.set_state(state)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", [list, np.int8, np.float64, "series", "column"])
def test_forms_of_truth(kind):
    """Lists, dtypes and containers give the same rows, and none is changed."""
    truth = make_truth(50, 10, 10)
    if kind is list:
        y = truth.tolist()
    elif kind == "series":
        y = pytest.importorskip("pandas").Series(truth, index=np.arange(len(truth)) + 1000)
    elif kind == "column":
        y = truth.reshape(-1, 1)
    else:
        y = truth.astype(kind)
    if isinstance(y, np.ndarray):
        y.flags.writeable = False
    options = {"labeled_anomalies": 5, "pollution": 0.1, "known_classes": [-2], "random_state": 0}
    indices, y_partial = make_partial_labels(y, **options)
    expected = make_partial_labels(truth, **options)
    assert_array_equal(indices, expected[0])
    assert_array_equal(y_partial, expected[1])
    assert y_partial.dtype == np.int64
    assert_array_equal(np.asarray(y).ravel(), truth)


@pytest.mark.parametrize("known", [["scratch", "hole"], np.array(["hole", "scratch"])])
def test_separate_classes(known):
    """Class names may stand beside +1/-1 ground truth."""
    classes = np.array(["fine"] * 20 + ["scratch"] * 5 + ["hole"] * 5 + ["crack"] * 5)
    truth = np.where(classes == "fine", 1, -1)
    _, y_partial = make_partial_labels(
        truth, labeled_anomalies=10, known_classes=known, classes=classes, random_state=0
    )
    assert_array_equal(y_partial == -1, np.isin(classes, ["scratch", "hole"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labeled_anomalies": 31}, "labeled_anomalies asks for 31 rows.*only 30 anomalies in y"),
        (
            {"labeled_anomalies": 16, "known_classes": [-1]},
            "asks for 16 rows.*only 15 anomalies of the known classes",
        ),
        # 0.3 / 0.7 * 100 = 42.9
        ({"labeled_anomalies": 0.3, "pollution": 0}, "asks for 43 rows.*only 30 anomalies"),
        ({"labeled_normals": 101}, "labeled_normals asks for 101 rows.*only 100 normal rows"),
        # 0.2 / 0.8 * 100 = 25
        (
            {"labeled_anomalies": 10, "pollution": 0.2},
            "pollution asks for 25 rows.*only 20 anomalies in y beside the 10 labeled",
        ),
        ({"labeled_anomalies": 0.6, "labeled_normals": 0.5, "pollution": 0}, "leave room"),
        ({"labeled_anomalies": 1.0, "pollution": 0}, "leave room"),
        ({"labeled_anomalies": -1}, "a float in .* Got -1"),
        ({"labeled_anomalies": 1.5}, "Got 1.5"),
        ({"labeled_anomalies": float("nan")}, "Got nan"),
        ({"labeled_anomalies": True}, "Got True"),
        ({"labeled_normals": "0.1"}, "labeled_normals must be a share.*Got '0.1'"),
        ({"pollution": 1.0}, r"\[0, 1\). Got 1.0"),
        ({"pollution": -0.1}, "Got -0.1"),
        ({"pollution": False}, "Got False"),
        ({"known_classes": 3}, "from 1 to 2.*Got 3"),
        ({"known_classes": 0}, "from 1 to 2.*Got 0"),
        ({"known_classes": -1}, "Got -1 instead; to name classes, give a list"),
        ({"known_classes": [-1, -7]}, r"\[-2, -1\]. Got \[-7\]"),
        ({"known_classes": True}, r"\[-2, -1\]. Got \[True\]"),
        ({"classes": np.zeros(3)}, r"\(130,\). Got shape \(3,\)"),
        ({"share_of": "anomalies"}, 'must be "training_set" or "each_kind"'),
    ],
)
def test_refuses_with_both_numbers(options, message):
    """Impossible wishes say what was asked for and what there is."""
    with pytest.raises(ValueError, match=message):
        make_partial_labels(make_truth(100, 15, 15), random_state=0, **options)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 0, 1], r"2 zeros.*np\.where\(y == 1, -1, 1\)"),
        ([1, -1, 0], "1 zeros"),
        ([1.0, -0.5], "whole numbers"),
        ([1.0, np.nan], "whole numbers"),
        ([1.0, -np.inf], "whole numbers"),
        ([True, False], "whole numbers.*Got bool"),
        (["normal", "anomaly"], "whole numbers"),
        ([-1, -1], "Got none in 2 rows"),
        ([], "Got none in 0 rows"),
        ([[1, -1], [1, 1]], "1d"),
    ],
)
def test_refuses_what_is_not_ground_truth(y, message):
    """Zeros, fractions, text and truth without normal rows are errors."""
    with pytest.raises(ValueError, match=message):
        make_partial_labels(y)


def test_truth_without_anomalies():
    """All rows normal is fine as long as no anomaly is asked for."""
    indices, y_partial = make_partial_labels([1, 1, 2], labeled_normals=1, random_state=0)
    assert_array_equal(indices, [0, 1, 2])
    assert y_partial.sum() == 1
    with pytest.raises(ValueError, match="asks for 1 rows, but there are only 0"):
        make_partial_labels([1, 1, 2], labeled_anomalies=0.01, random_state=0)
