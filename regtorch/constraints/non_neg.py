"""The non-negativity constraint."""

from __future__ import annotations

from torch import Tensor

from regtorch.constraints.base import EntryConstraint
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.sharded import shard_by_shard

__all__ = ["NonNeg", "non_neg"]


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


@register("constraint", "non_neg")
class NonNeg(EntryConstraint):
    """Sets negative weights to zero. See `regtorch.functional.non_neg`.

    Example:
        >>> import torch
        >>> NonNeg()(torch.tensor([1.0, -2.0]))
        tensor([1., 0.])
    """

    def forward(self, w: Tensor) -> Tensor:
        """The projection of one tensor."""
        return non_neg(w)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """The projection in place."""
        non_neg(w, out=w)
