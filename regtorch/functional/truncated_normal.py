"""The normal distribution, truncated at two standard deviations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regtorch.arguments import check_tensor

#: standard deviation of a standard normal variable truncated at -2 and 2
TRUNCATED_STD = 0.87962566103423978


def truncated_normal_(
    w: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: torch.Generator | None = None
) -> Tensor:
    """Fill with ``mean + std * z``, z standard normal given that |z| <= 2.

    Truncated and not rescaled: the standard deviation of the values is ``0.8796 * std``. Drawn in one pass by inverting
    the distribution function.

    Args:
        w: a tensor of any shape, float32 or wider; changed in place.
        mean: mean of the distribution.
        std: standard deviation before truncation.
        generator: source of all randomness; by default torch's own.

    Returns:
        `w`.

    Source: Keras' ``TruncatedNormal``.

    Example:
        >>> w = truncated_normal_(torch.empty(10_000), std=0.1)
        >>> bool(w.abs().max() <= 0.2)
        True
    """
    check_tensor(w, "truncated_normal_")
    inside = math.erf(math.sqrt(2.0))  # probability that |z| <= 2
    w.uniform_(-inside, inside, generator=generator)
    return w.erfinv_().mul_(math.sqrt(2.0)).clamp_(-2.0, 2.0).mul_(std).add_(mean)
