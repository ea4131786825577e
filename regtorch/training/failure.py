"""Why a run failed, in one line that says what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, RegtorchError
from regtorch.open_files import TOO_MANY, TooManyFilesError, too_many_files
from regtorch.overrides import typed
from regtorch.training.workers import OUT_OF_FILES

#: what torch says where descriptors cannot be handed over, and of a worker that has ended for it
_FILES_RAN_OUT = re.compile(rf"received \d+ items of ancdata|DataLoader worker .* exit code {OUT_OF_FILES}\b")


class DiskError(RegtorchError, OSError):
    """A file of a run that could not be written or read; what was written before is whole."""


def explained(error: BaseException, config: Mapping[str, Any], folder: Path) -> BaseException:
    """The error to raise for one that a run met: of disks, vanished files and processes that fetch batches.

    Any other is given back as it is.
    """
    then = goes_on(folder)
    continues = f"; the last checkpoint is whole, {then}" if then else ""
    workers = config["data"].get("workers", 0)
    text = str(error).strip()
    if isinstance(error, RegtorchError) and text.startswith("Caught "):
        return DataError(text.splitlines()[-1].partition(": ")[2])  # from a process that fetches batches
    if isinstance(error, RegtorchError) or not isinstance(error, Exception):
        return error
    if any(getattr(e, "errno", None) in TOO_MANY or _FILES_RAN_OUT.search(str(e)) for e in _chain(error)):
        return TooManyFilesError(f"{too_many_files(workers)}{continues}")
    lost = isinstance(error, (ConnectionError, EOFError)) or "DataLoader worker" in text
    if workers and lost and not isinstance(error, FileNotFoundError):
        return DataError(f"data.workers={workers}: a process that fetches batches was killed{continues}")
    if isinstance(error, OSError) and error.errno is not None:
        later = " when there is room" if then and error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return DiskError(f"{error.filename or folder}: {error.strerror}{continues}{later}")
    return error


def goes_on(folder: Path) -> str:
    """How a run is resumed, in words; empty where there is no checkpoint."""
    whole = (folder / "checkpoints" / "last.ckpt").is_file()
    return f"{typed('resume', folder)} goes on" if whole else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from: Lightning raises its own while it tidies up."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
