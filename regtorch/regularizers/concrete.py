"""The penalty for concrete dropout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regtorch.functional.concrete import concrete
from regtorch.functional.l2 import l2
from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.settings import check


@register("regularizer", "concrete")
class Concrete(Regularizer):
    """Makes `ConcreteDropout` learn a probability above zero. See `regtorch.functional.concrete`.

    `WeightPenalty` pairs each `ConcreteDropout` with the kernels of the layers that receive its output, several if the
    layers are parallel. If the model cannot be traced, or first adds the dropped tensor to another one, the next kernel in
    the order in which the model registers its modules is used. `names` of the penalty shows the pairs. A kernel without a
    dropout has p = 0, which is L2.

    With N training rows, a prior of length scale l, and the mean negative log-likelihood as loss, such as cross entropy,
    the strengths of the paper are ``weight_regularizer = l^2 / (2 N)`` and ``dropout_regularizer = 1 / N``.

    Args:
        weight_regularizer: strength of ``sum w^2 / (1 - p)``, >= 0.
        dropout_regularizer: strength of ``units * (p log p + (1 - p) log(1 - p))``, >= 0.

    Raises:
        SettingError: a negative strength.

    Example:
        >>> import regtorch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), regtorch.ConcreteDropout(drop_prob=0.1), nn.Linear(8, 1))
        >>> regtorch.WeightPenalty(model, Concrete(dropout_regularizer=1e-3)).names
        ['0.weight', '3.weight after 2']
    """

    def __init__(self, weight_regularizer: float = 1e-6, dropout_regularizer: float = 1e-5) -> None:
        super().__init__()
        check(weight_regularizer=weight_regularizer, dropout_regularizer=dropout_regularizer)
        self.weight_regularizer = float(weight_regularizer)
        self.dropout_regularizer = float(dropout_regularizer)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of a kernel without a preceding concrete dropout."""
        return l2(w, l2=self.weight_regularizer)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty of several such kernels, in one autograd function."""
        return l2(*weights, l2=self.weight_regularizer)

    def penalty_after_dropouts(self, w: Tensor, logits: Sequence[Tensor], units: Sequence[int]) -> Tensor:
        """The penalty of a kernel after concrete dropouts with these logits and numbers of units."""
        return concrete(
            w,
            *logits,
            units=units,
            weight_regularizer=self.weight_regularizer,
            dropout_regularizer=self.dropout_regularizer,
        )
