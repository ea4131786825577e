"""Dropout of an exact number of units."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import generator_kwargs, masked, random_bits, rows_shape
from regtorch.tensor_ops.transformed import transformed

__all__ = ["ExactCountDropout", "exact_count_dropout"]


def dropped_units(drop_prob: float, units: int) -> int:
    """``ceil(drop_prob * units)``, where a product within 1e-12 of an integer counts as that integer.

    Example:
        >>> dropped_units(0.07, 100), dropped_units(1 - 0.7, 10), dropped_units(1e-15, 10)
        (7, 3, 1)
    """
    exact = drop_prob * units
    return round(exact) if math.isclose(exact, round(exact), rel_tol=1e-12) else math.ceil(exact)


def exact_count_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero exactly ``k = ceil(drop_prob * n)`` of each sample's n units, scale the others by ``n / (n - k)``.

    Every choice of k units is equally likely.

    Args:
        x: (batch, *units).
        drop_prob: fraction of the units to drop, from 0 to 1; if all are dropped the result is zero.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Raises:
        SettingError: x has no batch dimension.

    Example:
        >>> exact_count_dropout(torch.ones(3, 10), drop_prob=0.5).sum(dim=1)
        tensor([10., 10., 10.])
    """
    check_tensor(x, "exact_count_dropout")
    if not training or drop_prob == 0:
        return x
    if x.ndim == 0:
        raise SettingError("exact-count dropout takes (batch, *units), got a tensor without dimensions")
    rows, *sample = rows_shape(x, shared)
    units = math.prod(sample)
    if torch.compiler.is_compiling():
        # no tensor has this count as its size, so a changing probability needs no recompilation
        kept = torch.arange(units, device=x.device) >= drop_prob * units * (1.0 - 1e-12)
        order = torch.rand((rows, units), device=x.device, **generator_kwargs(generator)).argsort(dim=1)
        mask = torch.empty_like(order, dtype=torch.bool).scatter(1, order, kept.expand(rows, units))
        return torch.where(mask.view(rows, *sample), x * (units / kept.sum().clamp(min=1)), 0.0)
    dropped = dropped_units(drop_prob, units)
    if not x.is_cpu or transformed():
        keys = torch.rand((rows, units), device=x.device, **generator_kwargs(generator))
    else:
        keys = random_bits(rows * units, torch.int32, generator).view(rows, units)
    keep_fewer = dropped > units // 2  # the smaller set is found faster
    chosen = keys.topk(units - dropped if keep_fewer else dropped, dim=1, sorted=False).indices
    mask = torch.full((rows, units), not keep_fewer, device=x.device).scatter(1, chosen, keep_fewer)
    return masked(x, mask.view(rows, *sample), scale=units / (units - dropped) if dropped < units else 0.0)


@register("dropout", "exact_count")
class ExactCountDropout(ProbabilityDropout):
    """Zeroes exactly ``ceil(drop_prob * n)`` of each sample's n units. See `regtorch.functional.exact_count_dropout`.

    Args:
        drop_prob: probability that a unit is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> import torch
        >>> ExactCountDropout(drop_prob=0.5)(torch.ones(3, 10)).sum(dim=1)
        tensor([10., 10., 10.])
    """

    effect = "scale"

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return exact_count_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
