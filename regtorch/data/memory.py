"""Data that does not fit into memory is refused in one line that names what asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from regtorch.errors import DataError
from regtorch.memory import memory


def check_memory(needed: int, error: Callable[[str], DataError], sized_by: str) -> None:
    """Refuse what needs more bytes than the machine has, before they are asked for.

    Args:
        needed: bytes.
        error: makes the error about the data.
        sized_by: the settings that ask for them, as a message names them.

    Raises:
        DataError: there are not so many.
    """
    available = memory()
    if available is not None and available < needed:
        raise error(
            f"{sized_by} needs {min(needed, 2**80) / 2**30:,.1f} GiB of memory, and a process here can have "
            f"{available / 2**30:,.1f} GiB: take less"
        )


@contextmanager
def in_memory(error: Callable[[str], DataError], sized_by: str) -> Iterator[None]:
    """Say in one line when memory ends in the block.

    Raises:
        DataError: it has ended.
    """
    try:
        yield
    except MemoryError as problem:
        raise error(f"{sized_by or 'the data'} needs more memory than there is: take less") from problem
