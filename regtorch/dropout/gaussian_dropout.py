"""Multiplicative Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.gaussian_noise import standard_normal
from regtorch.registry import register
from regtorch.settings import NEEDS_SOME_KEPT, Range
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import widened

__all__ = ["GaussianDropout", "gaussian_dropout"]


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


@register("dropout", "gaussian")
class GaussianDropout(ProbabilityDropout):
    """Multiplies by ``N(1, drop_prob / keep_prob)``. See `regtorch.functional.gaussian_dropout`.

    Args:
        drop_prob: probability of the dropout with the same variance, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> GaussianDropout(drop_prob=0.2)
        GaussianDropout(drop_prob=0.2, keep_prob=0.8)
    """

    ranges: ClassVar[Mapping[str, Range]] = NEEDS_SOME_KEPT

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.2

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return gaussian_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
