"""Additive Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.full_precision import widened
from regtorch.functional.generator_kwargs import generator_kwargs
from regtorch.functional.keep_mask import rows_shape


def standard_normal(x: Tensor, *, generator: torch.Generator | None, shared: bool) -> Tensor:
    """N(0, 1) for each unit of `x`, in float32 or wider; `shared`: for each unit of one row, the same for every row."""
    dtype = widened(x).dtype
    return torch.randn(rows_shape(x, shared), dtype=dtype, device=x.device, **generator_kwargs(generator))


def gaussian_noise(
    x: Tensor, *, std: float, training: bool = True, generator: torch.Generator | None = None, shared: bool = False
) -> Tensor:
    """Add noise of mean 0: ``x + std * N(0, 1)``.

    Args:
        x: any shape; dimension 0 is the batch.
        std: standard deviation of the noise, >= 0.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: the same noise for all rows instead of one each.

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> round(gaussian_noise(torch.zeros(1000, 1000), std=0.1).std().item(), 2)
        0.1
    """
    check_tensor(x, "gaussian_noise")
    if not training or std == 0:
        return x
    return (widened(x) + std * standard_normal(x, generator=generator, shared=shared)).to(x.dtype)
