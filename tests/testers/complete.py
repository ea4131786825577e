"""Minimal parts of a checkpoint from which a training can resume."""

from __future__ import annotations

from typing import Any


def parts(steps: int = 4, epochs: int = 2) -> dict[str, Any]:
    """All parts except the weights and regtorch's own entries."""
    optimizer = {"optimizer": {"step": {"total": {"completed": steps}}}}
    return {
        "global_step": steps,
        "optimizer_states": [{"state": {0: {"step": steps}}, "param_groups": [{"params": [0]}]}],
        "lr_schedulers": [],
        "callbacks": {},
        "DataModule": {"epochs": epochs, "batches": 0},
        "loops": {
            "fit_loop": {
                "epoch_progress": {"current": {"processed": epochs}},
                "epoch_loop.automatic_optimization.optim_progress": optimizer,
            }
        },
    }
