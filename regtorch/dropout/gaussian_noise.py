"""Additive Gaussian noise."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from regtorch.dropout.base import Noise
from regtorch.functional.gaussian_noise import gaussian_noise
from regtorch.registry import register
from regtorch.settings import check


@register("dropout", "gaussian_noise")
class GaussianNoise(Noise):
    """Adds ``N(0, std^2)``. See `regtorch.functional.gaussian_noise`.

    Args:
        std: standard deviation of the noise, >= 0; not a probability, hence the separate name.

    Raises:
        NamingError: an argument by position or by another name.
        SettingError: a value outside its range.

    Example:
        >>> GaussianNoise(std=0.1)
        GaussianNoise(std=0.1)
    """

    effect = "affine"

    def __init__(self, *args: NoReturn, std: float = 0.1, **unknown: NoReturn) -> None:
        super().__init__()
        self.refuse(args, unknown)
        self.std = std

    @property
    def std(self) -> float:
        """Standard deviation of the noise; may be set at any time."""
        return self._std

    @std.setter
    def std(self, value: float) -> None:
        check(std=value)
        self._std = float(value)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return gaussian_noise(x, std=self.std, training=self.training, generator=self.generator, shared=self.shared)
