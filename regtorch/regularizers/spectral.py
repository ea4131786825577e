"""A penalty on the largest singular value."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.functional.spectral import spectral
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "spectral")
class Spectral(Regularizer):
    """Largest singular value of the weight as a matrix: ``strength * sigma_max(W)``. See `regtorch.functional.spectral`.

    Needs a singular value decomposition per step, which is expensive for wide layers.

    Args:
        strength: penalty of a singular value of 1, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import torch
        >>> Spectral(0.1)(torch.diag(torch.tensor([1.0, 3.0])))
        tensor(0.3000)
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return spectral(w, strength=self.strength)
