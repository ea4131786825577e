"""Variance scaling and its six named special cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regtorch.initializers.base import Initializer
from regtorch.initializers.random import TRUNCATED_STD, truncated_normal_
from regtorch.registry import register
from regtorch.settings import Range, check, one_of
from regtorch.tensor_ops.arguments import check_tensor

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "VarianceScaling",
    "variance_scaling_",
]

Mode = Literal["fan_in", "fan_out", "fan_avg"]

Distribution = Literal["truncated_normal", "untruncated_normal", "uniform"]


def fans(shape: torch.Size) -> tuple[int, int]:
    """Number of inputs and outputs per unit of a weight (out, in, *kernel); for a vector both are its length.

    Example:
        >>> fans(torch.Size((128, 64, 3, 3)))
        (576, 1152)
    """
    if len(shape) < 2:
        return shape.numel(), shape.numel()
    pixels = shape[2:].numel()
    return shape[1] * pixels, shape[0] * pixels


def variance_scaling_(
    w: Tensor,
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: Distribution = "truncated_normal",
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill with values of mean 0 and variance ``scale / n``, where n is the fan selected by `mode`.

    The truncated normal is cut at two standard deviations and widened to have the requested variance; the uniform
    distribution is limited to ``+-sqrt(3 * scale / n)``.

    Args:
        w: a weight (out, in, *kernel), float32 or wider; changed in place.
        scale: scale of the variance.
        mode: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``, their mean.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"``.
        generator: source of all randomness; by default torch's own.

    Returns:
        `w`.

    Source: Keras' ``VarianceScaling``; Glorot and Bengio, 2010; He et al., 2015; LeCun et al., 1998.

    Example:
        >>> w = variance_scaling_(torch.empty(100, 300), scale=3.0, distribution="uniform")
        >>> bool(w.abs().max() <= 0.1733)
        True
    """
    check_tensor(w, "variance_scaling_")
    fan_in, fan_out = fans(w.shape)
    n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    std = math.sqrt(scale / max(1.0, n))
    if distribution == "truncated_normal":
        return truncated_normal_(w, std=std / TRUNCATED_STD, generator=generator)
    if distribution == "untruncated_normal":
        return w.normal_(0.0, std, generator=generator)
    limit = math.sqrt(3.0) * std
    return w.uniform_(-limit, limit, generator=generator)


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

    ranges: ClassVar[Mapping[str, Range]] = {
        "mode": one_of("fan_in", "fan_out", "fan_avg"),
        "distribution": one_of("truncated_normal", "untruncated_normal", "uniform"),
    }

    def __init__(
        self, scale: float = 1.0, mode: Mode = "fan_in", distribution: Distribution = "truncated_normal"
    ) -> None:
        check(ranges=self.ranges, scale=scale, mode=mode, distribution=distribution)
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
