"""Files of other formats, and .npz files without the needed arrays, are refused with a remedy."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.further_rows import FurtherRows
from regtorch.data.npz_file import listed
from regtorch.errors import DataError

X, Y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
GOOD = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x": X}


def archive(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def truncated(path: Path) -> None:
    np.savez(path, **GOOD)
    path.write_bytes(path.read_bytes()[:500])


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def objects(path: Path) -> None:
    np.savez(path, **{**GOOD, "x_train": np.array([{}] * 30), "x": np.array([{}] * 30)}, allow_pickle=True)


FILES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "csv": (lambda path: path.write_text("a,b\n1,2\n"), ["text file", "read_csv", "savez"]),
    "latin-1 csv": (lambda path: path.write_bytes("größe\n1\n".encode("latin-1")), ["unknown format"]),
    "cut utf-8": (lambda path: path.write_text("a" * 511 + "é" * 9), ["text file"]),
    "npy": (npy, [".npy", "numpy.load", "savez"]),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), ["pickle", "never loaded"]),
    "LFS pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid"), ["git lfs pull"]),
    "empty": (lambda path: path.write_bytes(b""), ["an empty file"]),
    "MATLAB": (lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file"), ["loadmat"]),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), ["h5py"]),
    "parquet": (lambda path: path.write_bytes(b"PAR1"), ["read_parquet"]),
    "png": (lambda path: path.write_bytes(b"\x89PNG\r\n"), ["image_folder"]),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08"), ["decompress"]),
    "torch": (lambda path: archive(path, **{"a/data.pkl": b""}), ["torch.load"]),
    "keras": (lambda path: archive(path, **{"model.weights.h5": b""}), ["Keras"]),
    "excel": (lambda path: archive(path, **{"[Content_Types].xml": b""}), ["read_excel"]),
    "truncated": (truncated, ["damaged", "copy it again"]),
    "nonsense": (lambda path: path.write_bytes(b"\x00\x01\x02"), ["unknown format, or damaged"]),
    "other keys": (lambda path: np.savez(path, X=X, Y=Y), ["it has: X, Y"]),
    "no members": (lambda path: archive(path), ["it has: nothing"]),
    "a folder": (Path.mkdir, ["is a folder", "image_folder"]),
    "nothing": (lambda path: None, ["there is no such file"]),
    "objects": (objects, ["Python objects", "numpy.stack"]),
}


def readers(path: Path) -> dict[str, Callable[[], object]]:
    known: DataSet = regtorch.create("data", "synthetic", rows=60, row_shape=[4], classes=3)
    return {
        "train": regtorch.create("data", "arrays", path=str(path)).load,
        "predict": lambda: FurtherRows(path=str(path)).like(known),
    }


@pytest.mark.parametrize("reader", ["train", "predict"])
@pytest.mark.parametrize(("write", "words"), FILES.values(), ids=FILES)
def test_an_unsuitable_file_is_refused_with_a_remedy(
    write: Callable[[Path], object], words: list[str], reader: str, tmp_path: Path
) -> None:
    write(tmp_path / "rows.npz")
    with pytest.raises(DataError) as error:
        readers(tmp_path / "rows.npz")[reader]()
    message = str(error.value).replace(str(tmp_path), "")
    for word in [*words, "rows.npz"]:
        assert word in message
    for word in ("context manager", "allow_pickle", "pickled (object)"):
        assert word not in message
    assert len(message) <= 500
    assert message.isprintable()


@pytest.mark.parametrize(("reader", "key"), [("train", "y_train"), ("train", "x_test"), ("predict", "x")])
@pytest.mark.parametrize("suffix", ["", ".npy"])
def test_a_member_that_is_not_an_array_is_named(reader: str, key: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **{name: array for name, array in GOOD.items() if name != key})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(key + suffix, b"no array")
    with pytest.raises(DataError, match=f"{key} is (not an array|damaged)"):
        readers(path)[reader]()


def test_names_of_members_are_printable_and_few() -> None:
    message = listed(["\x1b[31m", *("long" * 100 + str(index) for index in range(1000))])
    assert message.isprintable()
    assert len(message) <= 450
    assert "989 more" in message
