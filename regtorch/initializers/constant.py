"""Weights that are not random."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.functional.identity_kernel import identity_kernel_
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check


@register("initializer", "constant")
class Constant(Initializer):
    """One value everywhere.

    Args:
        value: the value.

    Raises:
        SettingError: the value is not a number.

    Example:
        >>> Constant(0.5)(torch.empty(2))
        tensor([0.5000, 0.5000])
    """

    def __init__(self, value: float = 0.0) -> None:
        check(value=value)
        self.value = value

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        w.fill_(self.value)


@register("initializer", "identity")
class Identity(Initializer):
    """The identity times `gain`. See `regtorch.functional.identity_kernel`.

    Args:
        gain: factor of the input.

    Raises:
        SettingError: a gain that is not a number.

    Example:
        >>> Identity()(torch.empty(2, 2))
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        check(gain=gain)
        self.gain = gain

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a weight (out, in, *kernel) in place."""
        identity_kernel_(w, self.gain)


@register("initializer", "zeros")
class Zeros(Initializer):
    """Zeros."""

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        w.zero_()


@register("initializer", "ones")
class Ones(Initializer):
    """Ones."""

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        w.fill_(1.0)
