"""Train the missing runs of a study, one after the other in this process."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.config.compose import compose_unresolved, points
from regtorch.config.interpolation import without_resolvers
from regtorch.errors import RegtorchError, SettingError
from regtorch.runs import job
from regtorch.runs.validate import validate_run
from regtorch.study.results import Run, read_run, recipe_of
from regtorch.system.exit_status import exit_interrupted
from regtorch.system.files import locked, replaced, write_json
from regtorch.system.output import print_message

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class Study:
    """Recipes over seeds, stored in ``<out>/runs/<experiment>/<seed>``.

    Args:
        experiments: names of the recipes.
        seeds: seeds for each recipe.
        overrides: further overrides for all runs.
        out: the study's folder.

    Raises:
        RegtorchError: an experiment, an override or the data is wrong; nothing has been trained or written.
    """

    experiments: Sequence[str]
    seeds: Sequence[int]
    overrides: Sequence[str]
    out: Path
    failures: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._written: dict[str, DictConfig] = {}
        for override in self.overrides:
            if len(list(islice(points([override]), 2))) > 1:
                raise SettingError(
                    f"{override} is not allowed in a study, whose runs all have the same settings; train a grid with "
                    "train.py -m, and compare its folder"
                )
        for name in self.experiments:
            try:
                config, self._written[name] = compose_unresolved(self._typed(name, self.seeds[0]))
                validate_run(config)
            except RegtorchError as error:
                if name == self.experiments[0]:
                    raise
                raise SettingError(f"with experiment={name}: {error}") from error  # it is valid for the first recipe
            if config["trainer"]["devices"] != 1:
                raise SettingError(
                    f"trainer.devices={config['trainer']['devices']} is not allowed in a study, which trains on one device; "
                    "train with train.py -m, and compare the folders"
                )

    def _typed(self, name: str, seed: int) -> list[str]:
        return [f"experiment={name}", *self.overrides, f"seed={seed}"]

    @property
    def _earlier(self) -> Path:
        return self.out / "earlier"

    def folder(self, name: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / "runs" / name / str(seed)

    def run(self, name: str, seed: int) -> Run | None:
        """Return the completed run of this recipe and seed; None if there is none, or its configuration differs."""
        found = _completed(self.folder(name, seed))
        same = found is not None and found.seed == seed and found.recipe == recipe_of(self._config(name, seed, False))
        return found if same else None

    def _config(self, name: str, seed: int, resolve: bool) -> dict[str, Any]:
        from omegaconf import OmegaConf

        self._written[name].seed = seed
        written = self._written[name]
        config: Any = OmegaConf.to_container(written, resolve=True) if resolve else without_resolvers(written)
        return {str(key): value for key, value in config.items()}

    def train_missing(self) -> None:
        """Train the missing runs seed by seed, so that an interrupted study has pairs; record failures.

        Raises:
            SystemExit: on Ctrl-C or SIGTERM. Completed runs stay, and are not trained again.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        busy = (
            f"out={self.out} is being trained by another process; to compare its runs so far, name {self.out / 'runs'}"
        )
        with locked(self.out, busy):
            self._train_missing()

    def _train_missing(self) -> None:
        everything = [(name, seed) for seed in self.seeds for name in self.experiments]
        missing = [(name, seed) for name, seed in everything if self.run(name, seed) is None]
        if missing:
            print_message(f"{self.out}: {len(missing)} runs to train, {len(everything) - len(missing)} completed")
            if others := sum(_completed(self.folder(name, seed)) is not None for name, seed in missing):
                print_message(f"{others} completed runs have another configuration; they are moved to {self._earlier}")
        for index, (name, seed) in enumerate(missing, start=1):
            try:
                results = self._train(name, seed)
            except RegtorchError as error:
                self._record_failure(name, seed, error)
                continue
            except SystemExit as error:
                exit_interrupted(
                    error, f"; {index - 1} of {len(missing)} runs are trained; the same command resumes it"
                )
            accuracy, seconds = results["test"]["accuracy"], results["seconds"]
            print_message(
                f"{index} of {len(missing)}: {name}, seed {seed}: test accuracy {accuracy:.4f}, {seconds:.1f} s"
            )

    def _train(self, name: str, seed: int) -> dict[str, Any]:
        from omegaconf import OmegaConf

        folder = self.folder(name, seed)
        if _completed(folder):
            self._set_aside(name, seed)
        elif folder.exists():
            shutil.rmtree(folder)  # left by an interrupted or failed run
        typed = self._typed(name, seed)
        config = self._config(name, seed, True)
        (folder / ".hydra").mkdir(parents=True)
        for file, content in (("config", self._config(name, seed, False)), ("overrides", typed)):
            with replaced(folder / ".hydra" / f"{file}.yaml") as temporary:
                OmegaConf.save(OmegaConf.create(content), temporary)
        with _logged_to(folder / "train.log"):
            return job.train(config, folder, typed)

    def _set_aside(self, name: str, seed: int) -> None:
        """Move away a completed run of another configuration, which may have taken hours."""
        kept = self._earlier / name
        kept.mkdir(parents=True, exist_ok=True)
        target = next(path for n in range(1, sys.maxsize) if not (path := kept / f"{seed}-{n}").exists())
        self.folder(name, seed).rename(target)

    def _record_failure(self, name: str, seed: int, error: RegtorchError) -> None:
        folder = self.folder(name, seed)
        if not (folder / "results.json").is_file():  # it failed before training started
            write_json(folder / "results.json", {"status": "failed", "reason": str(error), "seed": seed})
        self.failures.append(f"{name}, seed {seed}: {error}")
        print_message(f"{name}, seed {seed}: failed; continuing with the others")


def _completed(folder: Path) -> Run | None:
    try:
        found = read_run(folder)
        return found if found.completed and found.recipe else None
    except RegtorchError:  # missing or damaged
        return None


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Write log messages of the block to the run's log."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
