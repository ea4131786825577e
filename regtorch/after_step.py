"""Run something once after every real optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def after_step(optimizer: Optimizer, action: Callable[[Optimizer], None]) -> RemovableHandle:
    """Call ``action(optimizer)`` after each step that the optimizer really takes.

    A step that a ``GradScaler`` skips does not count: the scaler does not call ``step`` then, or, with a fused
    optimizer, calls it with ``found_inf`` set. An LBFGS step with many closure calls counts once. The hook is
    lost when the optimizer is copied or unpickled, as all of torch's optimizer hooks are.

    Args:
        optimizer: any torch optimizer.
        action: called with the optimizer.

    Returns:
        A handle whose ``remove()`` undoes it.
    """

    def hook(stepped: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found_inf = getattr(stepped, "found_inf", None)
        if found_inf is None or not found_inf.item():
            action(stepped)

    return optimizer.register_step_post_hook(hook)
