"""Dropout of feature maps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import keep_scale
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import feature_mask, masked

__all__ = ["SpatialDropout1d", "SpatialDropout2d", "SpatialDropout3d", "spatial_dropout"]


def spatial_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    draw_dims: int = 2,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Zero each feature map with probability `drop_prob`, scale the others by ``1 / (1 - drop_prob)``.

    Neighboring pixels are so similar that dropping single ones removes little information.

    Args:
        x: (batch, channels, *sizes).
        drop_prob: probability that a map is dropped, from 0 to 1; at 1 the result is zero.
        draw_dims: number of leading dimensions with separate draws; 1 if there is no batch dimension.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> spatial_dropout(torch.ones(1, 4, 2, 2), drop_prob=0.5).sum(dim=(2, 3)).unique()
        tensor([0., 8.])
    """
    check_tensor(x, "spatial_dropout")
    if not training or drop_prob == 0:
        return x
    mask = feature_mask(x, drop_prob, dims=draw_dims, generator=generator, shared=shared)
    return masked(x, mask, scale=keep_scale(drop_prob))


class _SpatialDropout(ProbabilityDropout):
    effect = "scale"
    default_drop_prob: ClassVar[float] = 0.2
    whole_maps: ClassVar[bool] = True

    #: description of the accepted shapes
    takes: ClassVar[str] = ""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        draw_dims = self._draw_dims(x.ndim)
        if draw_dims is None:
            raise SettingError(f"{type(self).__name__} takes {self.takes}, got shape {tuple(x.shape)}")
        return spatial_dropout(
            x,
            drop_prob=self.drop_prob,
            draw_dims=draw_dims,
            training=self.training,
            generator=self.generator,
            shared=self.shared,
        )

    def _draw_dims(self, ndim: int) -> int | None:
        """Number of leading dimensions with separate draws, as in torch, for an input of `ndim` dimensions; None: invalid."""
        raise TypeError(f"{type(self).__qualname__} must define _draw_dims()")


@register("dropout", "spatial1d")
class SpatialDropout1d(_SpatialDropout):
    """Zeroes feature maps of (batch, channels, length). See `regtorch.functional.spatial_dropout`.

    Two dimensions are read as (channels, length), as by ``nn.Dropout1d``.

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
    takes: ClassVar[str] = "(batch, channels, length) or (channels, length)"

    def _draw_dims(self, ndim: int) -> int | None:
        return {2: 1, 3: 2}.get(ndim)


@register("dropout", "spatial2d")
class SpatialDropout2d(_SpatialDropout):
    """Zeroes feature maps of (batch, channels, height, width). See `regtorch.functional.spatial_dropout`.

    Any number of sizes is allowed, also none, as with ``nn.Dropout2d``.

    Args:
        drop_prob: probability that a map is dropped, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input of another shape.

    Example:
        >>> import torch
        >>> SpatialDropout2d(drop_prob=0.2)(torch.ones(3))
        Traceback (most recent call last):
        regtorch.errors.SettingError: SpatialDropout2d takes (batch, channels, *sizes), got shape (3,)
    """

    spatial_dims: ClassVar[int | None] = 2
    takes: ClassVar[str] = "(batch, channels, *sizes)"

    def _draw_dims(self, ndim: int) -> int | None:
        return 2 if ndim >= 2 else None


@register("dropout", "spatial3d")
class SpatialDropout3d(_SpatialDropout):
    """Zeroes feature maps of (batch, channels, depth, height, width). See `regtorch.functional.spatial_dropout`.

    Any other number of dimensions is read as (channels, *sizes), as by ``nn.Dropout3d``.

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
    takes: ClassVar[str] = "(batch, channels, depth, height, width) or (channels, *sizes)"

    def _draw_dims(self, ndim: int) -> int | None:
        return 2 if ndim == 5 else 1 if ndim >= 1 else None
