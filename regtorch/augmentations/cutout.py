"""Random squares of zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch.augmentations.base import Augmentation
from regtorch.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "cutout")
@dataclass(kw_only=True)
class Cutout(Augmentation):
    """Sets a square in each image to zero in all channels. Its center may be any pixel, so part of it may be outside.

    Args:
        length: side of the square in pixels, >= 1.

    Source: DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017,
        https://arxiv.org/abs/1708.04552.

    Example:
        >>> import torch
        >>> int(Cutout(length=1)(torch.ones(1, 1, 4, 4)).sum())
        15
    """

    length: int = 8

    def augment(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        import torch

        def inside(size: int) -> Tensor:
            center = torch.randint(size, (len(x), 1), device=x.device)
            start = center - self.length // 2
            place = torch.arange(size, device=x.device)
            return (place >= start) & (place < start + self.length)

        rows, columns = inside(x.shape[2]), inside(x.shape[3])
        return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], 0.0, x)
