"""``metrics.csv``: a row an epoch, whole at any time, and going on replaces what is logged again."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from regtorch.training.epoch_table import EpochTable


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_an_epoch(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "metrics.csv")
    for epoch in (1, 2):
        table.log_metrics({"epoch": epoch, "loss": 1 / epoch}, step=10 * epoch)
    assert rows(table.path) == [
        {"epoch": "1", "loss": "1.0", "step": "10"},
        {"epoch": "2", "loss": "0.5", "step": "20"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_going_on_writes_the_same_text(tmp_path: Path) -> None:
    values = [{"epoch": epoch, "loss": math.exp(-epoch / 3), "val_loss": math.pi / epoch} for epoch in range(1, 13)]
    whole = EpochTable(tmp_path / "whole.csv")
    for row in values:
        whole.log_metrics(row, step=7 * row["epoch"])
    for row in values:
        EpochTable(tmp_path / "again.csv").log_metrics(row, step=7 * row["epoch"])
    assert (tmp_path / "again.csv").read_text() == whole.path.read_text()


def test_an_epoch_that_is_logged_again_takes_the_place_of_all_later_ones(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "metrics.csv")
    for epoch in range(1, 12):
        table.log_metrics({"epoch": epoch, "loss": 1.0}, step=epoch)
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 3, "loss": 2.0}, step=3)
    assert [(row["epoch"], row["loss"]) for row in rows(table.path)] == [("1", "1.0"), ("2", "1.0"), ("3", "2.0")]


def test_a_column_may_come_later(tmp_path: Path) -> None:
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 1, "loss": 1.0}, step=1)
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 2, "loss": 1.0, "val_loss": 3.0}, step=2)
    assert [row["val_loss"] for row in rows(tmp_path / "metrics.csv")] == ["", "3.0"]


def test_what_cannot_be_written_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = EpochTable(tmp_path / "metrics.csv")
    table.log_metrics({"epoch": 1, "loss": 1.0}, step=1)
    before = table.path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(OSError, match="No space left"):
        table.log_metrics({"epoch": 2, "loss": 1.0}, step=2)
    assert table.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
