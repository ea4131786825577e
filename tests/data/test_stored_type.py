"""Parts with another kind of type or another scale are refused, in training and in prediction."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import regtorch
from regtorch.data.base import DataSet
from regtorch.data.batches import BatchDataset
from regtorch.data.further_rows import FurtherRows
from regtorch.data.stored_type import ValueRange, check_one_scale, kind_of
from regtorch.errors import DataError

TYPES = ("uint8", "int8", "uint16", ">i4", "int64", "bool", "float16", "float32", ">f4", "float64")
X, Y = np.random.default_rng(0).integers(0, 2, (40, 4)), np.arange(40) % 3


def saved(folder: Path, train: str, other: str, part: str = "test", standardize: str = "none") -> DataSet:
    arrays = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_val": X, "y_val": Y}
    arrays = {key: array.astype(train) if key[0] == "x" else array for key, array in arrays.items()}
    np.savez(folder / "my.npz", **{**arrays, f"x_{part}": X.astype(other)})
    data: DataSet = regtorch.create("data", "arrays", path=str(folder / "my.npz"), standardize=standardize)
    return data


def names(train: str, other: str) -> list[str]:
    return [np.dtype(kind).newbyteorder("=").name for kind in (train, other)]


@pytest.mark.parametrize(("train", "other"), [*itertools.product(TYPES, TYPES)])
def test_two_types_have_the_same_scale_or_are_refused(train: str, other: str, tmp_path: Path) -> None:
    for part in ("test", "val"):
        data = saved(tmp_path, train, other, part)
        if kind_of(train) == kind_of(other):
            first, second = (
                BatchDataset(split).__getitems__(range(40))[0] for split in (data.load().train, data.load().parts[part])
            )
            assert first.equal(second)
            continue
        with pytest.raises(DataError, match=f"x_{part}") as error:
            data.load()
        assert all(name in str(error.value) for name in names(train, other))
    data = saved(tmp_path, train, train, standardize="train")
    np.savez(tmp_path / "new.npz", x=X.astype(other))
    rows = FurtherRows(path=str(tmp_path / "new.npz"))
    if kind_of(train) == kind_of(other):
        wanted = BatchDataset(data.load().test).__getitems__(range(40))[0]
        assert BatchDataset(rows.like(data)).__getitems__(range(40))[0].equal(wanted)
        return
    with pytest.raises(DataError, match=r"new\.npz: x has the type") as error:
        rows.like(data)
    assert all(name in str(error.value) for name in names(train, other))


FRACTIONS, PIXELS = np.linspace(0, 1, 20).reshape(4, 5), np.arange(0, 240, 12.0).reshape(4, 5)


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (FRACTIONS, PIXELS, True),
        (PIXELS, FRACTIONS, True),
        (FRACTIONS, FRACTIONS * 1.3, False),
        (PIXELS, PIXELS + 1, False),
        (FRACTIONS, np.ones((1, 5)), False),
        (FRACTIONS, np.full((1, 5), 3.0), False),
        (FRACTIONS - 0.5, PIXELS, True),
        (PIXELS, 2 * FRACTIONS - 1, True),
        (2 * FRACTIONS - 1, PIXELS, True),
        (4.9 * FRACTIONS - 2.2, PIXELS, True),
        (2 * FRACTIONS - 1, 4 * FRACTIONS - 2, False),
        (2 * FRACTIONS - 1, PIXELS - 1, False),
        (9 * FRACTIONS - 5, PIXELS, False),
        (1.3 * FRACTIONS, PIXELS, False),
        (FRACTIONS * 100, PIXELS, False),
    ],
)
def test_pixels_with_only_one_divided_part_are_refused(first: np.ndarray, second: np.ndarray, refused: bool) -> None:
    ranges = {"x_train": ValueRange.of(first), "x_test": ValueRange.of(second)}
    if not refused:
        check_one_scale(ranges, DataError)
        return
    remedy = "divide {} by 255 too" if first.min() >= 0 <= second.min() else "scale {} as the other was"
    remedy = remedy.format("x_train" if first is PIXELS else "x_test")
    with pytest.raises(DataError, match=rf"x_train has .* but x_test .* two scales; {remedy}, or neither$"):
        check_one_scale(ranges, DataError)
