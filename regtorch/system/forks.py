"""Descriptors that a forked child, such as a data-loading worker, must not keep open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_descriptors: set[int] = set()


@contextmanager
def closed_in_children(descriptor: int) -> Iterator[None]:
    """Close a descriptor in each child that is forked during the block; this process keeps it open.

    A file lock or a pipe end lasts as long as any process holds it. A child that outlives this process, as orphaned
    workers do for seconds, would keep it. Spawned programs inherit no descriptors.

    Args:
        descriptor: an open descriptor; it must stay open during the block.

    Example:
        >>> read, write = os.pipe()
        >>> with closed_in_children(write):
        ...     pass  # a child that is forked here does not hold the pipe open
        >>> os.close(read), os.close(write)
        (None, None)
    """
    _descriptors.add(descriptor)
    try:
        yield
    finally:
        _descriptors.discard(descriptor)


def _close() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close)
