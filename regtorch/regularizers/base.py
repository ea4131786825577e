"""The base of all regularizers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.rule import Rule
from regtorch.tensor_ops.full_precision import in_full_precision
from regtorch.tensor_ops.sharded import full_tensors, is_sharded
from regtorch.tensor_ops.summed import summed


class Regularizer(Rule):
    """A function of one tensor that returns a scalar. Subclass it and write `forward(w)`.

    Example:
        >>> import torch, regtorch
        >>> class Quartic(regtorch.Regularizer):
        ...     def __init__(self, strength: float) -> None:
        ...         super().__init__()
        ...         self.strength = strength
        ...
        ...     def forward(self, w):
        ...         return self.strength * w.pow(4).sum()
        >>> Quartic(0.5)(torch.ones(4))
        tensor(2.)
    """

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor, a 0-dim tensor."""
        raise TypeError(f"{type(self).__qualname__} must define forward(w)")

    def parts(self) -> Sequence[Regularizer]:
        """The rules to bind separately: the regularizer itself, or the rules that it combines."""
        return [self]

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors; a regularizer that can process all at once overrides this."""
        if any(map(is_sharded, weights)):
            return self.total_of_sharded(weights)
        return summed([in_full_precision(self, w) for w in weights])

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors, some of them DTensors, as a plain 0-dim tensor, equal on all processes.

        By default the shards are gathered together, and `forward` gets full tensors, as torch's own operations on shards
        are not always correct (the gradient of a maximum is not). A regularizer that needs less communication overrides
        this.
        """
        return self.total(full_tensors(*weights))
