"""Proximal L1."""

from typing import TYPE_CHECKING

from torch import Tensor

from regtorch.constraints.by_entry import EntryConstraint
from regtorch.functional.soft_threshold import soft_threshold
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "soft_threshold")
class SoftThreshold(EntryConstraint):
    """Proximal L1: shrinks weights by ``strength * step_size`` down to exactly zero. Not idempotent.

    When attached to an optimizer, the step size is the learning rate of the parameter's group, so the weights follow
    proximal gradient descent on ``loss + strength * sum|w|``. See `regtorch.functional.soft_threshold`.

    Args:
        strength: the L1 strength, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> SoftThreshold(0.25)(torch.tensor([1.0, -0.5, 0.1]))
        tensor([ 0.7500, -0.2500,  0.0000])
    """

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    if TYPE_CHECKING:

        def __call__(self, w: Tensor, step_size: float = 1.0) -> Tensor:
            """Call `forward`."""

    def forward(self, w: Tensor, step_size: float = 1.0) -> Tensor:
        """The tensor after a proximal step of size `step_size`."""
        return soft_threshold(w, self.strength * step_size)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Apply the proximal step in place."""
        soft_threshold(w, self.strength * step_size, out=w)
