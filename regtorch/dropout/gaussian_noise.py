"""Additive Gaussian noise."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from regtorch.dropout.base import Noise
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.keep_mask import generator_kwargs, rows_shape

__all__ = ["GaussianNoise", "gaussian_noise"]


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


@register("dropout", "gaussian_noise")
class GaussianNoise(Noise):
    """Adds ``N(0, std^2)``. See `regtorch.functional.gaussian_noise`.

    Args:
        std: standard deviation of the noise, >= 0; not a probability, hence the separate name.

    Raises:
        NamingError: an argument by position or by another name.
        SettingError: a value outside its range.

    Example:
        >>> GaussianNoise(std=0.1)
        GaussianNoise(std=0.1)
    """

    effect = "affine"

    def __init__(self, *args: NoReturn, std: float = 0.1, **unknown: NoReturn) -> None:
        super().__init__()
        self.refuse(args, unknown)
        self.std = std

    @property
    def std(self) -> float:
        """Standard deviation of the noise; may be set at any time."""
        return self._std

    @std.setter
    def std(self, value: float) -> None:
        check(std=value)
        self._std = float(value)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return gaussian_noise(x, std=self.std, training=self.training, generator=self.generator, shared=self.shared)
