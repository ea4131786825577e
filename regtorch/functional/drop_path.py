"""Stochastic depth: dropout of branches."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.dropout import keep_scale
from regtorch.functional.keep_mask import feature_mask
from regtorch.functional.masked import masked


def drop_path(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each sample's full tensor with probability `drop_prob`, scale the others by ``1 / (1 - drop_prob)``.

    For the branch of a residual block: ``x + drop_path(branch(x), ...)``.

    Args:
        x: (batch, *units).
        drop_prob: probability that a sample's branch is dropped, from 0 to 1; at 1 the result is zero.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one draw for all rows instead of one each.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> drop_path(torch.ones(100, 3), drop_prob=0.5).sum(dim=1).unique()
        tensor([0., 6.])
    """
    check_tensor(x, "drop_path")
    if not training or drop_prob == 0:
        return x
    mask = feature_mask(x, drop_prob, dims=1, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob))
