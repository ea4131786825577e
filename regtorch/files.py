"""Files that are there complete or not at all, and the lock of a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regtorch.errors import SettingError
from regtorch.file_locks import RENAMES_OPEN_FILES, lock, try_lock
from regtorch.forks import closed_in_children


class BusyError(SettingError):
    """A folder that another process writes to."""


_UNFINISHED = ".unfinished-"


#: folders in which this process has looked for leftover temporary files
_tidied: set[Path] = set()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be written in the block: it takes its place if the block ends well.

    Its name ends as `path` does, for writers that look at the suffix. If the block raises, `path` is as it was.
    The first time that a process writes into a folder, it removes what killed processes have left there.

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
            os.umask(umask := os.umask(0))  # there is no other way to ask for it
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
                error.filename = str(path)  # a disk that is full does not say of what
            raise


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new file beside `path`, locked while it is written: one that nobody has locked was left by a killed process."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED, suffix=f".{path.name}")
    try:
        if not RENAMES_OPEN_FILES:
            os.close(descriptor)
            yield Path(name)
            return
        with suppress(OSError):  # of a file system without locks
            lock(descriptor)
        if not os.fstat(descriptor).st_nlink:  # another process has removed it before it was locked
            Path(name).touch()
        with closed_in_children(descriptor):
            yield Path(name)
    finally:
        with suppress(OSError):
            os.close(descriptor)


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
    """Remove the temporary files that processes which were killed while they wrote have left in a folder."""
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
    """Keep a second process from the same block; the lock ends with the process, also if its workers outlive it.

    Args:
        folder: where the lock is kept.
        message: of the error, if another process has it; None: it is waited for.

    Raises:
        BusyError: another process has it.
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
                    continue  # it was removed by the process that had it: others lock a new one
                try:
                    yield
                    return
                finally:
                    if RENAMES_OPEN_FILES and os.getpid() == own:  # not in a child that leaves the block, too
                        path.unlink(missing_ok=True)
        finally:
            with suppress(OSError):  # closed in such a child
                os.close(descriptor)
