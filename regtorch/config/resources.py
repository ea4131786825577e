"""Refuse settings that need more memory or processes than this machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.config.memory_demands import demands
from regtorch.errors import DataError, SettingError
from regtorch.system.memory import check_memory

_WORKERS_PER_CORE, _WORKERS = 8, 64


def check_workers(data: Mapping[str, Any]) -> None:
    """Refuse far more DataLoader workers than this machine has CPU cores.

    Raises:
        SettingError: names ``data.workers``.
    """
    cores, workers = os.cpu_count() or 1, data.get("workers")
    most = max(_WORKERS, _WORKERS_PER_CORE * cores)
    if isinstance(workers, int) and workers > most:
        raise SettingError(
            f"data.workers={workers} is not allowed: it must be at most {most} on this machine, which has {cores} CPU cores"
        )


def check_network_memory(config: Mapping[str, Any], shape: Sequence[int], classes: int, rows: int) -> None:
    """Refuse a network or a batch that does not fit into this machine's memory.

    Raises:
        SettingError: names the setting that needs the memory.
    """
    for demand in demands(config, shape, classes, rows):
        check_memory(demand)


def check_holds(path: Path, config: Mapping[str, Any], shape: Sequence[int], classes: int, named: str) -> None:
    """Refuse a configuration whose network is much larger than its checkpoint, before the network is built.

    Args:
        path: the checkpoint.
        config: checked, as plain containers.
        shape: shape of one row.
        classes: number of classes.
        named: the folder as typed.

    Raises:
        DataError: they do not belong together; names the setting.
    """
    size = path.stat().st_size
    for demand in demands(config, shape, classes, 0, training=False):
        if demand.bytes > 4 * size:  # demands assume 4 bytes per weight; a stored weight has at least 1
            raise DataError(
                f"{named}: {demand.words()}, for {classes} classes, but {path.name} has "
                f"{size:,} bytes: they do not belong together"
            )
