"""Refuse what this machine cannot have: memory and processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, SettingError
from regtorch.memory import check_memory, demands

_WORKERS_A_CORE, _WORKERS = 8, 64


def check_workers(data: Mapping[str, Any]) -> None:
    """Refuse far more processes that fetch batches than this machine can run side by side.

    Raises:
        SettingError: names ``data.workers``.
    """
    cores, workers = os.cpu_count() or 1, data.get("workers")
    most = max(_WORKERS, _WORKERS_A_CORE * cores)
    if isinstance(workers, int) and workers > most:
        raise SettingError(
            f"data.workers={workers} is not allowed: it must be at most {most} on this machine, which has {cores} CPU cores"
        )


def check_network_memory(config: Mapping[str, Any], shape: Sequence[int], classes: int, rows: int) -> None:
    """Refuse a network or a batch that no process of this machine has memory for.

    Raises:
        SettingError: names the setting that asks for it.
    """
    for demand in demands(config, shape, classes, rows):
        check_memory(demand)


def check_holds(path: Path, config: Mapping[str, Any], shape: Sequence[int], classes: int, named: str) -> None:
    """Refuse a configuration whose network has more weights than its checkpoint has bytes, before it is built.

    Args:
        path: the checkpoint.
        config: checked, as plain containers.
        shape: of one row.
        classes: how many.
        named: the folder, as it was typed.

    Raises:
        DataError: they do not belong together; names the setting.
    """
    size = path.stat().st_size
    for demand in demands(config, shape, classes, 0, training=False):
        if demand.bytes > 4 * size:  # a weight has one byte at least
            raise DataError(
                f"{named}: {demand.words()}, for {classes} classes, and {path.name} has "
                f"{size:,} bytes: they do not belong together"
            )
