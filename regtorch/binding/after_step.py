"""Callbacks after every real optimizer step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle


def after_step(optimizer: Optimizer, action: Callable[[Optimizer], None]) -> RemovableHandle:
    """Call ``action(optimizer)`` after each step that the optimizer actually takes.

    A step that a ``GradScaler`` skips does not count: the scaler does not call ``step`` then, or, with a fused
    optimizer, calls it with ``found_inf`` set. An LBFGS step with many closure calls counts once, and so does the step of
    a subclass that calls ``super().step()``. The hook is lost when the optimizer is copied or unpickled, as all of
    torch's optimizer hooks are.

    Args:
        optimizer: any torch optimizer.
        action: called with the optimizer.

    Returns:
        A handle; ``handle.remove()`` stops the calls.
    """
    return optimizer.register_step_post_hook(_hook(action))


def after_step_of_any(
    optimizers: Callable[[], Iterable[Optimizer]], action: Callable[[Optimizer], None]
) -> RemovableHandle:
    """Call ``action(optimizer)`` after each real step of the optimizers that ``optimizers()`` returns at that time.

    Steps are counted as in `after_step`. An optimizer that replaces another one, a copy for example, needs no hook
    of its own.

    Args:
        optimizers: returns the watched optimizers; called after each step of any optimizer.
        action: called with the optimizer that stepped.

    Returns:
        A handle; ``handle.remove()`` stops the calls.
    """

    def act_if_watched(stepped: Optimizer) -> None:
        if any(stepped is optimizer for optimizer in optimizers()):
            action(stepped)

    return register_optimizer_step_post_hook(_hook(act_if_watched))


def _hook(action: Callable[[Optimizer], None]) -> Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], None]:
    def hook(stepped: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found_inf = getattr(stepped, "found_inf", None)
        if (found_inf is None or not found_inf.item()) and not _within_another_step(stepped, sys._getframe(1)):
            action(stepped)

    return hook


def _within_another_step(optimizer: Optimizer, wrapper: Any) -> bool:
    """Whether the step whose hooks run is nested in another step of the same optimizer.

    torch wraps ``step`` of each class in a function that runs the hooks, so ``super().step()`` runs them too early and
    one time too many. `wrapper` is the frame of that function.
    """
    frame = wrapper.f_back
    while frame is not None:
        if frame.f_code is wrapper.f_code and frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False
