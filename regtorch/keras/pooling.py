"""Local and global pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.keras.embedding import is_padding
from regtorch.keras.layout import Layout, maps_layout
from regtorch.keras.padding import SamePad, pad_same, symmetric_same
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates

_MAX: Sequence[Any] = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE: Sequence[Any] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class SameAverage(nn.Module):
    """Average pooling with Keras' ``same`` padding, where padded pixels do not count."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride = tuple(kernel), tuple(stride)
        self.pool = _AVERAGE[len(self.kernel) - 1](self.kernel, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled (batch, channels, *smaller sizes)."""
        return self._padded(x) / self._padded(torch.ones_like(x[:1, :1]))

    def _padded(self, x: Tensor) -> Tensor:
        averaged: Tensor = self.pool(pad_same(x, self.kernel, self.stride, (1,) * len(self.kernel)))
        return averaged

    def extra_repr(self) -> str:
        """The window and its stride."""
        return f"kernel={self.kernel}, stride={self.stride}"


@translates(*(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)))
def pooling(t: Translation) -> Value:
    """Maximum or average of each window. ``same`` pads with -inf, or with pixels that do not count."""
    rank, largest = int(t.layer.class_name[-2]), t.layer.class_name.startswith("Max")
    kernel = t.settings.counts("pool_size", rank, 2)
    stride = t.settings.counts("strides", rank, kernel)
    same = t.settings.choice("padding", ("valid", "same"), "valid") == "same"
    x, sizes = t.maps(rank)
    ones = (1,) * rank
    padding = symmetric_same(sizes, kernel, stride, ones) if same else (0,) * rank
    less = [0 if same else k - 1 for k in kernel]
    output_sizes = tuple(None if n is None else -(-(n - m) // s) for n, m, s in zip(sizes, less, stride, strict=True))
    layout = maps_layout(x.layout.sizes[0], output_sizes, t.channels_last())
    if padding is None and not largest:
        return t.step(SameAverage(kernel, stride), x, layout)
    if padding is None:
        unknown = x.layout.resized(*(None for _ in x.layout.shape))
        x, padding = t.step(SamePad(kernel, stride, ones, -inf), x, unknown, suffix="_pad"), (0,) * rank
    pool = (_MAX if largest else _AVERAGE)[rank - 1]
    return t.step(pool(kernel, stride, padding, **({} if largest else {"count_include_pad": False})), x, layout)


class Global(nn.Module):
    """Average or maximum of each feature map."""

    def __init__(self, dims: Sequence[int], keepdim: bool, largest: bool) -> None:
        super().__init__()
        self.dims, self.keepdim, self.largest = tuple(dims), keepdim, largest

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels); with `keepdim`, the pooled dimensions stay with size 1."""
        return x.amax(self.dims, self.keepdim) if self.largest else x.mean(self.dims, self.keepdim)

    def extra_repr(self) -> str:
        """The kind, the dimensions and whether they are kept."""
        return f"{'largest' if self.largest else 'average'} over {self.dims}, keepdim={self.keepdim}"


class MaskedAverage(nn.Module):
    """The average of the vectors of a sequence, without padding (tokens that are 0)."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Map (batch, length, features) and tokens (batch, length) to (batch, features)."""
        kept = (~is_padding(tokens)).to(x.dtype)[..., None]
        return (x * kept).sum(1, self.keepdim) / kept.sum(1, self.keepdim)


@translates(*(f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)))
def global_pooling(t: Translation) -> Value:
    """Average or maximum of each feature map; `keepdims` keeps the pooled dimensions with size 1."""
    rank, largest = int(t.layer.class_name[-2]), "Max" in t.layer.class_name
    keepdims = t.settings.flag("keepdims", False)
    x = t.one(rank + 1)
    last = rank if t.channels_last() else 0
    axes = [axis for axis in range(rank + 1) if axis != last]
    channels = x.layout.shape[last]
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.layout.shape))
    layout = x.layout.resized(*shape) if keepdims else Layout((channels,), (0,))
    mask = x.mask
    if mask is not None and not largest and t.channels_last():
        x = t.plan.in_keras_order(x, t.layer.name)
        layout = Layout(shape, tuple(range(rank + 1))) if keepdims else layout
        return t.step(MaskedAverage(keepdims), [x, mask], layout)
    dims = sorted(x.layout.dim(axis) for axis in axes)
    return t.step(Global(dims, keepdims, largest), x, layout)
