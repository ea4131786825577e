"""A model as a graph, as far as it can be had: what cannot be traced stays one node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn

from regtorch.mc.dropouts import is_dropout
from regtorch.mc.unchanged import unchanged


class UntraceableError(Exception):
    """A model whose forward pass cannot be written down as a graph."""


class _Tracer(fx.Tracer):
    """Traces into modules where that is possible; torch's own layers and all dropouts stay whole."""

    def __init__(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        super().__init__()
        self.inputs, self.keywords = inputs, keywords

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # what others hang on a module is for tensors: it stays whole, so that its hooks see these in every pass
        hooked = bool(module_qualified_name and (m._forward_hooks or m._forward_pre_hooks))
        return hooked or is_dropout(m) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        # tensors become placeholders; whatever else the caller passes, or leaves out, stays as it is
        inputs = [
            self.create_proxy("placeholder", f"input_{i}", (), {}) if isinstance(v, Tensor) else v
            for i, v in enumerate(self.inputs)
        ]
        keywords = {
            k: self.create_proxy("placeholder", f"keyword_{k}", (), {}) if isinstance(v, Tensor) else v
            for k, v in self.keywords.items()
        }
        return lambda root: root.forward(*inputs, **keywords), [self.root]

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


def traced(model: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[fx.Graph, dict[str, Tensor]]:
    """The graph of a model's forward pass with a placeholder for each tensor, and the constants that it names.

    The model is as before afterwards.

    Raises:
        UntraceableError: the model's own forward cannot be traced.

    Example:
        >>> graph, constants = traced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), (torch.zeros(1, 2),), {})
        >>> [node.op for node in graph.nodes], constants
        (['placeholder', 'call_module', 'call_module', 'output'], {})
    """
    tracer = _Tracer(inputs, keywords)
    known = set(dir(model))
    if isinstance(model, torch.jit.ScriptModule) or tracer.is_leaf_module(model, ""):
        raise UntraceableError(f"{type(model).__name__} is one piece")
    try:
        with unchanged(model), _len_of_proxies(model):
            graph = tracer.trace(model)
            named = {str(node.target) for node in graph.nodes if node.op == "get_attr"} - known
            return graph, {name: vars(model)[name] for name in named if isinstance(vars(model).get(name), Tensor)}
    except Exception as error:
        raise UntraceableError(_first_line(error)) from error


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


def whole(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> fx.Graph:
    """The graph of one node that calls the model."""
    graph = fx.Graph()
    args = tuple(graph.placeholder(f"input_{i}") if isinstance(v, Tensor) else v for i, v in enumerate(inputs))
    kwargs = {k: graph.placeholder(f"keyword_{k}") if isinstance(v, Tensor) else v for k, v in keywords.items()}
    graph.output(graph.call_module("", args, kwargs))
    return graph


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
