"""No constraint."""

from collections.abc import Sequence

from torch import Tensor

from regtorch.constraints.base import Constraint, EntryConstraint
from regtorch.registry import register


@register("constraint", "none")
class NoConstraint(EntryConstraint):
    """Does not change the weights; is bound to nothing.

    Example:
        >>> import torch
        >>> NoConstraint()(torch.ones(2))
        tensor([1., 1.])
    """

    def parts(self) -> Sequence[Constraint]:
        """No rules to bind."""
        return []

    def forward(self, w: Tensor) -> Tensor:
        """`w` itself."""
        return w

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """Nothing."""
