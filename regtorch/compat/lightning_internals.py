"""Private parts of Lightning's Trainer."""

from __future__ import annotations

from typing import Any


def names_logged_before_batch_end(trainer: Any) -> set[str]:
    """The names that were logged in this step by other hooks than ``on_train_batch_end``."""
    found = [result.meta for result in (trainer._results or {}).values()]
    return {meta.name for meta in found if meta.fx != "on_train_batch_end"}


def skips_backward(trainer: Any) -> bool:
    """Whether this is the last pass of StochasticWeightAveraging, for batch normalization, which computes no gradients."""
    skips: bool = trainer.fit_loop._skip_backward
    return skips


def accumulates(trainer: Any) -> bool:
    """Whether the optimizer takes no step after this batch."""
    more: bool = trainer.fit_loop._should_accumulate()
    return more
