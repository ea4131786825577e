"""Watching the calls of a model's modules."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

#: called with a module, a function that runs it, and the call's arguments
Handler = Callable[[nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


_lock = threading.RLock()


def exclusively() -> threading.RLock:
    """The lock for all work on a user's model: all threads share its modes, its hooks and the random state."""
    return _lock


def _unlock() -> None:
    global _lock  # a forked process has no thread that could release it
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


@contextmanager
def module_calls(handler: Handler) -> Iterator[None]:
    """Let `handler` run every module that this thread calls; other threads' modules run as always.

    Example:
        >>> import torch
        >>> def show(module, run, args, kwargs):
        ...     print(type(module).__name__)
        ...     return run(*args, **kwargs)
        >>> with module_calls(show):
        ...     _ = nn.Sequential(nn.ReLU())(torch.ones(1))
        Sequential
        ReLU
    """
    thread = threading.get_ident()
    with exclusively():
        original: Any = nn.Module.__call__

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return original(module, *args, **kwargs)
            return handler(module, lambda *a, **k: original(module, *a, **k), args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]
