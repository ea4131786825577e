"""Projection onto the non-negative numbers."""

from __future__ import annotations

from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.sharded import shard_by_shard


@shard_by_shard
def non_neg(w: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Nearest non-negative weights: ``max(w, 0)``.

    Args:
        w: a tensor of any shape.
        out: where to write the result; `w` itself projects in place.

    Source: Keras' ``NonNeg``; Lee and Seung, "Learning the parts of objects by non-negative matrix factorization", 1999.

    Example:
        >>> import torch
        >>> non_neg(torch.tensor([1.0, -2.0]))
        tensor([1., 0.])
    """
    check_tensor(w, "non_neg")
    return w.clamp(min=0.0) if out is None else out.copy_(w).clamp_(min=0.0)
