"""``metrics.csv``: one row an epoch, whole at any time, and kept when a run goes on."""

from __future__ import annotations

import csv
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
        names = sorted({name for row in self.rows for name in row})
        with replaced(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
