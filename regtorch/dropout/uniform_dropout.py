"""Multiplicative uniform noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.registry import register
from regtorch.settings import NEEDS_SOME_KEPT, Range
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import real_dtype, widened
from regtorch.tensor_ops.keep_mask import generator_kwargs, rows_shape

__all__ = ["UniformDropout", "uniform_dropout"]


def uniform_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Multiply by uniform noise with the variance of dropout: ``x * U(1 - b, 1 + b)``, ``b^2 / 3 = drop_prob / (1 - drop_prob)``.

    The noise is bounded, unlike that of `gaussian_dropout`; above a probability of 1/4 it can change the sign.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability of the ordinary dropout with the same variance, from 0 to below 1.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: the same noise for all rows instead of one each.

    Source: Shen et al., "Continuous dropout", 2018, with the mean and the variance of dropout.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> y = uniform_dropout(torch.ones(1000, 1000), drop_prob=0.25)
        >>> round(y.mean().item(), 2), round(y.max().item(), 2)
        (1.0, 2.0)
    """
    check_tensor(x, "uniform_dropout")
    if not training or drop_prob == 0:
        return x
    bound = (3 * drop_prob / (1 - drop_prob)) ** 0.5
    wide = widened(x)
    drawn = torch.rand(rows_shape(x, shared), dtype=real_dtype(wide), device=x.device, **generator_kwargs(generator))
    factors: Tensor = 1 + bound * (2 * drawn - 1)
    return (wide * factors).to(x.dtype)


@register("dropout", "uniform_dropout")
class UniformDropout(ProbabilityDropout):
    """Multiplies by uniform noise with the variance of dropout. See `regtorch.functional.uniform_dropout`.

    Args:
        drop_prob: probability of the dropout with the same variance, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> UniformDropout(drop_prob=0.25)
        UniformDropout(drop_prob=0.25, keep_prob=0.75)
    """

    ranges: ClassVar[Mapping[str, Range]] = NEEDS_SOME_KEPT

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.2

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return uniform_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
