"""What models are assembled from: fresh activations, normalization and dropouts that fit the place."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

from torch import Tensor, nn

from regtorch.dropout.traceable import traceable
from regtorch.errors import SettingError
from regtorch.registry import component, create
from regtorch.selection import is_bias, is_kernel, places

#: a component, its configuration node, or none
Part = nn.Module | Mapping[str, Any] | None


def is_none(part: Any) -> bool:
    """Whether a part stands for nothing: None, or a node named ``none``."""
    return part is None or (isinstance(part, Mapping) and part["name"] == "none")


def fresh(kind: str, part: Part) -> nn.Module | None:
    """A module of its own for each place: built from its node, or a copy."""
    if is_none(part):
        return None
    return create(kind, **part) if isinstance(part, Mapping) else deepcopy(part)


def fresh_activation(part: Part, units: int) -> nn.Module:
    """An activation for a layer of so many units; one with a slope per unit is told their number."""
    if (
        isinstance(part, Mapping)
        and "num_parameters" in signature(component("activation", part["name"]).load()).parameters
    ):
        part = {**part, "num_parameters": part.get("num_parameters") or units}
    return fresh("activation", part) or nn.Identity()


class AsMaps(nn.Module):
    """Lets a dropout that expects maps of `spatial_dims` dimensions act on features of any: a vector is maps of one pixel."""

    def __init__(self, dropout: nn.Module, spatial_dims: int) -> None:
        super().__init__()
        self.dropout = dropout
        self.spatial_dims = spatial_dims

    @traceable
    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`, (batch, channels, ...)."""
        batch, channels, *sizes = x.shape
        missing = self.spatial_dims - len(sizes)
        maps = x.reshape(batch, channels, *[1] * missing, *sizes) if missing >= 0 else x.flatten(1 + self.spatial_dims)
        result: Tensor = self.dropout(maps).reshape(x.shape)
        return result


def place_dropout(part: Part, spatial_dims: int) -> nn.Module | None:
    """A dropout for features (batch, channels, *sizes) with so many sizes, or None; weight dropouts go elsewhere.

    Raises:
        SettingError: one that is for sequences, and feature maps.
    """
    dropout = fresh("dropout", part)
    if dropout is None or drops_weights(part):
        return None
    if spatial_dims and getattr(dropout, "of_sequences", False):
        raise SettingError(f"{type(dropout).__name__} is for sequences, not for feature maps; take SpatialDropout2d")
    expected = getattr(dropout, "spatial_dims", None)
    return dropout if expected in (None, spatial_dims) else AsMaps(dropout, expected)


def drops_weights(part: Part) -> bool:
    """Whether a dropout wraps a layer instead of acting on its output."""
    target = component("dropout", part["name"]).load() if isinstance(part, Mapping) else part
    return bool(getattr(target, "acts_on_weights", False))


def wrap_weights(layer: nn.Module, part: Part) -> nn.Module:
    """The layer, in a weight dropout if that is what the part is."""
    if is_none(part) or not drops_weights(part):
        return layer
    return fresh("dropout", part).around(layer)  # type: ignore[union-attr, operator, no-any-return]


def initialize(model: nn.Module, initializer: Any) -> None:
    """Kernels by the initializer, biases zero, as Keras does; other parameters stay."""
    fill = create("initializer", **initializer) if isinstance(initializer, Mapping) else initializer
    for place in places(model):
        if is_kernel(place.module, place.attribute, place.parameter):
            fill(place.parameter)
        elif is_bias(place.module, place.attribute, place.parameter):
            nn.init.zeros_(place.parameter)
