"""Several augmentations in sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regtorch.augmentations.base import Augmentation
from regtorch.errors import SettingError
from regtorch.registry import create, register

if TYPE_CHECKING:
    from torch import Tensor


@register("augmentation", "several")
@dataclass(kw_only=True)
class SeveralAugmentations(Augmentation):
    """Several augmentations in turn, each applied to the result of the previous one.

    Args:
        rules: augmentations, or their configuration nodes.

    Raises:
        UnknownNameError: a node names no registered augmentation.
        SettingError: the list is empty or has an invalid entry.

    Example:
        >>> import torch
        >>> several = SeveralAugmentations(rules=[{"name": "crop", "padding": 1}, {"name": "flip"}])
        >>> several(torch.ones(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    rules: Sequence[Augmentation | Mapping[str, Any]] = (
        {"name": "crop", "padding": 4},
        {"name": "cutout", "length": 8},
    )

    def __post_init__(self) -> None:
        rules = [create("augmentation", **rule) if isinstance(rule, Mapping) else rule for rule in self.rules]
        if not rules or not all(isinstance(rule, Augmentation) for rule in rules):
            raise SettingError(f"rules={self.rules} is not allowed: it must be a non-empty list of augmentations")
        self.rules = rules

    def augment(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        for rule in self.rules:
            x = rule.augment(x)  # type: ignore[union-attr]  # nodes became augmentations
        return x
