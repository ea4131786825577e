"""Dropout with one mask for all time steps of a sequence."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import keep_scale
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import keep_mask, masked

__all__ = ["VariationalDropout", "variational_dropout"]


def variational_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    batch_first: bool = True,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each feature of a sequence at all time steps with probability `drop_prob`: ``x * mask / (1 - drop_prob)``.

    Also known as locked dropout. The mask has no time dimension, so a recurrent network sees the same thinned network
    from the first step to the last. It applies to inputs and outputs of recurrent layers; the hidden state inside torch's
    layers is out of its reach.

    Args:
        x: (batch, time, features); or (batch, features), a single step.
        drop_prob: probability that a feature is dropped, from 0 to 1; at 1 the result is zero.
        batch_first: False if sequences are (time, batch, features), as torch's recurrent layers have them by default.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Raises:
        SettingError: an input of another shape.

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> variational_dropout(torch.ones(1, 3, 4), drop_prob=0.5).unique(dim=1).shape  # all three steps are equal
        torch.Size([1, 1, 4])
    """
    check_tensor(x, "variational_dropout")
    if x.ndim not in (2, 3):
        wanted = "(batch, time, features)" if batch_first else "(time, batch, features)"
        raise SettingError(f"variational dropout takes {wanted} or (batch, features), got shape {tuple(x.shape)}")
    if not training or drop_prob == 0:
        return x
    shape = list(x.shape)
    rows, time = (0, 1) if batch_first or x.ndim == 2 else (1, 0)
    if x.ndim == 3:
        shape[time] = 1
    if shared:
        shape[rows] = 1
    mask = keep_mask(shape, drop_prob, device=x.device, generator=generator)
    return masked(x, mask, scale=keep_scale(drop_prob))


@register("dropout", "variational")
class VariationalDropout(ProbabilityDropout):
    """Zeroes the same features at all time steps (locked dropout). See `regtorch.functional.variational_dropout`.

    Args:
        drop_prob: probability that a feature is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.
        batch_first: False if sequences are (time, batch, features).

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input of another shape.

    Example:
        >>> VariationalDropout(drop_prob=0.5)
        VariationalDropout(drop_prob=0.5, keep_prob=0.5, batch_first=True)
    """

    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.5
    of_sequences: ClassVar[bool] = True

    def __init__(
        self,
        *args: NoReturn,
        drop_prob: float | None = None,
        keep_prob: float | None = None,
        batch_first: bool = True,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(*args, drop_prob=drop_prob, keep_prob=keep_prob, **unknown)
        check(batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return variational_dropout(
            x,
            drop_prob=self.drop_prob,
            batch_first=self.batch_first,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )
