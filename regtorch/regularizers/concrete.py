"""The penalty for concrete dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from regtorch.registry import register
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.l1_l2 import l2
from regtorch.settings import check
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.summed import scaled

__all__ = ["Concrete", "concrete"]


def concrete(
    w: Tensor,
    *logits: Tensor,
    units: int | Sequence[int],
    weight_regularizer: float = 1e-6,
    dropout_regularizer: float = 1e-5,
) -> Tensor:
    """``weight_regularizer * sum w^2 / (1 - p) + dropout_regularizer * units * (p log p + (1 - p) log(1 - p))``.

    The divergence of dropout's approximate posterior from a normal prior on the weights: large weights favor a small p,
    the entropy of the mask favors one half.

    Args:
        w: the kernel of the layer after the dropout.
        *logits: ``log p - log(1 - p)`` of the dropout; for several in a row the entropies add up, and the keep
            probabilities multiply; without any, p is 0.
        units: number of units that are dropped or kept, the inputs of the layer; one per dropout, or one for all.
        weight_regularizer: strength of the squares.
        dropout_regularizer: strength of the entropy.

    Returns:
        A 0-dim tensor, float32 or wider.

    Source: Gal, Hron and Kendall, "Concrete dropout", 2017, equations 3 and 4.

    Example:
        >>> import torch
        >>> concrete(torch.ones(3, 2), torch.tensor([0.0]), units=2, weight_regularizer=0.1, dropout_regularizer=0.0)
        tensor(1.2000)
    """
    total = l2(w, l2=weight_regularizer)
    for logit in logits:
        total = total * (1 + widened(logit).exp().sum())
    for logit, count in zip(logits, [units] * len(logits) if isinstance(units, int) else units, strict=True):
        wide = widened(logit)
        # p log p + (1 - p) log(1 - p) = p logit + log(1 - p)
        total = total + scaled((wide.sigmoid() * wide - F.softplus(wide)).sum(), dropout_regularizer * count)
    return total


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
