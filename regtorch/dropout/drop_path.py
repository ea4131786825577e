"""Stochastic depth: dropout of branches."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import keep_scale
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import feature_mask, masked

__all__ = ["DropPath", "drop_path"]


def drop_path(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each sample's full tensor with probability `drop_prob`, scale the others by ``1 / (1 - drop_prob)``.

    For the branch of a residual block: ``x + drop_path(branch(x), ...)``.

    Args:
        x: (batch, *units).
        drop_prob: probability that a sample's branch is dropped, from 0 to 1; at 1 the result is zero.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one draw for all rows instead of one each.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_path(torch.ones(100, 3), drop_prob=0.5).sum(dim=1).unique()
        tensor([0., 6.])
    """
    check_tensor(x, "drop_path")
    if not training or drop_prob == 0:
        return x
    mask = feature_mask(x, drop_prob, dims=1, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob))


@register("dropout", "drop_path")
class DropPath(ProbabilityDropout):
    """Zeroes the branch of a sample: ``x + drop_path(branch(x))``. See `regtorch.functional.drop_path`.

    Args:
        drop_prob: probability that a sample's branch is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> DropPath(drop_prob=0.1)
        DropPath(drop_prob=0.1, keep_prob=0.9)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return drop_path(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
