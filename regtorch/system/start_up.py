"""Start of a command: make the standard streams usable, and let a signal end the process at once with one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from regtorch.errors import RegtorchError
from regtorch.system.streams import fresh_streams_in_children, make_streams_usable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: called with the signal's number before the process exits; return text to append to the line
_before_exit: list[Callable[[int], str]] = []


class FolderGoneError(RegtorchError, OSError):
    """The working directory has been removed."""


def run_command(command: Callable[[], int]) -> int:
    """Set up the process and run a command; return its exit status.

    Raises:
        KeyboardInterrupt: also if a library has converted it to another error.
        FolderGoneError: the working directory has been removed.
    """
    try:
        start()
        return command()
    except Exception as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        raise


def start() -> None:
    """Make the streams usable, and let SIGINT and SIGTERM end the process at once until other handlers are installed.

    Raising an exception is not enough: one that is raised in a callback of the import system, or inside a library that
    catches all exceptions, is lost or printed with a traceback.

    Raises:
        FolderGoneError: the working directory has been removed.
    """
    make_streams_usable()
    fresh_streams_in_children()
    if threading.current_thread() is threading.main_thread():
        for signum in _SIGNALS:
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):  # not if it is ignored
                signal.signal(signum, _end)
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise FolderGoneError("the working directory has been removed: change to another one (cd)") from error


@contextmanager
def before_exit(do: Callable[[int], str]) -> Iterator[None]:
    """Call `do` before a signal ends the process in the block; its return value is appended to the line."""
    _before_exit.append(do)
    try:
        yield
    finally:
        _before_exit.remove(do)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error was caused by a Ctrl-C that a library has caught.

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
        signal.signal(each, signal.SIG_IGN)  # ignore further signals
    added = ""
    for do in reversed(_before_exit):
        with suppress(BaseException):
            added += do(signum)
    with suppress(OSError):
        os.write(2, f"error: interrupted{added}\n".encode(errors="backslashreplace"))
    os._exit(128 + signum)
