"""Multiplicative Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.full_precision import widened
from regtorch.functional.gaussian_noise import standard_normal


def gaussian_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Multiply by noise of mean 1 and the variance of dropout: ``x * N(1, drop_prob / (1 - drop_prob))``.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability of the ordinary dropout with the same variance, from 0 to below 1.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: the same noise for all rows instead of one each.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, section 10.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> round(gaussian_dropout(torch.ones(1000, 1000), drop_prob=0.5).std().item(), 2)
        1.0
    """
    check_tensor(x, "gaussian_dropout")
    if not training or drop_prob == 0:
        return x
    std = (drop_prob / (1 - drop_prob)) ** 0.5
    noise: Tensor = 1 + std * standard_normal(x, generator=generator, shared=shared)
    return (widened(x) * noise).to(x.dtype)
