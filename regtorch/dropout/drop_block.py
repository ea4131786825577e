"""Dropout of blocks of feature maps, of any number of dimensions."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import ClassVar, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import keep_scale
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import keep_mask, masked

__all__ = ["DropBlock2d", "DropBlock3d", "drop_block", "drop_block2d", "drop_block3d"]

_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def block_prob(sizes: tuple[int, ...], block: tuple[int, ...], drop_prob: float) -> float:
    """The probability of a block at each position that makes ``mean over units of P(dropped)`` equal `drop_prob`.

    A unit that `c` positions of blocks cover is dropped with probability ``1 - (1 - block_prob)^c``.

    Args:
        sizes: sizes of the map.
        block: sizes of a block, at most those of the map.
        drop_prob: average probability that a unit is dropped, above 0 and below 1.

    Example:
        >>> round(block_prob((1, 1), (1, 1), 0.3), 12)
        0.3
    """
    return _solve(sizes, block, drop_prob)


# torch.compiler.assume_constant_result sets this, but calling it here would import the compiler, which takes 2 seconds
block_prob._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _solve(sizes: tuple[int, ...], block: tuple[int, ...], drop_prob: float) -> float:
    """Solve by bisection over ``log(1 - block_prob)``."""
    cover = Counter({1: 1})
    for size, side in zip(sizes, block, strict=True):
        line = _blocks_over(size, side)
        crossed = Counter[int]()
        for so_far, units in cover.items():
            for along, positions in line.items():
                crossed[so_far * along] += units * positions
        cover = crossed

    def dropped(log_none: float) -> float:
        return -sum(math.expm1(c * log_none) * units for c, units in cover.items()) / math.prod(sizes)

    low, high = -50.0, 0.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if dropped(middle) > drop_prob else (low, middle)
    return -math.expm1(low)


def _blocks_over(size: int, block: int) -> Counter[int]:
    """Number of block positions that cover a unit -> number of units on the line with so many."""
    return Counter(min(i + 1, size - i, block, size - block + 1) for i in range(size))


def drop_block(
    x: Tensor,
    *,
    drop_prob: float,
    block_size: int = 7,
    couple_channels: bool = False,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero blocks of each map so that a unit is dropped with probability `drop_prob` on average over the map.

    Blocks are entirely inside the map. The probability of a block is computed exactly; that of the paper is an
    approximation, as it ignores overlaps of blocks. Units near the border are in fewer blocks and are dropped less
    often than those in the middle. Kept units are scaled by the constant ``1 / (1 - drop_prob)``, not by the fraction
    that was kept in a batch.

    Args:
        x: (batch, channels, *sizes) with one to three sizes.
        drop_prob: average probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        block_size: side of the blocks in pixels, limited to the size of the map.
        couple_channels: one mask for all channels of a row, as in the paper, instead of one per channel.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Ghiasi, Lin and Le, "DropBlock: a regularization method for convolutional networks", 2018.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_block(torch.ones(1, 1, 8), drop_prob=0.5, block_size=3).unique()
        tensor([0., 2.])
    """
    check_tensor(x, "drop_block")
    if not training or drop_prob == 0:
        return x
    if drop_prob == 1 or 0 in x.shape:
        return masked(x, torch.zeros_like(x, dtype=torch.bool), scale=0.0)
    rows, channels, *sizes = x.shape
    block = [min(block_size, size) for size in sizes]
    places = [size - side + 1 for size, side in zip(sizes, block, strict=True)]
    shape = (1 if shared else rows, 1 if couple_channels else channels, *places)
    no_block = keep_mask(shape, block_prob(tuple(sizes), tuple(block), drop_prob), device=x.device, generator=generator)
    covered = F.pad((~no_block).float(), [side - 1 for side in reversed(block) for _ in range(2)])
    for dim, side in enumerate(block):  # one dimension after the other is faster
        covered = _POOLS[len(sizes)](covered, [side if d == dim else 1 for d in range(len(sizes))], stride=1)
    return masked(x, covered == 0, scale=keep_scale(drop_prob))


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


@register("dropout", "drop_block2d")
class DropBlock2d(ProbabilityDropout):
    """Zeroes square blocks of each map. See `regtorch.functional.drop_block2d`.

    Kept units are scaled by the constant ``1 / keep_prob``.

    Args:
        drop_prob: probability that a unit is dropped, on average over the map, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.
        block_size: side of the blocks in pixels, >= 1, limited to the size of the map.
        couple_channels: one mask for all channels of a row, as in the paper, instead of one per channel.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input that is not (batch, channels, height, width).

    Example:
        >>> DropBlock2d(drop_prob=0.1)
        DropBlock2d(drop_prob=0.1, keep_prob=0.9, block_size=7, couple_channels=False)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1
    spatial_dims: ClassVar[int | None] = 2
    whole_maps: ClassVar[bool] = True

    def __init__(
        self,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        block_size: int = 7,
        couple_channels: bool = False,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(*args, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        check(block_size=block_size, couple_channels=couple_channels)
        self.block_size = block_size
        self.couple_channels = couple_channels

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        self.check_maps(x)
        return drop_block2d(
            x,
            drop_prob=self.drop_prob,
            block_size=self.block_size,
            couple_channels=self.couple_channels,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )


def drop_block3d(
    x: Tensor,
    *,
    drop_prob: float,
    block_size: int = 7,
    couple_channels: bool = False,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero cubic blocks of each map; see `drop_block` for the formula, the arguments and the source.

    Args:
        x: (batch, channels, depth, height, width).
        drop_prob: average probability that a unit is dropped, from 0 to 1; at 1 the result is zero.
        block_size: side of the blocks in voxels, limited to the size of the map.
        couple_channels: one mask for all channels of a row, as in the paper, instead of one per channel.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_block3d(torch.ones(1, 1, 4, 4, 4), drop_prob=0.4, block_size=3).unique()
        tensor([0.0000, 1.6667])
    """
    check_tensor(x, "drop_block3d")
    return drop_block(
        x,
        drop_prob=drop_prob,
        block_size=block_size,
        couple_channels=couple_channels,
        training=training,
        generator=generator,
        shared=shared,
    )


@register("dropout", "drop_block3d")
class DropBlock3d(ProbabilityDropout):
    """Zeroes cubic blocks of each map. See `regtorch.functional.drop_block3d`.

    Kept units are scaled by the constant ``1 / keep_prob``.

    Args:
        drop_prob: probability that a unit is dropped, on average over the map, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.
        block_size: side of the blocks in voxels, >= 1, limited to the size of the map.
        couple_channels: one mask for all channels of a row, as in the paper, instead of one per channel.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input that is not (batch, channels, depth, height, width).

    Example:
        >>> DropBlock3d(drop_prob=0.1)
        DropBlock3d(drop_prob=0.1, keep_prob=0.9, block_size=7, couple_channels=False)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1
    spatial_dims: ClassVar[int | None] = 3
    whole_maps: ClassVar[bool] = True

    def __init__(
        self,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        block_size: int = 7,
        couple_channels: bool = False,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(*args, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        check(block_size=block_size, couple_channels=couple_channels)
        self.block_size = block_size
        self.couple_channels = couple_channels

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        self.check_maps(x)
        return drop_block3d(
            x,
            drop_prob=self.drop_prob,
            block_size=self.block_size,
            couple_channels=self.couple_channels,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )
