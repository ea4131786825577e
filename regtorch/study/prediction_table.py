"""Predictions as a table, one row per example, and its files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from regtorch.system.files import replaced

#: columns per row, in addition to the moments of its classes
OF_ROWS = ("predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio", "samples_used")

#: name -> one value per row; None if unknown
Columns = dict[str, "np.ndarray | None"]


def table(
    moments: Mapping[str, np.ndarray | None],
    labels: np.ndarray | None,
    classes: Sequence[str],
    files: Sequence[str] | None = None,
) -> Columns:
    """The columns of the table: predicted class, confidence, and mean and standard deviation of each class.

    Args:
        moments: ``mean`` and ``std`` (rows, classes), and those of `OF_ROWS`, named as in `MCPrediction`; empty if
            there are no rows; without ``std`` if nothing was sampled.
        labels: (rows,) class indices; None if unknown.
        classes: names of the classes.
        files: (rows,) the source of each row; None: no such column.

    Example:
        >>> moments = {"mean": np.array([[0.75, 0.25]]), "std": np.array([[0.5, 0.5]])}
        >>> columns = table(moments, np.array([1]), ["cat", "dog"])
        >>> columns["predicted"], columns["confidence"], columns["correct"]
        (array(['cat'], dtype='<U3'), array([0.75]), array([False]))
    """
    nothing = np.zeros((0, len(classes)), np.float32)
    mean = nothing if (given := moments.get("mean")) is None else given
    std = moments.get("std") if moments else nothing
    number = mean.argmax(1)
    numbered = all(name == str(index) for index, name in enumerate(classes))
    names = np.arange(len(classes)) if numbered else np.array(classes)
    columns: Columns = {"index": np.arange(len(mean))}
    if labels is not None:
        columns["label"] = names[labels]
    columns["predicted"] = names[number]
    columns["confidence"] = mean[np.arange(len(mean)), number]
    if labels is not None:
        columns["correct"] = number == labels
    columns |= {name: moments.get(name) for name in OF_ROWS}
    for name, values in (("mean", mean), ("std", std)):
        for index, label in enumerate(classes):
            columns[f"{name}_{label}"] = None if values is None else values[:, index]
    if files is not None:
        columns["file"] = np.array(files)
    return columns


def write_csv(columns: Columns, path: Path) -> None:
    """Write the table: numbers with all digits, ``true`` or ``false``, empty cells for unknown values."""
    rows = len(columns["index"]) if columns["index"] is not None else 0
    texts = [_texts(values, rows) for values in columns.values()]
    with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*texts, strict=True))


def _texts(values: np.ndarray | None, rows: int) -> list[str]:
    if values is None:
        return [""] * rows
    if values.dtype == bool:
        return ["true" if value else "false" for value in values]
    return list(map(str, values))  # the shortest digits that represent the number in its dtype


def write_parquet(columns: Columns, path: Path) -> None:
    """Write the table with pyarrow (the extra ``regtorch[parquet]``), each column of its own type."""
    import pyarrow
    from pyarrow import parquet

    rows = len(columns["index"]) if columns["index"] is not None else 0
    arrays = {
        name: pyarrow.nulls(rows, pyarrow.float32()) if values is None else pyarrow.array(values)
        for name, values in columns.items()
    }
    with replaced(path) as temporary:
        parquet.write_table(pyarrow.table(arrays), temporary)
