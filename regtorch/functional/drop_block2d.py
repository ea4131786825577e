"""Dropout of square blocks of feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.drop_block import drop_block


def drop_block2d(
    x: Tensor,
    *,
    drop_prob: float,
    block_size: int = 7,
    couple_channels: bool = False,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero square blocks of each map; see `drop_block` for the formula, the arguments and the source.

    Args:
        x: (batch, channels, height, width).
        drop_prob: average probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        block_size: side of the blocks in pixels, limited to the size of the map.
        couple_channels: one mask for all channels of a row, as in the paper, instead of one per channel.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_block2d(torch.ones(1, 1, 4, 4), drop_prob=0.4, block_size=3).unique()
        tensor([0.0000, 1.6667])
    """
    check_tensor(x, "drop_block2d")
    return drop_block(
        x,
        drop_prob=drop_prob,
        block_size=block_size,
        couple_channels=couple_channels,
        training=training,
        generator=generator,
        shared=shared,
    )
