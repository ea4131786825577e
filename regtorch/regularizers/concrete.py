"""The penalty that goes with concrete dropout."""

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
    """What makes `ConcreteDropout` learn a probability above zero. See `regtorch.functional.concrete`.

    `WeightPenalty` pairs each `ConcreteDropout` with the kernels of the layers that take what it gives, several if they
    stand side by side. Where the model cannot be traced, or adds what is dropped to something else first, that is the
    kernel that comes next in the order in which the model registers its modules. `names` of the penalty shows the pairs.
    A kernel without a dropout has p = 0, which is L2.

    With N rows of training data, a prior of length scale l, and a loss that is the mean negative log-likelihood, such as
    cross entropy, the strengths of the paper are ``weight_regularizer = l^2 / (2 N)`` and ``dropout_regularizer = 1 / N``.

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
        ['0.weight', '3.weight behind 2']
    """

    def __init__(self, weight_regularizer: float = 1e-6, dropout_regularizer: float = 1e-5) -> None:
        super().__init__()
        check(weight_regularizer=weight_regularizer, dropout_regularizer=dropout_regularizer)
        self.weight_regularizer = float(weight_regularizer)
        self.dropout_regularizer = float(dropout_regularizer)

    def forward(self, w: Tensor) -> Tensor:
        """The penalty of one kernel that no concrete dropout is in front of."""
        return l2(w, l2=self.weight_regularizer)

    def total(self, weights: Sequence[Tensor]) -> Tensor:
        """All such kernels in one autograd function."""
        return l2(*weights, l2=self.weight_regularizer)

    def behind(self, w: Tensor, logits: Sequence[Tensor], units: Sequence[int]) -> Tensor:
        """The penalty of a kernel behind concrete dropouts of these logits, each of which drops so many units."""
        return concrete(
            w,
            *logits,
            units=units,
            weight_regularizer=self.weight_regularizer,
            dropout_regularizer=self.dropout_regularizer,
        )
