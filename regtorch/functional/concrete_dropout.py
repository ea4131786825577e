"""Dropout with a learned probability, by the concrete relaxation of its mask."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.functional.full_precision import widened
from regtorch.functional.generator_kwargs import generator_kwargs
from regtorch.functional.keep_mask import rows_shape


def concrete_dropout(
    x: Tensor,
    *,
    logit: Tensor,
    temperature: float = 0.1,
    whole_maps: bool | None = None,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Drop each unit almost completely or almost not, so that the probability has a gradient: ``x * (1 - z) / (1 - p)``.

    ``z = sigmoid((logit + log u - log(1 - u)) / temperature)`` with ``u`` uniform on (0, 1) and
    ``p = sigmoid(logit)``; z is above one half with probability exactly p, and tends to 0 or 1 as the temperature goes to 0.

    Args:
        x: any shape; dimension 0 is the batch.
        logit: ``log p - log(1 - p)`` of the probability p that a unit is dropped; shape (1,) or ().
        temperature: > 0; a smaller one is closer to ordinary dropout and has a larger variance of the gradient.
        whole_maps: whether one draw holds for a feature map of (batch, channels, *sizes); None: only for inputs with two
            or three sizes, as of convolutions, not for (batch, time, features).
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one draw for all rows instead of one each.

    Source: Gal, Hron and Kendall, "Concrete dropout", 2017.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> y = concrete_dropout(torch.ones(1000), logit=torch.tensor(0.0))  # at p = 0.5 kept units double
        >>> ((y < 0.1) | (y > 1.9)).float().mean() > 0.8
        tensor(True)
    """
    check_tensor(x, "concrete_dropout")
    if not training:
        return x
    shape = rows_shape(x, shared)
    if x.ndim >= 4 if whole_maps is None else whole_maps:
        shape = (*shape[:2], *[1] * (x.ndim - 2))
    u = torch.rand(shape, device=x.device, **generator_kwargs(generator))
    wide = widened(x)
    chance = widened(logit).to(x.device)
    kept = torch.sigmoid(-(chance + torch.logit(u).to(wide.dtype)) / temperature)  # 1 - z
    return (wide * (kept * (1 + chance.exp()))).to(x.dtype)  # 1 / (1 - p) = 1 + e^logit
