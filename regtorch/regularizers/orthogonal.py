"""A penalty on rows that are not orthogonal."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from regtorch.functional.orthogonal import orthogonal
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "orthogonal")
class Orthogonal(Regularizer):
    """Mean absolute cosine between rows: ``strength * mean_{i<j} |cos(w_i, w_j)|``. See `regtorch.functional.orthogonal`.

    Args:
        strength: the penalty when all rows are parallel, >= 0.
        mode: ``"rows"`` (torch's kernels have one row per output unit or filter) or ``"columns"``. Keras' kernels
            are transposed, so its ``"rows"`` are the ``"columns"`` of the same layer's weight here.

    Raises:
        SettingError: a negative strength or another mode.

    Example:
        >>> import torch
        >>> Orthogonal(0.5)(torch.ones(3, 2))
        tensor(0.5000)
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01, mode: Literal["rows", "columns"] = "rows") -> None:
        super().__init__()
        check(component=("regularizer", "orthogonal"), strength=strength, mode=mode)
        self.strength = float(strength)
        self.mode = mode

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return orthogonal(w, strength=self.strength, mode=self.mode)
