"""Runs of a sweep, by whichever of Hydra's launchers is asked for: in this process, in others, on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from regtorch.cli.composition import one_line, without_option_lists
from regtorch.cli.plugin_options import plugin_nodes
from regtorch.errors import RegtorchError, SettingError
from regtorch.overrides import quoted
from regtorch.user_script import user_script

#: launchers that come in packages of their own -> the plugin, and the extra that installs it
_EXTRAS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "submitit_slurm": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
}
#: how often a launcher that broke down (a worker was killed) is started again without one more run done
_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the name of its folder, and its overrides."""

    number: int
    overrides: tuple[str, ...]


def quiet_logging(overrides: Sequence[str]) -> list[str]:
    """No line an epoch on the terminal, which is for a run of its own, and none a launched job.

    A logging that the user has chosen stays: another than ours need not have these handlers.
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
        folder: of the sweep; a run's is in it, named by its number.
        overrides: what all runs have in common, with the launcher and its settings.

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
            # the plugin sizes the object store, which Ray refuses where it joins a cluster that is there already
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
        """Run what is not done; again, where the launcher broke down and some were done meanwhile.

        Args:
            jobs: in the order in which they are begun.
            task: a function of the run's configuration; it must be one that can be pickled.
            is_done: whether the run of this number need not be started again.

        Raises:
            RegtorchError: the launcher breaks down again and again.
            SystemExit: SIGTERM or Ctrl-C.
        """
        attempts = 0
        while left := [job for job in jobs if not is_done(job.number)]:
            try:
                self._launch(left, task)
                return
            except Exception as error:  # of the launcher: runs keep their own failures
                some = any(is_done(job.number) for job in left)
                attempts = 0 if some else attempts + 1
                if attempts == _ATTEMPTS:
                    reason = " ".join(str(error).split())[:300]
                    raise RegtorchError(
                        f"the launcher broke down {attempts} times without a run done: {type(error).__name__}: {reason}"
                    ) from error

    def _launch(self, jobs: Sequence[Job], task: Callable[[Any], Any]) -> None:
        from hydra._internal.callbacks import Callbacks
        from hydra.core.plugins import Plugins
        from hydra.types import HydraContext

        from regtorch.cli.job_return import WithoutConfiguration

        if (script := user_script()) is not None:
            task = partial(script.call, task)
        os.environ["HYDRA_FULL_ERROR"] = "1"
        callbacks = Callbacks(self._config)
        callbacks.callbacks.append(WithoutConfiguration())
        context = HydraContext(config_loader=self._loader, callbacks=callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            config=self._config, hydra_context=context, task_function=task
        )
        overrides = [[*without_option_lists(job.overrides), f"hydra.sweep.subdir='{job.number}'"] for job in jobs]
        for returned in launcher.launch(overrides, initial_job_idx=0):
            returned.return_value  # noqa: B018 - raises what the task raised


def check_launcher(overrides: Sequence[str]) -> None:
    """Say what is to be installed for the launcher that is asked for.

    Raises:
        SettingError: its package or its cluster is not there, it has no processes, or another sweeper is asked for.

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
            raise SettingError(f"{override} is not allowed: it must be a number of processes, or -1 for one a core")
        if key == "hydra/launcher" and value in _EXTRAS:
            plugin, extra = _EXTRAS[value]
            try:
                there = find_spec(plugin) is not None
            except ModuleNotFoundError:
                there = False
            if not there:
                raise SettingError(f"{override} needs a package that is not there: pip install 'regtorch[{extra}]'")
            if value == "submitit_slurm" and which("srun") is None:
                raise SettingError(
                    f"{override} needs Slurm, and there is no srun here: hydra/launcher=submitit_local runs on this machine"
                )
