"""Run the jobs of a sweep with a Hydra launcher: in this process, in other processes, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from regtorch.compat.hydra_internals import launcher_callbacks
from regtorch.config.compose import one_line, without_option_lists
from regtorch.config.plugin_options import plugin_nodes
from regtorch.errors import RegtorchError, SettingError
from regtorch.registry.user_script import user_script
from regtorch.system.quoting import quoted

#: launchers in separate packages -> the plugin module, and the extra that installs it
_EXTRAS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
}

#: how often a launcher that crashed (a worker was killed) is restarted without another completed run
_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its number, which names its folder, and its overrides."""

    number: int
    overrides: tuple[str, ...]


def quiet_logging(overrides: Sequence[str]) -> list[str]:
    """Return overrides that silence the lines per epoch and per launched job, which only suit a single run.

    A logging configuration that the user has chosen stays, because it may not have these handlers.
    """
    chosen = {override.lstrip("+").partition("=")[0] for override in overrides}
    ours = {
        "hydra/job_logging": "hydra.job_logging.handlers.console.level=ERROR",
        "hydra/hydra_logging": "hydra.hydra_logging.root.level=ERROR",
    }
    return [setting for group, setting in ours.items() if group not in chosen]


class Engine:
    """Hydra's launcher for a folder of runs.

    Args:
        folder: the sweep's folder; each run has a subfolder named by its number.
        overrides: common to all runs, including the launcher and its settings.

    Raises:
        SettingError: there is no such launcher, or it has no such setting.
    """

    def __init__(self, folder: Path, overrides: Sequence[str]) -> None:
        from hydra import initialize_config_module
        from hydra.core.global_hydra import GlobalHydra
        from hydra.errors import HydraException
        from hydra.types import RunMode
        from omegaconf.errors import OmegaConfBaseException

        settings = [
            *overrides,
            f"hydra.sweep.dir={quoted(str(folder))}",
            *quiet_logging(overrides),
        ]
        if any(o.lstrip("+").startswith("hydra.launcher.ray.init.address=") for o in overrides):
            # the plugin sets the object store's size, which Ray refuses when it joins an existing cluster
            settings.append("+hydra.launcher.ray.init.object_store_memory=null")
        plugin_nodes()
        wrong: Exception | None = None
        with initialize_config_module("regtorch.conf", version_base="1.3"):
            hydra: Any = GlobalHydra.instance().hydra
            self._loader = hydra.config_loader
            try:
                self._config: Any = hydra.compose_config("train", settings, run_mode=RunMode.MULTIRUN)
            except (HydraException, OmegaConfBaseException) as error:
                wrong = error
        if wrong is not None:
            raise SettingError(one_line(wrong, overrides)) from wrong

    def run(self, jobs: Sequence[Job], task: Callable[[Any], Any], is_done: Callable[[int], bool]) -> None:
        """Run the jobs that are not done; retry when the launcher crashes after some of them completed.

        Args:
            jobs: in the order in which they start.
            task: a picklable function of the run's configuration.
            is_done: whether the job of this number is done.

        Raises:
            RegtorchError: the launcher crashes repeatedly.
            SystemExit: SIGTERM or Ctrl-C.
        """
        attempts = 0
        while left := [job for job in jobs if not is_done(job.number)]:
            try:
                self._launch(left, task)
                return
            except Exception as error:  # from the launcher: runs record their own failures
                some = any(is_done(job.number) for job in left)
                attempts = 0 if some else attempts + 1
                if attempts == _ATTEMPTS:
                    reason = " ".join(str(error).split())[:300]
                    raise RegtorchError(
                        f"the launcher crashed {attempts} times without completing a run: {type(error).__name__}: {reason}"
                    ) from error

    def _launch(self, jobs: Sequence[Job], task: Callable[[Any], Any]) -> None:
        from hydra.core.plugins import Plugins
        from hydra.types import HydraContext

        if (script := user_script()) is not None:
            task = partial(script.call, task)
        os.environ["HYDRA_FULL_ERROR"] = "1"
        callbacks = launcher_callbacks(self._config)
        callbacks.callbacks.append(WithoutConfiguration())
        context = HydraContext(config_loader=self._loader, callbacks=callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            config=self._config, hydra_context=context, task_function=task
        )
        overrides = [[*without_option_lists(job.overrides), f"hydra.sweep.subdir='{job.number}'"] for job in jobs]
        for returned in launcher.launch(overrides, initial_job_idx=0):
            returned.return_value  # noqa: B018 - raises what the task raised


def check_launcher(overrides: Sequence[str]) -> None:
    """Refuse a launcher that is not installed or cannot run here, and name the package to install.

    Raises:
        SettingError: its package or its cluster is missing, it has no processes, or the override chooses a sweeper.

    Example:
        >>> check_launcher(["hydra/launcher=basic", "seed=1,2"])
    """
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "hydra/sweeper":
            raise SettingError(
                f"{override} is not allowed: -m runs grids, and hparams_search=NAME searches (by Optuna)"
            )
        if key == "hydra.launcher.n_jobs" and value == "0":
            raise SettingError(f"{override} is not allowed: it must be a number of processes, or -1 for one per core")
        if key == "hydra/launcher" and value in _EXTRAS:
            plugin, extra = _EXTRAS[value]
            try:
                installed = find_spec(plugin) is not None
            except ModuleNotFoundError:
                installed = False
            if not installed:
                raise SettingError(f"{override} needs a package that is not installed: pip install 'regtorch[{extra}]'")
            if value == "submitit_slurm" and which("srun") is None:
                raise SettingError(
                    f"{override} needs Slurm, but there is no srun here; to run on this machine: hydra/launcher=submitit_local"
                )


class WithoutConfiguration(Callback):
    """Removes the configuration from the return value: pickling it costs 0.15 s per run, and the folder has it."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Keep only the status and the value."""
        job_return.cfg = job_return.hydra_cfg = None
