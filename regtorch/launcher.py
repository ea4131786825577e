"""Whether torchrun or Slurm started this process, and as which of how many; no torch."""

from __future__ import annotations

import os


def started_as() -> tuple[int, int, int] | None:
    """(rank, ranks, ranks on this machine) if a launcher started this process as one of several; else None.

    A step of Slurm with one task is a process like any other: it may start others itself.

    Example:
        >>> started_as() is None
        True
    """
    env = os.environ
    if env.get("RANK") and env.get("WORLD_SIZE"):
        ranks = int(env["WORLD_SIZE"])
        return int(env["RANK"]), ranks, int(env.get("LOCAL_WORLD_SIZE") or ranks)
    ranks = int(env.get("SLURM_STEP_NUM_TASKS") or 1)
    if ranks > 1 and env.get("SLURM_PROCID"):
        return int(env["SLURM_PROCID"]), ranks, ranks // int(env.get("SLURM_STEP_NUM_NODES") or 1)
    return None


def by_slurm() -> bool:
    """Whether it was Slurm."""
    return not os.environ.get("RANK") and started_as() is not None


def is_first() -> bool:
    """Whether this process writes and speaks."""
    place = started_as()
    return place is None or place[0] == 0
