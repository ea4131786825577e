"""The status of a run according to its ``results.json``; needs no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

NAME = "results.json"


def is_completed(folder: Path) -> bool:
    """Whether a folder holds the results of a completed run.

    Example:
        >>> is_completed(Path("nowhere"))
        False
    """
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        results = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return bool(results.get("status") == "completed")
    return False
