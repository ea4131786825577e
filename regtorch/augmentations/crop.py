"""Random crops of padded images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch.augmentations.base import Augmentation
from regtorch.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "crop")
@dataclass(kw_only=True)
class Crop(Augmentation):
    """Pads each image with zeros on all sides and crops it to its size at a random place: a shift by up to `padding`.

    Args:
        padding: number of pixels, >= 0.

    Source: Lee et al., Deeply-supervised nets, 2015, https://arxiv.org/abs/1409.5185.

    Example:
        >>> import torch
        >>> Crop(padding=4)(torch.ones(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])
    """

    padding: int = 4

    def augment(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        import torch

        n, _, height, width = x.shape
        places = torch.nn.functional.pad(x, (self.padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = torch.randint(2 * self.padding + 1, (2, n), device=x.device)
        return places[torch.arange(n, device=x.device), :, top, left]
