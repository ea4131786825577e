"""Weights of the identity map."""

from __future__ import annotations

from torch import Tensor

from regtorch.arguments import check_tensor
from regtorch.errors import SettingError


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
