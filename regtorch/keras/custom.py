"""Torch modules that stand in for layers that are not Keras' own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError
from regtorch.keras.graph import Layer
from regtorch.keras.layout import Layout, as_it_is, keras_layout, maps_layout
from regtorch.keras.plan import Value, Weight
from regtorch.keras.translation import TRANSLATORS, Translation

#: what every Keras layer has, and no torch module asks for
_OF_EVERY_LAYER = ("name", "trainable", "dtype")
#: what an axis of unknown size is tried with
_SOME_SIZE = 16


def stand_in_of(layer: Layer, custom: Mapping[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module] | None:
    """The factory for a layer: by its own name, or by its class if that is not one that is read here."""
    by_class = layer.class_name in custom and not (layer.built_in and layer.class_name in TRANSLATORS)
    key = layer.keras_name if layer.keras_name in custom else layer.class_name if by_class else None
    return None if key is None else custom[key]


def stand_in(t: Translation, factory: Callable[..., nn.Module]) -> Value:
    """Put a module of the user's in a layer's place; images reach it in NCHW and it gives them so.

    The layer's arrays go to the module's method ``load_keras(arrays)`` if it has one (and come back from
    ``save_keras()``), else to its parameters and then its buffers, one by one, whose shapes must be the arrays' own.
    """
    module = _made(t, factory)
    values = [_as_in_torch(t, value) for value in t.inputs]
    layout = _layout_behind(t, module, [value.layout for value in values])
    first = t.plan.module(t.layer.name) is None
    result = t.plan.step(t.layer.name, module, values, layout)
    t.plan.ends[t.number] = t.layer.name
    if first:
        _load(t, module)
    return replace(result, mask=None)


def _made(t: Translation, factory: Callable[..., nn.Module]) -> nn.Module:
    earlier = t.plan.module(t.layer.name)
    if earlier is not None:
        return earlier
    arguments, settings = _arguments(factory, t.settings.values)
    try:
        with torch.device("cpu"):
            module = factory(*arguments, **settings)
    except Exception as error:
        raise t.wrong(f"custom factory failed with {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise t.wrong(f"custom factory gave {type(module).__name__}: it must be a torch module")
    return module


def _arguments(factory: Callable[..., Any], settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The layer's settings that the factory names (all, for ``**settings``), or all of them as one mapping."""
    if getattr(factory, "__init__", None) is nn.Module.__init__:
        return [], {}  # a module without a constructor of its own, whose signature names everything
    asked = inspect.signature(factory).parameters.values()
    own = {key: value for key, value in settings.items() if key not in _OF_EVERY_LAYER}
    if any(one.kind is one.VAR_KEYWORD for one in asked):
        return [], own
    named = {
        one.name: settings[one.name] for one in asked if one.name in settings and one.kind is not one.POSITIONAL_ONLY
    }
    left = [
        one
        for one in asked
        if one.default is one.empty and one.name not in named and one.kind is not one.VAR_POSITIONAL
    ]
    return ([dict(settings)] if len(left) == 1 and not named else []), named


def _as_in_torch(t: Translation, value: Value) -> Value:
    rank = value.layout.rank
    order = (rank - 1, *range(rank - 1)) if rank >= 3 else tuple(range(rank))
    return t.plan.reordered(value, order, t.layer.name)


def _layout_behind(t: Translation, module: nn.Module, layouts: list[Layout]) -> Layout:
    """How the module's output lies: tried on zeros."""
    inputs = [torch.zeros(2, *(size or _SOME_SIZE for size in layout.sizes), device="cpu") for layout in layouts]
    training = module.training
    try:
        with torch.no_grad(), torch.device("cpu"):
            module.eval()
            output: Any = module(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise t.wrong(f"its stand-in failed on {shapes}: {type(error).__name__}: {error}") from error
    finally:
        module.train(training)
    if not isinstance(output, Tensor) or output.ndim < 2:
        raise t.wrong("its stand-in must give one tensor (batch, ...)")
    channels, *sizes = output.shape[1:]
    varies = any(None in layout.shape for layout in layouts)
    if output.ndim < 4:
        return keras_layout((*(None if varies else n for n in output.shape[1:-1]), output.shape[-1]))
    return maps_layout(channels, tuple(None if varies else n for n in sizes), channels_last=True)


def _load(t: Translation, module: nn.Module) -> None:
    count = t.plan.file.count(t.layer.path) if t.layer.path else 0
    module.requires_grad_(t.layer.trainable)
    if not count:
        return
    if hasattr(module, "load_keras"):
        t.plan.loaded.append(t.layer)
        load: Any = module.load_keras
        load([t.plan.file.read(t.layer.path, index) for index in range(count)])
        return
    places = [*module.named_parameters(), *module.named_buffers()]
    hint = "give it a method load_keras(arrays)"
    if len(places) < count:
        raise t.wrong(f"the file has {count} arrays of it, its stand-in {len(places)} parameters and buffers: {hint}")
    for index, (attribute, tensor) in enumerate(places[:count]):
        shape = tuple(tensor.shape)
        try:
            t.plan.file.check(t.layer.path, index, shape, floating=False)
        except KerasFileError as error:
            raise t.wrong(
                f"its stand-in's {attribute} has the shape {shape}, array {index} of the file another; {hint}"
            ) from error
        trains = isinstance(tensor, nn.Parameter)
        t.plan.weights.append(Weight(t.layer, attribute, index, t.layer.name, attribute, as_it_is(shape), trains))
