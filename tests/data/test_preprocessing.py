"""One description of the preprocessing for the data set, its checkpoint and rows that are predicted later."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.batches import BatchDataset
from regtorch.data.further_rows import UNKNOWN, FurtherRows, NetworkInput
from regtorch.data.preprocessing import Preprocessing
from regtorch.errors import DataError

RNG = np.random.default_rng(0)
ROWS = {
    "vectors": RNG.normal(1e4, 2, (40, 5)),
    "gray images": RNG.normal(3, 2, (40, 6, 7)),
    "pixels": RNG.integers(0, 256, (40, 6, 7, 3), np.uint8),
}


def data_of(folder: Path, rows: np.ndarray, standardize: str) -> DataSet:
    y = np.arange(40) % 3
    np.savez(folder / "my.npz", x_train=rows, y_train=y, x_test=rows, y_test=y)
    data: DataSet = regtorch.create("data", "arrays", path=str(folder / "my.npz"), standardize=standardize)
    return data


def checkpoint_of(data: DataSet) -> dict[str, Any]:
    described = {"shape": list(data.load().shape), "classes": 3, "data": {"name": "arrays", "layout": "auto"}}
    kept: dict[str, Any] = pickle.loads(pickle.dumps({**described, **data.described()}))
    return kept


@pytest.mark.parametrize("standardize", ["none", "train", "all"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_checkpoint_prepares_rows_like_the_data(rows: np.ndarray, standardize: str, tmp_path: Path) -> None:
    data = data_of(tmp_path, rows, standardize)
    network = NetworkInput.of_checkpoint(checkpoint_of(data))
    assert network is not None
    expected = BatchDataset(data.load().test).__getitems__(range(40))[0]
    (tmp_path / "my.npz").unlink()  # the checkpoint is sufficient
    for key in ("x", "x_test"):
        np.savez(tmp_path / "new.npz", **{key: rows})
        split = FurtherRows(path=str(tmp_path / "new.npz")).like(network)
        assert BatchDataset(split).__getitems__(range(40))[0].equal(expected)


def test_a_checkpoint_of_an_older_version_has_no_description() -> None:
    assert NetworkInput.of_checkpoint({"shape": [3], "classes": 2}) is None


WRONG: dict[str, Any] = {
    "preprocessing": "none",
    "preprocessing.dtype": 3,
    "preprocessing.mean": [0.0] * 4,
    "preprocessing.std": [0.0] * 5,
    "preprocessing.shape": [7],
    "preprocessing.values": [1, 2],
    "preprocessing.layout": "nhwc",
    "shape": [0],
    "class_names": ["a", "b"],
    "data": None,
}


@pytest.mark.parametrize(
    ("key", "value"), [*WRONG.items(), ("preprocessing.mean", [float("nan")] * 5), ("preprocessing.layout", [])]
)
def test_a_checkpoint_with_a_malformed_description_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    described = copy.deepcopy(checkpoint_of(data_of(tmp_path, ROWS["vectors"], "train")))
    place, _, last = key.rpartition(".")
    (described[place] if place else described)[last] = value
    with pytest.raises(DataError, match="does not have the format of regtorch"):
        NetworkInput.of_checkpoint(described)


IMAGES = Preprocessing("uint8")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for place in ("new", "new/cat", "new/dog"):
        (tmp_path / place).mkdir(exist_ok=True)
        if place != "new":
            Image.fromarray(RNG.integers(0, 255, (12, 10, 3)).astype("u1")).save(tmp_path / place / "a.PNG")
    return tmp_path / "new"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_read_as_in_training(channels: int, images: Path) -> None:
    network = NetworkInput((channels, 6, 5), ("cat", "dog"), IMAGES, resized=True)
    split = FurtherRows(path=str(images)).like(network)
    assert split.y.tolist() == [0, 1]
    assert BatchDataset(split).__getitems__([0, 1])[0].shape == (2, channels, 6, 5)
    one = FurtherRows(path=str(images / "cat/a.PNG")).like(network)
    assert one.y.tolist() == [UNKNOWN]
    assert np.array_equal(np.asarray(one.x), np.asarray(split.x[[0]]))
    Image.new("RGB", (3, 3)).save(images / "b.png")
    assert FurtherRows(path=str(images)).like(network).y.tolist() == [UNKNOWN] * 3


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NetworkInput((3, 6, 5), ("cat", "dog"), IMAGES), "12 x 10 pixels, but the network was trained on 6 x 5"),
        (NetworkInput((3, 12, 10), ("cat", "dog"), Preprocessing("float32")), "uint8 .* trained on float32"),
        (NetworkInput((360,), ("cat", "dog"), IMAGES), r"trained on rows of shape \(360,\)"),
        (NetworkInput((2, 12, 10), ("cat", "dog"), IMAGES), r"trained on rows of shape \(2, 12, 10\)"),
    ],
)
def test_images_that_do_not_fit_the_network_are_refused(network: NetworkInput, words: str, images: Path) -> None:
    with pytest.raises(DataError, match=words):
        FurtherRows(path=str(images)).like(network)


def test_missing_images_and_other_files_are_refused(tmp_path: Path) -> None:
    network = NetworkInput((3, 6, 5), ("cat", "dog"), IMAGES, resized=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.bmp").write_bytes(b"BM")
    for name, words in {
        "empty": "no images",
        "nowhere": "no such file or folder",
        "a.bmp": r"\.jpeg, \.jpg, \.png",
    }.items():
        with pytest.raises(DataError, match=words):
            FurtherRows(path=str(tmp_path / name)).like(network)


@pytest.mark.parametrize("settings", [{"rows": 10**14}, {"rows": 10**18}, {"row_shape": [10**12]}, {"classes": 10**12}])
def test_data_beyond_memory_names_its_setting(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"data.{next(iter(settings))}=.* GiB of memory"):
        regtorch.create("data", "synthetic", **settings).load()


def test_images_beyond_memory_name_their_setting(images: Path) -> None:
    with pytest.raises(DataError, match=r"data\.image_size=\[1000000, 1000000\] needs"):
        regtorch.create("data", "image_folder", path=str(images), image_size=[10**6, 10**6]).load()


def test_a_memory_error_while_reading_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: object) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    data = regtorch.create("data", "synthetic", rows=60)
    monkeypatch.setattr(type(data), "read", read)
    with pytest.raises(DataError, match=r"data\.rows=60 .* needs more memory than there is"):
        data.load()
