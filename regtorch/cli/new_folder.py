"""Where a run's folder is, and the configuration that is kept in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from regtorch.cli.composition import value_of
from regtorch.errors import RegtorchError, SettingError
from regtorch.files import replaced
from regtorch.launcher import is_first, started_as
from regtorch.overrides import quoted


class FolderError(RegtorchError, OSError):
    """A folder of a run that cannot be written."""


def run_folder_overrides(overrides: Sequence[str]) -> list[str]:
    """What is to be added to a command line so that all processes of a run, and one that goes on, have its folder.

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
        added.append("hydra.job_logging.root.handlers=[]")  # the first process writes the log
    return added


def _run_dir(folder: str) -> str:
    return f"hydra.run.dir={quoted(folder)}"


def _agreed_folder() -> str:
    """One new folder for all processes that torchrun or srun have started."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"outputs/slurm/{job}.{os.environ.get('SLURM_STEP_ID', 0)}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise SettingError(
            "hydra.run.dir is missing: with this launcher all processes must be given the same, a new folder"
        )
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"regtorch/folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if os.environ["RANK"] == "0":
        store.set(key, str(Path("outputs", datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f")).absolute()))
    folder: bytes = store.get(key)
    return folder.decode()


def as_typed(hydra_config: Any) -> list[str]:
    """The overrides of a run, with what refers to the environment filled in: it is what the run was.

    But for a database of trials, which is none of the run's settings, and whose URL may hold a password.
    """
    from omegaconf import OmegaConf

    task = hydra_config.overrides.task
    written: list[Any] = OmegaConf.to_container(task, resolve=False)  # type: ignore[assignment]
    return [
        str(text if str(text).startswith("hparams_search.storage=") else task[index])
        for index, text in enumerate(written)
    ]


def keep_configuration(folder: Path, *, overrides: Sequence[str], **configurations: Any) -> None:
    """Write ``.hydra/`` as Hydra does, each file whole; what was typed comes last, and says that the rest is there.

    Raises:
        FolderError: the disk is full, or the folder may not be written.
    """
    from omegaconf import OmegaConf

    kept = folder / ".hydra"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in {**configurations, "overrides": OmegaConf.create(list(overrides))}.items():
            with replaced(kept / f"{name}.yaml") as temporary:
                temporary.write_text(OmegaConf.to_yaml(content), encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{kept}: the run's configuration cannot be written ({error.strerror})") from error
