"""The squared L1 penalty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import full_precision, widened
from regtorch.tensor_ops.sharded import is_sharded, local_shard, summed_over_shards
from regtorch.tensor_ops.summed import scaled

__all__ = ["SquaredL1", "squared_l1"]


@full_precision
def squared_l1(w: Tensor, /, factor: float) -> Tensor:
    """Squared L1 norm: ``factor * (sum|w|)^2``.

    The gradient of each weight grows with the tensor's L1 norm, so large tensors shrink much faster.

    Args:
        w: a tensor of any shape.
        factor: strength.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: the exclusive lasso of Zhou, Jin and Hoi, 2010, with one group.

    Example:
        >>> import torch
        >>> squared_l1(torch.tensor([1.0, -2.0, 0.0]), factor=0.1)
        tensor(0.9000)
    """
    return squared_l1_total([w], factor) if is_sharded(w) else scaled(w.abs().sum().square(), factor)


def squared_l1_total(weights: Sequence[Tensor], factor: float) -> Tensor:
    """The sum of `squared_l1` over weights, some of them sharded, with one reduction of a number each."""
    sums = [widened(local_shard(w)).abs().sum() for w in weights]
    return factor * torch.stack(summed_over_shards(sums, weights)).square().sum()


@register("regularizer", "squared_l1")
class SquaredL1(Regularizer):
    """Square of the L1 norm, per tensor: ``factor * (sum|w|)^2``. See `regtorch.functional.squared_l1`.

    Args:
        factor: strength, >= 0.

    Raises:
        SettingError: a negative factor.

    Example:
        >>> import torch
        >>> SquaredL1(0.1)(torch.tensor([1.0, -2.0]))
        tensor(0.9000)
    """

    def __init__(self, factor: float = 0.001) -> None:
        super().__init__()
        check(factor=factor)
        self.factor = float(factor)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return squared_l1(w, factor=self.factor)

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, with one reduction for all."""
        return squared_l1_total(weights, self.factor)
