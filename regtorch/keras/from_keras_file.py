"""`from_keras`: load a ``.keras`` file. Everything is checked before anything is built."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from regtorch.errors import KerasFileError, as_one_line
from regtorch.keras.archive import CONFIG, WEIGHTS, Archive
from regtorch.keras.custom import stand_in, stand_in_of
from regtorch.keras.graph import Graph, read_graph
from regtorch.keras.layout import Layout, keras_layout
from regtorch.keras.messages import shown
from regtorch.keras.network import Entry, build_network
from regtorch.keras.plan import Plan, Value, Weight
from regtorch.keras.port import KerasPort
from regtorch.keras.translation import Translation, translate
from regtorch.keras.unsupported import refuse_unsupported
from regtorch.keras.weights import WeightFile
from regtorch.printable import printable

for _family in (
    "convolution",
    "dense",
    "embedding",
    "merging",
    "noise",
    "normalization",
    "pooling",
    "scaling",
    "shaping",
    "upsampling",
):
    import_module(f"regtorch.keras.{_family}")

#: exceptions that a malformed configuration can cause
_MALFORMED = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    RuntimeError,
    AssertionError,
    MemoryError,
)

_INTEGER_TYPES = ("int", "uint", "bool")
_MAPS = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D", "Conv1DTranspose", "MaxPooling1D", "AveragePooling1D")


def from_keras(path: str | os.PathLike[str], custom: Mapping[str, Callable[..., Any]] | None = None) -> KerasPort:
    """Load a ``.keras`` file that Keras 3 saved. Keras and TensorFlow are not needed, and no code in the file ever runs.

    Args:
        path: the file.
        custom: stand-ins for layers, operations, regularizers and constraints that are not supported here. The key is the
            name of a class or of one layer. The value is a factory that is called with the settings that it has parameters
            for, and returns a torch module. A parameter `input_shape` gets the shape of the module's input, (None, ...),
            or a list of shapes. The module loads the layer's arrays with a method ``load_keras(arrays)``, which gets a
            list or, if sublayers have arrays, a mapping such as ``{"cell/0": ...}``. `KerasPort.save` writes the arrays
            that its ``save_keras()`` returns. Without these methods, its parameters and then its buffers are filled one
            by one. The code of a Lambda never runs; only its stand-in does.

    Returns:
        A `KerasPort`: the torch model, which returns logits, its penalties, its constraints, and predictions equal to
        those of Keras.

    Raises:
        KerasFileError: the file is damaged, or has unsupported parts, or `path` is not a regular file. One line names the
            member or each unsupported layer. Nothing has been built then.

    Warns:
        UserWarning: a stand-in ignores a mask, a constant of the call, or rules of the file.

    Source: Keras 3's saving format (``keras.saving``).

    Example:
        >>> from_keras("absent.keras")
        Traceback (most recent call last):
        regtorch.errors.KerasFileError: absent.keras: there is no such file
    """
    if custom is not None and not (isinstance(custom, Mapping) and all(map(callable, custom.values()))):
        raise KerasFileError(f"{shown(path)}: custom={shown(custom)} is not allowed: it must map names to factories")
    archive = Archive(path)
    try:
        return _read(archive, dict(custom or {}))
    except KerasFileError as error:
        message = str(error)
        raise archive.error(message if message.startswith(archive.name) else f": {CONFIG}: {message}") from error
    except _MALFORMED as error:
        raise archive.error(f": the member {CONFIG} is damaged: {as_one_line(error)}") from error


def _read(archive: Archive, custom: dict[str, Callable[..., Any]]) -> KerasPort:
    config = archive.config()
    graph = read_graph(config)
    refuse_unsupported(graph, custom, archive.keras_version())
    if graph.fixed_modes:
        given = printable(", ".join(f"{shown(name)} training={mode}" for name, mode in graph.fixed_modes.items()), 300)
        warnings.warn(
            f"Keras 2 calls {given} in training and in prediction; here, as in Keras 3, the mode of the model decides "
            "(regtorch.always_on, module.eval())",
            stacklevel=3,
        )
    file = WeightFile(archive.read(WEIGHTS), archive.name)
    with torch.device("meta"):
        plan = _plan(graph, file, custom)
    model = build_network(plan.steps, plan.inputs, [value.number for value in plan.results], graph)
    _fill(model, plan)
    file.close()
    return KerasPort(archive, config, model, plan)


def _plan(graph: Graph, file: WeightFile, custom: dict[str, Callable[..., Any]]) -> Plan:
    plan = Plan(graph, file, custom, reserved=frozenset(layer.name for layer in graph.layers))
    plan.split = {n: "" for n in graph.outputs if graph.calls[n].layer.calls == 1}
    channels_last = all(layer.settings.get("data_format") != "channels_first" for layer in graph.layers)
    values: list[Value] = []
    for number, call in enumerate(graph.calls):
        if call.layer.class_name == "InputLayer":
            values.append(_entry(plan, number, channels_last))
            continue
        translation = Translation(plan, call, number, [values[n] for n in call.inputs])
        factory = stand_in_of(call.layer, custom)
        values.append(translate(translation) if factory is None else stand_in(translation, factory))
    plan.inputs = [plan.entries[number] for number in graph.inputs]
    for number in graph.outputs:
        value = plan.logits.get(number, values[number])
        rank = value.layout.rank
        first = rank >= 3 and channels_last
        order = (rank - 1, *range(rank - 1)) if first else tuple(range(rank))
        plan.results.append(plan.reordered(value, order, "output"))
    return plan


def _entry(plan: Plan, number: int, channels_last: bool) -> Value:
    layer = plan.graph.calls[number].layer
    shape = layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape")
    sizes = shape[1:] if isinstance(shape, (list, tuple)) and shape else None
    if sizes is None or not all(size is None or (type(size) is int and size > 0) for size in sizes):
        raise layer.settings.wrong("batch_shape", "null and the integers of the shape of one example")
    layer.settings.refuse(sparse=False, ragged=False, optional=False)
    layout, rank = keras_layout(tuple(sizes)), len(sizes)
    if rank >= 3 and channels_last:
        layout = Layout(layout.shape, (rank - 1, *range(rank - 1)))
    dtype = layer.settings.get("dtype", "float32")
    if not isinstance(dtype, (str, dict, type(None))) or dtype == "string":
        raise layer.settings.wrong("dtype", "a numeric type")
    consumers = [call.layer.class_name for call in plan.graph.calls if number in call.inputs]
    integers = isinstance(dtype, str) and dtype.startswith(_INTEGER_TYPES) and set(consumers) == {"Embedding"}
    sequence = rank == 2 and None not in sizes and any(one.class_name in _MAPS for one in plan.graph.layers)
    plan.entries[number] = plan.new_tensor()
    return plan.step(layer.name, Entry(layout, integers, sequence), [plan.entries[number]], layout)


def _fill(model: nn.Module, plan: Plan) -> None:
    """Load every parameter and buffer. The model gets the widest type among them."""
    widest = torch.float32
    stand_ins = {id(layer) for layer in plan.stand_ins}  # their arrays are loaded already
    for weight in plan.weights:
        owner, _, name = weight.full_name.rpartition(".")
        module = model.get_submodule(owner)
        own = id(weight.layer) in stand_ins
        values = getattr(module, name) if own else _values(plan, weight)
        if values.is_floating_point():
            widest = torch.promote_types(widest, values.dtype)
        if weight.trains and not own:
            module._parameters[name] = nn.Parameter(values, requires_grad=weight.layer.trainable)
        elif not own:
            module._buffers[name] = values
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    model.to(widest)
    if all(parameter.ndim < 5 for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)


def _values(plan: Plan, weight: Weight) -> Tensor:
    array = torch.from_numpy(plan.file.read(*weight.place))
    return weight.arrangement.to_torch(array).contiguous()
