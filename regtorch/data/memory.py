"""Refuse data that does not fit into memory, with one line that names the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from regtorch.errors import DataError
from regtorch.system.memory import memory


def check_memory(needed: int, error: Callable[[str], DataError], sized_by: str) -> None:
    """Refuse data that needs more memory than is available, before the allocation.

    Args:
        needed: bytes.
        error: makes the error about the data.
        sized_by: the settings that determine the size, for the message.

    Raises:
        DataError: there is not enough memory.
    """
    available = memory()
    if available is not None and available < needed:
        raise error(
            f"{sized_by} needs {min(needed, 2**80) / 2**30:,.1f} GiB of memory, but a process here can have "
            f"{available / 2**30:,.1f} GiB: use less"
        )


@contextmanager
def as_data_error(error: Callable[[str], DataError], sized_by: str) -> Iterator[None]:
    """Convert a MemoryError in the block to an error of one line.

    Raises:
        DataError: the memory was not sufficient.
    """
    try:
        yield
    except MemoryError as problem:
        raise error(f"{sized_by or 'the data'} needs more memory than there is: use less") from problem
