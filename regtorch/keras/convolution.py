"""Convolutions: ordinary, depthwise, separable and transposed, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from regtorch.keras.activation import activated
from regtorch.keras.layout import Arrangement, Shape, maps_layout, same_arrangement
from regtorch.keras.padding import Pad, SamePad, symmetric_same
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates

_CONVOLUTIONS: Sequence[Any] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class _Geometry:
    """The settings that all convolutions have: kernel size, stride, dilation and padding."""

    rank: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str

    @classmethod
    def of(cls, t: Translation) -> _Geometry:
        rank = int(next(c for c in t.layer.class_name if c.isdigit()))
        paddings = ("valid", "same", "causal") if rank == 1 else ("valid", "same")
        return cls(
            rank,
            t.settings.counts("kernel_size", rank),
            t.settings.counts("strides", rank, 1),
            t.settings.counts("dilation_rate", rank, 1),
            t.settings.choice("padding", paddings, "valid"),
        )

    @property
    def reach(self) -> tuple[int, ...]:
        """The extent of the dilated kernel in pixels."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def output_sizes(self, sizes: Shape) -> Shape:
        shrink = [0 if self.padding != "valid" else reach - 1 for reach in self.reach]
        return tuple(
            None if n is None else -(-(n - less) // s) for n, less, s in zip(sizes, shrink, self.stride, strict=True)
        )


def _padded(t: Translation, x: Value, g: _Geometry) -> tuple[Value, tuple[int, ...]]:
    """The input, followed by a padding module if the convolution cannot pad itself, and the convolution's own padding."""
    none = (0,) * g.rank
    if g.padding == "valid":
        return x, none
    sizes = x.layout.sizes[1:]
    unknown = x.layout.resized(*(None for _ in x.layout.shape))
    if g.padding == "causal":
        return t.step(Pad([(g.reach[0] - 1, 0)]), x, unknown, suffix="_pad"), none
    shared = t.layer.calls > 1  # its calls may differ in their sizes, and so in their padding
    symmetric = None if shared else symmetric_same(sizes, g.kernel, g.stride, g.dilation)
    if symmetric is not None:
        return x, symmetric
    return t.step(SamePad(g.kernel, g.stride, g.dilation), x, unknown, suffix="_pad"), none


def _has_bias(t: Translation, units: int) -> dict[str, tuple[int, ...]]:
    return {"bias": (units,)} if t.settings.flag("use_bias", True) else {}


@translates("Conv1D", "Conv2D", "Conv3D")
def convolution(t: Translation) -> Value:
    """A kernel (*sizes, in, out) becomes a weight (out, in, *sizes)."""
    g = _Geometry.of(t)
    filters, groups = t.settings.count("filters"), t.settings.count("groups", 1)
    x, sizes = t.maps(g.rank)
    channels = t.size(x, x.layout.order[0])
    if channels % groups or filters % groups:
        raise t.settings.wrong("groups", f"a divisor of {channels} channels and {filters} filters")
    shape = (*g.kernel, channels // groups, filters)
    t.expect(kernel=shape, **_has_bias(t, filters))
    x, padding = _padded(t, x, g)
    order = (g.rank + 1, g.rank, *range(g.rank))
    conv = _CONVOLUTIONS[g.rank - 1](
        channels, filters, g.kernel, g.stride, padding, g.dilation, groups, t.settings.flag("use_bias", True)
    )
    layout = maps_layout(filters, g.output_sizes(sizes), t.channels_last())
    return activated(t, t.step(conv, x, layout, kernel=("weight", Arrangement(shape, order)), bias="bias"))


def _depthwise_weight(g: _Geometry, channels: int, multiplier: int) -> Arrangement:
    """A depthwise kernel (*sizes, in, multiplier) becomes a weight (in * multiplier, 1, *sizes)."""
    order = (g.rank, g.rank + 1, *range(g.rank))
    return Arrangement((*g.kernel, channels, multiplier), order, (channels * multiplier, 1, *g.kernel))


@translates("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise_convolution(t: Translation) -> Value:
    """`depth_multiplier` kernels for each channel separately."""
    g = _Geometry.of(t)
    multiplier = t.settings.count("depth_multiplier", 1)
    x, sizes = t.maps(g.rank)
    channels = t.size(x, x.layout.order[0])
    arrangement, units = _depthwise_weight(g, channels, multiplier), channels * multiplier
    t.expect(depthwise_kernel=arrangement.keras_shape, **_has_bias(t, units))
    x, padding = _padded(t, x, g)
    bias = t.settings.flag("use_bias", True)
    conv = _CONVOLUTIONS[g.rank - 1](channels, units, g.kernel, g.stride, padding, g.dilation, channels, bias)
    layout = maps_layout(units, g.output_sizes(sizes), t.channels_last())
    return activated(t, t.step(conv, x, layout, depthwise_kernel=("weight", arrangement), bias="bias"))


@translates("SeparableConv1D", "SeparableConv2D")
def separable_convolution(t: Translation) -> Value:
    """A depthwise convolution, followed by a pointwise one."""
    g = _Geometry.of(t)
    filters, multiplier = t.settings.count("filters"), t.settings.count("depth_multiplier", 1)
    x, sizes = t.maps(g.rank)
    channels = t.size(x, x.layout.order[0])
    arrangement, units = _depthwise_weight(g, channels, multiplier), channels * multiplier
    pointwise, ones = (*(1,) * g.rank, units, filters), (1,) * g.rank
    t.expect(depthwise_kernel=arrangement.keras_shape, pointwise_kernel=pointwise, **_has_bias(t, filters))
    x, padding = _padded(t, x, g)
    kind, sizes = _CONVOLUTIONS[g.rank - 1], g.output_sizes(sizes)
    depthwise = kind(channels, units, g.kernel, g.stride, padding, g.dilation, channels, bias=False)
    x = t.step(
        depthwise,
        x,
        maps_layout(units, sizes, t.channels_last()),
        suffix="_depthwise",
        depthwise_kernel=("weight", arrangement),
    )
    order = (g.rank + 1, g.rank, *range(g.rank))
    y = t.step(
        kind(units, filters, ones, bias=t.settings.flag("use_bias", True)),
        x,
        maps_layout(filters, sizes, t.channels_last()),
        pointwise_kernel=("weight", Arrangement(pointwise, order)),
        bias="bias",
    )
    return activated(t, y)


class _Cropped(nn.Module):
    """A transposed convolution that crops one pixel more at the end than at the start."""

    crop: tuple[int, ...]

    def forward(self, x: Tensor) -> Any:
        """Map (batch, in, *sizes) to (batch, out, *larger sizes)."""
        y: Tensor = super().forward(x)
        for dim, pixels in enumerate(self.crop, start=2):
            y = y.narrow(dim, 0, y.shape[dim] - pixels) if pixels else y
        return y


class CroppedConvTranspose1d(_Cropped, nn.ConvTranspose1d):  # type: ignore[misc]
    """`_Cropped` in one dimension."""


class CroppedConvTranspose2d(_Cropped, nn.ConvTranspose2d):  # type: ignore[misc]
    """`_Cropped` in two dimensions."""


class CroppedConvTranspose3d(_Cropped, nn.ConvTranspose3d):  # type: ignore[misc]
    """`_Cropped` in three dimensions."""


_TRANSPOSED: Sequence[Any] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CROPPED: Sequence[Any] = (CroppedConvTranspose1d, CroppedConvTranspose2d, CroppedConvTranspose3d)


@translates("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def transposed_convolution(t: Translation) -> Value:
    """A kernel (*sizes, out, in) becomes a weight (in, out, *sizes). Keras' cropping becomes torch's `padding`."""
    g = _Geometry.of(t)
    filters = t.settings.count("filters")
    t.settings.refuse(groups=1)
    extra = None if t.settings.get("output_padding") is None else t.settings.counts("output_padding", g.rank, low=0)
    x, sizes = t.maps(g.rank)
    channels = t.size(x, x.layout.order[0])
    shape = (*g.kernel, filters, channels)
    t.expect(kernel=shape, **_has_bias(t, filters))
    # the pixels to crop from the full transposed convolution in each dimension; negative: to add
    cut = [
        _cropped_pixels(g.padding, reach, stride, None if extra is None else extra[i])
        for i, (reach, stride) in enumerate(zip(g.reach, g.stride, strict=True))
    ]
    padding = tuple(max(pixels, 0) // 2 for pixels in cut)
    crop = tuple(max(pixels, 0) - 2 * both for pixels, both in zip(cut, padding, strict=True))
    added = tuple(max(-pixels, 0) for pixels in cut)
    kind = (_CROPPED if any(crop) else _TRANSPOSED)[g.rank - 1]
    bias = t.settings.flag("use_bias", True)
    conv = kind(channels, filters, g.kernel, g.stride, padding, added, 1, bias, g.dilation)
    if any(crop):
        conv.crop = crop
    output_sizes = tuple(
        None if n is None else (n - 1) * stride + reach - pixels
        for n, stride, reach, pixels in zip(sizes, g.stride, g.reach, cut, strict=True)
    )
    order = (g.rank + 1, g.rank, *range(g.rank))
    layout = maps_layout(filters, output_sizes, t.channels_last())
    return activated(
        t,
        t.step(
            conv, x, layout, kernel=("weight", Arrangement(shape, order)), bias=("bias", same_arrangement((filters,)))
        ),
    )


def _cropped_pixels(padding: str, reach: int, stride: int, extra: int | None) -> int:
    """Pixels that Keras crops from the full transposed convolution; negative: pixels that it adds."""
    if extra is not None:
        return (2 * (reach // 2) if padding == "same" else 0) - extra
    return reach - stride if padding == "same" else -max(stride - reach, 0)
