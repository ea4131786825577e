"""Upsampling by whole factors."""

from __future__ import annotations

from torch import nn

from regtorch.keras.layout import maps_layout
from regtorch.keras.translation import Translation, Value, translates


@translates("UpSampling1D", "UpSampling2D", "UpSampling3D")
def upsampling(t: Translation) -> Value:
    """Each pixel several times, or between them by lines."""
    rank = int(t.layer.class_name[-2])
    factors = t.settings.counts("size", rank, 2)
    modes = ("nearest", "bilinear") if rank == 2 else ("nearest",)
    mode = t.settings.choice("interpolation", modes, "nearest")
    x, sizes = t.maps(rank)
    larger = tuple(None if n is None else n * factor for n, factor in zip(sizes, factors, strict=True))
    module = nn.Upsample(scale_factor=tuple(map(float, factors)), mode=mode)
    return t.step(module, x, maps_layout(x.layout.sizes[0], larger, t.channels_last()))
