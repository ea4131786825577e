import gzip
import struct

import numpy as np
import pytest

from regtorch import create
from regtorch.data import fashion_mnist
from regtorch.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (60, 4, 3), np.uint8), "t10k": RNG.integers(0, 256, (12, 4, 3), np.uint8)}
LABELS = {part: RNG.integers(0, 10, len(images), np.uint8) for part, images in IMAGES.items()}


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(params=["raw", "gz"])
def folder(request, tmp_path):
    folder = tmp_path / "FashionMNIST/raw"
    folder.mkdir(parents=True)
    pack, suffix = (gzip.compress, ".gz") if request.param == "gz" else (bytes, "")
    for part in IMAGES:
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(IMAGES[part])))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS[part])))
    return folder


def test_the_first_twelfth_is_the_validation_part(folder):
    splits = create("data", "fashion_mnist", path=str(folder)).load()
    np.testing.assert_array_equal(splits.val.x[:, 0], IMAGES["train"][:5])
    np.testing.assert_array_equal(splits.train.x[:, 0], IMAGES["train"][5:])
    np.testing.assert_array_equal(splits.test.x[:, 0], IMAGES["t10k"])
    np.testing.assert_array_equal(splits.train.y, LABELS["train"][5:])
    assert splits.shape == (1, 4, 3)
    assert splits.train.x.dtype == np.uint8
    assert len(splits.classes) == 10


def test_a_fraction_is_drawn(folder):
    splits = create("data", "fashion_mnist", path=str(folder), validation_fraction=0.5).load()
    together = np.concatenate([splits.train.x, splits.val.x]).reshape(60, -1)
    assert sorted(map(tuple, together)) == sorted(map(tuple, IMAGES["train"].reshape(60, -1)))
    assert len(splits.val) == 30


def test_the_folder_of_torchvision_is_found_before_that_of_debian(folder, monkeypatch):
    monkeypatch.chdir(folder.parents[1])
    monkeypatch.setattr(fashion_mnist, "HOME", folder.parents[1])
    assert len(create("data", "fashion_mnist").load().test) == 12


def test_the_folder_of_debian_is_found(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "HOME", tmp_path / "nothing")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", folder)
    assert len(create("data", "fashion_mnist").load().test) == 12


def test_missing_files_are_reported_with_the_download_command(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "HOME", tmp_path)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        create("data", "fashion_mnist").check()


def test_one_missing_file_is_named(folder):
    next(folder.glob("t10k-labels*")).unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        create("data", "fashion_mnist", path=folder).check()


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-7], lambda content: b"nonsense" * 10, lambda content: b""]
)
def test_a_damaged_file_is_named(folder, damage):
    file = next(folder.glob("train-images*"))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.* damaged"):
        create("data", "fashion_mnist", path=folder).check()


def test_standardized_with_one_mean_and_deviation(folder):
    split = create("data", "fashion_mnist", path=folder, standardize="train").load().train
    pixels = split.x / 255
    assert split.x.dtype == np.uint8
    np.testing.assert_allclose([array.item() for array in split.scaling], [pixels.mean(), pixels.std()], rtol=1e-6)
