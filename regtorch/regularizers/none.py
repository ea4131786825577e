"""No regularizer."""

from collections.abc import Sequence

from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.tensor_ops.full_precision import zero_like
from regtorch.tensor_ops.sharded import local_shard


@register("regularizer", "none")
class NoRegularizer(Regularizer):
    """Zero for all weights; its penalty is bound to nothing.

    Example:
        >>> import torch
        >>> NoRegularizer()(torch.ones(3))
        tensor(0.)
    """

    def parts(self) -> Sequence[Regularizer]:
        """No rules to bind."""
        return []

    def forward(self, w: Tensor) -> Tensor:
        """A 0-dim zero."""
        return zero_like(local_shard(w))
