"""What ``resume=`` and ``ckpt_path=`` name is a run's folder, or a checkpoint, and going on from there loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from regtorch.cli.checkpoint import described_model
from regtorch.errors import DataError, SettingError
from regtorch.launcher import started_as
from regtorch.overrides import typed
from regtorch.study.curves import read_metrics
from regtorch.study.results_file import results_of
from regtorch.untrusted import load_yaml


def check_resume(given: object, begun_from: Path | None = None) -> None:
    """Refuse a ``resume=`` that is no run's folder, or one whose epochs would be trained again over what is there.

    Args:
        given: what was typed.
        begun_from: the checkpoint that the run itself began from.

    Raises:
        RegtorchError: what is wrong, in one line.
    """
    folder, said = Path(str(given)), f"resume={given}"
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if not str(given):
        raise SettingError("resume= is empty: it must be the folder of a run, such as resume=outputs/a")
    if folder.is_file():
        run = folder.parents[1] if folder.parent.name == "checkpoints" else folder.parent
        begins = f", and {typed('ckpt_path', given)} begins a new run from it" if folder.suffix == ".ckpt" else ""
        raise SettingError(
            f"{said} is a file, and must be the folder of a run: {typed('resume', run)} goes on there{begins}"
        )
    if not folder.is_dir():
        raise DataError(f"{said}: there is no such folder; it must be one that train.py made")
    if not has_overrides(folder):
        there = [path for path in (last, best) if path.is_file()]
        instead = (
            f"; with its settings, {typed('ckpt_path', there[0])} begins a new run from its weights" if there else ""
        )
        raise DataError(f"{said}: there is no whole .hydra/overrides.yaml in it that says how it was run{instead}")
    if not last.is_file() and _has_trained(folder, begun_from):
        instead = f"; {typed('ckpt_path', best)} begins a new run from its best epoch" if is_undamaged(best) else ""
        raise DataError(
            f"{said}: checkpoints/last.ckpt is gone, and to begin again would overwrite what was trained{instead}"
        )


def check_best(given: object, evaluate: str) -> None:
    """Refuse to go on with a run whose results would be measured, in the end, on a damaged checkpoint.

    Raises:
        DataError: its best checkpoint is damaged.
    """
    best = Path(str(given)) / "checkpoints" / "best.ckpt"
    if evaluate == "best" and best.is_file() and not is_undamaged(best):
        raise DataError(f"resume={given}: {best} is damaged, and evaluate=best would measure it; take evaluate=last")


def has_overrides(folder: Path) -> bool:
    """Whether a run's folder holds the overrides that it was started with."""
    with suppress(DataError):
        return isinstance(load_yaml(folder / ".hydra" / "overrides.yaml"), list)
    return False


def _has_trained(folder: Path, begun_from: Path | None) -> bool:
    """Whether it has come further than where it began.

    A run that was killed between the first ``best.ckpt`` and the first ``last.ckpt`` has not: it begins again.
    """
    best, table = folder / "checkpoints" / "best.ckpt", folder / "metrics.csv"
    if not best.is_file() and not table.is_file():
        return False
    status = results_of(folder).get("status")
    begun = 0 if begun_from is None else _epochs(begun_from)
    between = status not in ("completed", "interrupted", "pruned")
    return status == "completed" or max(_epochs(best), _rows(table)) > begun + between


def _epochs(path: Path) -> float:
    try:
        return float(described_model(path).get("epochs", 0)) if path.is_file() else 0
    except DataError:
        return inf


def _rows(table: Path) -> float:
    with suppress(DataError):
        return max(read_metrics(table.parent).get("epoch", ()), default=0)
    return 0


def check_ckpt_path(given: object) -> None:
    """Refuse a ``ckpt_path=`` that is no file.

    Raises:
        RegtorchError: what is wrong, in one line.
    """
    path = Path(str(given))
    if not str(given):
        raise SettingError(
            "ckpt_path= is empty: it must be a checkpoint, such as ckpt_path=outputs/a/checkpoints/best.ckpt"
        )
    if path.is_dir():
        run = path.parent if path.name == "checkpoints" else path
        raise SettingError(
            f"ckpt_path={given} is a folder, and must be a checkpoint: {typed('resume', run)} goes on with that run, "
            f"{typed('ckpt_path', run / 'checkpoints' / 'last.ckpt')} begins a new one from it"
        )
    if not path.is_file():
        raise DataError(f"ckpt_path={given}: there is no such file")


def described(key: str, given: object, path: Path) -> Mapping[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        DataError: it is damaged; names what was given, and the run's best checkpoint if that is whole.
    """
    try:
        return described_model(path)
    except DataError as error:
        best = path.with_name("best.ckpt")
        instead = ""
        if path.name == "last.ckpt" and is_undamaged(best):
            instead = f" {typed('ckpt_path', best)} is whole, and begins a new run from the best epoch"
        raise DataError(f"{key}={given}: {error}{instead}") from error


def is_undamaged(path: Path) -> bool:
    """Whether there is an undamaged checkpoint."""
    try:
        return path.is_file() and bool(described_model(path))
    except DataError:
        return False


def check_processes(key: str, given: object, written_by: int, devices: object, processes: int) -> None:
    """Refuse another number of processes in the middle of an epoch, whose rows were dealt to so many.

    Raises:
        DataError: they differ.
    """
    if written_by != processes:
        here = devices if devices == processes else f"{devices} ({processes} processes)"
        raise DataError(
            f"{key}={given} was stopped in the middle of an epoch with trainer.devices={written_by}, so "
            f"trainer.devices={here} is not allowed before its end"
        )


def process_count(trainer: Mapping[str, Any], gpus: int) -> int:
    """How many processes the node ``trainer`` asks for.

    Example:
        >>> process_count({"devices": 2}, gpus=0), process_count({"devices": -1, "accelerator": "gpu"}, gpus=4)
        (2, 4)
    """
    if (place := started_as()) is not None:
        return place[1]
    devices = trainer.get("devices", 1)
    if devices in (-1, "auto"):
        return max(1, gpus) if trainer.get("accelerator") != "cpu" else 1
    return int(devices)
