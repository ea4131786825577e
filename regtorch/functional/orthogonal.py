"""The deviation of the rows (or columns) of a matrix from orthogonality."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import normalize

from regtorch.functional.full_precision import full_precision
from regtorch.functional.scaled import scaled
from regtorch.functional.sharded import full_tensors


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
