"""Dropouts and noises: regtorch's modules with the same probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from regtorch.dropout.alpha_dropout import AlphaDropout, alpha_masked
from regtorch.dropout.base import ProbabilityDropout
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.gaussian_dropout import GaussianDropout
from regtorch.dropout.gaussian_noise import GaussianNoise
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates
from regtorch.tensor_ops.keep_mask import keep_mask, masked

_SPATIAL: tuple[type[ProbabilityDropout], ...] = (SpatialDropout1d, SpatialDropout2d, SpatialDropout3d)


def _drop_prob(t: Translation, below_one: bool = False) -> float:
    drop_prob = t.settings.number("rate", low=0, high=1)
    if below_one and drop_prob == 1:
        raise t.settings.wrong("rate", "below 1")
    return drop_prob


class SharedMaskDropout(ProbabilityDropout):
    """Dropout whose mask is shared along some dimensions, as with Keras' ``noise_shape``.

    Args:
        drop_prob: probability that an entry of the mask drops, from 0 to 1.
        keep_prob: 1 - drop_prob; give one of the two.
        shared_dims: the dimensions along which the mask is shared; 0 is the batch.
        alpha: whether it preserves mean 0 and variance 1, like alpha dropout.
    """

    def __init__(self, *args: NoReturn, shared_dims: Sequence[int] = (), alpha: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.shared_dims = tuple(shared_dims)
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape as `x`; `x` itself in eval mode."""
        if not self.training or self.drop_prob == 0:
            return x
        shared_dims = {*self.shared_dims, *([0] if self.shared else [])}
        shape = [1 if dim in shared_dims else size for dim, size in enumerate(x.shape)]
        mask = keep_mask(shape, self.drop_prob, device=x.device, generator=self.generator)
        if self.alpha:
            return alpha_masked(x, mask, self.drop_prob)
        return masked(x, mask, scale=1 / self.keep_prob if self.keep_prob else 0.0)


@translates("Dropout", "AlphaDropout")
def dropout(t: Translation) -> Value:
    """Dropout of single units, or with a mask that is shared according to `noise_shape`."""
    alpha = t.layer.class_name == "AlphaDropout"
    drop_prob, x = _drop_prob(t, below_one=alpha), t.one()
    axes = _shared_axes(t, x)
    if not axes:
        return t.step((AlphaDropout if alpha else Dropout)(drop_prob=drop_prob), x, x.layout)
    if x.layout.features is not None:
        x = t.plan.in_keras_order(x, t.layer.name)
    dims = sorted(0 if axis == 0 else x.layout.dim(axis - 1) for axis in axes)
    return t.step(SharedMaskDropout(drop_prob=drop_prob, shared_dims=dims, alpha=alpha), x, x.layout)


def _shared_axes(t: Translation, x: Value) -> list[int]:
    """The axes along which the mask is shared according to `noise_shape`; 0 is the batch."""
    noise_shape = t.settings.get("noise_shape")
    if noise_shape is None:
        return []
    sizes = (None, *x.layout.shape)
    if not isinstance(noise_shape, (list, tuple)) or len(noise_shape) != len(sizes):
        raise t.settings.wrong("noise_shape", f"null or {len(sizes)} sizes")
    if any(
        size not in (None, 1, full) and axis for axis, (size, full) in enumerate(zip(noise_shape, sizes, strict=True))
    ):
        raise t.settings.wrong("noise_shape", f"null, 1 or the size itself for each entry of {sizes}")
    return [axis for axis, size in enumerate(noise_shape) if size == 1 and sizes[axis] != 1]


@translates("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
def spatial_dropout(t: Translation) -> Value:
    """Dropout of complete feature maps."""
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
    """No operation. An activity penalty is bound as for other layers."""
    x = t.one()
    return t.step(nn.Identity(), x, x.layout)
