"""`from_keras`: from a ``.keras`` file to a port, everything checked before anything is built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.activation import unreadable_activation
from regtorch.keras.archive import CONFIG, WEIGHTS, Archive
from regtorch.keras.custom import stand_in, stand_in_of
from regtorch.keras.graph import Graph, Layer, read_graph
from regtorch.keras.layout import Layout, keras_layout
from regtorch.keras.network import Entry, build_network
from regtorch.keras.plan import Plan, Value
from regtorch.keras.port import KerasPort
from regtorch.keras.rules import unreadable_rule
from regtorch.keras.translation import TRANSLATORS, Translation, translate
from regtorch.keras.weights import WeightFile

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

#: what a configuration that is no configuration makes Python raise
_NONSENSE = (
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

_WHOLE = ("int", "uint", "bool")
_MAPS = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D", "Conv1DTranspose", "MaxPooling1D", "AveragePooling1D")


def from_keras(path: str | os.PathLike[str], custom: Mapping[str, Callable[..., Any]] | None = None) -> KerasPort:
    """Load a ``.keras`` file that Keras 3 saved; neither Keras nor TensorFlow is needed, and no code in it ever runs.

    Args:
        path: the file.
        custom: what stands in for layers, regularizers and constraints that are not Keras' own: the name of a class
            (or of one layer) -> a factory that is called with the settings it names and gives a torch module.
            Of a Lambda, only the stand-in runs.

    Returns:
        A `KerasPort`: the torch model, which gives logits, its penalty, its constraints, and predictions as Keras'.

    Raises:
        KerasFileError: the file is damaged, or holds what cannot be read: one line that names the member, or each
            layer that is the reason. Nothing has been built then.

    Source: Keras 3's saving format (``keras.saving``).

    Example:
        >>> from_keras("absent.keras")
        Traceback (most recent call last):
        regtorch.errors.KerasFileError: absent.keras: there is no such file
    """
    if custom is not None and not (isinstance(custom, Mapping) and all(map(callable, custom.values()))):
        raise KerasFileError(f"{path}: custom={custom!r} is not allowed: it must map names to factories")
    try:
        archive = Archive(path)
        return _read(archive, dict(custom or {}))
    except KerasFileError as error:
        message = str(error)
        whole = message if message.startswith(str(path)) else f"{path}: {CONFIG}: {message}"
        raise KerasFileError(_printable(whole)) from error
    except _NONSENSE as error:
        raise KerasFileError(
            _printable(f"{path}: the member {CONFIG} is damaged: {type(error).__name__}: {error}")
        ) from error


def _printable(message: str) -> str:
    """One line, whatever names stand in a file."""
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in message)


def _read(archive: Archive, custom: dict[str, Callable[..., Any]]) -> KerasPort:
    config = archive.config()
    graph = read_graph(config)
    _refuse_unreadable(graph, custom, archive.keras_version())
    file = WeightFile(archive.read(WEIGHTS), archive.path)
    with torch.device("meta"):
        plan = _plan(graph, file, custom)
    model = build_network(plan.steps, plan.inputs, [value.number for value in plan.results], graph)
    _fill(model, plan)
    file.close()
    return KerasPort(archive, config, model, plan)


def _refuse_unreadable(graph: Graph, custom: dict[str, Callable[..., Any]], version: str) -> None:
    reasons = [f"{layer}: {reason}" for layer in graph.layers if (reason := _unreadable(layer, custom))]
    if version.startswith("2."):
        older = [layer for layer in graph.layers if layer.settings.get("activation") == "hard_sigmoid"]
        reasons += [f"{layer}: Keras 2's hard_sigmoid is another function than Keras 3's" for layer in older]
    if reasons:
        raise KerasFileError(f"cannot be read here: {'; '.join(reasons)}")


def _unreadable(layer: Layer, custom: dict[str, Callable[..., Any]]) -> str | None:
    """What keeps a layer from being read."""
    if layer.class_name == "InputLayer" or stand_in_of(layer, custom) is not None:
        return None
    if layer.class_name == "Lambda":
        return f"the code in a file is never run; give custom={{{layer.keras_name!r}: ...}}"
    if not layer.built_in:
        return f"a custom layer; give custom={{{layer.class_name!r}: ...}}, a torch module that stands in"
    if layer.class_name not in TRANSLATORS:
        return f"there is no such layer here; give custom={{{layer.class_name!r}: ...}}, a torch module that stands in"
    policy = layer.settings.get("dtype")
    if isinstance(policy, dict) and policy.get("class_name") not in ("DTypePolicy", "Policy"):
        return f"its dtype policy {policy.get('class_name')!r} is a quantized one"
    if layer.settings.get("lora_rank") or layer.settings.get("quantization_config"):
        return "its weights are quantized or have LoRA parts; merge them in Keras first"
    reasons = [unreadable_activation(layer.settings.get("activation"), custom)]
    for key, value in layer.settings.values.items():
        if str(key).endswith(("_regularizer", "_constraint")):
            reasons.append(unreadable_rule(str(key), value, custom))
    return "; ".join(reason for reason in reasons if reason) or None


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
        raise layer.settings.wrong("batch_shape", "null and the whole numbers of one example's shape")
    layer.settings.refuse(sparse=False, ragged=False, optional=False)
    layout, rank = keras_layout(tuple(sizes)), len(sizes)
    if rank >= 3 and channels_last:
        layout = Layout(layout.shape, (rank - 1, *range(rank - 1)))
    dtype = layer.settings.get("dtype", "float32")
    if not isinstance(dtype, (str, dict, type(None))) or dtype == "string":
        raise layer.settings.wrong("dtype", "a type of numbers")
    consumers = [call.layer.class_name for call in plan.graph.calls if number in call.inputs]
    whole = isinstance(dtype, str) and dtype.startswith(_WHOLE) and set(consumers) == {"Embedding"}
    sequence = rank == 2 and None not in sizes and any(one.class_name in _MAPS for one in plan.graph.layers)
    plan.entries[number] = plan.new_tensor()
    return plan.step(layer.name, Entry(layout, whole, sequence), [plan.entries[number]], layout)


def _fill(model: nn.Module, plan: Plan) -> None:
    """Give every parameter and buffer its numbers, one after the other; the model is of the widest type among them."""
    widest = torch.float32
    for weight in plan.weights:
        owner, _, name = weight.full_name.rpartition(".")
        module = model.get_submodule(owner)
        array = torch.from_numpy(plan.file.read(weight.layer.path, weight.index))
        values = weight.arrangement.to_torch(array).contiguous()
        if values.is_floating_point():
            widest = torch.promote_types(widest, values.dtype)
        if weight.trains:
            module._parameters[name] = nn.Parameter(values, requires_grad=weight.layer.trainable)
        else:
            module._buffers[name] = values
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    model.to(widest)
    if all(parameter.ndim < 5 for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)
