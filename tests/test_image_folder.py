"""Images in folders, with their labels and masks."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skdeepad import FCDD
from skdeepad.datasets import load_image_folder


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for place in ("train/good/0", "train/good/1", "train/unlabeled/0", "test/good/0"):
        save(tmp_path / f"{place}.png", rng.integers(0, 256, (6, 8, 3)))
    for name in "012":
        save(tmp_path / f"test/hole/{name}.png", rng.integers(0, 256, (6, 8, 3)))
    save(tmp_path / "train/crack/7.png", rng.integers(0, 256, (6, 8, 3)))
    mask = np.zeros((6, 8))
    mask[2:4, 3] = 255
    save(tmp_path / "ground_truth/hole/0_mask.png", mask)
    save(tmp_path / "ground_truth/hole/1.png", mask.T[:6].repeat(2, axis=1)[:, :8] * 0 + 1)
    save(tmp_path / "ground_truth/crack/7_mask.png", mask)
    (tmp_path / "train/good/notes.txt").write_text("not an image")
    return tmp_path


def test_images_have_their_labels_and_masks(folder):
    images = load_image_folder(folder)
    assert images.kind.tolist() == ["crack", *["good"] * 2, "unlabeled", "good", *["hole"] * 3]
    assert images.split.tolist() == ["train"] * 4 + ["test"] * 4
    assert images.y.tolist() == [-1, 1, 1, 0, 1, -1, -1, -1]
    assert images.X.shape == (8, 3, 6, 8) and images.X.dtype == np.float32
    for image, path in zip(images.X, images.path, strict=True):
        assert_array_equal(
            np.moveaxis(image, 0, -1), np.asarray(Image.open(path)) / np.float32(255)
        )
    assert_array_equal(np.argwhere(images.masks[5]), [[2, 3], [3, 3]])
    assert_array_equal(images.masks[0], images.masks[5])
    assert (images.masks[6] == 1).all()  # any value but 0 marks
    assert (images.masks[7] == -1).all() and (images.masks[3] == -1).all()
    assert not images.masks[[1, 2, 4]].any()


def test_gray_images_and_other_sizes(folder):
    images = load_image_folder(folder, size=(12, 16), color="gray")
    assert images.X.shape == (8, 1, 12, 16) and images.masks.shape == (8, 12, 16)
    assert_array_equal(np.argwhere(images.masks[5])[[0, -1]], [[4, 6], [7, 7]])
    assert set(np.unique(images.masks)) == {-1, 0, 1}
    assert 0 <= images.X.min() < images.X.max() <= 1


def test_what_is_read_can_be_learned_from(folder):
    images = load_image_folder(folder, size=(16, 16))
    train = images.split == "train"
    detector = FCDD(hidden_layer_sizes=(4, 4, 4, 4), n_epochs=1, random_state=0, device="cpu")
    detector.fit(images.X[train], images.y[train], masks=images.masks[train])
    assert detector.explain(images.X[~train]).shape == (4, 16, 16)


def test_errors_name_the_file(folder):
    with pytest.raises(FileNotFoundError, match="no folder.*train/good"):
        load_image_folder(folder / "nowhere")
    with pytest.raises(ValueError, match=r"holds no images.*found \['0.png'"):
        load_image_folder(folder / "train" / "good")
    with pytest.raises(ValueError, match="'rgb' or 'gray'"):
        load_image_folder(folder, color="cmyk")
    save(folder / "test/good/0.png", np.zeros((5, 8, 3)))
    with pytest.raises(ValueError, match=r"0.png is of size \(5, 8\).*Pass size="):
        load_image_folder(folder)
    save(folder / "test/good/0.png", np.zeros((6, 8, 3)))
    save(folder / "ground_truth/hole/0_mask.png", np.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"0_mask.png is of size \(3, 8\)"):
        load_image_folder(folder)
    (folder / "train/good/0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="0.png cannot be read as an image"):
        load_image_folder(folder, size=(4, 4))
    Image.fromarray(np.zeros((6, 8), dtype=np.uint16)).save(folder / "train/good/0.png")
    with pytest.raises(ValueError, match="16 bits a channel"):
        load_image_folder(folder)


def test_without_pillow_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"skdeepad\[images\]"):
        load_image_folder(folder)
