"""Whether a disk has room for what a run will write."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from regtorch.training.failure import DiskError


def check_disk_space(folder: Path, model: nn.Module) -> None:
    """Refuse a run whose first checkpoint certainly does not fit.

    One that is there is replaced when the next is complete, so each needs its own size again; it holds the weights at least.

    Raises:
        DiskError: too little is free.
    """
    weights = sum(w.numel() * w.element_size() for w in model.state_dict().values())
    kept = [path.stat().st_size for path in folder.glob("checkpoints/*.ckpt")]
    needed = max([weights, *kept])
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return
    if total and free < needed:  # some file systems do not say
        raise DiskError(
            f"{folder}: a checkpoint needs {needed / 1e6:,.3g} MB, and {free / 1e6:,.3g} MB are free: make room, "
            "or take another hydra.run.dir"
        )
