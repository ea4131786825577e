"""Dropout that learns its probability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from regtorch.dropout.base import ProbabilityDropout
from regtorch.registry import register
from regtorch.settings import LEARNABLE, SWITCH_OR_NULL, Range, check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.full_precision import widened
from regtorch.tensor_ops.keep_mask import generator_kwargs, rows_shape
from regtorch.tensor_ops.sharded import as_plain, is_sharded

__all__ = ["ConcreteDropout", "concrete_dropout"]


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


@register("dropout", "concrete")
class ConcreteDropout(ProbabilityDropout):
    """Learns the probability to drop, along with the weights. See `regtorch.functional.concrete_dropout`.

    The loss alone drives the probability to zero: add a `WeightPenalty` of `regtorch.Concrete`, which keeps it above zero
    as far as the data permit. Monte Carlo prediction uses the learned probability.

    Args:
        drop_prob: initial probability, above 0 and below 1.
        keep_prob: 1 - drop_prob; give one of the two.
        temperature: temperature of the relaxation, > 0.
        whole_maps: whether feature maps are dropped as units, as in the paper before convolutions; None: only for
            (batch, channels, height, width) and volumes, not for (batch, time, features) and (batch, channels, length).

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range.

    Example:
        >>> drop = ConcreteDropout(drop_prob=0.1)
        >>> drop, [name for name, _ in drop.named_parameters()]
        (ConcreteDropout(drop_prob=0.1, keep_prob=0.9, temperature=0.1, whole_maps=None), ['logit'])
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "drop_prob": LEARNABLE,
        "keep_prob": LEARNABLE,
        "whole_maps": SWITCH_OR_NULL,
    }

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.1
    learned: ClassVar[bool] = True
    #: log p - log(1 - p) of the probability to drop
    if TYPE_CHECKING:  # torch.jit.script cannot handle a string annotation
        logit: nn.Parameter

    def __init__(
        self,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        temperature: float = 0.1,
        whole_maps: bool | None = None,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(*args, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        check(ranges=self.ranges, temperature=temperature, whole_maps=whole_maps)
        self.temperature = temperature
        self.whole_maps = whole_maps  # type: ignore[misc, assignment]

    @property
    def drop_prob(self) -> float:
        """Current probability to drop, to the six digits of float32; may be set at any time."""
        return float(f"{widened(as_plain(self.logit.detach())).double().sigmoid().item():.6g}")

    @drop_prob.setter
    def drop_prob(self, value: float) -> None:
        check(ranges=self.ranges, drop_prob=value)
        logit = math.log(value) - math.log1p(-value)
        if "logit" in self._parameters:
            with torch.no_grad():
                self.logit.fill_(logit)
        else:  # one dimension, as fully_shard does not support 0-dim parameters
            self.logit = nn.Parameter(torch.full((1,), logit))

    def extra_repr(self) -> str:
        """The settings, as the constructor takes them."""
        if self.logit.is_meta or is_sharded(self.logit):
            return f"drop_prob=learned, temperature={self.temperature}"
        return super().extra_repr()

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return concrete_dropout(
            x,
            logit=self.logit,
            temperature=self.temperature,
            whole_maps=self.whole_maps,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )
