"""Batch, layer and group normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from regtorch.keras.layout import same_arrangement
from regtorch.keras.plan import Value
from regtorch.keras.translation import Translation, translates
from regtorch.models.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d


class _Frozen(nn.Module):
    """Batch normalization that is not trainable: it uses its moving statistics in training, too, as in Keras."""

    def train(self, mode: bool = True) -> Any:
        """Stay in eval mode."""
        return super().train(False)


class FrozenBatchNorm1d(_Frozen, BatchNorm1d):
    """Frozen batch normalization of (batch, features) or (batch, channels, length)."""


class FrozenBatchNorm2d(_Frozen, BatchNorm2d):
    """Frozen batch normalization of (batch, channels, height, width)."""


class FrozenBatchNorm3d(_Frozen, BatchNorm3d):
    """Frozen batch normalization of (batch, channels, depth, height, width)."""


_TRAINED: Sequence[Any] = (BatchNorm1d, BatchNorm1d, BatchNorm2d, BatchNorm3d)
_FROZEN: Sequence[Any] = (FrozenBatchNorm1d, FrozenBatchNorm1d, FrozenBatchNorm2d, FrozenBatchNorm3d)


def _axes(t: Translation, x: Value) -> tuple[int, ...]:
    """The axes of the setting `axis`; 0 is the first after the batch."""
    axes = t.settings.axes("axis", x.layout.rank + 1)
    if 0 in axes:
        raise t.settings.wrong("axis", "axes other than the batch axis")
    return tuple(axis - 1 for axis in axes)


def _axis_first(t: Translation, x: Value) -> tuple[Value, int, int]:
    """The input with the normalized axis directly after the batch in torch, that axis, and its size."""
    axes = _axes(t, x)
    if len(axes) != 1:
        raise t.settings.wrong("axis", "one axis")
    [axis] = axes
    if x.layout.order[0] != axis:
        order = (axis, *(other for other in range(x.layout.rank) if other != axis))
        x = t.plan.reordered(x, order, t.layer.name)
    return x, axis, t.size(x, axis)


def _scale_and_shift(t: Translation, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    wanted = {"gamma": t.settings.flag("scale", True), "beta": t.settings.flag("center", True)}
    return {name: shape for name, present in wanted.items() if present}


def _without_missing(module: nn.Module, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    for name, attribute in (("gamma", "weight"), ("beta", "bias")):
        if name not in shapes:
            module.register_parameter(attribute, None)
    return module


@translates("BatchNormalization")
def batch_normalization(t: Translation) -> Value:
    """Keras' defaults: a momentum of 0.99 and an epsilon of 1e-3. The moving variance is that of the biased variance."""
    x = t.one()
    t.settings.refuse(renorm=False)
    x, _, units = _axis_first(t, x)
    if x.layout.rank > len(_TRAINED):
        raise t.wrong(f"takes at most {len(_TRAINED)} dimensions besides the batch, got the shape {x.layout.shape}")
    shapes = _scale_and_shift(t, (units,))
    t.expect(**shapes, moving_mean=(units,), moving_variance=(units,))
    momentum, epsilon = t.settings.number("momentum", 0.99, low=0, high=1), t.settings.number("epsilon", 1e-3, low=0)
    kind = (_TRAINED if t.layer.trainable else _FROZEN)[x.layout.rank - 1]
    module = _without_missing(kind(units, eps=epsilon, momentum=round(1 - momentum, 12)), shapes)
    arrangement = same_arrangement((units,), x.layout.features)
    return t.step(
        module,
        x,
        x.layout,
        buffers=("moving_mean", "moving_variance"),
        gamma=("weight", arrangement),
        beta=("bias", arrangement),
        moving_mean=("running_mean", arrangement),
        moving_variance=("running_var", arrangement),
    )


@translates("LayerNormalization")
def layer_normalization(t: Translation) -> Value:
    """Over some axes of each example, which torch requires last. The default epsilon is 1e-3."""
    x = t.one()
    t.settings.refuse(rms_scaling=False)
    axes = _axes(t, x)
    order = (*(axis for axis in x.layout.order if axis not in axes), *axes)
    x = x if x.layout.rank == 1 else t.plan.reordered(x, order, t.layer.name)
    sizes = tuple(t.size(x, axis) for axis in axes)
    shapes = _scale_and_shift(t, sizes)
    t.expect(**shapes)
    module = _without_missing(nn.LayerNorm(sizes, eps=t.settings.number("epsilon", 1e-3, low=0)), shapes)
    arrangement = same_arrangement(sizes, x.layout.features)
    return t.step(module, x, x.layout, gamma=("weight", arrangement), beta=("bias", arrangement))


@translates("GroupNormalization")
def group_normalization(t: Translation) -> Value:
    """Over groups of adjacent channels of each example; -1 means one channel per group. The default epsilon is 1e-3."""
    x = t.one()
    x = t.plan.in_keras_order(x, t.layer.name) if x.layout.features is not None else x
    x, _, units = _axis_first(t, x)
    groups = units if t.settings.get("groups", 32) == -1 else t.settings.count("groups", 32)
    if units % groups:
        raise t.settings.wrong("groups", f"a divisor of {units} channels")
    shapes = _scale_and_shift(t, (units,))
    t.expect(**shapes)
    module = _without_missing(nn.GroupNorm(groups, units, eps=t.settings.number("epsilon", 1e-3, low=0)), shapes)
    return t.step(module, x, x.layout, gamma="weight", beta="bias")
