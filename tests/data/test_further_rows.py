"""Rows of another file are read and standardized like the rows of the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.batches import BatchDataset
from regtorch.data.further_rows import UNKNOWN, FurtherRows
from regtorch.errors import DataError

RNG = np.random.default_rng(0)
ARRAYS = {
    "vectors": RNG.normal(3, 2, (60, 5)),
    "gray images": RNG.normal(3, 2, (60, 6, 7)),
    "pixels, channels last": RNG.integers(0, 256, (60, 6, 7, 3), np.uint8),
    "pixels, channels first": RNG.integers(0, 256, (60, 2, 6, 7), np.uint8),
}


def arrays(folder: Path, x: np.ndarray, standardize: str) -> DataSet:
    y = np.arange(60) % 3
    np.savez(folder / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    data: DataSet = regtorch.create("data", "arrays", path=str(folder / "data.npz"), standardize=standardize)
    return data


@pytest.mark.parametrize("standardize", ["none", "train", "all"])
@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS)
def test_rows_from_a_file_equal_the_same_rows_of_a_part(x: np.ndarray, standardize: str, tmp_path: Path) -> None:
    data = arrays(tmp_path, x, standardize)
    np.savez(tmp_path / "new.npz", x=x[40:], y=np.arange(40, 60) % 3)
    found = BatchDataset(FurtherRows(path=str(tmp_path / "new.npz")).like(data)).__getitems__(range(20))
    expected = BatchDataset(data.load().test).__getitems__(range(20))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_labels_are_optional_and_rows_may_be_empty(tmp_path: Path) -> None:
    data = arrays(tmp_path, ARRAYS["vectors"], "train")
    np.savez(tmp_path / "new.npz", x=ARRAYS["vectors"][:0])
    assert len(FurtherRows(path=str(tmp_path / "new.npz")).like(data)) == 0
    np.savez(tmp_path / "new.npz", x=ARRAYS["vectors"][:2])
    assert FurtherRows(path=str(tmp_path / "new.npz")).like(data).y.tolist() == [UNKNOWN] * 2


@pytest.mark.parametrize("name", ["vectors", "pixels, channels last"])
def test_rows_of_another_kind_of_type_are_refused(name: str, tmp_path: Path) -> None:
    data = arrays(tmp_path, ARRAYS[name], "none")
    other = ARRAYS[name].astype(np.float32 if ARRAYS[name].dtype == np.uint8 else np.uint8)
    np.savez(tmp_path / "new.npz", x=other)
    with pytest.raises(DataError, match=r"new.npz: x has the type \w+ \(.*\), but the network was trained on \w+ \("):
        FurtherRows(path=str(tmp_path / "new.npz")).like(data)


@pytest.mark.parametrize("standardize", ["none", "train", "all"])
@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS)
def test_as_stored_inverts_the_standardization(x: np.ndarray, standardize: str, tmp_path: Path) -> None:
    stored = arrays(tmp_path, x, "none").load().test.x
    data = arrays(tmp_path, x, standardize)
    np.testing.assert_allclose(data.as_stored(np.asarray(data.load().test.x)), np.asarray(stored), atol=1e-5)
