"""A penalty on the number of large weights, whatever their scale."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import full_precision
from regtorch.tensor_ops.sharded import full_tensors
from regtorch.tensor_ops.summed import scaled

__all__ = ["HoyerSquare", "hoyer_square"]


@full_precision
def hoyer_square(w: Tensor, /, strength: float) -> Tensor:
    """Square of the ratio of the L1 to the L2 norm: ``strength * (sum|w|)^2 / sum w^2``.

    The ratio is between 1 (one weight is not zero) and the number of weights (all have the same size). It does not
    depend on the scale of the weights, so that it makes them sparse without shrinking the large ones.

    Args:
        w: any shape.
        strength: penalty of a tensor with one weight that is not zero.

    Returns:
        A 0-dim tensor, float32 or wider; 0 with gradient 0 if all weights are zero.

    Source: Yang, Wen and Li, "DeepHoyer: learning sparser neural network with differentiable scale-invariant sparsity
    measures", 2020.

    Example:
        >>> hoyer_square(torch.tensor([2.0, -2.0, 0.0]), strength=0.1)
        tensor(0.2000)
    """
    (w,) = full_tensors(w)
    if not w.numel():
        return scaled(w.abs().sum(), 0.0)
    largest = w.detach().abs().amax()  # so that squares neither overflow nor vanish
    w = w / torch.where(largest > 0, largest, 1.0)
    squares = (w * w.conj()).real.sum()  # not those of |w|, whose second derivative at 0 is 0
    return scaled(w.abs().sum().square() / torch.where(squares > 0, squares, 1.0), strength)


@register("regularizer", "hoyer_square")
class HoyerSquare(Regularizer):
    """Sparsity at any scale: ``strength * (sum|w|)^2 / sum w^2`` per tensor. See `regtorch.functional.hoyer_square`.

    Args:
        strength: penalty of a tensor with one weight that is not zero, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> HoyerSquare(0.1)(torch.tensor([2.0, -2.0, 0.0]))
        tensor(0.2000)
    """

    def __init__(self, strength: float = 1e-4) -> None:
        super().__init__()
        check(strength=strength)
        self.strength = float(strength)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        return hoyer_square(w, strength=self.strength)
