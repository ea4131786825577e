"""Dropout of square blocks of feature maps."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.drop_block import drop_block
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor

__all__ = ["DropBlock2d", "drop_block2d"]


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
