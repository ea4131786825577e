"""Dropouts in traced models: one node for ``torch.fx``, the identity for ``torch.jit.script``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx


def traceable(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Make a forward pass that ``torch.fx`` records as a call of its module, as it does with torch's own dropouts.

    The traced model then follows ``train()`` and ``eval()``. ``torch.jit.script`` compiles the identity, as noise drawn
    in Python cannot be scripted; a scripted model in training mode raises.

    Args:
        forward: forward pass of a module that is the identity in evaluation.

    Example:
        >>> import regtorch
        >>> model = torch.nn.Sequential(regtorch.Dropout(drop_prob=0.5))
        >>> [node.op for node in fx.symbolic_trace(model).graph.nodes]
        ['placeholder', 'call_module', 'output']
    """

    def recorded_or_run(self: Any, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            assert not self.training, (
                "a scripted model cannot run dropouts of regtorch: put it in eval mode, or script regtorch.plain(model)"
            )
            return x
        else:
            return recorded(self, x) if isinstance(x, fx.Proxy) else forward(self, x)

    # functools.wraps would let torch.jit.script find the wrapped forward pass
    recorded_or_run.__doc__, recorded_or_run.__qualname__ = forward.__doc__, forward.__qualname__
    recorded_or_run.__module__, recorded_or_run.__name__ = forward.__module__, forward.__name__
    recorded_or_run.scripts_in_evaluation = True  # type: ignore[attr-defined]
    return recorded_or_run


def recorded(module: torch.nn.Module, x: fx.Proxy, *args: Any, **kwargs: Any) -> Any:
    """Add a node that calls the module to the graph that is being recorded."""
    tracer: Any = x.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (x, *args), kwargs)


def takes_only_a_tensor(forward: Callable[..., Any]) -> bool:
    """Whether a forward pass has no argument besides its input.

    Example:
        >>> takes_only_a_tensor(lambda self, x: x), takes_only_a_tensor(lambda self, x, *more: x)
        (True, False)
    """
    parameters = list(inspect.signature(forward).parameters.values())
    return len(parameters) == 2 and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
