"""Check ``resume=`` (a run's folder) and ``ckpt_path=`` (a checkpoint): resuming must not lose trained epochs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from regtorch.errors import DataError, SettingError
from regtorch.runs.checkpoint_header import read_description
from regtorch.study.curves import read_metrics
from regtorch.study.results_file import results_of
from regtorch.system.quoting import typed
from regtorch.system.untrusted import load_yaml


def check_resume(given: object, initial: Path | None = None) -> None:
    """Refuse a ``resume=`` that is not a run's folder, or a run that would overwrite epochs it has trained.

    Args:
        given: the value as typed.
        initial: the checkpoint that the run itself started from.

    Raises:
        RegtorchError: the error, in one line.
    """
    folder, override = Path(str(given)), f"resume={given}"
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if not str(given):
        raise SettingError("resume= is empty: it must be the folder of a run, such as resume=outputs/a")
    if folder.is_file():
        run = folder.parents[1] if folder.parent.name == "checkpoints" else folder.parent
        new_run = f"; to start a new run from it: {typed('ckpt_path', given)}" if folder.suffix == ".ckpt" else ""
        raise SettingError(
            f"{override} is a file, and must be the folder of a run; to resume: {typed('resume', run)}{new_run}"
        )
    if not folder.is_dir():
        raise DataError(f"{override}: there is no such folder; it must be a run folder that train.py wrote")
    if not has_overrides(folder):
        found = [path for path in (last, best) if path.is_file()]
        instead = (
            f"; to start a new run from its weights, give its settings and {typed('ckpt_path', found[0])}"
            if found
            else ""
        )
        raise DataError(f"{override}: there is no complete .hydra/overrides.yaml with the run's overrides{instead}")
    if not last.is_file() and _has_trained(folder, initial):
        instead = f"; to start a new run from its best epoch: {typed('ckpt_path', best)}" if is_undamaged(best) else ""
        raise DataError(
            f"{override}: checkpoints/last.ckpt is missing, and starting again would overwrite the trained epochs{instead}"
        )


def check_best(given: object, evaluate: str) -> None:
    """Refuse to resume a run whose results would be measured on a damaged checkpoint.

    Raises:
        DataError: its best checkpoint is damaged.
    """
    best = Path(str(given)) / "checkpoints" / "best.ckpt"
    if evaluate == "best" and best.is_file() and not is_undamaged(best):
        raise DataError(f"resume={given}: {best} is damaged, but evaluate=best would use it; take evaluate=last")


def has_overrides(folder: Path) -> bool:
    """Whether a run's folder has its overrides."""
    with suppress(DataError):
        return isinstance(load_yaml(folder / ".hydra" / "overrides.yaml"), list)
    return False


def _has_trained(folder: Path, initial: Path | None) -> bool:
    """Whether the run has trained past its initial checkpoint.

    A run that was killed between its first ``best.ckpt`` and its first ``last.ckpt`` has not, and starts again.
    """
    best, table = folder / "checkpoints" / "best.ckpt", folder / "metrics.csv"
    if not best.is_file() and not table.is_file():
        return False
    status = results_of(folder).get("status")
    initial_epochs = 0 if initial is None else _epochs(initial)
    killed = status not in ("completed", "interrupted", "pruned")
    return status == "completed" or max(_epochs(best), _rows(table)) > initial_epochs + killed


def _epochs(path: Path) -> float:
    try:
        return float(read_description(path).get("epochs", 0)) if path.is_file() else 0
    except DataError:
        return inf


def _rows(table: Path) -> float:
    with suppress(DataError):
        return max(read_metrics(table.parent).get("epoch", ()), default=0)
    return 0


def check_ckpt_path(given: object) -> None:
    """Refuse a ``ckpt_path=`` that is not a file.

    Raises:
        RegtorchError: the error, in one line.
    """
    path = Path(str(given))
    if not str(given):
        raise SettingError(
            "ckpt_path= is empty: it must be a checkpoint, such as ckpt_path=outputs/a/checkpoints/best.ckpt"
        )
    if path.is_dir():
        run = path.parent if path.name == "checkpoints" else path
        raise SettingError(
            f"ckpt_path={given} is a folder, and must be a checkpoint; to resume the run: {typed('resume', run)}; "
            f"to start a new run from it: {typed('ckpt_path', run / 'checkpoints' / 'last.ckpt')}"
        )
    if not path.is_file():
        raise DataError(f"ckpt_path={given}: there is no such file")


def check_processes(key: str, given: object, written_by: int, devices: object, processes: int) -> None:
    """Refuse another number of processes in the middle of an epoch, because its rows are divided among the processes.

    Raises:
        DataError: the numbers differ.
    """
    if written_by != processes:
        here = devices if devices == processes else f"{devices} ({processes} processes)"
        raise DataError(
            f"{key}={given} was stopped in the middle of an epoch with trainer.devices={written_by}, so "
            f"trainer.devices={here} is not allowed before its end"
        )


def described(key: str, given: object, path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's model description.

    Raises:
        DataError: it is damaged; the message suggests the run's best checkpoint if that is undamaged.
    """
    try:
        return read_description(path)
    except DataError as error:
        best = path.with_name("best.ckpt")
        instead = ""
        if path.name == "last.ckpt" and is_undamaged(best):
            instead = f"; best.ckpt is undamaged; to start a new run from the best epoch: {typed('ckpt_path', best)}"
        raise DataError(f"{key}={given}: {error}{instead}") from error


def is_undamaged(path: Path) -> bool:
    """Whether the file exists and is an undamaged checkpoint."""
    try:
        return path.is_file() and bool(read_description(path))
    except DataError:
        return False
