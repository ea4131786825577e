"""The square of the sum of absolute values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from regtorch.functional.full_precision import full_precision, widened
from regtorch.functional.scaled import scaled
from regtorch.functional.sharded import is_sharded, local_shard, summed_over_shards


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
