"""Silence what a run's own output replaces."""

from __future__ import annotations

import logging
import sys
import warnings


def quiet() -> None:
    """Silence Lightning's hints, and, on a terminal, the log line per epoch, which the progress bar replaces."""
    if sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",
        "smaller than the logging",
        "exists and is not empty",
        "LeafSpec",
        "dirpath has",
        "WeightAveraging doesn't support sharding",  # the configuration is refused with sharding
        "dataloader is not resumable",  # it is: the sampler skips completed batches
        "sync_dist=True",  # logged values are combined over all processes already
    ):
        warnings.filterwarnings("ignore", f".*{message}.*")
