"""The base of all regularizers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.full_precision import in_full_precision
from regtorch.functional.sharded import is_sharded, wholes
from regtorch.functional.summed import summed
from regtorch.rule import Rule


class Regularizer(Rule):
    """A function of one tensor that gives a scalar. Subclass it and write `forward(w)`.

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
        """The rules to bind one by one: itself, unless it stands for several or for none."""
        return [self]

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors; a regularizer that can do all at once overrides this."""
        if any(map(is_sharded, weights)):
            return self.total_of_sharded(weights)
        return summed([in_full_precision(self, w) for w in weights])

    def total_of_sharded(self, weights: Sequence[Tensor]) -> Tensor:
        """The sum over several tensors of which some are DTensors, as a plain 0-dim tensor, the same on all processes.

        As it stands, the shards are gathered, all at once, and `forward` sees full tensors: what torch does on its own
        with shards is not always right (the gradient of a maximum is not). A regularizer that needs less overrides this.
        """
        return self.total(wholes(*weights))
