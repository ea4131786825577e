"""A penalty on the largest singular value."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.sharded import full_tensors
from regtorch.tensor_ops.summed import scaled

__all__ = ["Spectral", "spectral"]


@full_precision
def spectral(w: Tensor, /, strength: float) -> Tensor:
    """Largest singular value: ``strength * max over |x| = 1 of |W x|``.

    Args:
        w: a matrix; a tensor of more dimensions is read as one row per entry of its first dimension (for a
            convolution that is its kernel as a matrix, not the operator on images). A vector is one row, a scalar one entry.
        strength: penalty of a singular value of 1.

    Returns:
        A 0-dim tensor, float32 or wider; 0 for a weight without entries.

    Source: Yoshida and Miyato, "Spectral norm regularization for improving the generalizability of deep learning",
    2017 (there squared).

    Example:
        >>> import torch
        >>> spectral(torch.diag(torch.tensor([1.0, 3.0])), strength=0.1)
        tensor(0.3000)
    """
    (w,) = full_tensors(w)
    matrix = w.flatten(1) if w.ndim > 1 else w.reshape(1, -1)
    if not matrix.numel():
        return scaled(matrix.abs().sum(), 0.0)
    finite = matrix.isfinite()  # the decomposition of NaN is an error, but the penalty of a diverged weight is NaN
    largest: Tensor = torch.linalg.matrix_norm(torch.where(finite, matrix, 0.0), ord=2)
    return scaled(torch.where(finite.all(), largest, torch.nan), strength)


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
