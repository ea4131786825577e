"""Upsampling by integer factors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from regtorch.keras.layout import maps_layout
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates


class Bicubic(nn.Module):
    """Cubic interpolation with Keys' coefficient -0.5, as in Keras. torch uses -0.75 unless antialias is on."""

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, larger height, larger width)."""
        sizes = [size * factor for size, factor in zip(x.shape[2:], self.factors, strict=True)]
        return nn.functional.interpolate(x, sizes, mode="bicubic", antialias=True)

    def extra_repr(self) -> str:
        """The factors."""
        return f"{self.factors}"


@translates("UpSampling1D", "UpSampling2D", "UpSampling3D")
def upsampling(t: Translation) -> Value:
    """Repeat each pixel, or interpolate."""
    rank = int(t.layer.class_name[-2])
    factors = t.settings.counts("size", rank, 2)
    modes = ("nearest", "bilinear", "bicubic") if rank == 2 else ("nearest",)
    mode = t.settings.choice("interpolation", modes, "nearest")
    if mode == "bicubic" and any(factor & (factor - 1) for factor in factors):
        # TensorFlow takes its cubic weights from a table with 1,024 entries, so other factors have errors of 1e-3
        raise t.wrong(
            f"bicubic interpolation by {factors} differs between Keras' own backends: only powers of two are supported"
        )
    x, sizes = t.maps(rank)
    larger = tuple(None if n is None else n * factor for n, factor in zip(sizes, factors, strict=True))
    module = Bicubic(factors) if mode == "bicubic" else nn.Upsample(scale_factor=tuple(map(float, factors)), mode=mode)
    return t.step(module, x, maps_layout(x.layout.sizes[0], larger, t.channels_last()))
