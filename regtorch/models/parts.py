"""Building blocks of models: new activations, normalization layers and dropouts for each place."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

from torch import Tensor, nn

from regtorch.binding.selection import is_bias, is_kernel, places
from regtorch.dropout.traceable import traceable
from regtorch.errors import SettingError
from regtorch.registry import component, create

#: a component, its configuration node, or none
Part = nn.Module | Mapping[str, Any] | None


def is_none(part: Any) -> bool:
    """Whether a part is empty: None, or a node named ``none``."""
    return part is None or (isinstance(part, Mapping) and part["name"] == "none")


def fresh(kind: str, part: Part) -> nn.Module | None:
    """A new module for each place: built from the node, or a copy."""
    if is_none(part):
        return None
    return create(kind, **part) if isinstance(part, Mapping) else deepcopy(part)


def fresh_activation(part: Part, units: int) -> nn.Module:
    """An activation for a layer with `units` units; one with a slope per unit gets their number."""
    if (
        isinstance(part, Mapping)
        and "num_parameters" in signature(component("activation", part["name"]).load()).parameters
    ):
        part = {**part, "num_parameters": part.get("num_parameters") or units}
    return fresh("activation", part) or nn.Identity()


class AsMaps(nn.Module):
    """Applies a dropout for maps of `spatial_dims` dimensions to features of any; a vector counts as maps of one pixel."""

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
    """A dropout for features (batch, channels, *sizes) with `spatial_dims` sizes; None for none and for weight dropouts.

    Raises:
        SettingError: the dropout is for sequences, and the features are maps.
    """
    dropout = fresh("dropout", part)
    if dropout is None or drops_weights(part):
        return None
    if spatial_dims and getattr(dropout, "of_sequences", False):
        raise SettingError(f"{type(dropout).__name__} is for sequences, not for feature maps; use SpatialDropout2d")
    expected = getattr(dropout, "spatial_dims", None)
    return dropout if expected in (None, spatial_dims) else AsMaps(dropout, expected)


def drops_weights(part: Part) -> bool:
    """Whether a dropout wraps a layer instead of acting on its output."""
    target = component("dropout", part["name"]).load() if isinstance(part, Mapping) else part
    return bool(getattr(target, "acts_on_weights", False))


def wrap_weights(layer: nn.Module, part: Part) -> nn.Module:
    """The layer, wrapped in the dropout if that is a weight dropout."""
    if is_none(part) or not drops_weights(part):
        return layer
    return fresh("dropout", part).around(layer)  # type: ignore[union-attr, operator, no-any-return]


def initialize(model: nn.Module, initializer: Any) -> None:
    """Fill kernels with the initializer and biases with zero, as Keras does; other parameters do not change."""
    fill = create("initializer", **initializer) if isinstance(initializer, Mapping) else initializer
    for place in places(model):
        if is_kernel(place.module, place.attribute, place.parameter):
            fill(place.parameter)
        elif is_bias(place.module, place.attribute, place.parameter):
            nn.init.zeros_(place.parameter)
