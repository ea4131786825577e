"""Private parts of torch: its transforms, the autograd engine, dispatch modes, ``fully_shard`` and recurrent layers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._python_dispatch import _disable_current_modes as without_dispatch_modes

__all__ = ["QuickDispatchMode", "transforms_are_active", "without_dispatch_modes"]

#: whether a transform of ``torch.func`` is running
transforms_are_active = torch._C._are_functorch_transforms_active


def forward_mode_is_active() -> bool:
    """Whether forward-mode derivatives are being computed."""
    return forward_ad._current_level >= 0


def is_wrapped_by_transform(tensor: Tensor) -> bool:
    """Whether a transform of ``torch.func`` has wrapped a tensor."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def is_jit_tracing() -> bool:
    """Whether ``torch.jit.trace`` is running; it compares two passes."""
    return torch._C._get_tracing_state() is not None


def is_in_backward() -> bool:
    """Whether this thread runs a backward pass."""
    return torch._C._current_graph_task_id() != -1


def backward_keeps_graph() -> bool:
    """Whether the running backward pass was started with ``retain_graph=True``."""
    return torch._C._autograd._get_current_graph_task_keep_graph()


@contextmanager
def without_any_mode() -> Iterator[None]:
    """No function mode and no dispatch mode sees the operations in the block."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


class QuickDispatchMode(TorchDispatchMode):
    """A dispatch mode that torch's compiler is not asked to leave alone: that would import it, which takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def clear_compiler_specializations() -> None:
    """Prevent that one compilation makes later ones specialize on the value of a number.

    If a graph does not use the number, Dynamo marks it as a constant. The mark should hold for that compilation only, but
    it persists (torch 2.14). Later graphs that read a number in the same place would then be specialized on one value
    each, and the ninth would be an error.
    """
    dynamo = sys.modules.get("torch._dynamo.symbolic_convert")  # not imported unless something was compiled
    if dynamo is not None and hasattr(dynamo, "TensorifyState"):
        dynamo.TensorifyState.clear()


def is_fully_sharded(module: nn.Module) -> bool:
    """Whether ``fully_shard`` was applied to a module."""
    return hasattr(module, "_get_fsdp_state")


def fully_sharded_parameters(module: Any) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Owner, attribute and shard of each parameter that ``fully_shard`` manages for a module."""
    state = module._get_fsdp_state()
    single = getattr(state, "_fsdp_param_group", None) if not hasattr(state, "_fsdp_param_groups") else None
    for group in getattr(state, "_fsdp_param_groups", [single]):
        for managed in group.fsdp_params if group is not None else ():
            info = managed._module_info
            owners = zip([info.module, *info.shared_modules], [info.param_name, *info.shared_param_names], strict=True)
            yield from ((owner, attribute, managed.sharded_param) for owner, attribute in owners)


def recurrent_weight_names(layer: nn.RNNBase) -> list[str]:
    """The names of a recurrent layer's weights, in the order in which it uses them."""
    return list(layer._flat_weights_names)


@contextmanager
def recurrent_weights(layer: nn.RNNBase, weights: Sequence[Tensor]) -> Iterator[None]:
    """Let a recurrent layer compute with other weights; it uses this list, not its parameters."""
    kept = layer._flat_weights
    layer._flat_weights = list(weights)
    try:
        yield
    finally:
        layer._flat_weights = kept
