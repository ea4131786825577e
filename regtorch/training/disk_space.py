"""Check that the disk has enough space for a run's checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from regtorch.training.failure import DiskError


def check_disk_space(folder: Path, model: nn.Module) -> None:
    """Refuse a run whose next checkpoint certainly does not fit on the disk.

    An existing checkpoint is replaced only when the next one is complete, so each needs its full size. A new one has at
    least the size of the weights.

    Raises:
        DiskError: there is too little free space.
    """
    weights = sum(w.numel() * w.element_size() for w in model.state_dict().values())
    kept = [path.stat().st_size for path in folder.glob("checkpoints/*.ckpt")]
    needed = max([weights, *kept])
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return
    if total and free < needed:  # some file systems report a total of 0
        raise DiskError(
            f"{folder}: a checkpoint needs {needed / 1e6:,.3g} MB, but only {free / 1e6:,.3g} MB are free; free disk "
            "space, or take another hydra.run.dir"
        )
