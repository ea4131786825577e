"""Dropout with a mask that may be stored and reused."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.dropout import keep_scale
from regtorch.functional.keep_mask import unit_mask
from regtorch.functional.masked import masked


def consistent_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    mask: Tensor | None = None,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Inverted dropout with a given or a drawn mask: returns ``x * mask / (1 - drop_prob)`` and the mask.

    Args:
        x: any shape; dimension 0 is the batch.
        drop_prob: probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        mask: True for units to keep, shaped as `x`, or with a batch dimension of 1; None: draw one.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Returns:
        The result and the applied mask; the mask is None if nothing was dropped.

    Source: Hausknecht and Wagener, "Consistent dropout for policy gradient reinforcement learning", 2022.

    Example:
        >>> y, mask = consistent_dropout(torch.ones(2, 8), drop_prob=0.5)
        >>> bool((consistent_dropout(torch.ones(2, 8), drop_prob=0.5, mask=mask)[0] == y).all())
        True
    """
    check_tensor(x, "consistent_dropout")
    if not training or drop_prob == 0:
        return x, None
    if mask is None:
        mask = unit_mask(x, drop_prob, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob)), mask
