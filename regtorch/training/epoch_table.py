"""``metrics.csv``: one row an epoch, whole at any time, and kept when a run goes on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from regtorch.files import replaced


class EpochTable(Logger):
    """Writes what is logged as rows of a CSV file, which is replaced as a whole after each.

    Lightning's own logger appends, so that a run that is killed may leave half a row, and starts anew where a run goes on.

    Args:
        path: the file; rows that are in it stay, but for those of epochs that are logged again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = _read(path)

    @property
    def name(self) -> str:
        """Of the experiment: none."""
        return ""

    @property
    def version(self) -> str:
        """Of the experiment: none."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Settings are kept beside the table, not in it."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row; one of an epoch that was logged before takes its place and that of all later ones."""
        if "epoch" in metrics:
            self.rows = [row for row in self.rows if row.get("epoch") and int(row["epoch"]) < metrics["epoch"]]
        self.rows.append({**metrics, "step": step})
        self._write()

    def columns(self) -> dict[str, list[Any]]:
        """All rows, as a checkpoint keeps them: name -> one value a row, None where a row has none."""
        names = sorted({name for row in self.rows for name in row})
        return {name: [row.get(name) for row in self.rows] for name in names}

    def restore(self, columns: Mapping[str, Sequence[Any]] | None, epochs: int, same_run: bool = True) -> str | None:
        """Take over the rows that a checkpoint keeps; returns a warning if a file of the same run differed from them.

        Args:
            columns: what `columns` gave; None: the checkpoint is of an older version, and keeps none.
            epochs: that were done at the checkpoint.
            same_run: whether the file should have these rows already; otherwise it is that of a new run.
        """
        if columns is None:
            if not same_run:
                return None
            there = {int(row["epoch"]) for row in self.rows}
            lost = [epoch for epoch in range(min(there, default=1), epochs + 1) if epoch not in there]
            return f"{self.path} lacks the rows of {len(lost)} of the {epochs} epochs before" if lost else None
        kept = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        as_they_were = [row for row in self.rows if int(row["epoch"]) <= epochs]
        if [_as_text(row) for row in kept] == [_as_text(row) for row in as_they_were]:
            return None
        self.rows = kept
        self._write()
        if not same_run:
            return None
        return f"{self.path} was lost or damaged: its rows are again those that the checkpoint keeps"

    @rank_zero_only
    def _write(self) -> None:
        names = sorted({name for row in self.rows for name in row})
        with replaced(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


def restore_table(loggers: Sequence[Logger], saved: Mapping[str, Any], same_run: bool) -> str | None:
    """Take over the rows that a checkpoint keeps into ``metrics.csv``; returns a warning if it lacked some.

    Args:
        loggers: of the trainer.
        saved: what the checkpoint records of its run.
        same_run: whether that run is resumed in its own folder.
    """
    for table in loggers:
        if isinstance(table, EpochTable):
            return table.restore(saved.get("table"), saved.get("epochs", 0), same_run)
    return None


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows that can be read; what is damaged is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        rows = [row for row in csv.DictReader(file) if None not in row and str(row.get("epoch")).isdecimal()]
        return [{name: _number(text) for name, text in row.items() if text} for row in rows]
    return []


def _number(text: str) -> int | float | str:
    """What a field of the file stood for: a checkpoint keeps the same values whether or not the run was resumed."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items() if value not in (None, "")}
