"""Random weights whose variance preserves the scale of signals or gradients from layer to layer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.truncated_normal import TRUNCATED_STD, truncated_normal_

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
