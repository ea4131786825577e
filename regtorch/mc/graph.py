"""A model's forward pass as a graph, by symbolic tracing or as a single node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.dropouts import is_dropout
from regtorch.mc.in_place import Change
from regtorch.mc.memory import Memory
from regtorch.mc.model_state import unchanged
from regtorch.mc.structure import replace_tensors, tensors_of

log = logging.getLogger("regtorch")

#: reasons why a model is sampled whole
OTHER_RESULT = "its steps, taken one by one, do not give what its own code gives"
OTHER_STEPS = "what it runs differs from sample to sample"


class UntraceableError(Exception):
    """A model whose forward pass cannot be written down as a graph."""


@dataclass(frozen=True)
class ModelGraph:
    """A forward pass: a placeholder for each tensor of the batch, a node for each step.

    Args:
        graph: the nodes.
        constants: name -> tensors that it uses and that are no attribute of the model.
        rebuild: makes the model's output of the output node's value.
        recorded: what was noted of the nodes, if it was recorded from a run.
        sources: tensors of the model whose numbers were used when it was made, and are in it as they were.
    """

    graph: fx.Graph
    constants: dict[str, Tensor] = field(default_factory=dict)
    rebuild: Callable[[Any], Any] = lambda value: value
    recorded: Recorded | None = None
    sources: list[Tensor] = field(default_factory=list)


@dataclass
class Recorded:
    """What was noted of a graph's nodes when it ran.

    Args:
        firing: nodes that dropped something.
        inside: nodes that did so within other code.
        reading: nodes in which numbers became Python values or shapes, on which what is run may depend.
        changes: what nodes changed in place.
        sizes: bytes that a node wrote.
        work: multiplications of a node.
    """

    firing: set[fx.Node] = field(default_factory=set)
    inside: set[fx.Node] = field(default_factory=set)
    reading: set[fx.Node] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    sizes: dict[fx.Node, int] = field(default_factory=dict)
    work: dict[fx.Node, float] = field(default_factory=dict)


class _Tracer(fx.Tracer):
    """Traces into modules where that is possible; torch's own layers and all dropouts stay one node."""

    def __init__(self, batch: BatchArgs) -> None:
        super().__init__()
        self.batch = batch
        self.output: Any = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # hooks are for tensors: a module with hooks stays one node, so that they see tensors in every pass
        hooked = bool(module_qualified_name and (m._forward_hooks or m._forward_pre_hooks))
        return hooked or is_dropout(m) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        # tensors become placeholders; all else that the caller passes, or leaves out, stays as it is
        proxies = [self.create_proxy("placeholder", f"input_{i}", (), {}) for i in range(len(self.batch.tensors))]
        args, kwargs = replace_tensors((self.batch.args, self.batch.kwargs), proxies)

        def forward(root: Any) -> tuple[Any, ...]:
            self.output = root.forward(*args, **kwargs)
            return tuple(tensors_of(self.output, fx.Proxy))

        return forward, [self.root]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        last = next(iter(reversed(self.graph.nodes)), None)
        stack = dict(self.module_stack)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            while (node := next(iter(reversed(self.graph.nodes)), None)) is not last and node is not None:
                self.graph.erase_node(node)
            self.module_stack.clear()
            self.module_stack.update(stack)
            name = self.path_of_module(m)
            return self.create_proxy("call_module", name, args, kwargs)


def traced(model: nn.Module, batch: BatchArgs) -> ModelGraph:
    """The graph of a model's forward pass, traced symbolically. The model is as before afterwards.

    Raises:
        UntraceableError: the model's own forward cannot be traced.

    Example:
        >>> import torch
        >>> graph = traced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), BatchArgs((torch.zeros(1, 2),), {})).graph
        >>> [node.op for node in graph.nodes]
        ['placeholder', 'call_module', 'call_module', 'output']
    """
    tracer = _Tracer(batch)
    known = set(dir(model))
    if tracer.is_leaf_module(model, ""):
        raise UntraceableError("it is one piece")
    if isinstance(model, torch.jit.ScriptModule):
        raise UntraceableError("it is compiled code, whose steps are not seen")
    try:
        with unchanged(model) as memory, _len_of_proxies(model), _Reads(memory) as reads:
            graph = tracer.trace(model)
            named = {str(node.target) for node in graph.nodes if node.op == "get_attr"} - known
            constants = {name: vars(model)[name] for name in named if isinstance(vars(model).get(name), Tensor)}
    except Exception as error:
        raise UntraceableError("torch.fx cannot trace it") from error
    output = tracer.output
    return ModelGraph(graph, constants, lambda values: replace_tensors(output, values, fx.Proxy), None, reads.found)


class _Reads(TorchFunctionMode):
    """Notes which tensors of a model torch's functions take while it is traced, where no proxy is among them."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(issubclass(kind, fx.Proxy) for kind in types) and getattr(func, "__name__", "") != "__get__":
            with torch._C.DisableTorchFunction():
                originals = [self.memory.original_of(tensor) for tensor in tensors_of((args, kwargs))]
            self.found += [tensor for tensor in originals if tensor is not None]
        return func(*args, **kwargs)


@contextmanager
def _len_of_proxies(model: nn.Module) -> Iterator[None]:
    """Let ``len(x)`` be recorded in the modules' own code, where Python itself insists on a number."""

    def length(value: Any) -> Any:
        return value.size(0) if isinstance(value, fx.Proxy) else len(value)

    places = {
        id(f.__globals__): f.__globals__ for m in model.modules() if isinstance(f := type(m).forward, FunctionType)
    }
    changed = [scope for scope in places.values() if "len" not in scope]
    try:
        for scope in changed:
            scope["len"] = length
        yield
    finally:
        for scope in changed:
            scope.pop("len", None)


class Rebuild:
    """Puts tensors into a structure that ``torch.fx`` does not look into; the target of a node.

    Args:
        template: a structure of as many tensors.
    """

    __name__ = "rebuild"

    def __init__(self, template: Any) -> None:
        self.template = template

    def __call__(self, *tensors: Any) -> Any:
        """The structure of these tensors."""
        return replace_tensors(self.template, tensors)


def with_nodes(graph: fx.Graph, value: Any, node_of: Callable[[Tensor], fx.Node]) -> Any:
    """Arguments with each tensor replaced by its node; structures that ``torch.fx`` does not know get a node of their own."""
    if isinstance(value, Tensor):
        return node_of(value)
    if type(value) in (tuple, list):
        return type(value)(with_nodes(graph, part, node_of) for part in value)
    if type(value) is dict:
        return {key: with_nodes(graph, part, node_of) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(with_nodes(graph, part, node_of) for part in (value.start, value.stop, value.step)))
    tensors = tensors_of(value)
    return graph.call_function(Rebuild(value), tuple(map(node_of, tensors))) if tensors else value


def called(batch: BatchArgs) -> ModelGraph:
    """The graph of one node that calls the model."""
    graph = fx.Graph()
    nodes = {id(tensor): graph.placeholder(f"input_{i}") for i, tensor in enumerate(batch.tensors)}
    args, kwargs = with_nodes(graph, (batch.args, batch.kwargs), lambda tensor: nodes[id(tensor)])
    graph.output(graph.call_module("", args, kwargs))
    return ModelGraph(graph)


def reason_of(error: Exception, otherwise: str = OTHER_RESULT) -> str:
    """Why a model is not split, in words about the model; errors within a graph are about its nodes and go to the log.

    Example:
        >>> reason_of(IndexError("list index out of range"))
        'its steps, taken one by one, do not give what its own code gives'
    """
    if isinstance(error, UntraceableError):
        return str(error)
    log.debug("a graph could not be used: %s", otherwise, exc_info=error)
    return otherwise
