"""Standard streams of a command: reopened if they were closed, and no error if their reader is gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ESHUTDOWN)  # the reader is gone: a pipe, a terminal, a socket
_hooked = False


class _RawWriter(io.RawIOBase):
    """Writes to a descriptor. Output without a reader is dropped; any other failure is raised once.

    So the command runs to its end, and its exit status reports its result.
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
    """Reopen standard streams that were closed at the start of the process, and ignore that a reader is gone.

    Otherwise the next opened file gets the descriptor of a closed standard output, and prints go into it.
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
    """Give each child that is forked from now on its own standard streams.

    If a thread prints or reads while another one forks, its stream stays locked in the child forever.
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
    buffer = io.BufferedWriter(_RawWriter(descriptor))
    by_line = descriptor == 2 or bool(getattr(like, "line_buffering", False))
    at_once = bool(getattr(like, "write_through", False))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=by_line, write_through=at_once)
