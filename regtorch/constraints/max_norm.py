"""The max-norm constraint."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.constraints.base import Constraint, as_dims
from regtorch.functional.max_norm import max_norm
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "max_norm")
class MaxNorm(Constraint):
    """Projection of each unit onto the ball of radius `max_value`. See `regtorch.functional.max_norm`.

    Args:
        max_value: the radius, > 0.
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: a radius that is not positive, or dims that are no dimensions.

    Example:
        >>> import torch
        >>> MaxNorm(1.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """

    by_unit: ClassVar[bool] = True

    def __init__(self, max_value: float = 2.0, dims: int | tuple[int, ...] | None = None) -> None:
        super().__init__()
        check(max_value=max_value, dims=dims)
        self.max_value = max_value
        self.dims = as_dims(dims)

    def forward(self, w: Tensor) -> Tensor:
        """The projection of one tensor."""
        return max_norm(w, self.max_value, self.dims)

    def project_(self, w: Tensor, step_size: float = 1.0) -> None:
        """The projection in place."""
        max_norm(w, self.max_value, self.dims, out=w)
