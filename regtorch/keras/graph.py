"""The layers of a Keras model and their calls. Nested models are flattened into one list of calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.call_arguments import Arguments, Reference, is_reference, read_call, read_keras_2_call, references
from regtorch.keras.messages import shown
from regtorch.keras.settings import Settings, is_from_keras
from regtorch.printable import printable

_A_MODULE = nn.Sequential()
_MODELS = ("Sequential", "Functional", "Model")

#: classes of the layers that Keras 2 creates for operations on tensors
OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

#: limits above any real network (NASNetLarge makes 1,041 calls), so that a malicious file cannot cause a long computation
_MOST_CALLS, _MOST_NESTED = 5_000, 32


@dataclass(eq=False)
class Layer:
    """One layer with its weights. A shared layer is called several times.

    Args:
        name: name of its torch module; unique in the network.
        keras_name: name in the file.
        class_name: name of its Keras class.
        built_in: whether that class is one of Keras' own layers.
        settings: its configuration.
        path: path of its arrays in the weight file.
        trainable: whether it and all models that contain it are trainable.
        position: its number among all layers, in the order in which Keras counts them.
        calls: number of its calls.
        operation: whether it is not a layer but an operation on tensors, such as ``2 * x``.
        constants: arguments of its calls that are not tensors.
    """

    name: str
    keras_name: str
    class_name: str
    built_in: bool
    settings: Settings
    path: str
    trainable: bool
    position: int = 0
    calls: int = 0
    operation: bool = False
    constants: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{shown(self.keras_name, 60)} ({printable(self.class_name, 60)})"


@dataclass(eq=False)
class Call:
    """One call of a layer: `inputs` are the numbers of the calls whose results it takes."""

    layer: Layer
    inputs: tuple[int, ...]
    arguments: Arguments | None = None


@dataclass(eq=False)
class Graph:
    """All calls, each after those that it takes its inputs from.

    Args:
        calls: the calls in an executable order.
        inputs: the numbers of the input layers' calls, in the order of the model's inputs.
        outputs: the numbers of the calls whose results the model returns.
        single: whether it returns one tensor rather than a list.
        output_keys: names of its outputs, if it returns a mapping.
        input_keys: names of its inputs, if it takes a mapping.
        fixed_modes: layers and models that are always called with the same ``training=``, whatever the mode of the model.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    single: bool = True
    output_keys: tuple[str, ...] | None = None
    input_keys: tuple[str, ...] | None = None
    fixed_modes: dict[str, bool] = field(default_factory=dict)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in their order: the mapping's keys, else the names of the input layers."""
        return self.input_keys or tuple(self.calls[number].layer.keras_name for number in self.inputs)

    @property
    def layers(self) -> list[Layer]:
        """Every layer once, in the order of the file."""
        return list({id(call.layer): call.layer for call in self.calls}.values())


def read_graph(config: Any) -> Graph:
    """Read the graph from ``config.json``.

    Raises:
        KerasFileError: it is not a Sequential or functional model, or it is inconsistent.
    """
    root = Settings("the model", config)
    name = root.get("class_name")
    if name not in _MODELS or not _is_built_in(root):
        raise KerasFileError(
            f"the model is a {shown(name)}: only the files of Sequential and functional models describe their computation; "
            "rebuild it as one of these in Keras, or in torch"
        )
    graph = Graph()
    model = _Model(root, "", _Names(), trainable=True, depth=0)
    graph.outputs, graph.single = model.apply(graph, None)
    outputs = None if model.sequential else model.settings.get("output_layers")
    graph.output_keys = tuple(sorted(outputs)) if isinstance(outputs, dict) else None
    inputs = None if model.sequential else model.settings.get("input_layers")
    graph.input_keys = tuple(sorted(inputs)) if isinstance(inputs, dict) else None
    return graph


class _Names:
    """Creates names for torch modules that are unique and valid in torch."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """The number of names so far."""
        return len(self._taken)

    def unique(self, wanted: str) -> str:
        base = re.sub(r"\W", "_", wanted)
        base = f"layer{base}" if not base or base.startswith("_") else base
        base = f"{base}_" if hasattr(_A_MODULE, base) else base
        name = base
        while name in self._taken:
            self._numbers[base] += 1
            name = f"{base}_{self._numbers[base] + 1}"
        self._taken.add(name)
        return name


class _Model:
    """A Sequential or functional model. `apply` adds its calls to a graph, once for each call of the model."""

    def __init__(self, node: Settings, path: str, names: _Names, trainable: bool, depth: int, prefix: str = "") -> None:
        if depth > _MOST_NESTED:
            raise KerasFileError(f"models are nested more than {_MOST_NESTED} deep")
        config = node.get("config")
        # very old files store the layers of a Sequential as a plain list
        self.settings = Settings("the model", {"layers": config} if isinstance(config, list) else config)
        self.sequential = node.get("class_name") == "Sequential"
        self.keras_name = str(self.settings.get("name", node.get("class_name")))
        self.input_shape = self.settings.get("build_input_shape") or _built_for(node)
        trainable = trainable and self.settings.get("trainable", True) is True
        self.parts: dict[str, Layer | _Model] = {}
        self.nodes: dict[str, Any] = {}
        self._read: dict[tuple[str, int], tuple[list[Reference], Arguments]] = {}
        used: Counter[str] = Counter()
        for entry in _list(self.settings, "layers"):
            part = Settings(f"a layer of {shown(self.keras_name)}", entry)
            own = part.get("config")
            name = str(part.get("name") or (own.get("name") if isinstance(own, dict) else None) or len(self.parts))
            if name in self.parts:
                raise KerasFileError(f"two layers of {shown(self.keras_name)} are called {shown(name)}")
            class_name = str(part.get("class_name"))
            place = ""
            if not _is_operation(part):  # operations are not counted among the layers
                snake = _snake_case(class_name)
                place = f"{path}layers/{snake}_{used[snake]}" if used[snake] else f"{path}layers/{snake}"
                used[snake] += 1
            if class_name in _MODELS and _is_built_in(part):
                self.parts[name] = _Model(part, f"{place}/", names, trainable, depth + 1, f"{prefix}{name}_")
            else:
                self.parts[name] = _layer(part, name, class_name, place, names, trainable, prefix)
            self.nodes[name] = part.get("inbound_nodes", [])

    def apply(self, graph: Graph, arguments: Sequence[int] | None) -> tuple[list[int], bool]:
        """Add the calls of the model. Without arguments, its inputs become those of the graph."""
        return self._chain(graph, arguments) if self.sequential else self._functional(graph, arguments)

    def _chain(self, graph: Graph, arguments: Sequence[int] | None) -> tuple[list[int], bool]:
        parts = list(self.parts.values())
        entry = parts.pop(0) if parts and isinstance(parts[0], Layer) and parts[0].class_name == "InputLayer" else None
        if arguments is None:
            if entry is None and parts and isinstance(parts[0], _Model):
                results, _ = parts.pop(0).apply(graph, None)  # type: ignore[union-attr]
            else:
                results = [_enter(graph, entry if isinstance(entry, Layer) else self._entry(parts))]
        else:
            results = list(arguments)
        for part in parts:
            results = _call(graph, part, results)
        return self._one(results), True

    def _one(self, results: list[int]) -> list[int]:
        if len(results) != 1:
            raise KerasFileError(f"the layers of {shown(self.keras_name)} must pass on one tensor, not {len(results)}")
        return results

    def _entry(self, parts: list[Any]) -> Layer:
        """The input layer of a Sequential model that has none in the file."""
        first = parts[0].settings.get("batch_input_shape") if parts and isinstance(parts[0], Layer) else None
        shape = first or self.input_shape
        if shape is None:
            raise KerasFileError(f"{shown(self.keras_name)} has never been built: its input shape is not in the file")
        settings = Settings("the input", {"batch_shape": shape})
        return Layer("input", "input", "InputLayer", True, settings, "", True)

    def _functional(self, graph: Graph, arguments: Sequence[int] | None) -> tuple[list[int], bool]:
        entries = [name for name, _, _ in references(self.settings.get("input_layers"), self.keras_name)]
        done: dict[tuple[str, int], list[int]] = {}
        for number, name in enumerate(entries):
            layer = self.parts.get(name)
            if not isinstance(layer, Layer) or layer.class_name != "InputLayer":
                raise KerasFileError(f"the input {shown(name)} of {shown(self.keras_name)} is not an input layer")
            if arguments is not None and len(arguments) != len(entries):
                raise KerasFileError(f"{shown(self.keras_name)} takes {len(entries)} tensors, not {len(arguments)}")
            done[name, 0] = [_enter(graph, layer) if arguments is None else arguments[number]]
        wanted = references(self.settings.get("output_layers"), self.keras_name)
        # the creation of a functional model counts as its first call: in the outputs, but not in the calls inside
        own = [(n, i - self._creation_counts(n), t) for n, i, t in wanted]
        for reference in own:
            self._resolve(reference, done, graph)
        structure = self.settings.get("output_layers")
        single = is_reference(structure) or (
            self.is_keras_2 and len(own) == 1
        )  # Keras 2 writes a single output as a list
        return [_tensor(done, *ref) for ref in own], single

    @cached_property
    def is_keras_2(self) -> bool:
        """Whether Keras 2 wrote the model: its calls are lists."""
        return any(isinstance(node, list) for nodes in self.nodes.values() if isinstance(nodes, list) for node in nodes)

    def _creation_counts(self, name: str) -> bool:
        """Whether a part is a model whose creation counts as its first call; in Keras 2 also a Sequential one."""
        part = self.parts.get(name)
        return isinstance(part, _Model) and (self.is_keras_2 or not part.sequential)

    def _resolve(self, reference: tuple[str, int, int], done: dict[tuple[str, int], list[int]], graph: Graph) -> None:
        """Add the calls that a result needs, dependencies first. There is no recursion, as networks are deep."""
        stack, open_nodes = [reference[:2]], set()
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            inputs, arguments = self._inputs(*node)
            missing = [ref[:2] for ref in inputs if ref[:2] not in done]
            if missing:
                if node in open_nodes:
                    raise KerasFileError(f"the layers of {shown(self.keras_name)} form a loop at {shown(node[0])}")
                open_nodes.add(node)
                stack.extend(missing)
                continue
            taken = [_tensor(done, *ref) for ref in inputs]
            done[node] = _call(graph, self.parts[node[0]], taken, arguments)
            stack.pop()

    def _inputs(self, name: str, index: int) -> tuple[list[Reference], Arguments]:
        if (name, index) not in self._read:  # the calls in a shared model are read only once
            self._read[name, index] = self._read_inputs(name, index)
        return self._read[name, index]

    def _read_inputs(self, name: str, index: int) -> tuple[list[Reference], Arguments]:
        nodes = self.nodes.get(name)
        if not isinstance(nodes, list) or not 0 <= index < len(nodes):
            raise KerasFileError(f"{shown(self.keras_name)} uses call {index} of {shown(name)}, which does not exist")
        node, owner = nodes[index], f"call {index} of {shown(name)}"
        if not isinstance(node, list):
            return read_call(node, owner, name)
        found, arguments = read_keras_2_call(node, owner, name)
        return [(n, i - self._creation_counts(n) if i else i, t) for n, i, t in found], arguments


def _layer(
    part: Settings, name: str, class_name: str, place: str, names: _Names, trainable: bool, prefix: str
) -> Layer:
    settings = Settings(f"layer {shown(name, 60)} ({printable(class_name, 60)})", part.get("config"))
    trains = trainable and settings.get("trainable", True) is True
    position, unique = names.count, names.unique(prefix + name)
    operation = _is_operation(part) or class_name in OPERATION_LAYERS
    return Layer(unique, name, class_name, _is_built_in(part), settings, place, trains, position, operation=operation)


def _built_for(part: Settings) -> Any:
    build = part.get("build_config")
    return build.get("input_shape") if isinstance(build, dict) else None


def _enter(graph: Graph, layer: Layer) -> int:
    [number] = _call(graph, layer, [])
    graph.inputs.append(number)
    return number


def _call(graph: Graph, part: Layer | _Model, inputs: Sequence[int], arguments: Arguments | None = None) -> list[int]:
    if len(graph.calls) >= _MOST_CALLS:
        raise KerasFileError(f"the model makes more than {_MOST_CALLS:,} calls")
    if arguments is not None and arguments.training is not None:
        graph.fixed_modes[part.keras_name] = arguments.training
    if isinstance(part, _Model):
        if arguments is not None and arguments.constants:
            raise KerasFileError(
                f"the model {shown(part.keras_name)} is called with {shown(arguments.constants[0])}, which is not supported"
            )
        return part.apply(graph, inputs)[0]
    part.calls += 1
    part.constants += [] if arguments is None else arguments.constants
    graph.calls.append(Call(part, tuple(inputs), arguments))
    return [len(graph.calls) - 1]


def _tensor(done: dict[tuple[str, int], list[int]], name: str, index: int, tensor: int) -> int:
    results = done[name, index]
    if not 0 <= tensor < len(results):
        raise KerasFileError(f"{shown(name)} returns {len(results)} tensors, but number {tensor} of them is used")
    return results[tensor]


def _list(settings: Settings, key: str) -> list[Any]:
    value = settings.get(key)
    if not isinstance(value, list):
        raise settings.wrong(key, "a list")
    return value


def _is_operation(part: Settings) -> bool:
    return "ops" in str(part.get("module")).split(".")


def _is_built_in(part: Settings) -> bool:
    module, registered = part.get("module"), part.get("registered_name")
    return is_from_keras(module) and (registered is None or ">" not in str(registered))


def _snake_case(class_name: str) -> str:
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
