"""Inverted dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.keep_mask import unit_mask
from regtorch.functional.masked import masked


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
