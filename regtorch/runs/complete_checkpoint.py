"""Check that a checkpoint holds everything that training needs to resume, without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.errors import DataError


def check_complete(given: str, content: Mapping[str, Any]) -> None:
    """Refuse a checkpoint with a missing part: resuming from it would train a different run.

    Args:
        given: the override that names the checkpoint, such as ``resume=outputs/a``.
        content: the checkpoint's content.

    Raises:
        DataError: names what is missing.
    """
    steps = content.get("global_step")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise DataError(f"{given}: its checkpoint is damaged: global_step={steps!r:.40} must be an integer >= 0")
    states = content.get("optimizer_states")
    if not isinstance(states, (list, tuple)) or len(states) != 1 or not isinstance(states[0], Mapping):
        raise DataError(f"{given}: its checkpoint is incomplete: it lacks the optimizer's state (optimizer_states)")
    if not isinstance(states[0].get("state"), Mapping) or not states[0].get("param_groups"):
        raise DataError(
            f"{given}: its checkpoint is incomplete: the optimizer's state lacks its parts (optimizer_states)"
        )
    kinds: dict[str, Any] = {
        "loops": Mapping,
        "callbacks": Mapping,
        "lr_schedulers": (list, tuple),
        "DataModule": Mapping,
    }
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise DataError(f"{given}: its checkpoint is incomplete: it lacks {key}")
    try:
        loop = content["loops"]["fit_loop"]
        loop["epoch_progress"]["current"]["processed"]
        counted = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{given}: its checkpoint is incomplete: loops lacks the training progress") from error
    if counted != steps:
        raise DataError(
            f"{given}: its checkpoint is damaged: global_step={steps}, but its loops counted {counted!r:.40} steps"
        )
