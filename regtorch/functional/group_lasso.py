"""The group lasso over output units."""

import torch
from torch import Tensor

from regtorch.functional.full_precision import full_precision


@full_precision
def group_lasso(w: Tensor, /, strength: float) -> Tensor:
    """Sum of the Euclidean norms of the units' incoming weights: ``strength * sum over units u of ||w_u||``.

    Drives whole units, not single weights, to zero. The subgradient at a unit of zeros is 0.

    Args:
        w: a weight with its output units in the first dimension: (out, in) or (out, in, *kernel). In a vector
            each entry is a unit.
        strength: what a unit of norm 1 costs.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006; on units of
    networks: Wen et al., "Learning structured sparsity in deep neural networks", 2016.

    Example:
        >>> import torch
        >>> group_lasso(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), strength=0.1)
        tensor(0.5000)
    """
    norms: Tensor = torch.linalg.vector_norm(w.reshape(len(w), -1), dim=1)
    return strength * norms.sum()
