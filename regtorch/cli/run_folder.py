"""A finished run's folder: its configuration and checkpoints, checked without torch and without running what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.cli.checkpoint import described_model
from regtorch.cli.validation import check_components
from regtorch.errors import DataError, RegtorchError

_BUILT_IN_MODELS = ("mlp", "cnn")


def configuration(folder: Path) -> dict[str, Any]:
    """The configuration that a run was trained with, as plain containers.

    Raises:
        DataError: there is none, it is damaged, or it names what is not registered.
    """
    path = folder / ".hydra" / "config.yaml"
    if not folder.is_dir():
        raise DataError(f"run={folder}: there is no such folder; it must be one that train.py made")
    if not path.is_file():
        raise DataError(f"run={folder}: there is no .hydra/config.yaml in it; is it the folder of one run?")
    from omegaconf import OmegaConf

    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # of YAML's and OmegaConf's own kinds
        raise DataError(f"run={folder}: .hydra/config.yaml is damaged ({type(error).__name__})") from error
    if not isinstance(config, dict) or not isinstance(config.get("trainer"), dict):
        raise DataError(f"run={folder}: .hydra/config.yaml is damaged (no configuration of a training)")
    plain = {str(key): value for key, value in config.items()}
    try:
        check_components(plain)
    except RegtorchError as error:
        raise DataError(f"run={folder}: .hydra/config.yaml: {error}") from error
    return plain


def check_drops(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a built-in model without dropout, which has nothing to sample."""
    drops = any(config[place]["name"] != "none" for place in ("dropout", "input_dropout"))
    if not drops and config["model"]["name"] in _BUILT_IN_MODELS:
        raise DataError(
            f"run={folder}: its network has no dropout, so there is nothing to sample; "
            "take a run that was trained with one (dropout=standard)"
        )


def checkpoint(folder: Path, config: Mapping[str, Any], name: str | None) -> Path:
    """A run's checkpoint: `name`, or the one that the run was measured on.

    Raises:
        DataError: there is no such file.
    """
    chosen = name or config.get("evaluate")
    path = folder / "checkpoints" / f"{'last' if chosen == 'last' else 'best'}.ckpt"
    if not path.is_file():
        raise DataError(f"run={folder}: there is no {path.relative_to(folder)} in it; did its training get that far?")
    return path


def check_fits(folder: Path, path: Path, data: Any) -> None:
    """Refuse data of another shape or number of classes than a checkpoint's network was trained on."""
    described, splits = described_model(path), data.load()
    here = {"shape": list(splits.shape), "classes": len(splits.classes)}
    for key, words in (("shape", "rows of shape {}"), ("classes", "{} classes")):
        there = described.get(key)
        if there is not None and there != here[key]:
            trained, has = (words.format(value) for value in (there, here[key]))
            raise data.error(f"has {has}, and the network of run={folder} was trained on {trained}")
