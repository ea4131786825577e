"""Finished runs, read from their folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.study.metrics import METRICS
from regtorch.study.results_file import NAME, read_results
from regtorch.system.untrusted import load_yaml

#: keys that identify a run, its start or its outputs, not the recipe
_APART = ("seed", "resume", "logger", "checkpoint", "sweep")


@dataclass(frozen=True)
class Run:
    """One run's ``results.json``."""

    folder: Path
    status: str
    reason: str
    seed: int
    overrides: tuple[str, ...]
    values: Mapping[str, float]  # metric's name -> value

    @property
    def completed(self) -> bool:
        """Whether training and evaluation were completed."""
        return self.status == "completed"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The run's configuration without its seed.

        Raises:
            DataError: the folder does not contain it.
        """
        path = self.folder / ".hydra" / "config.yaml"
        if not path.is_file():
            raise DataError(
                f"{self.folder}: there is no .hydra/config.yaml next to results.json, so the recipe is unknown"
            )
        try:
            config = load_yaml(path)
        except DataError as error:
            raise DataError(f"{path} is damaged ({error})") from error
        if not isinstance(config, dict):
            raise DataError(f"{path} is damaged (not a mapping)")
        return recipe_of({str(key): value for key, value in config.items()})


def recipe_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without seed, start and logging of the run; null keys count as missing.

    Example:
        >>> recipe_of({"seed": 3, "optimizer": {"lr": 0.1, "eps": None}, "ckpt_path": None})
        {'optimizer': {'lr': 0.1}}
    """

    def given(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {key: given(value) for key, value in node.items() if value is not None}
        return [given(value) for value in node] if isinstance(node, (list, tuple)) else node

    kept: dict[str, Any] = given({key: value for key, value in config.items() if key not in _APART})
    return kept


def read_run(folder: Path) -> Run:
    """Read a run's results.

    Raises:
        DataError: they are missing or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "results.json").write_text('{"status": "failed", "reason": "...", "seed": 3}')
        ...     run = read_run(Path(folder))
        >>> run.seed, run.completed
        (3, False)
    """
    results = read_results(folder)

    def damaged(reason: str) -> DataError:
        return DataError(f"{folder / NAME} is damaged ({reason}); train that run again")

    if "seed" not in results:
        raise damaged("seed is missing")
    values = {name: float(value) for name, metric in METRICS.items() if (value := metric.of(results)) is not None}
    if results["status"] == "completed" and "test.accuracy" not in values:
        raise damaged("completed, but without test.accuracy")
    reason, overrides = results.get("reason", ""), tuple(results.get("overrides", ()))
    return Run(folder, results["status"], reason, results["seed"], overrides, values)


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """The runs in these folders or in their subfolders (``multirun/...``), each once.

    Raises:
        DataError: a folder contains no run, or a damaged one.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        here = [folder] if (folder / NAME).is_file() else sorted_folders(folder, NAME)
        if not here:
            raise DataError(
                f"{folder}: there is no results.json in it or its subfolders; pass folders of finished runs"
            )
        for path in here:
            found.setdefault(path.resolve(), read_run(path))
    return list(found.values())


def sorted_folders(folder: Path, name: str) -> list[Path]:
    """The subfolders that contain a file of this name; numbers in paths are sorted numerically."""

    def by_number(path: Path) -> list[tuple[int, int, str]]:
        parts = re.findall(r"\d+|\D+", str(path))
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    below = (path.parent for path in folder.rglob(name))
    # a study moves runs that another configuration replaces to earlier/
    return sorted((path for path in below if "earlier" not in path.relative_to(folder).parts), key=by_number)
