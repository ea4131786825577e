"""Dropout of square blocks of feature maps."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from regtorch.functional.dropout import keep_scale
from regtorch.functional.keep_mask import keep_mask
from regtorch.functional.masked import masked


def _blocks_over(size: int, block: int) -> Counter[int]:
    """In how many places a block that covers a position can stand -> how many positions of the line have so many."""
    return Counter(min(i + 1, size - i, block, size - block + 1) for i in range(size))


def block_prob(height: int, width: int, block_height: int, block_width: int, drop_prob: float) -> float:
    """The probability for a block to stand at a place that makes ``mean over units of P(dropped)`` equal `drop_prob`.

    A unit that `c` blocks can cover is dropped with probability ``1 - (1 - block_prob)^c``.

    Example:
        >>> round(block_prob(1, 1, 1, 1, 0.3), 12)
        0.3
    """
    return _solve(height, width, block_height, block_width, drop_prob)


# what torch.compiler.assume_constant_result sets; called here, it would import the compiler, for almost two seconds
block_prob._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _solve(height: int, width: int, block_height: int, block_width: int, drop_prob: float) -> float:
    """By bisection over ``log(1 - block_prob)``."""
    cover = Counter[int]()
    for r, rows_with in _blocks_over(height, block_height).items():
        for c, columns_with in _blocks_over(width, block_width).items():
            cover[r * c] += rows_with * columns_with

    def dropped(log_none: float) -> float:
        return -sum(math.expm1(c * log_none) * units for c, units in cover.items()) / (height * width)

    low, high = -50.0, 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if dropped(middle) > drop_prob else (low, middle)
    return -math.expm1(low)


def drop_block2d(
    x: Tensor,
    *,
    drop_prob: float,
    block_size: int = 7,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero square blocks of each map so that a unit is dropped with probability `drop_prob` on average over the map.

    Blocks stand wholly inside the map, independently in each channel. The probability of a block is solved for
    exactly; the paper's is an approximation, as it leaves out that blocks overlap. Units near the border lie in
    fewer blocks, and are dropped less often than those in the middle. What is kept is scaled by the fixed
    ``1 / (1 - drop_prob)``, not by the share that happened to be kept in a batch.

    Args:
        x: (batch, channels, height, width).
        drop_prob: average probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        block_size: side of the blocks in pixels, cut to the size of the map.
        training: False gives `x` itself.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_block2d(torch.ones(1, 1, 4, 4), drop_prob=0.4, block_size=3).unique()
        tensor([0.0000, 1.6667])
    """
    if not training or drop_prob == 0:
        return x
    if drop_prob == 1 or 0 in x.shape:
        return masked(x, torch.zeros_like(x, dtype=torch.bool), scale=0.0)
    rows, channels, height, width = 1 if shared else x.shape[0], *x.shape[1:]
    block = min(block_size, height), min(block_size, width)
    places = rows, channels, height - block[0] + 1, width - block[1] + 1
    no_block = keep_mask(places, block_prob(height, width, *block, drop_prob), device=x.device, generator=generator)
    blocks = F.pad((~no_block).float(), (block[1] - 1, block[1] - 1, block[0] - 1, block[0] - 1))
    covered = F.max_pool2d(F.max_pool2d(blocks, (block[0], 1), stride=1), (1, block[1]), stride=1)
    return masked(x, covered == 0, scale=keep_scale(drop_prob))
