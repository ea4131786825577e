"""``metrics.csv``: one row per epoch, always complete; resuming replaces epochs that are logged again."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from regtorch.training.epoch_table import EpochTable


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_epoch(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "metrics.csv")
    for epoch in (1, 2):
        table.log_metrics({"epoch": epoch, "loss": 1 / epoch}, step=10 * epoch)
    assert rows(table.path) == [
        {"epoch": "1", "loss": "1.0", "step": "10"},
        {"epoch": "2", "loss": "0.5", "step": "20"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_resuming_writes_the_same_text(tmp_path: Path) -> None:
    values = [{"epoch": epoch, "loss": math.exp(-epoch / 3), "val_loss": math.pi / epoch} for epoch in range(1, 13)]
    complete = EpochTable(tmp_path / "complete.csv")
    for row in values:
        complete.log_metrics(row, step=7 * row["epoch"])
    for row in values:
        EpochTable(tmp_path / "again.csv").log_metrics(row, step=7 * row["epoch"])
    assert (tmp_path / "again.csv").read_text() == complete.path.read_text()


def test_an_epoch_that_is_logged_again_replaces_all_later_ones(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "metrics.csv")
    for epoch in range(1, 12):
        table.log_metrics({"epoch": epoch, "loss": 1.0}, step=epoch)
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 3, "loss": 2.0}, step=3)
    assert [(row["epoch"], row["loss"]) for row in rows(table.path)] == [("1", "1.0"), ("2", "1.0"), ("3", "2.0")]


def test_a_column_may_come_later(tmp_path: Path) -> None:
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 1, "loss": 1.0}, step=1)
    EpochTable(tmp_path / "metrics.csv").log_metrics({"epoch": 2, "loss": 1.0, "val_loss": 3.0}, step=2)
    assert [row["val_loss"] for row in rows(tmp_path / "metrics.csv")] == ["", "3.0"]


def test_a_failed_write_leaves_the_table_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def logged(path: Path, epochs: int) -> EpochTable:
    table = EpochTable(path)
    for epoch in range(1, epochs + 1):
        table.log_metrics({"epoch": epoch, "loss": math.exp(-epoch), **({"val_loss": 0.5} if epoch > 1 else {})}, epoch)
    return table


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\0\xff"),
        lambda path: path.write_text(path.read_text()[:-6]),  # a truncated number is still a number
        lambda path: path.write_text("\n".join(path.read_text().splitlines()[:2])),
        lambda path: path.write_text(path.read_text() + "1,2,3,4,5,6,7\n"),
        lambda path: path.write_text(path.read_text().replace("0.5", "0.7")),
    ],
)
def test_a_checkpoint_restores_lost_rows(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    columns, complete = logged(path, 4).columns(), path.read_text()
    assert EpochTable(path).restore(columns, 4) is None
    damage(path)
    message = EpochTable(path).restore(columns, 4)
    assert message is None or "was lost or damaged" in message
    assert message is not None or rows(path)[:4] == list(csv.DictReader(complete.splitlines()))
    table = EpochTable(path)
    table.log_metrics({"epoch": 5, "loss": 1.0}, step=5)
    assert path.read_text().startswith(complete)


def test_rows_later_than_the_checkpoint_are_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    columns = logged(path, 2).columns()
    assert logged(path, 4).restore(columns, 2) is None


@pytest.mark.parametrize(("there", "message"), [(0, "3 of the 3"), (2, "1 of the 3"), (3, None)])
def test_an_older_checkpoint_has_no_table(there: int, message: str | None, tmp_path: Path) -> None:
    found = logged(tmp_path / "metrics.csv", there).restore(None, 3)
    assert found is None if message is None else message in str(found)
