"""The checkpoint that a run starts from: complete, undamaged, and of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.config.devices import gpus, process_count
from regtorch.errors import DataError, SettingError
from regtorch.runs.checkpoint_header import read_plain_content
from regtorch.runs.complete_checkpoint import check_complete
from regtorch.runs.resume import check_best, check_ckpt_path, check_processes, check_resume, described


def checkpoint_path(config: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint to start from; None if there is none, or the resumed run was stopped before its first one."""
    if config.get("resume") is not None:
        folder = Path(str(config["resume"]))
        if config.get("ckpt_path") is not None:
            if (folder / "checkpoints" / "last.ckpt").exists() or not (folder / ".hydra" / "overrides.yaml").is_file():
                raise SettingError(
                    f"resume={config['resume']} and ckpt_path={config['ckpt_path']} are both given: give one of them"
                )
            return Path(
                str(config["ckpt_path"])
            )  # the initial checkpoint of a run that was stopped before its first own
        path = folder / "checkpoints" / "last.ckpt"
        return None if not path.exists() and (folder / ".hydra" / "overrides.yaml").is_file() else path
    return None if config.get("ckpt_path") is None else Path(str(config["ckpt_path"]))


def check_checkpoint(config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that is missing, unreadable, or of another model."""
    path = checkpoint_path(config)
    initial = config.get("ckpt_path")
    if config.get("resume") is not None:
        check_resume(config["resume"], None if initial is None else path)
    if initial is not None:
        check_ckpt_path(initial)
    if path is None:
        return
    key = "ckpt_path" if initial is not None else "resume"
    trained = described(key, config[key], path)
    check_complete(f"{key}={config[key]}", read_plain_content(path))
    if config.get("resume") is not None:
        check_best(config["resume"], config["evaluate"])
    given = f"{key}={config[key]}"
    _check_same_model(config, trained, given)
    done, wanted = trained.get("epochs", 0), config["trainer"]["max_epochs"]
    if done > wanted or (done == wanted and key == "ckpt_path"):
        raise DataError(f"{given} has trained {done} epochs already: trainer.max_epochs={wanted} must be more")
    if trained.get("batches"):
        _check_same_order(config, trained, given)
        trainer = config["trainer"]
        count = process_count(trainer, gpus() if trainer.get("devices") in (-1, "auto") else 0)
        check_processes(key, config[key], len(trained.get("ranks", ())), trainer.get("devices", 1), count)


def _check_same_model(config: Mapping[str, Any], trained: Mapping[str, Any], given: str) -> None:
    """Refuse a checkpoint whose weights have another meaning."""
    for place in ("model", "activation", "dropout", "input_dropout", "optimizer", "data"):
        here, there = config[place], trained.get(place)
        if not isinstance(there, Mapping):
            raise DataError(f"{given} is not a checkpoint of a regtorch run")
        compared = {
            "model": {*here, *there},
            "data": {*here, *there} - {"batch_size", "workers", "reshuffle", "path", "changed"},
        }.get(place, {"name"})
        for name in sorted(compared):
            same_weights = place == "dropout" and "drop_connect" not in (here[name], there[name])
            if here.get(name) != there.get(name) and not same_weights:
                raise DataError(
                    f"{given} is of another run: it has {place}.{name}={there.get(name)}, this one has {here.get(name)}"
                )


def _check_same_order(config: Mapping[str, Any], trained: Mapping[str, Any], given: str) -> None:
    """Refuse another order of the rows in the middle of an epoch."""
    order = {"seed": "seed", "batch_size": "data.batch_size", "reshuffle": "data.reshuffle"}
    here = {**config["data"], "seed": config["seed"]}
    there = {**trained["data"], "seed": trained.get("seed", config["seed"])}
    for name, setting in order.items():
        if name in there and here.get(name) != there[name]:
            raise DataError(
                f"{given} was stopped in the middle of an epoch with {setting}={there[name]}, so "
                f"{setting}={here.get(name)} is not allowed before its end"
            )
