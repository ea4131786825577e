"""Subnormal numbers, which slow the CPU down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_subnormals() -> Iterator[None]:
    """Flush subnormal numbers (below 1.2e-38) to zero on the CPU inside the block, as TensorFlow does.

    A penalty keeps shrinking weights without a gradient from the data, such as those of pixels that are always black.
    Soon most weights of a layer are subnormal, and the CPU is several times slower with such numbers. The previous
    setting is restored afterwards. On a CPU without this setting, nothing changes.

    Example:
        >>> with flush_subnormals():
        ...     (torch.tensor(1e-38) * 0.1).item()
        0.0
    """
    before = bool(torch.tensor(torch.finfo(torch.float32).tiny) * 0.5 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
