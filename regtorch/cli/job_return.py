"""What a run of a sweep gives back to the process that has started it."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class WithoutConfiguration(Callback):
    """Takes the configuration out of it: pickling that costs 0.15 s a run, and it is in the run's folder."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Leave the status and the value."""
        job_return.cfg = job_return.hydra_cfg = None
