"""Descriptors that a forked child, such as a worker that fetches batches, must not keep open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_descriptors: set[int] = set()


@contextmanager
def closed_in_children(descriptor: int) -> Iterator[None]:
    """Close a descriptor in each child that is forked in the block; this process keeps it open.

    A lock on a file and the end of a pipe last as long as any process holds them. A child that outlives this process,
    as orphaned workers do for seconds, would hold them on. Programs that are started instead of forked inherit
    no descriptor anyway.

    Args:
        descriptor: an open one; it must stay open in the block.

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
