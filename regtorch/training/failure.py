"""Why a run failed, in one line that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, RegtorchError
from regtorch.overrides import typed


class DiskError(RegtorchError, OSError):
    """A file of a run that could not be written or read; what was written before is whole."""


def explained(error: BaseException, config: Mapping[str, Any], folder: Path) -> BaseException:
    """The error to raise for one that a run met: of disks, vanished files and processes that fetch batches.

    Any other is given back as it is.
    """
    whole = (folder / "checkpoints" / "last.ckpt").is_file()
    goes_on = f"; the last checkpoint is whole, {typed('resume', folder)} goes on" if whole else ""
    workers = config["data"].get("workers", 0)
    text = str(error).strip()
    if isinstance(error, RegtorchError) and text.startswith("Caught "):
        return DataError(text.splitlines()[-1].partition(": ")[2])  # from a process that fetches batches
    if isinstance(error, RegtorchError) or not isinstance(error, Exception):
        return error
    lost = isinstance(error, (ConnectionError, EOFError)) or "DataLoader worker" in text
    if workers and lost and not isinstance(error, FileNotFoundError):
        return DataError(f"data.workers={workers}: a process that fetches batches was killed{goes_on}")
    if isinstance(error, OSError) and error.errno is not None:
        then = " when there is room" if goes_on and error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return DiskError(f"{error.filename or folder}: {error.strerror}{goes_on}{then}")
    return error
