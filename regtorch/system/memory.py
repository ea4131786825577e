"""Available memory, demands for it, and failed allocations; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regtorch.errors import RegtorchError, SettingError

#: parts of the messages of torch, NumPy and the C++ library for failed allocations
_WORDS = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory", "unable to allocate", "out of memory"),
    *("std::bad_alloc", "alloc_cpu", "storage size calculation overflowed", "numel: integer multiplication overflow"),
)


class OutOfMemoryError(RegtorchError, MemoryError):
    """Memory could not be allocated; the message names the setting that needs most of it."""


@dataclass(frozen=True)
class Demand:
    """A lower bound of the memory that one setting needs.

    Args:
        key: key of the setting in the configuration.
        value: value of the setting.
        of: what the memory is for.
        bytes: size of the memory.
    """

    key: str
    value: Any
    of: str
    bytes: int

    def words(self) -> str:
        """Describe the demand for a message.

        Example:
            >>> Demand("data.rows", 10**12, "rows of 20 numbers", 80 * 10**12).words()
            'data.rows=1000000000000 needs memory for rows of 20 numbers, at least 80 TB'
        """
        return f"{self.key}={self.value} needs memory for {self.of}, at least {_in_units(self.bytes)}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch reports a failed allocation.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:127] ..."))
        (True, True)
        >>> is_out_of_memory(RuntimeError("size mismatch"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, ValueError)) and any(word in str(error)[:5000].lower() for word in _WORDS)


def memory() -> int | None:
    """Most bytes that a process can have on this machine, including swap; None if unknown."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(sum(int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "SwapTotal") if key in lines))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()))
    with suppress(ImportError, OSError, ValueError):
        import resource

        limits = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limits != resource.RLIM_INFINITY:
            found.append(limits)
    return min(found, default=None)


def check_memory(demand: Demand | None, available: int | None = None) -> None:
    """Raise if no process on this machine can have so much memory.

    Args:
        demand: the memory that a setting needs; None: nothing.
        available: bytes of memory; None: the result of `memory`.

    Raises:
        SettingError: the memory does not suffice; the message names the setting.

    Example:
        >>> check_memory(Demand("data.rows", 10**12, "rows", 80 * 10**12), available=16 * 10**9)
        Traceback (most recent call last):
        regtorch.errors.SettingError: data.rows=1000000000000 is not allowed: it needs memory for rows, at least 80 TB, but \
16 GB are available; use less
    """
    available = memory() if available is None else available
    if demand is not None and available is not None and demand.bytes > available:
        raise SettingError(
            f"{demand.key}={demand.value} is not allowed: it needs memory for {demand.of}, at least "
            f"{_in_units(demand.bytes)}, but {_in_units(available)} are available; use less"
        )


def out_of_memory(error: BaseException, asked: Sequence[Demand | None]) -> OutOfMemoryError:
    """The error to raise for a failed allocation; it names the setting that needs most memory."""
    most = max((demand for demand in asked if demand is not None), key=lambda demand: demand.bytes, default=None)
    cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return OutOfMemoryError(
        f"there is not enough memory{'' if most is None else f'; {most.words()}: use less'} ({cause})"
    )


def _in_units(size: int) -> str:
    """Format a number of bytes.

    Example:
        >>> _in_units(123_456_789), _in_units(5 * 10**30)
        ('123 MB', '5,000,000,000,000 EB')
    """
    for exponent, unit in ((18, "EB"), (15, "PB"), (12, "TB"), (9, "GB"), (6, "MB")):
        if size >= 10**exponent:
            return f"{size // 10**exponent:,} {unit}"
    return f"{size:,} bytes"
