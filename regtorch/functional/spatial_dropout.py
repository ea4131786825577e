"""Dropout of feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.dropout import keep_scale
from regtorch.functional.keep_mask import feature_mask
from regtorch.functional.masked import masked


def spatial_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    draw_dims: int = 2,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each feature map with probability `drop_prob`, scale the others by ``1 / (1 - drop_prob)``.

    Neighboring pixels are so similar that dropping single ones removes little information.

    Args:
        x: (batch, channels, *sizes).
        drop_prob: probability that a map is dropped, from 0 to 1; at 1 the result is zero.
        draw_dims: number of leading dimensions with separate draws; 1 if there is no batch dimension.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> spatial_dropout(torch.ones(1, 4, 2, 2), drop_prob=0.5).sum(dim=(2, 3)).unique()
        tensor([0., 8.])
    """
    check_tensor(x, "spatial_dropout")
    if not training or drop_prob == 0:
        return x
    mask = feature_mask(x, drop_prob, dims=draw_dims, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob))
