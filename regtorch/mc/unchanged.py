"""Leaving a model as it was found, whatever its own code writes into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: containers within containers of a module's attributes that are looked into
_DEEPEST = 4


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Give every attribute, hook, parameter and buffer its value back, also after an exception.

    Lists, dicts and sets among the attributes get their contents back; of other objects only which ones they are.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with unchanged(model):
        ...     model.last = model(torch.ones(3, 2))
        >>> hasattr(model, "last"), model.num_batches_tracked.item()
        (False, 0)
    """
    undo: list[Callable[[], None]] = []
    for module in model.modules():
        # what is scripted holds its attributes elsewhere
        if not isinstance(module, torch.jit.ScriptModule):
            undo.append(_contents_of(vars(module), _DEEPEST))
    buffers = [_number_of(buffer) for buffer in model.buffers()]
    try:
        yield
    finally:
        for give_back in (*undo, *buffers):
            give_back()


def _contents_of(container: Any, depth: int) -> Callable[[], None]:
    """Puts back what is in a container."""
    kept = container.copy()
    values = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, list) else ()
    inside = [_contents_of(v, depth - 1) for v in values if depth and isinstance(v, (dict, list, set))]

    def give_back() -> None:
        if isinstance(container, list):
            if len(container) != len(kept) or any(a is not b for a, b in zip(container, kept, strict=True)):
                container[:] = kept
        elif isinstance(container, dict):
            if list(container) != list(kept) or any(container[k] is not kept[k] for k in kept):
                container.clear()
                container.update(kept)
        elif container != kept:
            container.clear()
            container.update(kept)
        for part in inside:
            part()

    return give_back


def _number_of(buffer: Tensor) -> Callable[[], None]:
    """Puts back a buffer's numbers, where they were changed in place."""
    if buffer.is_inference() and not torch.is_inference_mode_enabled():
        return lambda: None  # torch lets nobody change it
    kept = buffer.detach().clone()
    version = None if buffer.is_inference() else buffer._version

    def give_back() -> None:
        if version is None or buffer._version != version:
            with torch.no_grad():
                buffer.copy_(kept)

    return give_back
