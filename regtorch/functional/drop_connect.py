"""Dropout of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.dropout import dropout


def drop_connect(
    w: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each weight with probability `drop_prob`, scale the others: ``w * mask / (1 - drop_prob)``.

    Args:
        w: a weight of any shape.
        drop_prob: probability that a weight is dropped, from 0 to 1; at 1 the result is zero.
        training: False returns `w` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: accepted as by the other dropouts, but without effect, as a weight's mask holds for all rows anyway.

    Source: Wan et al., "Regularization of neural networks using DropConnect", 2013.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_connect(torch.ones(8, 8), drop_prob=0.5).unique()
        tensor([0., 2.])
    """
    check_tensor(w, "drop_connect")
    return dropout(w, drop_prob=drop_prob, training=training, generator=generator)
