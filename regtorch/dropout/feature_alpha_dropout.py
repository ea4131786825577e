"""Alpha dropout of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from regtorch.dropout.alpha_dropout import alpha_masked
from regtorch.dropout.base import ProbabilityDropout
from regtorch.errors import SettingError
from regtorch.registry import register
from regtorch.settings import NEEDS_SOME_KEPT, Range
from regtorch.tensor_ops.arguments import check_tensor
from regtorch.tensor_ops.keep_mask import feature_mask

__all__ = ["FeatureAlphaDropout", "feature_alpha_dropout"]


def feature_alpha_dropout(
    x: Tensor,
    *,
    drop_prob: float,
    training: bool = True,
    generator: torch.Generator | None = None,
    shared: bool = False,
) -> Tensor:
    """Alpha dropout that sets entire channels to SELU's saturation value. See `alpha_dropout`.

    Args:
        x: (batch, channels, *sizes), the sizes are optional.
        drop_prob: probability that a channel is dropped, from 0 to below 1.
        training: False returns `x` unchanged.
        generator: source of all randomness; by default torch's own.
        shared: one mask for all rows instead of one each.

    Raises:
        SettingError: x has no channels.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    Example:
        >>> feature_alpha_dropout(torch.randn(2, 3, 8, 8), drop_prob=0.2).shape
        torch.Size([2, 3, 8, 8])
    """
    check_tensor(x, "feature_alpha_dropout")
    if x.ndim < 2:
        raise SettingError(f"feature alpha dropout takes (batch, channels, *sizes), got {tuple(x.shape)}")
    if not training or drop_prob == 0:
        return x
    return alpha_masked(x, feature_mask(x, drop_prob, dims=2, generator=generator, shared=shared), drop_prob)


@register("dropout", "feature_alpha")
class FeatureAlphaDropout(ProbabilityDropout):
    """Alpha dropout of channels. See `regtorch.functional.feature_alpha_dropout`.

    Args:
        drop_prob: probability that a channel is dropped, from 0 to below 1.
        keep_prob: 1 - drop_prob; give one of the two.

    Raises:
        NamingError: an argument by position or by another name, both probabilities, or neither.
        SettingError: a value outside its range, or an input without channels.

    Example:
        >>> FeatureAlphaDropout(drop_prob=0.1)
        FeatureAlphaDropout(drop_prob=0.1, keep_prob=0.9)
    """

    ranges: ClassVar[Mapping[str, Range]] = NEEDS_SOME_KEPT

    effect = "affine"
    default_drop_prob: ClassVar[float] = 0.1
    whole_maps: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return feature_alpha_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
