"""The min-max-norm constraint."""

from __future__ import annotations

from torch import Tensor

from regtorch.constraints.base import as_dims
from regtorch.constraints.by_norm import NormConstraint
from regtorch.errors import SettingError
from regtorch.functional.min_max_norm import min_max_norm
from regtorch.registry import register
from regtorch.settings import check


@register("constraint", "min_max_norm")
class MinMaxNorm(NormConstraint):
    """Moves the norm of each unit into [min_value, max_value]. See `regtorch.functional.min_max_norm`.

    Args:
        min_value: smallest norm, >= 0.
        max_value: largest norm, > 0, not below `min_value`.
        rate: fraction of the correction per step, from 0 to 1; below 1 the constraint is not idempotent.
        dims: the dimensions of one unit's incoming weights; by default all but the output dimension.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> import torch
        >>> MinMaxNorm(1.0, 2.0)(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[1.2000, 1.6000],
                [0.6000, 0.8000]])
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        dims: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        check(min_value=min_value, max_value=max_value, rate=rate, dims=dims)
        if min_value > max_value:
            raise SettingError(f"min_value={min_value} is not allowed: it must be at most max_value={max_value}")
        self.min_value = float(min_value)
        self.max_value = float(max_value)
        self.rate = float(rate)
        self.dims = as_dims(dims)

    def rescaled(self, w: Tensor, out: Tensor | None = None, norms: Tensor | None = None) -> Tensor:
        """The tensor with constrained unit norms."""
        return min_max_norm(w, self.min_value, self.max_value, self.rate, self.dims, out=out, norms=norms)
