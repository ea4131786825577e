"""A model's forward pass as a graph, recorded while it runs.

Unlike symbolic tracing this takes any Python code. What it cannot see through becomes one node, module by module: custom
kernels, scripted parts, code whose control flow depends on numbers that noise has reached. The graph holds for the shapes
that it was recorded with. Where the control flow depends on numbers that no noise reaches, a guard stands in the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.dropouts import is_dropout
from regtorch.mc.graph import OTHER_STEPS, ModelGraph, Recorded, UntraceableError, with_nodes
from regtorch.mc.in_place import Change, same_memory
from regtorch.mc.memory import WRITES, Memory
from regtorch.mc.model_state import unchanged
from regtorch.mc.module_calls import module_calls
from regtorch.mc.sampler import Sampler
from regtorch.mc.structure import replace_tensors, tensors_of

#: how often a module is made one node before recording is given up
_ATTEMPTS = 20
_PLAIN = (bool, int, float, complex, str, type(None))


class GuardError(Exception):
    """A number that the control flow depends on differs from when the graph was recorded."""


class Guard:
    """Computes a Python value from tensors, and checks that it is as it was when the graph was recorded."""

    __name__ = "guard"

    def __init__(self, function: Callable[..., Any], expected: Any) -> None:
        self.function, self.expected = function, expected

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The value."""
        value = self.function(*args, **kwargs)
        if value != self.expected:
            raise GuardError
        return value


class InPlace:
    """Runs a function for what it changes, and gives what it changed."""

    __name__ = "in_place"

    def __init__(self, function: Callable[..., Any], position: int) -> None:
        self.function, self.position = function, position

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What was changed."""
        self.function(*args, **kwargs)
        return tensors_of((args, kwargs))[self.position]


class Pick:
    """One of the tensors in a structure."""

    __name__ = "pick"

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, value: Any) -> Tensor:
        """The tensor."""
        found: Tensor = tensors_of(value)[self.index]
        return found


def recorded(model: nn.Module, batch: BatchArgs, sampler: Sampler, one_piece: Collection[nn.Module]) -> ModelGraph:
    """The graph of a model's forward pass on a batch.

    Args:
        model: any module, its dropouts switched on and computed by the sampler.
        batch: the batch; the graph holds for its shapes.
        sampler: draws the noise.
        one_piece: modules that stay one node.

    Raises:
        UntraceableError: the model's own forward cannot be recorded.
    """
    if model in one_piece:
        raise UntraceableError("it draws from Python's or NumPy's generator")
    leaves = set(one_piece)
    for _ in range(_ATTEMPTS):
        passes = [_record(model, batch, sampler, leaves, sample) for sample in (1, 0)]
        passes.reverse()  # the graph is that of sample 0, which it is checked on
        opaque = {**_differences(*passes), **passes[0].opaque, **passes[1].opaque}
        opaque = opaque or passes[0].guarded_noise()
        if not opaque:
            return passes[0].finished()
        if model in opaque:
            raise UntraceableError(opaque[model])
        leaves |= opaque.keys()
    raise UntraceableError("too many of its modules cannot be recorded")


def _record(model: nn.Module, batch: BatchArgs, sampler: Sampler, leaves: set[nn.Module], sample: int) -> _Recorder:
    recorder = _Recorder(model, sampler, leaves)
    sampler.begin(range(sample, sample + 1), batch.rows)
    copy = batch.clone()
    recorder.start(copy)
    try:
        with unchanged(model) as recorder.memory, sampler.drawing(), module_calls(recorder.call), recorder:
            output = model(*copy.args, **copy.kwargs)
        recorder.end(output)
    except Exception as error:
        raise UntraceableError("it fails while its steps are recorded") from error
    return recorder


def _differences(first: _Recorder, second: _Recorder) -> dict[nn.Module, str]:
    """Modules that did something else in another sample's pass, and what."""
    for a, b in zip(first.steps, second.steps, strict=False):
        if (a.node.op, str(a.node.target).split(" at ")[0]) != (b.node.op, str(b.node.target).split(" at ")[0]):
            return {a.module: OTHER_STEPS}
    if len(first.steps) != len(second.steps):
        longer = max(first.steps, second.steps, key=len)
        return {longer[min(len(first.steps), len(second.steps))].module: OTHER_STEPS}
    pairs = zip(first.constants.values(), second.constants.values(), strict=False)
    names = zip(first.constants, pairs, strict=False)
    return {
        first.origins[name]: "it uses a tensor that was not made by torch's functions"
        for name, (a, b) in names
        if a is not b
    }


@dataclass
class _Step:
    node: fx.Node
    module: nn.Module


class _Recorder(TorchFunctionMode):
    """Writes down torch's functions and the modules that are one node."""

    def __init__(self, model: nn.Module, sampler: Sampler, leaves: set[nn.Module]) -> None:
        super().__init__()
        self.model, self.sampler, self.leaves = model, sampler, leaves
        self.graph = fx.Graph()
        self.steps: list[_Step] = []
        self.noted = Recorded()
        self.constants: dict[str, Tensor] = {}
        self.origins: dict[str, nn.Module] = {}
        #: modules that cannot be recorded -> why
        self.opaque: dict[nn.Module, str] = {}
        self.names: dict[nn.Module, str] = {}
        for name, module in model.named_modules():
            self.names.setdefault(module, name)
        self._stack: list[nn.Module] = [model]
        self._inside_leaf = False
        self._known: dict[int, tuple[weakref.ref[Tensor], fx.Node]] = {}
        self._versions: dict[int, int] = {}
        self._attributes = _attributes_of(model)
        self._autocast = _autocast_state()
        self.memory = Memory(())
        self._output: Any = None

    # --- the ends ---

    def start(self, batch: BatchArgs) -> None:
        """Give each tensor of the batch its placeholder."""
        self._batch = batch
        for index, tensor in enumerate(batch.tensors):
            self._bind(tensor, self.graph.placeholder(f"input_{index}"))

    def end(self, output: Any) -> None:
        """Note the model's output."""
        self._output = output
        self.graph.output(tuple(self._node_of(tensor) for tensor in tensors_of(output)))

    def finished(self) -> ModelGraph:
        """The graph."""
        output = self._output
        return ModelGraph(self.graph, self.constants, lambda values: replace_tensors(output, list(values)), self.noted)

    def guarded_noise(self) -> dict[nn.Module, str]:
        """Modules whose control flow depends on numbers that noise has reached."""
        sampled: set[fx.Node] = set()
        found = {}
        for step in self.steps:
            if step.node in self.noted.firing or any(source in sampled for source in step.node.all_input_nodes):
                sampled.add(step.node)
                if isinstance(step.node.target, Guard):
                    found[step.module] = "what it runs depends on numbers that noise has reached"
        return found

    # --- modules ---

    def call(self, module: nn.Module, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a module: one node, or its functions one by one."""
        name = self.names.get(module)
        if self._inside_leaf or name is None or module is self.model:
            return run(*args, **kwargs)
        if not self._is_one_node(module):
            self._stack.append(module)
            try:
                return run(*args, **kwargs)
            finally:
                self._stack.pop()
        before, written = self._state(), len(self.memory.log)
        versions = _versions(tensors_of((args, kwargs)))
        self._inside_leaf = True
        try:
            result = run(*args, **kwargs)
        finally:
            self._inside_leaf = False
        if self.memory.wrote_outside(written, module):
            self.opaque[self._stack[-1]] = WRITES
        given = with_nodes(self.graph, (args, kwargs), self._node_of)
        node = self.graph.call_module(name, *given)
        work = sum(w[0].numel() for w in module.parameters() if w.ndim > 1)
        changed = versions != _versions(tensors_of((args, kwargs)))
        self._add(node, result, before, changed, work, opaque=not type(module).__module__.startswith("torch.nn."))
        return result

    def _is_one_node(self, module: nn.Module) -> bool:
        if module in self.leaves or is_dropout(module) or isinstance(module, torch.jit.ScriptModule):
            return True
        if module._forward_hooks or module._forward_pre_hooks:  # hooks see tensors in every pass
            return True
        return type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential)

    # --- functions ---

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._inside_leaf:
            return func(*args, **kwargs)
        given = tensors_of((args, kwargs))
        versions = _versions(given)
        before, written = self._state(), len(self.memory.log)
        result = func(*args, **kwargs)
        if self.memory.wrote_outside(written, None) or _sets_data(func):  # replayed, modules would not see it
            self.opaque[self._stack[-1]] = WRITES
        changed = [i for i, (a, b) in enumerate(zip(versions, _versions(given), strict=True)) if a != b]
        produced = tensors_of(result)
        if not produced and not changed:
            if self._state()[2:] != before[2:]:
                self._guard(func, args, kwargs, result, before)
            return result
        if self._autocast != _autocast_state():
            self.opaque[self._stack[-1]] = "it changes autocast"
        target, value = func, result
        if not produced:
            target, value = InPlace(func, changed[0]), given[changed[0]]
        node = self.graph.call_function(target, *with_nodes(self.graph, (args, kwargs), self._node_of))
        work = sum(t[0].numel() for t in given if t.ndim > 1 and id(t) in self._attributes)
        self._add(node, value, before, bool(changed), work)
        return result

    def _guard(self, func: Any, args: Any, kwargs: Any, result: Any, before: tuple[int, ...]) -> None:
        if not _is_plain(result):
            self.opaque[self._stack[-1]] = "it takes numbers out of torch"
            return
        node = self.graph.call_function(Guard(func, result), *with_nodes(self.graph, (args, kwargs), self._node_of))
        self._add(node, None, before, False, 0)

    def _add(
        self, node: fx.Node, result: Any, before: tuple[int, ...], changed: bool, work: float, opaque: bool = False
    ) -> None:
        """Note what a node did, and which tensors are its."""
        self.steps.append(_Step(node, self._stack[-1]))
        fired, inside, read, shaped = (a - b for a, b in zip(self._state(), before, strict=True))
        noted = self.noted
        if fired:
            noted.firing.add(node)
        if inside:
            noted.inside.add(node)
        # torch's own functions and layers read numbers to check them; what is run depends on them in other code
        if shaped or (read and (opaque or isinstance(node.target, Guard))):
            noted.reading.add(node)
        tensors = tensors_of(result)
        noted.sizes[node] = sum(tensor.nbytes for tensor in tensors)
        noted.work[node] = sum(tensor.numel() for tensor in tensors) * (1 + work)
        if changed:
            self._note_changes(node, tensors)
        if isinstance(result, Tensor):
            self._bind(result, node)
        else:
            for index, tensor in enumerate(tensors):
                pick = self.graph.call_function(Pick(index), (node,))
                self.steps.append(_Step(pick, self._stack[-1]))
                noted.sizes[pick] = noted.work[pick] = 0
                self._bind(tensor, pick)

    def _state(self) -> tuple[int, int, int, int]:
        sampler = self.sampler
        return sampler.fired, sampler.inside, sampler.read, sampler.shaped

    def _note_changes(self, by: fx.Node, results: list[Tensor]) -> None:
        for key, (reference, of) in list(self._known.items()):
            tensor = reference()
            if tensor is not None and self._versions[key] != _version(tensor):
                self._versions[key] = _version(tensor)
                is_result = any(same_memory(result, tensor) for result in results)
                self.noted.changes.append(Change(by, of, is_result))
                if is_result:
                    self._known[key] = (reference, by)

    # --- tensors ---

    def _bind(self, tensor: Tensor, node: fx.Node) -> None:
        self._known[id(tensor)] = (weakref.ref(tensor), node)
        self._versions[id(tensor)] = _version(tensor)

    def _node_of(self, tensor: Tensor) -> fx.Node:
        reference, node = self._known.get(id(tensor), (None, None))
        if node is not None and reference is not None and reference() is tensor:
            return node
        name = self._attributes.get(id(tensor))
        if name is None:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = tensor
            self.origins[name] = self._stack[-1]
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.create_node("get_attr", name)
        self._bind(tensor, node)
        return node


def _attributes_of(model: nn.Module) -> dict[int, str]:
    """The id of each parameter, buffer and tensor attribute -> its qualified name."""
    found: dict[int, str] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in (*module._parameters.items(), *module._buffers.items(), *vars(module).items()):
            if isinstance(value, Tensor):
                found.setdefault(id(value), f"{prefix}.{name}" if prefix else name)
    return found


def _sets_data(function: Any) -> bool:
    """Whether a function puts other memory in place of a tensor's own, as ``x.data = y`` does."""
    attribute = getattr(function, "__self__", None)
    return getattr(function, "__name__", "") == "__set__" and getattr(attribute, "__name__", "") == "data"


def _autocast_state() -> tuple[object, ...]:
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return tuple((torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _versions(tensors: list[Tensor]) -> list[int]:
    return [_version(tensor) for tensor in tensors]
