"""Prediction files can be read back without loss."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from regtorch.study.prediction_table import OF_ROWS, table, write_csv, write_parquet

RNG = np.random.default_rng(0)
MOMENTS = {
    "mean": RNG.dirichlet([1e-3] * 3, 20).astype(np.float32),  # very small ones among them
    "std": RNG.random((20, 3), np.float32),
    "variation_ratio": None,
    "samples_used": np.full(20, 8),
}
NAMES = ["cat, black", 'the "dog"', "Ünder"]


def test_a_csv_reads_back_with_all_digits(tmp_path: Path) -> None:
    write_csv(table(MOMENTS, np.arange(20) % 3, NAMES), tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for index, name in enumerate(NAMES):
        for moment in ("mean", "std"):
            read = np.array([float(row[f"{moment}_{name}"]) for row in rows], np.float32)
            assert np.array_equal(read, MOMENTS[moment][:, index])
    assert [row["label"] for row in rows] == [NAMES[number % 3] for number in range(20)]
    assert [row["predicted"] for row in rows] == [NAMES[number] for number in MOMENTS["mean"].argmax(1)]
    assert {row["variation_ratio"] for row in rows} == {""}
    assert {row["samples_used"] for row in rows} == {"8"}


def test_parquet_keeps_the_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = table(MOMENTS, np.arange(20) % 3, NAMES)
    write_parquet(columns, tmp_path / "predictions.parquet")
    read = parquet.read_table(tmp_path / "predictions.parquet")
    assert read.column_names == list(columns)
    assert [str(read.schema.field(name).type) for name in ("label", "correct", "mean_Ünder", "index")] == [
        "string",
        "bool",
        "float",
        "int64",
    ]
    assert read["variation_ratio"].null_count == 20
    assert np.array_equal(read["mean_Ünder"].to_numpy(), MOMENTS["mean"][:, 2])


def test_no_rows_and_no_labels() -> None:
    columns = table({}, None, NAMES)
    assert list(columns) == ["index", "predicted", "confidence", *OF_ROWS] + [
        f"{moment}_{name}" for moment in ("mean", "std") for name in NAMES
    ]
    assert all(values is None or len(values) == 0 for values in columns.values())


def test_classes_that_are_their_numbers_stay_numbers() -> None:
    assert table(MOMENTS, None, ["0", "1", "2"])["predicted"].dtype.kind == "i"
    assert table(MOMENTS, None, ["1", "2", "3"])["predicted"].dtype.kind == "U"
