"""A digest depends only on the values of the rows, for each part."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regtorch
from regtorch.data import image_files
from regtorch.data.base import DataSet


def arrays(folder: Path) -> DataSet:
    random = np.random.default_rng(0)
    parts = {f"x_{part}": random.normal(size=(6, 4, 4)).astype("f4") for part in ("train", "val", "test")}
    parts |= {f"y_{part}": np.arange(6) % 2 for part in ("train", "val", "test")}
    np.savez(folder / "data.npz", **parts)
    return regtorch.create("data", "arrays", path=str(folder / "data.npz"))


def images(folder: Path) -> DataSet:
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / part / name / f"{number}.png")
    return regtorch.create("data", "image_folder", path=str(folder))


def change_array(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def to(folder: Path) -> None:
        with np.load(folder / "data.npz") as file:
            parts = dict(file)
        np.savez(folder / "data.npz", **{**parts, key: change(parts[key])})

    return to


def one_value(x: np.ndarray) -> np.ndarray:
    x[(-1,) * x.ndim] = 1 - x[(-1,) * x.ndim]
    return x


def recolored(folder: Path) -> None:
    path = folder / "val/b/1.png"
    size = path.stat().st_size
    Image.new("RGB", (8, 8), (200, 0, 0)).save(path)
    assert path.stat().st_size == size  # the size of the file must not reveal the change


#: description -> data set, change, and the parts whose digests change
CHANGES: dict[str, tuple[Callable[[Path], DataSet], Callable[[Path], object], set[str]]] = {
    **{
        f"a value of {kind}_{part}": (arrays, change_array(f"{kind}_{part}", one_value), {part})
        for part in ("train", "val", "test")
        for kind in ("x", "y")
    },
    "the order of rows": (arrays, change_array("x_train", lambda x: x[::-1]), {"train"}),
    "fewer columns": (
        arrays,
        lambda folder: [change_array(f"x_{p}", lambda x: x[:, :2])(folder) for p in ("train", "val", "test")],
        {"train", "val", "test"},
    ),
    "a compressed file": (arrays, lambda folder: np.savez_compressed(folder / "data.npz", **np.load(folder / "data.npz")), set()),
    "a picture of equal size": (images, recolored, {"val"}),
    "a picture's name": (images, lambda folder: (folder / "test/a/0.png").rename(folder / "test/a/9.png"), {"test"}),
    "a picture's class": (images, lambda folder: (folder / "test/a/0.png").rename(folder / "test/b/9.png"), {"test"}),
    "one picture fewer": (images, lambda folder: (folder / "train/a/0.png").unlink(), {"train"}),
    "the dates of pictures": (images, lambda folder: [os.utime(path, (1, 1)) for path in folder.rglob("*.png")], set()),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_digests_of_changed_parts_differ(change: str, tmp_path: Path) -> None:
    make, do, parts = CHANGES[change]
    data = make(tmp_path)
    before = data.digest()
    do(tmp_path)
    after = type(data)(path=data.path).digest()  # type: ignore[call-arg, attr-defined]
    assert {part for part in before if before[part] != after[part]} == parts


def test_only_some_of_many_or_large_pictures_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(tmp_path)
    full = data.digest()
    monkeypatch.setattr(image_files, "_DIGEST_BYTES", 100)
    monkeypatch.setattr(image_files, "_DIGEST_FILES", 4)
    some = regtorch.create("data", "image_folder", path=str(tmp_path)).digest()
    assert some == regtorch.create("data", "image_folder", path=str(tmp_path)).digest() != full


def test_an_unreadable_picture_does_not_prevent_a_digest(tmp_path: Path) -> None:
    data = images(tmp_path)
    (tmp_path / "train/a/7.png").symlink_to("nowhere")
    assert set(data.digest()) == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_digests_of_built_in_data_are_constant(name: str) -> None:
    once, again = (regtorch.create("data", name).digest() for _ in range(2))
    assert once == again
    assert regtorch.create("data", name, standardize="all").digest() == once  # a digest of the stored rows
