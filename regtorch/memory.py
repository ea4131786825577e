"""Available memory, and how much of it each setting needs; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from regtorch.errors import RegtorchError, SettingError
from regtorch.models.sizes import check_image

_NUMBER = 4  # bytes of a float32
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


def demands(
    config: Mapping[str, Any], shape: Sequence[int], classes: int, rows: int, *, training: bool = True
) -> Iterator[Demand]:
    """Lower bounds of the memory that settings need for weights, gradients and activations.

    Args:
        config: a checked configuration as plain containers.
        shape: shape of one row.
        classes: number of classes.
        rows: number of training rows.
        training: whether gradients are computed.

    Example:
        >>> mlp = {"name": "mlp", "hidden": [10**12]}
        >>> next(demands({"model": mlp, "data": {}}, (20,), 4, 60)).words()
        'model.hidden=[1000000000000] needs memory for 24,000,000,000,000 weights for rows of shape (20,), at least 192 TB'
    """
    model = config["model"]
    key, widths, weights, outputs = "", 0, 0, math.prod(shape)
    if model["name"] == "mlp":
        sizes = [math.prod(shape), *model["hidden"]]
        key, widths, weights = "hidden", sizes[-1], sum(a * b for a, b in pairwise(sizes))
        outputs = sum(sizes)
    elif model["name"] == "cnn":
        key, widths, weights, outputs = _convolutional(model, shape)
    copies = 2 if training else 1  # the gradients are as large
    if key:
        total = weights + widths * classes
        yield Demand(
            f"model.{key}", model[key], f"{total:,} weights for rows of shape {tuple(shape)}", total * copies * _NUMBER
        )
    if training and (batch := min(config["data"].get("batch_size", 1), rows)):
        numbers = batch * outputs
        yield Demand("data.batch_size", config["data"].get("batch_size"), f"{numbers:,} activations", numbers * _NUMBER)


def _convolutional(model: Mapping[str, Any], shape: Sequence[int]) -> tuple[str, int, int, int]:
    """The key of the largest setting, the width before the head, the number of weights up to there, and of activations."""
    height, width = check_image(shape, model["channels"], model["pooling"])
    channels = [shape[0], *model["channels"]]
    kernels = [a * b * model["kernel_size"] ** 2 for a, b in pairwise(channels)]
    outputs = math.prod(shape)
    for index, maps in enumerate(model["channels"]):
        halvings = index if model["pooling"] != "none" else 0
        outputs += maps * (shape[1] >> halvings) * (shape[2] >> halvings)
    dense = [channels[-1] * (1 if model["global_pooling"] else height * width), *model["head"]]
    of_head = sum(a * b for a, b in pairwise(dense))
    widest = {
        "channels": max(channels),
        "head": max(model["head"], default=0),
        "kernel_size": model["kernel_size"] ** 2,
    }
    key = max(widest, key=widest.__getitem__)
    return key, dense[-1], sum(kernels) + of_head, outputs + sum(model["head"])


def rows_demand(data: Mapping[str, Any]) -> Demand | None:
    """The memory that synthetic data needs; None for other data."""
    if data.get("name") != "synthetic":
        return None
    numbers = math.prod(data["row_shape"])
    of_rows, of_classes = data["rows"] * numbers, data["classes"] * numbers
    key = "classes" if of_classes > of_rows else "rows" if data["rows"] >= numbers else "row_shape"
    # the random numbers, the rows made of them, and the splits
    return Demand(f"data.{key}", data[key], f"{of_rows + of_classes:,} numbers", (3 * of_rows + of_classes) * _NUMBER)


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
