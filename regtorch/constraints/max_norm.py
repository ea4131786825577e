"""The max-norm constraint."""

from __future__ import annotations

from torch import Tensor

from regtorch.constraints.base import as_dims
from regtorch.constraints.by_norm import NormConstraint
from regtorch.functional.max_norm import max_norm
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "max_norm")
class MaxNorm(NormConstraint):
    """Projection of each unit onto the ball of radius `max_value`. See `regtorch.functional.max_norm`.

    Args:
        max_value: the radius, > 0.
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: the radius is not positive, or `dims` are invalid.

    Example:
        >>> import torch
        >>> MaxNorm(1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """

    def __init__(self, max_value: float = 2.0, dims: int | tuple[int, ...] | None = None) -> None:
        super().__init__()
        check(max_value=max_value, dims=dims)
        self.max_value = float(max_value)
        self.dims = as_dims(dims)

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The tensor with constrained unit norms."""
        return max_norm(w, self.max_value, self.dims, out=out, norms=norms)
