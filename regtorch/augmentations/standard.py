"""The usual augmentation of small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch.augmentations.base import Augmentation
from regtorch.augmentations.crop import Crop
from regtorch.augmentations.flip import Flip
from regtorch.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "standard")
@dataclass(kw_only=True)
class CropAndFlip(Augmentation):
    """`Crop`, then `Flip`.

    Args:
        padding: number of pixels, >= 0.
        flip_prob: 0 to 1.
    """

    padding: int = 4
    flip_prob: float = 0.5

    def augment(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return Flip(flip_prob=self.flip_prob).augment(Crop(padding=self.padding).augment(x))
