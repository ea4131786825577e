"""Atomic writing of files, and the lock of a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError
from regtorch.system.file_locks import RENAMES_OPEN_FILES, lock, try_lock
from regtorch.system.forks import closed_in_children


class BusyError(SettingError):
    """Another process is writing to the folder."""


_UNFINISHED = ".unfinished-"


#: folders in which this process has looked for leftover temporary files
_tidied: set[Path] = set()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, to be written in the block; it replaces `path` atomically if the block succeeds.

    Its name has the suffix of `path`, for writers that choose the format by suffix. If the block raises, `path` does not
    change. The first time that a process writes to a folder, it removes leftovers of killed processes.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replaced(Path(folder) / "table.csv") as temporary:
        ...         _ = temporary.write_text("a,b")
        ...     os.listdir(folder)
        ['table.csv']
    """
    if (folder := path.parent.absolute()) not in _tidied:
        _tidied.add(folder)
        remove_unfinished(folder)
    with _temporary(path) as temporary:
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.umask(umask := os.umask(0))  # there is no other way to read the umask
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
                error.filename = str(path)  # the error of a full disk names no file
            raise


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new file next to `path`, locked while it is written: an unlocked one was left by a killed process."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED, suffix=f".{path.name}")
    try:
        if not RENAMES_OPEN_FILES:
            os.close(descriptor)
            yield Path(name)
            return
        with suppress(OSError):  # the file system may not support locks
            lock(descriptor)
        if not os.fstat(descriptor).st_nlink:  # another process removed it before it was locked
            Path(name).touch()
        with closed_in_children(descriptor):
            yield Path(name)
    finally:
        with suppress(OSError):
            os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: under a temporary name next to `path`, then rename it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "results.json", {"status": "completed"})
        ...     os.listdir(folder)
        ['results.json']
    """
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while writing to a folder."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):  # on Windows a file that another process has open cannot be removed
            if not RENAMES_OPEN_FILES:
                path.unlink()
                continue
            descriptor = os.open(path, os.O_RDWR)
            try:
                if try_lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def locked(folder: Path, message: str | None) -> Iterator[None]:
    """Let only one process run the block; the lock ends with the process, even if its workers outlive it.

    Args:
        folder: the folder of the lock file.
        message: message of the error if another process holds the lock; None: wait for it.

    Raises:
        BusyError: another process holds the lock.
    """
    path, own = folder / ".lock", os.getpid()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with closed_in_children(descriptor):
                if message is None:
                    lock(descriptor)
                elif not try_lock(descriptor):
                    raise BusyError(message)
                if RENAMES_OPEN_FILES and not os.fstat(descriptor).st_nlink:
                    continue  # the previous holder removed the file; other processes lock a new one
                try:
                    yield
                    return
                finally:
                    if RENAMES_OPEN_FILES and os.getpid() == own:  # not in a forked child that leaves the block too
                        path.unlink(missing_ok=True)
        finally:
            with suppress(OSError):  # already closed in such a child
                os.close(descriptor)
