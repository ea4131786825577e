"""No regularizer."""

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.full_precision import zero_like
from regtorch.functional.sharded import local_shard
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer


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
