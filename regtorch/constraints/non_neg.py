"""The non-negativity constraint."""

from torch import Tensor

from regtorch.constraints.by_entry import EntryConstraint
from regtorch.functional.non_neg import non_neg
from regtorch.registry import register


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
