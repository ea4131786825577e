"""Numbers too small for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_subnormals() -> Iterator[None]:
    """Take what is smaller than the smallest normal number (1.2e-38) as zero on the CPU, as TensorFlow does.

    A penalty shrinks weights that nothing else holds on to, such as those of pixels that are always black, without
    end: soon most of a layer is that small, and the CPU computes with such numbers several times slower.
    Afterwards it is as before; where the CPU cannot do this, nothing changes.

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
