"""Torch modules that stand in for layers that are not Keras' own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError
from regtorch.keras.layout import Layout, as_it_is, keras_layout, maps_layout
from regtorch.keras.plan import Value, Weight
from regtorch.keras.translation import Translation

#: what every Keras layer has, and no torch module asks for
_OF_EVERY_LAYER = ("name", "trainable", "dtype")
#: what an axis of unknown size is tried with
_SOME_SIZE = 16


def stand_in(t: Translation, factory: Callable[..., nn.Module]) -> Value:
    """Put a module of the user's in a layer's place; images reach it in NCHW and it gives them so.

    The layer's arrays go to the module's method ``load_keras(arrays)`` if it has one, else to its parameters and
    then its buffers, one by one, whose shapes must be the arrays' own.
    """
    module = _made(t, factory)
    values = [_as_in_torch(t, value) for value in t.inputs]
    layout = _layout_behind(t, module, [value.layout for value in values])
    result = t.step(module, values, layout)
    if t.layer.calls == 1 or not any(weight.layer is t.layer for weight in t.plan.weights):
        _load(t, module)
    return result


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
    parameters = inspect.signature(factory).parameters.values()
    own = {key: value for key, value in settings.items() if key not in _OF_EVERY_LAYER}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return [], own
    named = {p.name: settings[p.name] for p in parameters if p.name in settings and p.kind is not p.POSITIONAL_ONLY}
    left = [p for p in parameters if p.default is p.empty and p.name not in named and p.kind is not p.VAR_POSITIONAL]
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
            t.plan.file.check(t.layer.path, index, shape)
        except KerasFileError as error:
            raise t.wrong(f"its stand-in's {attribute} has the shape {shape}; {hint}: {error}") from error
        trains = isinstance(tensor, nn.Parameter)
        t.plan.weights.append(Weight(t.layer, attribute, index, t.layer.name, attribute, as_it_is(shape), trains))
