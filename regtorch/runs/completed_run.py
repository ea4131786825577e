"""Detect a resumed run that is complete already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.runs.checkpoint_header import read_plain_content
from regtorch.runs.initial_checkpoint import checkpoint_path
from regtorch.settings import COUNT_OR_ZERO
from regtorch.study.results_file import results_of

#: keys for the length of the training; new values have no effect unless they make it longer
_LENGTH = ("trainer.max_epochs", "trainer.max_steps", "callbacks.patience")


def completed(config: Mapping[str, Any], given: Sequence[str]) -> tuple[dict[str, Any], str] | None:
    """Return the results of a resumed run that is complete, and the override that would train it longer; else None.

    Args:
        config: as plain containers.
        given: the overrides as typed.
    """
    path = checkpoint_path(config)
    if config.get("resume") is None or path is None:
        return None
    keys = [override.lstrip("+~").partition("=")[0] for override in given]
    if any(key not in (*_LENGTH, "resume") and not key.startswith("hydra.") for key in keys):
        return None  # other overrides may change the results
    results = results_of(Path(str(config["resume"])))
    if results.get("status") != "completed" or (longer := _longer(read_plain_content(path), config)) is None:
        return None
    return results, longer


def _longer(content: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Return the override that would train longer, if a checkpoint is from the end of a training; else None."""
    max_steps, patience = config["trainer"].get("max_steps", -1), config["callbacks"]["patience"]
    callbacks: Any = content.get("callbacks", {})
    waited = [
        state["wait_count"]
        for state in callbacks.values()
        if isinstance(state, dict) and COUNT_OR_ZERO.holds(state.get("wait_count"))
    ]
    if (epochs := content.get("regtorch", {}).get("epochs", 0)) >= config["trainer"]["max_epochs"]:
        return f"trainer.max_epochs={2 * epochs}"
    if max_steps != -1 and content.get("global_step", 0) >= max_steps:
        return f"trainer.max_steps={2 * max_steps}"
    if patience is not None and waited and max(waited) >= patience:
        return f"callbacks.patience={2 * max(waited)} (it was stopped early)"
    return None
