"""A penalty on rows that are not orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import normalize

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import Range, check, one_of
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.sharded import full_tensors
from regtorch.tensor_ops.summed import scaled

__all__ = ["Orthogonal", "orthogonal"]


@full_precision
def orthogonal(w: Tensor, /, strength: float, mode: Literal["rows", "columns"] = "rows") -> Tensor:
    """Mean absolute cosine between different rows: ``strength * mean over pairs i < j of |cos(w_i, w_j)|``.

    Args:
        w: a matrix; a tensor of more dimensions is read as one row per entry of its first dimension, so a
            convolution's kernel has one row per output filter. A vector or a scalar has nothing to compare: 0. For complex
            rows the cosine is the modulus of the normalized Hermitian product.
        strength: the penalty when all rows are parallel.
        mode: compare ``"rows"`` or ``"columns"``.

    Returns:
        A 0-dim tensor, float32 or wider; 0 for fewer than two rows.

    Source: Keras' ``OrthogonalRegularizer``.

    Example:
        >>> import torch
        >>> orthogonal(torch.eye(3), strength=1.0)
        tensor(0.)
        >>> orthogonal(torch.ones(3, 2), strength=1.0)
        tensor(1.0000)
    """
    (w,) = full_tensors(w)
    matrix = w.flatten(1) if w.ndim > 1 else w.reshape(1, -1)
    vectors = normalize(matrix if mode == "rows" else matrix.T, dim=1)
    count = len(vectors)
    if count < 2:
        return scaled(w.abs().sum(), 0.0)
    cosines = vectors @ vectors.mH
    return scaled(cosines.triu(1).abs().sum(), strength / (count * (count - 1) / 2))


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

    ranges: ClassVar[Mapping[str, Range]] = {"mode": one_of("rows", "columns")}

    by_unit: ClassVar[bool] = True

    def __init__(self, strength: float = 0.01, mode: Literal["rows", "columns"] = "rows") -> None:
        super().__init__()
        check(ranges=self.ranges, strength=strength, mode=mode)
        self.strength = float(strength)
        self.mode = mode

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return orthogonal(w, strength=self.strength, mode=self.mode)
