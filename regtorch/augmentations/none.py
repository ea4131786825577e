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
    """The batch as it is, images or not."""

    def check_shape(self, shape: Sequence[int]) -> None:
        """Any shape will do."""

    def augment(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
