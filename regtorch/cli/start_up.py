"""How a command starts: its standard streams are usable, and a signal ends it at once, with one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from regtorch.errors import RegtorchError
from regtorch.streams import fresh_streams_in_children, make_streams_usable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: called with the signal's number before the process ends; gives back what to add to the line
_before_exit: list[Callable[[int], str]] = []


class FolderGoneError(RegtorchError, OSError):
    """The working directory has been removed."""


def run_command(command: Callable[[], int]) -> int:
    """Start a command, and run it; gives back its exit status.

    Raises:
        KeyboardInterrupt: also where a library has made another error of it.
        FolderGoneError: the working directory is gone.
    """
    try:
        start()
        return command()
    except Exception as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        raise


def start() -> None:
    """Make the streams usable, and let SIGINT and SIGTERM end the process at once until something else takes them.

    An exception would not do: what raises in a callback of the import system, or where a library catches everything,
    is lost or printed with a traceback.

    Raises:
        FolderGoneError: the working directory is gone.
    """
    make_streams_usable()
    fresh_streams_in_children()
    if threading.current_thread() is threading.main_thread():
        for signum in _SIGNALS:
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):  # not where it is ignored
                signal.signal(signum, _end)
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FolderGoneError("the working directory is gone, it was removed: change to another (cd)") from error


@contextmanager
def before_exit(do: Callable[[int], str]) -> Iterator[None]:
    """Do something before a signal ends the process in the block; gives back what is added to the line, or nothing."""
    _before_exit.append(do)
    try:
        yield
    finally:
        _before_exit.remove(do)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error comes from a Ctrl-C that a library has caught.

    Example:
        >>> try:
        ...     try:
        ...         raise KeyboardInterrupt
        ...     except BaseException as error:
        ...         raise ValueError("of a library") from error
        ... except ValueError as error:
        ...     _was_interrupted(error)
        True
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _end(signum: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # the second one comes too late
    added = ""
    for do in reversed(_before_exit):
        with suppress(BaseException):
            added += do(signum)
    with suppress(OSError):
        os.write(2, f"error: interrupted{added}\n".encode(errors="backslashreplace"))
    os._exit(128 + signum)
