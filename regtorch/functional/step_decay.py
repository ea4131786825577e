"""Drops at regular intervals."""

from __future__ import annotations

import math


def step_decay(progress: float, *, decay: float = 0.5, every_fraction: float = 0.25) -> float:
    """Multiplied by `decay` after each `every_fraction` of the training: ``decay^floor(progress / every_fraction)``.

    Args:
        progress: share of the training that is done, 0 to 1.
        decay: what the factor is multiplied by, above 0, at most 1.
        every_fraction: share of the training between two drops, above 0, at most 1. A drop is due as soon as the
            share is reached, so that one falls on the very end where the shares fill the training.

    Source: He et al., "Deep residual learning", 2016 (for the learning rate).

    Example:
        >>> [step_decay(progress) for progress in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    """
    # 0.3 / 0.1 is a little less than 3 in binary: what is that close to an integer is one
    return decay ** math.floor(progress / every_fraction * (1.0 + 1e-12))
