"""The penalty on a learned dropout probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from regtorch.functional.full_precision import widened
from regtorch.functional.l2 import l2
from regtorch.functional.scaled import scaled


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
