"""The spectral norm of a weight matrix."""

import torch
from torch import Tensor

from regtorch.functional.full_precision import full_precision
from regtorch.functional.scaled import scaled
from regtorch.functional.sharded import full_tensors


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
    largest: Tensor = torch.linalg.matrix_norm(matrix, ord=2)
    return scaled(largest, strength)
