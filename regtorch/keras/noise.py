"""Dropouts and noises: regtorch's own, with the same probability."""

from __future__ import annotations

from torch import nn

from regtorch.dropout.alpha_dropout import AlphaDropout
from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.feature_alpha_dropout import FeatureAlphaDropout
from regtorch.dropout.gaussian_dropout import GaussianDropout
from regtorch.dropout.gaussian_noise import GaussianNoise
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.keras.translation import Translation, Value, translates

_SPATIAL: tuple[type[ProbabilityDropout], ...] = (SpatialDropout1d, SpatialDropout2d, SpatialDropout3d)


def _drop_prob(t: Translation, below_one: bool = False) -> float:
    drop_prob = t.settings.number("rate", low=0, high=1)
    if below_one and drop_prob == 1:
        raise t.settings.wrong("rate", "below 1")
    return drop_prob


@translates("Dropout", "AlphaDropout")
def dropout(t: Translation) -> Value:
    """Of single units, or of whole maps where `noise_shape` says so."""
    alpha = t.layer.class_name == "AlphaDropout"
    drop_prob, x = _drop_prob(t, below_one=alpha), t.one()
    noise_shape = t.settings.get("noise_shape")
    if noise_shape is None or _whole(t, x, noise_shape, range(x.layout.rank)):
        return t.step((AlphaDropout if alpha else Dropout)(drop_prob=drop_prob), x, x.layout)
    rank = x.layout.rank - 1
    if not 1 <= rank <= len(_SPATIAL) or not _whole(t, x, noise_shape, [rank]):
        raise t.settings.wrong("noise_shape", "null, or drop whole feature maps: 1 for each but the batch and the last axis")
    x = t.plan.reordered(x, (rank, *range(rank)), t.layer.name)
    return t.step((FeatureAlphaDropout if alpha else _SPATIAL[rank - 1])(drop_prob=drop_prob), x, x.layout)


def _whole(t: Translation, x: Value, noise_shape: object, kept: object) -> bool:
    """Whether a mask of this shape has an entry of its own for each index along the `kept` axes, and only those."""
    if not isinstance(noise_shape, (list, tuple)) or len(noise_shape) != x.layout.rank + 1 or noise_shape[0] == 1:
        return False
    axes = list(kept)  # type: ignore[call-overload]
    return all(
        size in (None, x.layout.shape[axis]) if axis in axes else size == 1 or x.layout.shape[axis] == 1
        for axis, size in enumerate(noise_shape[1:])
    )


@translates("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
def spatial_dropout(t: Translation) -> Value:
    """Of whole feature maps."""
    rank = int(t.layer.class_name[-2])
    x, _ = t.maps(rank)
    return t.step(_SPATIAL[rank - 1](drop_prob=_drop_prob(t)), x, x.layout)


@translates("GaussianDropout")
def gaussian_dropout(t: Translation) -> Value:
    """Multiplicative noise."""
    x = t.one()
    return t.step(GaussianDropout(drop_prob=_drop_prob(t, below_one=True)), x, x.layout)


@translates("GaussianNoise")
def gaussian_noise(t: Translation) -> Value:
    """Additive noise."""
    x = t.one()
    return t.step(GaussianNoise(std=t.settings.number("stddev", low=0)), x, x.layout)


@translates("ActivityRegularization", "Identity")
def identity(t: Translation) -> Value:
    """Gives on what it gets; the penalty on it is bound like any other layer's."""
    x = t.one()
    return t.step(nn.Identity(), x, x.layout)
