"""Padding and cropping. Keras' ``same`` adds an odd pixel at the end, which torch's symmetric padding cannot do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from regtorch.keras.layout import maps_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Pixels before and after, for an output of ``ceil(size / stride)``; an odd pixel is added after.

    Example:
        >>> same_padding(28, kernel=3, stride=2)
        (0, 1)
    """
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


@torch.fx.wrap
def pad_same(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
) -> Tensor:
    """Pad as Keras' ``same``.

    Args:
        x: (batch, channels, *sizes).
        kernel: kernel of the following operation, one number for each size.
        stride: its stride.
        dilation: its dilation.
        value: value of the padding.
    """
    pads: list[int] = []
    for size, *settings in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        pads = [*same_padding(size, *settings), *pads]  # torch counts dimensions from the last
    return nn.functional.pad(x, pads, value=value)


class SamePad(nn.Module):
    """Pads as Keras' ``same`` before a convolution or pooling, for inputs of any size."""

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation, self.value = tuple(kernel), tuple(stride), tuple(dilation), value

    def forward(self, x: Tensor) -> Tensor:
        """Return the padded (batch, channels, *sizes)."""
        return pad_same(x, self.kernel, self.stride, self.dilation, self.value)

    def extra_repr(self) -> str:
        """The settings of the following operation."""
        return f"kernel={self.kernel}, stride={self.stride}, dilation={self.dilation}"


def symmetric_same(
    sizes: Sequence[int | None], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...] | None:
    """The symmetric padding that is equal to ``same``; None if ``same`` is not symmetric, or depends on the size.

    Args:
        sizes: sizes of the maps; None for a variable size.
        kernel: one number for each size.
        stride: one number for each size.
        dilation: one number for each size.

    Example:
        >>> symmetric_same([28], [3], [1], [1]), symmetric_same([28], [3], [2], [1])
        ((1,), None)
    """
    found = []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        if size is None and s > 1:
            return None
        before, after = same_padding(size or 10**6, k, s, d)
        if before != after:
            return None
        found.append(before)
    return tuple(found)


class Pad(nn.Module):
    """Zero padding of (batch, channels, *sizes); negative numbers crop."""

    def __init__(self, pads: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.pads = [side for pair in reversed(pads) for side in pair]

    def forward(self, x: Tensor) -> Tensor:
        """Return the padded or cropped (batch, channels, *sizes)."""
        return nn.functional.pad(x, self.pads)

    def extra_repr(self) -> str:
        """The padding in the order of torch: the last dimension first."""
        return f"{self.pads}"


@translates("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D")
def pad_or_crop(t: Translation) -> Value:
    """Zero padding or cropping at the start and end of each dimension."""
    rank, crops = int(t.layer.class_name[-2]), t.layer.class_name.startswith("Cropping")
    pads = t.settings.pairs("cropping" if crops else "padding", rank)
    pads = tuple((-before, -after) for before, after in pads) if crops else pads
    x, sizes = t.maps(rank)
    padded = tuple(None if size is None else size + sum(pair) for size, pair in zip(sizes, pads, strict=True))
    return t.step(Pad(pads), x, maps_layout(x.layout.sizes[0], padded, t.channels_last()))
