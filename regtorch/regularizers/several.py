"""Several regularizers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from regtorch.registry import create, register
from regtorch.regularizers.base import Regularizer
from regtorch.tensor_ops.full_precision import widened, zero_like
from regtorch.tensor_ops.sharded import is_sharded, local_shard
from regtorch.tensor_ops.summed import summed


@register("regularizer", "several")
class SeveralRegularizers(Regularizer):
    """The sum of several regularizers; `WeightPenalty` binds each to its own `where`.

    Args:
        rules: regularizers, or their configuration nodes.

    Raises:
        UnknownNameError: a node names no registered regularizer.

    Example:
        >>> import torch
        >>> several = SeveralRegularizers([{"name": "l1", "l1": 0.1, "where": "head*"}, {"name": "l2", "l2": 0.1}])
        >>> several(torch.tensor([1.0, -2.0]))
        tensor(0.8000)
    """

    def __init__(self, rules: Sequence[Regularizer | Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.rules = nn.ModuleList(create("regularizer", **r) if isinstance(r, Mapping) else r for r in rules)

    def settings(self) -> dict[str, Any]:
        """The rules' nodes."""
        return {"rules": [rule.to_config() for rule in self.parts()]}

    def parts(self) -> Sequence[Regularizer]:
        """The rules."""
        return [rule for rule in self.rules if isinstance(rule, Regularizer)]

    def forward(self, w: Tensor) -> Tensor:
        """The sum of all rules' penalties of one tensor."""
        if is_sharded(w):
            return self.total_of_sharded([w])
        wide = widened(w)  # once, so that half-precision gradients are summed in float32
        return summed([zero_like(wide), *(rule(wide) for rule in self.parts())])

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum of all rules' penalties of several tensors."""
        zero = zero_like(local_shard(weights[0]))
        return summed([zero, *(rule.total(weights) for rule in self.parts())])
