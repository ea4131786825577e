"""Rank and world size if torchrun or Slurm started this process; needs no torch."""

from __future__ import annotations

import os


def started_as() -> tuple[int, int, int] | None:
    """(rank, world size, local world size) if a launcher started this process as one of several; else None.

    A Slurm step with one task counts as an ordinary process, which may start other ranks itself.

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
    """Whether Slurm started this process."""
    return not os.environ.get("RANK") and started_as() is not None


def is_first() -> bool:
    """Whether this process is rank 0, which writes files and prints."""
    place = started_as()
    return place is None or place[0] == 0
