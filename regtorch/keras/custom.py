"""Stand-ins: the user's torch modules for layers that are not supported here."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError, as_one_line
from regtorch.keras.call_arguments import Arguments, Constant, Slot
from regtorch.keras.embedding import is_padding
from regtorch.keras.graph import OPERATION_LAYERS, Layer
from regtorch.keras.layout import Layout, keras_layout, maps_layout
from regtorch.keras.messages import shown
from regtorch.keras.plan import Value
from regtorch.keras.stand_in_arrays import load_arrays
from regtorch.keras.translation import TRANSLATORS, Translation
from regtorch.printable import printable

Factory = Callable[..., nn.Module]

#: settings of every Keras layer that no torch module needs
_OF_EVERY_LAYER = ("name", "trainable", "dtype")
#: size used for an axis of unknown size in a test forward
_TEST_SIZE = 16

#: operations on tensors that are equivalent to the Keras layer of the same name
_OPERATIONS_LIKE_LAYERS = ("Add", "Concatenate", "Maximum", "Minimum", "Multiply", "Softmax", "Subtract")


def is_translated(layer: Layer) -> bool:
    """Whether a layer is supported without a stand-in."""
    if not layer.built_in or layer.class_name not in TRANSLATORS:
        return False
    return not layer.operation or (layer.class_name in _OPERATIONS_LIKE_LAYERS and not layer.constants)


def stand_in_of(layer: Layer, custom: Mapping[str, Factory]) -> Factory | None:
    """The factory for a layer, found by the layer's name, or by its class if that class is not supported here."""
    if layer.keras_name in custom:
        return custom[layer.keras_name]
    return custom.get(layer.class_name) if not is_translated(layer) else None


def custom_key(layer: Layer) -> str:
    """The key of ``custom=`` for a layer: its class, or its own name if the class is a generic one."""
    return layer.keras_name if layer.class_name in ("Lambda", *OPERATION_LAYERS) else layer.class_name


def stand_in(t: Translation, factory: Factory) -> Value:
    """Use a module of the user in place of a layer. Its image inputs and outputs are in NCHW.

    The arrays of the layer and its sublayers are loaded into the module before its first forward; see `load_arrays`.
    """
    values = [_in_torch_order(t, value) for value in t.inputs]
    earlier = t.plan.module(t.layer.name)
    module = earlier or _built(t, factory, values)
    lazy = any(isinstance(one, nn.parameter.UninitializedParameter) for one in module.parameters())
    if earlier is None and not lazy:
        try:
            load_arrays(t, module)
        except KerasFileError:
            if not hasattr(module, "load_keras") and (t.call.arguments is None or t.call.arguments.plain):
                # if the module does not fit at all, the error of its forward is more helpful
                _output_layout(t, module, values, None)
            raise
    values, arguments = _call_arguments(t, factory, module, values)
    layout = _output_layout(t, module, values, arguments)
    if earlier is None and lazy:  # the forward has determined its shapes
        load_arrays(t, module)
    result = t.plan.step(t.layer.name, module, values, layout, arguments)
    t.plan.ends[t.number] = t.layer.name
    return replace(result, mask=None)


def _built(t: Translation, factory: Factory, values: list[Value]) -> nn.Module:
    shapes = [(None, *value.layout.sizes) for value in values]
    asked = {"input_shape": shapes[0] if len(shapes) == 1 else shapes}
    keywords = {} if t.call.arguments is None else t.call.arguments.keywords
    asked |= {key: value for key, value in keywords.items() if not isinstance(value, Slot)}
    try:
        with torch.device("cpu"):
            arguments, settings = _arguments(factory, t.settings.values, asked)
            module = factory(*arguments, **settings)
    except Exception as error:
        raise t.wrong(f"custom factory failed with {printable(as_one_line(error), 300)}") from error
    if not isinstance(module, nn.Module):
        raise t.wrong(f"custom factory returned {type(module).__name__}: it must be a torch module")
    return module


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _arguments(factory: Factory, settings: dict[str, Any], asked: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for a factory.

    They are the settings of the layer that the factory has parameters for (all of them for ``**settings``). A factory
    with one other parameter gets all settings as one mapping.

    Args:
        factory: the user's factory.
        settings: settings of the layer.
        asked: values for parameters of these names only: the input's shape, and constants of the call.
    """
    if getattr(factory, "__init__", None) is nn.Module.__init__:
        return [], {}  # the signature of nn.Module's own constructor accepts everything
    taken = _parameters(factory)
    named = {one.name for one in taken if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    further = {key: value for key, value in asked.items() if key in named and key not in settings}
    if any(one.kind is one.VAR_KEYWORD for one in taken):
        return [], {key: value for key, value in settings.items() if key not in _OF_EVERY_LAYER} | further
    own = {key: value for key, value in settings.items() if key in named}
    left = [
        one
        for one in taken
        if one.default is one.empty and one.name not in own | further and one.kind is not one.VAR_POSITIONAL
    ]
    return ([dict(settings)] if len(left) == 1 and not own else []), own | further


def _in_torch_order(t: Translation, value: Value) -> Value:
    rank = value.layout.rank
    order = (rank - 1, *range(rank - 1)) if rank >= 3 else tuple(range(rank))
    return replace(t.plan.reordered(value, order, t.layer.name), mask=value.mask)


def _call_arguments(
    t: Translation, factory: Factory, module: nn.Module, values: list[Value]
) -> tuple[list[Value], Arguments | None]:
    """The inputs and arguments for the module: those of the layer that its ``forward`` accepts."""
    given = t.call.arguments or Arguments(tuple(Slot(n) for n in range(len(values))))
    signature = inspect.signature(module.forward)
    named = {p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    everything = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    keywords = {key: value for key, value in given.keywords.items() if everything or key in named}
    others = {key: value for key, value in given.keywords.items() if key not in keywords}
    positional = [
        *given.positional,
        *(value for value in others.values() if isinstance(value, Slot) or t.layer.operation),
    ]
    if not t.layer.operation:
        known = {one.name for one in _parameters(factory)}
        left = [k for k, v in others.items() if not isinstance(v, Slot) and v is not False and k not in known]
        for key in left:
            raise t.wrong(
                f"is called with {key}={shown(others[key])}, which is a parameter of neither its stand-in nor its forward"
            )
    mask = next((value.mask for value in values if value.mask is not None), None)
    if mask is not None and "mask" in named:
        masked = t.plan.step(t.plan.unique(f"{t.layer.name}_mask"), Mask(), [mask], values[0].layout)
        values, keywords = [*values, masked], {**keywords, "mask": Slot(len(values))}
    elif mask is not None or given.masked:
        warnings.warn(
            f"{t.layer}: its input is masked, but the forward of its stand-in has no parameter mask", stacklevel=6
        )
    constants = [value for value in positional if not isinstance(value, Slot)]
    if constants and not _binds(signature, positional, keywords):
        positional = [value for value in positional if isinstance(value, Slot)]
        if not t.layer.operation:
            raise t.wrong(f"is called with {shown(constants[0])}, which the forward of its stand-in does not accept")
        warnings.warn(f"{t.layer}: its stand-in takes only the tensor, not {shown(constants)}", stacklevel=6)
    for place, value in enumerate(positional):
        if isinstance(value, Tensor):  # as a module, it moves to other devices with the model
            constant = t.plan.step(t.plan.unique(f"{t.layer.name}_constant"), Constant(value), [], keras_layout(()))
            values, positional[place] = [*values, constant], Slot(len(values))
    arguments = Arguments(tuple(positional), keywords)
    if arguments.plain and len(arguments.positional) == len(values):
        return values, None
    return values, arguments


def _binds(signature: inspect.Signature, positional: list[Any], keywords: dict[str, Any]) -> bool:
    try:
        signature.bind(*positional, **keywords)
    except TypeError:
        return False
    return True


class Mask(nn.Module):
    """The mask of a sequence: True where the token is not 0."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map integers (batch, length) to booleans."""
        return ~is_padding(tokens)


def _zeros(value: Value, module: nn.Module | None) -> Tensor:
    if isinstance(module, Constant):
        return module.value.cpu()
    sizes = [size or _TEST_SIZE for size in value.layout.sizes]
    return torch.ones(2, sizes[0], dtype=torch.bool) if isinstance(module, Mask) else torch.zeros(2, *sizes)


def _output_layout(t: Translation, module: nn.Module, values: list[Value], arguments: Arguments | None) -> Layout:
    """The layout of the module's output, determined by a forward on zeros."""
    makers = {step.output: step.module for step in t.plan.steps}
    layouts = [value.layout for value in values]
    training = {one: one.training for one in module.modules()}
    try:
        with torch.no_grad(), torch.device("cpu"):
            inputs = [_zeros(value, makers.get(value.number)) for value in values]
            module.eval()
            output: Any = module(*inputs) if arguments is None else arguments.call(module, inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise t.wrong(f"its stand-in failed on {shapes}: {printable(as_one_line(error), 300)}") from error
    finally:
        for one, mode in training.items():
            one.training = mode
    if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != 2:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise t.wrong(f"its stand-in must return one tensor (batch, ...), but it returned {found} for a batch of 2")
    channels, *sizes = output.shape[1:]
    varies = any(None in layout.shape for layout in layouts)
    if output.ndim < 4:
        return keras_layout((*(None if varies else n for n in output.shape[1:-1]), output.shape[-1]))
    return maps_layout(channels, tuple(None if varies else n for n in sizes), channels_last=True)
