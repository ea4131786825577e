"""Fixed scaling of the input: Rescaling and Normalization."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.keras.layout import Arrangement, Layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


def _as_array(t: Translation, key: str, default: float) -> np.ndarray:
    """A setting that is a number, a nested list of numbers, or an array, as an array."""
    value = t.settings.get(key, default)
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":
        value = (value.get("config") or {}).get("value")
    if isinstance(value, bool) or not _all_numbers(value):
        raise t.settings.wrong(key, "a number or a list of numbers")
    return np.asarray(value, np.float64)


def _all_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_all_numbers, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _in_torch(t: Translation, array: np.ndarray, layout: Layout) -> Tensor:
    """Convert an array that broadcasts against an example in Keras to one that does so in torch."""
    if array.ndim > layout.rank:
        raise t.wrong(f"its numbers have the shape {array.shape}, but its input has {layout.shape}")
    given: tuple[int, ...] = (1,) * (layout.rank - array.ndim) + array.shape
    if any(size not in (1, full) for size, full in zip(given, layout.shape, strict=True)):
        raise t.wrong(f"its numbers have the shape {array.shape}, but its input has {layout.shape}")
    array = array.reshape(given)
    if layout.features is not None and array.size > 1:
        array = array[layout.features]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(layout.order)))


class Rescaling(nn.Module):
    """``x * scale + offset``."""

    scale: Tensor
    offset: Tensor

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        return x * self.scale + self.offset


@translates("Rescaling")
def rescaling(t: Translation) -> Value:
    """Scale and offset are one number, or an array that broadcasts against an example."""
    x = t.one()
    scale, offset = (
        _in_torch(t, _as_array(t, key, value), x.layout) for key, value in (("scale", 1.0), ("offset", 0.0))
    )
    return t.step(Rescaling(scale, offset), x, x.layout)


class Normalization(nn.Module):
    """``(x - mean) / max(sqrt(variance), 1e-7)``, or its inverse."""

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, invert: bool, measured: bool) -> None:
        super().__init__()
        self.invert = invert
        self.register_buffer("mean", mean, persistent=measured)
        self.register_buffer("variance", variance, persistent=measured)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`."""
        std = self.variance.sqrt().clamp_min(1e-7)
        return x * std + self.mean if self.invert else (x - self.mean) / std

    def extra_repr(self) -> str:
        """The direction."""
        return f"invert={self.invert}"


@translates("Normalization")
def normalization(t: Translation) -> Value:
    """With a given mean and variance, or those that were computed from data along `axis`."""
    x, invert = t.one(), t.settings.flag("invert", False)
    rank = x.layout.rank
    kept = () if t.settings.get("axis") in (None, [], ()) else t.settings.axes("axis", rank + 1)
    if 0 in kept:
        raise t.settings.wrong("axis", "axes other than the batch axis")
    if t.settings.get("mean") is not None:
        t.expect()
        given = [_aligned(t, _as_array(t, key, 0.0), kept, rank) for key in ("mean", "variance")]
        mean, variance = (_in_torch(t, array, x.layout) for array in given)
        return t.step(Normalization(mean, variance, invert, measured=False), x, x.layout)
    measured = tuple(t.size(x, axis - 1) for axis in kept)
    t.expect(mean=measured, variance=measured, count=())
    shape = tuple(t.size(x, axis) if axis + 1 in kept else 1 for axis in range(rank))
    in_torch = tuple(shape[axis] for axis in x.layout.order)
    gathered = () if x.layout.features is None or not kept else ((0, x.layout.features),)
    # the kept axes, in torch's order
    order = tuple(sorted(range(len(kept)), key=lambda i: x.layout.order.index(kept[i] - 1)))
    arrangement = Arrangement(measured, order, in_torch, gathered)
    module = Normalization(torch.empty(in_torch), torch.empty(in_torch), invert, measured=True)
    return t.step(
        module,
        x,
        x.layout,
        buffers=("mean", "variance"),
        mean=("mean", arrangement),
        variance=("variance", arrangement),
    )


def _aligned(t: Translation, array: np.ndarray, kept: tuple[int, ...], rank: int) -> np.ndarray:
    """Reshape given numbers so that they align with the kept axes, starting from the last one."""
    if array.ndim > len(kept):
        raise t.wrong(f"its mean has {array.ndim} dimensions, but its axis has {len(kept)}")
    shape: list[int] = [1] * rank
    for size, axis in zip(reversed(array.shape), reversed(kept), strict=False):
        shape[axis - 1] = size
    return array.reshape(shape)
