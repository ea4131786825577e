"""A penalty, a dropout and a constraint, and advice about one of them."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

import regtorch
from regtorch.dropout.dropout import keep_scale
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.keep_mask import keep_mask, masked


@full_precision  # also for weights in half precision, and under autocast
def huber(w: Tensor, strength: float, delta: float) -> Tensor:
    """``strength * sum huber(w)``."""
    inside = w.abs().clamp(max=delta)
    return strength * (inside * (w.abs() - 0.5 * inside)).sum()


@regtorch.register("regularizer", "huber")
class Huber(regtorch.Regularizer):
    """``strength * sum huber(w)``: quadratic within `delta`, linear beyond.

    Args:
        strength: >= 0.
        delta: boundary between both parts, > 0.
    """

    def __init__(self, strength: float = 0.01, delta: float = 0.1) -> None:
        super().__init__()
        if not delta > 0:
            raise regtorch.SettingError(f"delta={delta} is not allowed: it must be a number > 0")
        if strength < 0:
            raise regtorch.SettingError(f"strength={strength} is not allowed: it must be a number >= 0")
        self.strength, self.delta = strength, delta

    def forward(self, w: Tensor) -> Tensor:
        """Return the penalty of one weight."""
        return huber(w, self.strength, self.delta)


@regtorch.register("dropout", "block")
class Block(regtorch.ProbabilityDropout):
    """Drops blocks of ``size`` adjacent units.

    Args:
        drop_prob: probability that a block is dropped.
        keep_prob: 1 - drop_prob.
        size: units in a block, >= 1.
    """

    def __init__(
        self,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        size: int = 4,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(*args, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        if size < 1:
            raise regtorch.SettingError(f"size={size} is not allowed: it must be an integer >= 1")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Drop blocks of the last dimension of `x` in training."""
        if not self.training or self.drop_prob == 0:
            return x
        blocks = -(-x.shape[-1] // self.size)
        shape = (1 if self.shared else x.shape[0], *x.shape[1:-1], blocks)
        drawn = keep_mask(shape, self.drop_prob, device=x.device, generator=self.generator)
        kept = drawn.repeat_interleave(self.size, -1)[..., : x.shape[-1]]
        return masked(x, kept, scale=keep_scale(self.drop_prob))


@regtorch.register("constraint", "box")
class Box(regtorch.Constraint):
    """The nearest weights within ``[-limit, limit]``.

    Args:
        limit: > 0.
    """

    def __init__(self, limit: float = 1.0) -> None:
        super().__init__()
        if not limit > 0:
            raise regtorch.SettingError(f"limit={limit} is not allowed: it must be a number > 0")
        self.limit = limit

    def forward(self, w: Tensor) -> Tensor:
        """Return the projection of one weight."""
        return w.clamp(-self.limit, self.limit)


regtorch.advise_against(
    lambda config: config["constraint"]["name"] == "box" and config["constraint"]["limit"] < 0.01,
    "a box of less than 0.01 leaves little capacity; try constraint.limit=0.1",
    "the authors of this example",
)
