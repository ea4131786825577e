"""The spectral-norm constraint."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regtorch.constraints.base import Constraint
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.sharded import full_tensors, is_sharded, shard_of, with_local_shard

__all__ = ["SpectralNorm", "spectral_norm"]


def spectral_norm(w: Tensor, max_value: float) -> Tensor:
    """Bound the singular values: the nearest matrix, ``argmin ||V - W||`` with ``sigma_max(V) <= max_value``.

    Each singular value above the bound is replaced by the bound, so that no input is amplified more than `max_value`
    times. Division by the largest singular value would also shrink the others.

    Args:
        w: a matrix; a tensor of more dimensions is read as one row per entry of its first dimension (for a
            convolution that is its kernel as a matrix, not the operator on images). A vector is one row, a scalar one entry.
        max_value: largest singular value, > 0.

    Source: Sedghi, Gupta and Long, "The singular values of convolutional layers", 2019, section 3 (the clipping).

    Example:
        >>> spectral_norm(torch.diag(torch.tensor([1.0, 3.0])), max_value=2.0)
        tensor([[1., 0.],
                [0., 2.]])
    """
    if is_sharded(w):
        (full,) = full_tensors(w)
        return with_local_shard(w, shard_of(spectral_norm(full, max_value), w))
    excess: Tensor = _excess(w, max_value)
    return (w - excess).to(w.dtype)


@full_precision
def _excess(w: Tensor, /, max_value: float) -> Tensor:
    """The part of the weight above the bound; exact zeros if there is none."""
    matrix = w.flatten(1) if w.ndim > 1 else w.reshape(1, -1)
    if not matrix.numel():
        return torch.zeros_like(w)
    # the decomposition of NaN is an error, but only the loss reports a diverged training
    left, values, right = torch.linalg.svd(torch.where(matrix.isfinite(), matrix, 0.0), full_matrices=False)
    above = (values - max_value).clamp(min=0)
    excess: Tensor = (left * above) @ right
    return excess.reshape(w.shape)


@register("constraint", "spectral_norm")
class SpectralNorm(Constraint):
    """Bounds the singular values of the weight as a matrix. See `regtorch.functional.spectral_norm`.

    Needs a singular value decomposition per step, which is expensive for wide layers.

    Args:
        max_value: largest singular value, > 0.

    Raises:
        SettingError: `max_value` is not positive.

    Example:
        >>> SpectralNorm(max_value=2.0)(torch.diag(torch.tensor([1.0, 3.0])))
        tensor([[1., 0.],
                [0., 2.]])
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, max_value: float = 2.0) -> None:
        super().__init__()
        check(max_value=max_value)
        self.max_value = float(max_value)

    def forward(self, w: Tensor) -> Tensor:
        """The constrained tensor."""
        return spectral_norm(w, self.max_value)
