"""Weights that are not random."""

from __future__ import annotations

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor

__all__ = ["Constant", "Identity", "Ones", "Zeros", "identity_kernel_"]


def identity_kernel_(w: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with ``gain * 1``: output unit i is ``gain`` times input i; for convolutions at the center of the kernel.

    Args:
        w: a matrix (out, in) or a kernel (out, in, *kernel); changed in place. Units beyond the inputs output 0.
        gain: factor of the input.

    Returns:
        `w`.

    Raises:
        SettingError: a tensor of fewer than two dimensions.

    Source: Keras' ``Identity`` (matrices); Zagoruyko and Komodakis, "DiracNets", 2017 (convolutions).

    Example:
        >>> import torch
        >>> identity_kernel_(torch.empty(2, 3), gain=0.5)
        tensor([[0.5000, 0.0000, 0.0000],
                [0.0000, 0.5000, 0.0000]])
    """
    check_tensor(w, "identity_kernel_")
    if w.ndim < 2:
        raise SettingError(f"identity weights need two dimensions or more, not the shape {tuple(w.shape)}")
    every = slice(None)
    at_center: tuple[slice | int, ...] = (every, every, *(size // 2 for size in w.shape[2:]))
    w.zero_()[at_center].diagonal().fill_(gain)
    return w


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
