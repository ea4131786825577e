"""The folder of a new or resumed run, and the configuration that is stored in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from regtorch.config.command_line import value_of
from regtorch.config.interpolation import without_resolvers
from regtorch.errors import RegtorchError, SettingError
from regtorch.system.files import replaced
from regtorch.system.launcher import is_first, started_as
from regtorch.system.quoting import quoted
from regtorch.training.run_status import NAME


class FolderError(RegtorchError, OSError):
    """A run's folder cannot be written."""


#: files and folders that a run writes into its folder
_FILES = (NAME, "metrics.csv", "train.log", "checkpoints/best.ckpt", "checkpoints/last.ckpt", ".hydra/overrides.yaml")
_FOLDERS = (".", ".hydra", "checkpoints", "tensorboard")


def check_folders_named(overrides: Sequence[str]) -> None:
    """Refuse an empty folder name for a run or sweep, which would mean the current folder.

    Raises:
        SettingError: the name is empty or null.

    Example:
        >>> check_folders_named(["hydra.run.dir="])
        Traceback (most recent call last):
        regtorch.errors.SettingError: hydra.run.dir= is not allowed: it is empty; name a folder, such as hydra.run.dir=outputs/a
    """
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key in ("hydra.run.dir", "hydra.sweep.dir", "sweep.resume") and text.strip(" '\"") in ("", "null"):
            raise SettingError(f"{override} is not allowed: it is empty; name a folder, such as {key}=outputs/a")


def named_folder(overrides: Sequence[str]) -> Path | None:
    """Return the run's folder if an override names it."""
    named = next((o for o in reversed(overrides) if o.lstrip("+").startswith("hydra.run.dir=")), None)
    return None if named is None else Path(value_of(named.lstrip("+")))


def check_writable(folder: Path) -> None:
    """Refuse a folder in which an existing file or folder blocks one that the run will write.

    Raises:
        FolderError: the message names the path.
    """
    for name in _FOLDERS:
        path = folder / name
        if path.exists() and not path.is_dir():
            raise FolderError(f"{path} is a file, and must be a folder: remove it or rename it")
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise FolderError(f"{path} cannot be written: Permission denied")
    for name in _FILES:
        if (folder / name).is_dir():
            raise FolderError(f"{folder / name} is a folder, and must be a file: remove it or rename it")


def run_folder_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides to add so that all processes of a run, and a resumed run, use the run's folder.

    Example:
        >>> run_folder_overrides(["resume=outputs/a"])
        ["hydra.run.dir='outputs/a'"]
        >>> run_folder_overrides(["resume=outputs/a", "hydra.run.dir=outputs/b"])
        []
    """
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    added = []
    if "hydra.run.dir" not in given:
        if given.get("resume") not in (None, "null"):
            added = [_run_dir(value_of(f"resume={given['resume']}"))]
        elif started_as() is not None:
            added = [_run_dir(_agreed_folder())]
    if not is_first():
        chosen = any(key == "hydra/job_logging" for key in given)  # which may not have these handlers
        # only the first process writes the log
        added.append("hydra/job_logging=none" if chosen else "hydra.job_logging.root.handlers=[]")
    return added


def _run_dir(folder: str) -> str:
    return f"hydra.run.dir={quoted(folder)}"


def _agreed_folder() -> str:
    """Agree on one new folder for all processes that torchrun or srun have started."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"outputs/slurm/{job}.{os.environ.get('SLURM_STEP_ID', 0)}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise SettingError("hydra.run.dir is missing: with this launcher, give all processes the same new folder")
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"regtorch/folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if os.environ["RANK"] == "0":
        store.set(key, str(Path("outputs", datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f")).absolute()))
    folder: bytes = store.get(key)
    return folder.decode()


def resolved_overrides(hydra_config: Any) -> list[str]:
    """Return the overrides of a run with resolved interpolations, so that they describe the run completely.

    Exception: the URL of a database of trials stays unresolved, because it may hold a password.
    """
    from omegaconf import OmegaConf

    task = hydra_config.overrides.task
    written: list[Any] = OmegaConf.to_container(task, resolve=False)  # type: ignore[assignment]
    return [
        str(text if str(text).startswith("hparams_search.storage=") else task[index])
        for index, text in enumerate(written)
    ]


def write_configuration(folder: Path, *, overrides: Sequence[str], **configurations: Any) -> None:
    """Write ``.hydra/`` as Hydra does, but each file atomically. The overrides come last, as a sign of completeness.

    Raises:
        FolderError: the disk is full, or the folder is not writable.
    """
    from omegaconf import OmegaConf

    kept = folder / ".hydra"
    if "config" in configurations:
        configurations["config"] = without_resolvers(configurations["config"])
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in {**configurations, "overrides": OmegaConf.create(list(overrides))}.items():
            with replaced(kept / f"{name}.yaml") as temporary:
                temporary.write_text(OmegaConf.to_yaml(content), encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{kept}: the run's configuration cannot be written ({error.strerror})") from error
