"""Variance scaling and its six named special cases."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.functional.variance_scaling import Distribution, Mode, variance_scaling_
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check


class _Scaled(Initializer):
    """The base of this family: mean 0, variance ``scale / fan``."""

    scale: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "truncated_normal"

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a weight (out, in, *kernel) in place."""
        variance_scaling_(w, self.scale, self.mode, self.distribution, generator=generator)


@register("initializer", "variance_scaling")
class VarianceScaling(_Scaled):
    """Variance ``scale / fan``. See `regtorch.functional.variance_scaling`.

    Args:
        scale: scale of the variance, > 0.
        mode: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"``.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> w = VarianceScaling(scale=3.0, distribution="uniform")(torch.empty(100, 300))
        >>> bool(w.abs().max() <= 0.1733)
        True
    """

    def __init__(
        self, scale: float = 1.0, mode: Mode = "fan_in", distribution: Distribution = "truncated_normal"
    ) -> None:
        check(component=("initializer", "variance_scaling"), scale=scale, mode=mode, distribution=distribution)
        self.scale = scale
        self.mode = mode
        self.distribution = distribution


@register("initializer", "glorot_normal")
class GlorotNormal(_Scaled):
    """Truncated normal of variance ``2 / (fan_in + fan_out)``: for tanh, sigmoid, softmax. Glorot and Bengio, 2010."""

    mode = "fan_avg"


@register("initializer", "glorot_uniform")
class GlorotUniform(_Scaled):
    """Uniform within ``+-sqrt(6 / (fan_in + fan_out))``: Keras' default. Glorot and Bengio, 2010."""

    mode = "fan_avg"
    distribution = "uniform"


@register("initializer", "he_normal")
class HeNormal(_Scaled):
    """Truncated normal of variance ``2 / fan_in``: for relu and its relatives. He et al., 2015."""

    scale = 2.0


@register("initializer", "he_uniform")
class HeUniform(_Scaled):
    """Uniform within ``+-sqrt(6 / fan_in)``: for relu and its relatives. He et al., 2015."""

    scale = 2.0
    distribution = "uniform"


@register("initializer", "lecun_normal")
class LecunNormal(_Scaled):
    """Truncated normal of variance ``1 / fan_in``: for selu. LeCun et al., 1998; Klambauer et al., 2017."""


@register("initializer", "lecun_uniform")
class LecunUniform(_Scaled):
    """Uniform within ``+-sqrt(3 / fan_in)``. LeCun et al., "Efficient BackProp", 1998."""

    distribution = "uniform"
