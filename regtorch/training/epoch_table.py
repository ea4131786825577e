"""``metrics.csv``: one row per epoch, replaced atomically, and kept when a run is resumed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from regtorch.system.files import replaced


class EpochTable(Logger):
    """Writes logged values as rows of a CSV file, which is replaced atomically after each row.

    Lightning's own logger appends, so a killed run may leave half a row, and it starts a new file when a run is resumed.

    Args:
        path: the file; its rows are kept, except for epochs that are logged again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = _read(path)

    @property
    def name(self) -> str:
        """The experiment's name: empty, because the file is in the run's folder."""
        return ""

    @property
    def version(self) -> str:
        """The experiment's version: empty, because the file is in the run's folder."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Ignore settings: the run's folder has them in other files."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row; if its epoch was logged before, it replaces that row and all later ones."""
        if "epoch" in metrics:
            self.rows = [row for row in self.rows if row.get("epoch") and int(row["epoch"]) < metrics["epoch"]]
        self.rows.append({**metrics, "step": step})
        self._write()

    def columns(self) -> dict[str, list[Any]]:
        """Return all rows for a checkpoint: name -> one value per row, None if a row has none."""
        names = sorted({name for row in self.rows for name in row})
        return {name: [row.get(name) for row in self.rows] for name in names}

    def restore(self, columns: Mapping[str, Sequence[Any]] | None, epochs: int, same_run: bool = True) -> str | None:
        """Restore the rows from a checkpoint; return a warning if the file of the same run had other rows.

        Args:
            columns: the result of `columns`; None: the checkpoint is of an older version, and has none.
            epochs: number of completed epochs at the checkpoint.
            same_run: whether the file should have these rows already; otherwise it belongs to a new run.
        """
        if columns is None:
            if not same_run:
                return None
            there = {int(row["epoch"]) for row in self.rows}
            lost = [epoch for epoch in range(min(there, default=1), epochs + 1) if epoch not in there]
            return f"{self.path} lacks the rows of {len(lost)} of the {epochs} earlier epochs" if lost else None
        kept = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        existing = [row for row in self.rows if int(row["epoch"]) <= epochs]
        if [_as_text(row) for row in kept] == [_as_text(row) for row in existing]:
            return None
        self.rows = kept
        self._write()
        if not same_run:
            return None
        return f"{self.path} was lost or damaged: its rows were restored from the checkpoint"

    @rank_zero_only
    def _write(self) -> None:
        names = sorted({name for row in self.rows for name in row})
        with replaced(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


def restore_table(loggers: Sequence[Logger], saved: Mapping[str, Any], same_run: bool) -> str | None:
    """Restore the rows of ``metrics.csv`` from a checkpoint; return a warning if it lacked some.

    Args:
        loggers: the trainer's loggers.
        saved: the checkpoint's record of its run.
        same_run: whether that run is resumed in its own folder.
    """
    for table in loggers:
        if isinstance(table, EpochTable):
            return table.restore(saved.get("table"), saved.get("epochs", 0), same_run)
    return None


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file; damaged rows are left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        rows = [row for row in csv.DictReader(file) if None not in row and str(row.get("epoch")).isdecimal()]
        return [{name: _number(text) for name, text in row.items() if text} for row in rows]
    return []


def _number(text: str) -> int | float | str:
    """Convert a field of the file, so that checkpoints have the same values whether or not the run was resumed."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items() if value not in (None, "")}
