"""The return value of a sweep's job, without its configuration."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class WithoutConfiguration(Callback):
    """Removes the configuration from the return value: pickling it costs 0.15 s per run, and the folder has it."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Keep only the status and the value."""
        job_return.cfg = job_return.hydra_cfg = None
