"""Dropout that keeps mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.registry import register
from regtorch.settings import NEEDS_SOME_KEPT, Range
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import masked, unit_mask

__all__ = ["AlphaDropout", "alpha_dropout"]

#: the limit of SELU for large negative input: -scale * alpha
SATURATION = -1.7580993408473766


def alpha_masked(x: Tensor, mask: Tensor, drop_prob: float) -> Tensor:
    """``a * (x * mask + SATURATION * (1 - mask)) + b``, with a and b that preserve mean 0 and variance 1."""
    keep_prob = 1 - drop_prob
    a = (keep_prob + SATURATION**2 * keep_prob * drop_prob) ** -0.5
    b = -a * drop_prob * SATURATION
    return masked(x, mask, scale=a, shift=-SATURATION, fill=a * SATURATION + b)


def alpha_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Set each unit to SELU's saturation value with probability `drop_prob`, then restore mean 0 and variance 1.

    ``a * (x * mask + s * (1 - mask)) + b`` with ``s = -1.758...``, ``a = (q + s^2 q (1 - q))^(-1/2)``,
    ``b = -a (1 - q) s`` and ``q = 1 - drop_prob``.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability that a unit is dropped, from 0 to below 1.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> round(alpha_dropout(torch.randn(1000, 1000), drop_prob=0.2).std().item(), 2)
        1.0
    """
    check_tensor(x, "alpha_dropout")
    if not training or drop_prob == 0:
        return x
    return alpha_masked(x, unit_mask(x, drop_prob, generator=generator, shared=shared), drop_prob)


@register("dropout", "alpha")
class AlphaDropout(ProbabilityDropout):
    """Keeps mean 0 and variance 1, for SELU networks. See `regtorch.functional.alpha_dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> AlphaDropout(keep_prob=0.9)
        AlphaDropout(drop_prob=0.1, keep_prob=0.9)
    """

    ranges: ClassVar[Mapping[str, Range]] = NEEDS_SOME_KEPT

    effect = "affine"
    default_drop_prob: ClassVar[float] = 0.1

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return alpha_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
