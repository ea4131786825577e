"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError


class BusyError(SettingError):
    """A folder that another process writes to."""


_UNFINISHED = ".unfinished-"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be written in the block: it takes its place if the block ends well.

    Its name ends as `path` does, for writers that look at the suffix. If the block raises, `path` is as it was.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replaced(Path(folder) / "table.csv") as temporary:
        ...         _ = temporary.write_text("a,b")
        ...     os.listdir(folder)
        ['table.csv']
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED, suffix=f".{path.name}")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.umask(umask := os.umask(0))  # there is no other way to ask for it
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, name):
            error.filename = str(path)  # a disk that is full does not say of what
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON under a temporary name beside `path`, then rename it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "results.json", {"status": "completed"})
        ...     os.listdir(folder)
        ['results.json']
    """
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder, which no other process writes to."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, message: str | None) -> Iterator[None]:
    """Keep a second process from the same block; the system lifts the lock when the process ends.

    Args:
        folder: where the lock is kept.
        message: of the error, if another process has it; None: it is waited for.

    Raises:
        BusyError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if message is not None else 0))
        except BlockingIOError as error:
            raise BusyError(str(message)) from error
        yield
