"""Dropout of whole feature maps."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.spatial_dropout import spatial_dropout
from regtorch.registry import register


class _SpatialDropout(ProbabilityDropout):
    default_drop_prob: ClassVar[float] = 0.2
    whole_maps: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        self.check_maps(x)
        return spatial_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )


@register("dropout", "spatial1d")
class SpatialDropout1d(_SpatialDropout):
    """Zeroes whole maps of (batch, channels, length). See `regtorch.functional.spatial_dropout`.

    Args:
        drop_prob: probability that a map is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input of another shape.

    Example:
        >>> SpatialDropout1d(drop_prob=0.2)
        SpatialDropout1d(drop_prob=0.2, keep_prob=0.8)
    """

    spatial_dims: ClassVar[int | None] = 1


@register("dropout", "spatial2d")
class SpatialDropout2d(_SpatialDropout):
    """Zeroes whole maps of (batch, channels, height, width). See `regtorch.functional.spatial_dropout`.

    Args:
        drop_prob: probability that a map is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input of another shape.

    Example:
        >>> import torch
        >>> SpatialDropout2d(drop_prob=0.2)(torch.ones(3, 4))
        Traceback (most recent call last):
        regtorch.errors.SettingError: SpatialDropout2d takes (batch, channels, height, width), got shape (3, 4)
    """

    spatial_dims: ClassVar[int | None] = 2


@register("dropout", "spatial3d")
class SpatialDropout3d(_SpatialDropout):
    """Zeroes whole maps of (batch, channels, depth, height, width). See `regtorch.functional.spatial_dropout`.

    Args:
        drop_prob: probability that a map is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input of another shape.

    Example:
        >>> SpatialDropout3d(keep_prob=0.8)
        SpatialDropout3d(drop_prob=0.2, keep_prob=0.8)
    """

    spatial_dims: ClassVar[int | None] = 3
