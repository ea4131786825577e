"""Alpha dropout of channels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regtorch.dropout.base import ProbabilityDropout
from regtorch.functional.feature_alpha_dropout import feature_alpha_dropout
from regtorch.registry import register


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

    effect = "affine"
    default_drop_prob: ClassVar[float] = 0.1
    whole_maps: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`; `x` itself in evaluation."""
        return feature_alpha_dropout(
            x, drop_prob=self.drop_prob, training=self.training, generator=self.generator, shared=self.shared
        )
