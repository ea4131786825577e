"""Random horizontal flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch.augmentations.base import Augmentation
from regtorch.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "flip")
@dataclass(kw_only=True)
class Flip(Augmentation):
    """Flips each image left to right with probability `flip_prob`.

    Args:
        flip_prob: 0 to 1.

    Example:
        >>> import torch
        >>> Flip(flip_prob=1.0)(torch.arange(3.0).view(1, 1, 1, 3))
        tensor([[[[2., 1., 0.]]]])
    """

    flip_prob: float = 0.5

    def augment(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        import torch

        flipped = torch.rand(len(x), 1, 1, 1, device=x.device) < self.flip_prob
        return torch.where(flipped, x.flip(-1), x)
