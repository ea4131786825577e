"""A finished run's folder: its configuration and checkpoints, checked without torch and without executing their content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.config.components import check_components
from regtorch.config.compose import compose
from regtorch.config.data_path import path_of_run
from regtorch.config.interpolation import resolve_references
from regtorch.config.keys import check_ranges, check_required
from regtorch.config.schema import OTHER_KEYS, PLACES
from regtorch.errors import DataError, RegtorchError
from regtorch.printable import shortened
from regtorch.runs.checkpoint_header import read_description
from regtorch.study.results_file import NAME, read_results
from regtorch.system.output import print_message
from regtorch.system.untrusted import load_yaml


def configuration(folder: Path) -> dict[str, Any]:
    """Read the configuration of a run, as plain containers.

    Raises:
        DataError: there is none, it is damaged, or it names a component that is not registered.
    """
    path = folder / ".hydra" / "config.yaml"
    if not folder.is_dir():
        raise DataError(f"run={folder}: there is no such folder; it must be a run folder that train.py wrote")
    if not path.is_file():
        raise DataError(f"run={folder}: there is no .hydra/config.yaml in it; is it the folder of one run?")
    try:
        config = resolve_references(load_yaml(path))
    except DataError as error:
        if isinstance(reason := error.__cause__, OSError):
            raise DataError(f"run={folder}: .hydra/config.yaml cannot be read: {reason.strerror or reason}") from error
        raise DataError(f"run={folder}: .hydra/config.yaml is damaged ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("trainer"), dict):
        raise DataError(f"run={folder}: .hydra/config.yaml is damaged (no configuration of a training)")
    plain = _with_later_keys({str(key): value for key, value in config.items()})
    try:
        check_required(plain)
        check_ranges(plain)
        check_components(plain)
    except RegtorchError as error:
        raise DataError(f"run={folder}: .hydra/config.yaml: {error}") from error
    if "path" in plain["data"]:
        plain["data"]["path"] = path_of_run(folder, plain["data"]["path"])
    return plain


def _with_later_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of keys that did not exist when an older run was trained."""
    if all(key in config for key in (*PLACES, *OTHER_KEYS)):
        return config
    defaults = compose([])
    for key in OTHER_KEYS:
        given, default = config.get(key), defaults.get(key)
        if isinstance(given, dict) and isinstance(default, dict) and given.get("name") == default.get("name"):
            config[key] = {**default, **given}
    return {**defaults, **config}


def warn_if_unfinished(folder: Path) -> None:
    """Warn on standard error if a run's training did not finish, because its network may be undertrained."""
    try:
        results = read_results(folder)
        status = results["status"]
        reason = "" if status == "completed" else f"{status}: {results['reason']}" if "reason" in results else status
    except DataError as error:
        reason = str(error) if (folder / NAME).exists() else f"it has no {NAME}"
    if reason:
        print_message(f"warning: run={folder}: its training did not finish ({shortened(reason)})")


def checkpoint(folder: Path, config: Mapping[str, Any], name: str | None) -> Path:
    """Return the path of a run's checkpoint: `name`, or the one that the run was evaluated on.

    Raises:
        DataError: there is no such file.
    """
    chosen = name or config.get("evaluate")
    path = folder / "checkpoints" / f"{'last' if chosen == 'last' else 'best'}.ckpt"
    if not path.is_file():
        raise DataError(f"run={folder}: there is no {path.relative_to(folder)} in it; did its training get that far?")
    return path


def check_fits(folder: Path, path: Path, data: Any) -> None:
    """Refuse data with another shape or number of classes than the checkpoint's network."""
    described, splits = read_description(path), data.load()
    here = {"shape": list(splits.shape), "classes": len(splits.classes)}
    for key, words in (("shape", "rows of shape {}"), ("classes", "{} classes")):
        there = described.get(key)
        if there is not None and there != here[key]:
            trained, has = (words.format(value) for value in (there, here[key]))
            raise data.error(f"has {has}, but the network of run={folder} was trained on {trained}")
