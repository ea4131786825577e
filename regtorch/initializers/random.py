"""Random weights whose distribution does not depend on their shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regtorch.errors import SettingError
from regtorch.initializers.base import Initializer
from regtorch.registry import register
from regtorch.settings import check
from regtorch.tensor_ops.arguments import check_tensor

__all__ = ["RandomNormal", "RandomUniform", "TruncatedNormal", "truncated_normal_"]

#: standard deviation of a standard normal variable truncated at -2 and 2
TRUNCATED_STD = 0.87962566103423978


def truncated_normal_(
    w: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: torch.Generator | None = None
) -> Tensor:
    """Fill with ``mean + std * z``, where z is standard normal, truncated to |z| <= 2.

    The values are not rescaled: their standard deviation is ``0.8796 * std``. They are drawn in one pass by inverting the
    distribution function.

    Args:
        w: a tensor of any shape, float32 or wider; changed in place.
        mean: mean of the distribution.
        std: standard deviation before truncation.
        generator: source of all randomness; by default torch's own.

    Returns:
        `w`.

    Source: Keras' ``TruncatedNormal``.

    Example:
        >>> w = truncated_normal_(torch.empty(10_000), std=0.1)
        >>> bool(w.abs().max() <= 0.2)
        True
    """
    check_tensor(w, "truncated_normal_")
    inside = math.erf(math.sqrt(2.0))  # probability that |z| <= 2
    w.uniform_(-inside, inside, generator=generator)
    return w.erfinv_().mul_(math.sqrt(2.0)).clamp_(-2.0, 2.0).mul_(std).add_(mean)


@register("initializer", "truncated_normal")
class TruncatedNormal(Initializer):
    """Normal, truncated at two standard deviations and not rescaled. See `regtorch.functional.truncated_normal`.

    Args:
        mean: mean of the distribution.
        std: standard deviation before truncation, >= 0; after truncation it is 0.8796 times as large.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> bool(TruncatedNormal(std=0.1)(torch.empty(1000)).abs().max() <= 0.2)
        True
    """

    def __init__(self, mean: float = 0.0, std: float = 0.05) -> None:
        check(mean=mean, std=std)
        self.mean = mean
        self.std = std

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        truncated_normal_(w, self.mean, self.std, generator=generator)


@register("initializer", "random_normal")
class RandomNormal(Initializer):
    """Normal: ``mean + std * z``.

    Args:
        mean: mean of the distribution.
        std: standard deviation, >= 0.

    Raises:
        SettingError: a value outside its range.

    Example:
        >>> RandomNormal(mean=2.0, std=0.0)(torch.empty(2))
        tensor([2., 2.])
    """

    def __init__(self, mean: float = 0.0, std: float = 0.05) -> None:
        check(mean=mean, std=std)
        self.mean = mean
        self.std = std

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        w.normal_(self.mean, self.std, generator=generator)


@register("initializer", "random_uniform")
class RandomUniform(Initializer):
    """Uniform between `low` and `high`.

    Args:
        low: smallest value.
        high: largest value, not below `low`.

    Raises:
        SettingError: the bounds are not numbers, or `low` is above `high`.

    Example:
        >>> RandomUniform(low=2.0, high=2.0)(torch.empty(2))
        tensor([2., 2.])
    """

    def __init__(self, low: float = -0.05, high: float = 0.05) -> None:
        check(low=low, high=high)
        if low > high:
            raise SettingError(f"low={low} is not allowed: it must be at most high={high}")
        self.low = low
        self.high = high

    def fill(self, w: Tensor, generator: torch.Generator | None) -> None:
        """Fill a tensor of any shape in place."""
        w.uniform_(self.low, self.high, generator=generator)
