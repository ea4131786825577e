"""The reason for a run's failure in one line, with a remedy."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, RegtorchError
from regtorch.system.open_files import TOO_MANY, TooManyFilesError, too_many_files
from regtorch.system.quoting import typed
from regtorch.training.workers import OUT_OF_FILES


class NonFiniteLossError(RegtorchError, ArithmeticError):
    """The loss is NaN or infinite; the message names the step and the last finite values."""


#: torch's messages if descriptors cannot be passed on, and if a worker has exited because of that
_FILES_RAN_OUT = re.compile(rf"received \d+ items of ancdata|DataLoader worker .* exit code {OUT_OF_FILES}\b")


class DiskError(RegtorchError, OSError):
    """A file of a run could not be written or read; files written before are complete."""


def explain(error: BaseException, config: Mapping[str, Any], folder: Path) -> BaseException:
    """Convert an error of disks, missing files or DataLoader workers to one with a clear message.

    Any other error is returned unchanged.
    """
    remedy = how_to_resume(folder)
    continues = f"; the last checkpoint is complete; {remedy}" if remedy else ""
    workers = config["data"].get("workers", 0)
    text = str(error).strip()
    if isinstance(error, RegtorchError) and text.startswith("Caught "):
        return DataError(text.splitlines()[-1].partition(": ")[2])  # raised in a DataLoader worker
    if isinstance(error, RegtorchError) or not isinstance(error, Exception):
        return error
    if any(getattr(e, "errno", None) in TOO_MANY or _FILES_RAN_OUT.search(str(e)) for e in _chain(error)):
        return TooManyFilesError(f"{too_many_files(workers)}{continues}")
    lost = isinstance(error, (ConnectionError, EOFError)) or "DataLoader worker" in text
    if workers and lost and not isinstance(error, FileNotFoundError):
        return DataError(f"data.workers={workers}: a DataLoader worker was killed{continues}")
    if isinstance(error, OSError) and error.errno is not None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        later = " (after freeing disk space)" if remedy and full else ""
        return DiskError(f"{error.filename or folder}: {error.strerror}{continues}{later}")
    return error


def how_to_resume(folder: Path) -> str:
    """Describe how to resume a run; empty if there is no checkpoint."""
    exists = (folder / "checkpoints" / "last.ckpt").is_file()
    return f"to resume: {typed('resume', folder)}" if exists else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, because Lightning raises its own errors during cleanup."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
