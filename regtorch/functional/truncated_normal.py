"""The normal distribution, cut at two standard deviations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regtorch.arguments import check_tensor

#: standard deviation of a standard normal variable that is cut at -2 and 2
TRUNCATED_STD = 0.87962566103423978


def truncated_normal_(
    w: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: torch.Generator | None = None
) -> Tensor:
    """Fill with ``mean + std * z``, z standard normal given that |z| <= 2.

    Cut and not rescaled: the values' own standard deviation is ``0.8796 * std``. Drawn by inverting the
    distribution function, in one pass.

    Args:
        w: a tensor of any shape, float32 or wider; changed in place.
        mean: of the distribution.
        std: of the distribution before it is cut.
        generator: where the random numbers come from; torch's global one by default.

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
