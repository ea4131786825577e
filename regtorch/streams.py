"""Standard output and error of a command: usable where they were closed, and no failure where their reader is gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ESHUTDOWN)  # nobody reads any more: a pipe, a terminal, a socket
_hooked = False


class _Outlet(io.RawIOBase):
    """A descriptor to write to. What nobody can read any more is dropped; another failure is raised once.

    A command then comes to its own end, and its exit status says how that was.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._broken = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Any) -> int:
        if not self._broken:
            try:
                return os.write(self._descriptor, content)
            except OSError as error:
                self._broken = True
                if error.errno not in _GONE:
                    raise
        return len(content)


def make_streams_usable() -> None:
    """Open what was closed when this process was started, and let output whose reader is gone be no failure.

    Without it the next file that is opened takes the place of a closed standard output, and is printed into.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or (stream is getattr(sys, f"__{name}__") and not stream.isatty()):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
            setattr(sys, name, _text(descriptor, stream))
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - stays open


def fresh_streams_in_children() -> None:
    """Give each child that is forked from now on standard streams of its own.

    A thread that prints or reads while another one forks holds its stream's lock, in the child for ever.
    """
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_refresh)


def _refresh() -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with suppress(OSError, ValueError, AttributeError):
            if stream.fileno() == descriptor:
                setattr(sys, name, _text(descriptor, stream))
    with suppress(OSError):
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - stays open


def _text(descriptor: int, like: Any) -> io.TextIOWrapper:
    encoding, errors = getattr(like, "encoding", None) or "utf-8", getattr(like, "errors", None) or "backslashreplace"
    buffer = io.BufferedWriter(_Outlet(descriptor))
    by_line = descriptor == 2 or bool(getattr(like, "line_buffering", False))
    at_once = bool(getattr(like, "write_through", False))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=by_line, write_through=at_once)
