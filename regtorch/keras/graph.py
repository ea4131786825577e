"""The layers of a Keras model and who calls whom: models inside models are taken apart into one list of calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn

from regtorch.errors import KerasFileError
from regtorch.keras.calling import Arguments, Reference, is_reference, read_call, read_older_call, references
from regtorch.keras.settings import Settings, of_keras
from regtorch.keras.wording import shortened, shown

_A_MODULE = nn.Sequential()
_MODELS = ("Sequential", "Functional", "Model")

#: the layers that operations on tensors are in Keras 2
OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

#: more than any real network has (NASNetLarge makes 1,041 calls), so that a hostile file cannot keep us busy
_MOST_CALLS, _DEEPEST = 5_000, 32


@dataclass(eq=False)
class Layer:
    """One layer with its weights; a shared one is called several times.

    Args:
        name: what its torch module is called; unique in the network.
        keras_name: what it is called in the file.
        class_name: of its Keras class.
        built_in: whether that class is one of Keras' own layers.
        settings: its configuration.
        path: of its arrays in the weight file.
        trainable: whether it and all models around it train.
        position: its number among all layers, in the order in which Keras counts them.
        calls: how often it is called.
        operation: whether it is no layer but an operation on tensors, such as ``2 * x``.
        constants: what it is called with beside tensors.
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
        return f"{shown(self.keras_name, 60)} ({shortened(self.class_name, 60)})"


@dataclass(eq=False)
class Call:
    """One application of a layer: `inputs` are the numbers of the calls whose results it takes."""

    layer: Layer
    inputs: tuple[int, ...]
    arguments: Arguments | None = None


@dataclass(eq=False)
class Graph:
    """All calls, each behind those it takes its inputs from.

    Args:
        calls: in an order in which they can be made.
        inputs: the numbers of the input layers' calls, in the order of the model's inputs.
        outputs: the numbers of the calls whose results the model gives.
        single: whether it gives one tensor rather than a list.
        output_keys: what its outputs are called, where it gives a mapping.
        input_keys: what its inputs are called, where it takes a mapping.
        fixed_modes: what is called with ``training=True`` or ``False``, whatever the model's mode.
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
        """What the inputs are called, in their order: by the mapping's keys, else by the input layers."""
        return self.input_keys or tuple(self.calls[number].layer.keras_name for number in self.inputs)

    @property
    def layers(self) -> list[Layer]:
        """Every layer once, in the order of the file."""
        return list({id(call.layer): call.layer for call in self.calls}.values())


def read_graph(config: Any) -> Graph:
    """The graph of ``config.json``.

    Raises:
        KerasFileError: no Sequential or functional model, or one whose parts do not fit together.
    """
    root = Settings("the model", config)
    name = root.get("class_name")
    if name not in _MODELS or not _is_built_in(root):
        raise KerasFileError(
            f"the model is a {shown(name)}: only Sequential and functional models say in their file what they do; "
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
    """Names for torch modules that are unique and that torch allows."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there are so far."""
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
    """A Sequential or functional model; `apply` adds its calls to a graph, once for each time it is called."""

    def __init__(self, node: Settings, path: str, names: _Names, trainable: bool, depth: int, prefix: str = "") -> None:
        if depth > _DEEPEST:
            raise KerasFileError(f"models are nested more than {_DEEPEST} deep")
        config = node.get("config")
        # very old files keep a Sequential's layers as a bare list
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
        """Add the model's calls; without arguments its inputs become the graph's own."""
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
            raise KerasFileError(f"the layers of {shown(self.keras_name)} must hand on one tensor, not {len(results)}")
        return results

    def _entry(self, parts: list[Any]) -> Layer:
        """The input layer of a Sequential model that does not name one."""
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
                raise KerasFileError(f"the input {shown(name)} of {shown(self.keras_name)} is no input layer")
            if arguments is not None and len(arguments) != len(entries):
                raise KerasFileError(f"{shown(self.keras_name)} takes {len(entries)} tensors, not {len(arguments)}")
            done[name, 0] = [_enter(graph, layer) if arguments is None else arguments[number]]
        wanted = references(self.settings.get("output_layers"), self.keras_name)
        # a functional model's first call is its own making: the outputs count it, the calls inside do not
        own = [(n, i - self._counts_itself(n), t) for n, i, t in wanted]
        for reference in own:
            self._resolve(reference, done, graph)
        structure = self.settings.get("output_layers")
        single = is_reference(structure) or (self.older and len(own) == 1)  # Keras 2 writes one as a list of one
        return [_tensor(done, *ref) for ref in own], single

    @cached_property
    def older(self) -> bool:
        """Whether Keras 2 wrote it: there calls are lists."""
        return any(isinstance(node, list) for nodes in self.nodes.values() if isinstance(nodes, list) for node in nodes)

    def _counts_itself(self, name: str) -> bool:
        """Whether a part is a model that takes its own making for its first call; in Keras 2 Sequential ones do too."""
        part = self.parts.get(name)
        return isinstance(part, _Model) and (self.older or not part.sequential)

    def _resolve(self, reference: tuple[str, int, int], done: dict[tuple[str, int], list[int]], graph: Graph) -> None:
        """Make the calls that a result needs, those that they need first; without recursion, as networks are deep."""
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
        if (name, index) not in self._read:  # a model that is called often has its calls read once
            self._read[name, index] = self._read_inputs(name, index)
        return self._read[name, index]

    def _read_inputs(self, name: str, index: int) -> tuple[list[Reference], Arguments]:
        nodes = self.nodes.get(name)
        if not isinstance(nodes, list) or not 0 <= index < len(nodes):
            raise KerasFileError(f"{shown(self.keras_name)} uses call {index} of {shown(name)}, which is not there")
        node, owner = nodes[index], f"call {index} of {shown(name)}"
        if not isinstance(node, list):
            return read_call(node, owner, name)
        found, arguments = read_older_call(node, owner, name)
        return [(n, i - self._counts_itself(n) if i else i, t) for n, i, t in found], arguments


def _layer(
    part: Settings, name: str, class_name: str, place: str, names: _Names, trainable: bool, prefix: str
) -> Layer:
    settings = Settings(f"layer {shown(name, 60)} ({shortened(class_name, 60)})", part.get("config"))
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
            raise KerasFileError(f"the model {shown(part.keras_name)} is called with {shown(arguments.constants[0])}")
        return part.apply(graph, inputs)[0]
    part.calls += 1
    part.constants += [] if arguments is None else arguments.constants
    graph.calls.append(Call(part, tuple(inputs), arguments))
    return [len(graph.calls) - 1]


def _tensor(done: dict[tuple[str, int], list[int]], name: str, index: int, tensor: int) -> int:
    results = done[name, index]
    if not 0 <= tensor < len(results):
        raise KerasFileError(f"{shown(name)} gives {len(results)} tensors, and number {tensor} of them is used")
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
    return of_keras(module) and (registered is None or ">" not in str(registered))


def _snake_case(class_name: str) -> str:
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
