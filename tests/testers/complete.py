"""The parts of a checkpoint that a training continues with, as small as they can be."""

from __future__ import annotations

from typing import Any


def parts(steps: int = 4, epochs: int = 2) -> dict[str, Any]:
    """All but the weights and what regtorch itself keeps."""
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
