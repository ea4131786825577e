"""Inverted dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import masked, unit_mask

__all__ = ["Dropout", "dropout"]


def keep_scale(drop_prob: float) -> float:
    """The factor of kept units that preserves the expected value: ``1 / (1 - drop_prob)``; 0 if none is kept."""
    return 1 / (1 - drop_prob) if drop_prob < 1 else 0.0


def dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each unit with probability `drop_prob`, scale the others: ``x * mask / (1 - drop_prob)``.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> dropout(torch.ones(1000), drop_prob=0.75).unique()
        tensor([0., 4.])
    """
    check_tensor(x, "dropout")
    if not training or drop_prob == 0:
        return x
    mask = unit_mask(x, drop_prob, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob))


@register("dropout", "standard")
class Dropout(ProbabilityDropout):
    """Zeroes units and scales the others by ``1 / keep_prob``. See `regtorch.functional.dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> Dropout(keep_prob=0.8)
        Dropout(drop_prob=0.2, keep_prob=0.8)
    """

    effect = "scale"

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
