"""No augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regtorch.augmentations.base import Augmentation
from regtorch.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "none")
@dataclass(kw_only=True)
class NoAugmentation(Augmentation):
    """Returns the batch unchanged, images or not."""

    def check_shape(self, shape: Sequence[int]) -> None:
        """Accept any shape."""

    def augment(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
