"""Dropout with one mask for all time steps of a sequence."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.variational_dropout import variational_dropout
from regtorch.registry import register
from regtorch.settings import check


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
