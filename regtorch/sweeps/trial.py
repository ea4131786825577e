"""Run one point of a sweep, in the process that a launcher has started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.errors import RegtorchError
from regtorch.runs import job
from regtorch.runs.run_folder import resolved_overrides, write_configuration
from regtorch.study.leaderboard import results
from regtorch.system.files import locked, write_json
from regtorch.system.output import print_error

if TYPE_CHECKING:
    from regtorch.sweeps.optuna_search import Trials

#: a run with one of these statuses is not run again
ENDED = ("completed", "failed")


def point(config: Any, *, until_epoch: int | None = None, trials: Trials | None = None) -> None:
    """Run one point; a failure is recorded in its folder.

    A point that has ended is not run again, and an unfinished point resumes from its last checkpoint.

    Args:
        config: as composed by Hydra.
        until_epoch: stop after this epoch; None: train all epochs.
        trials: trials of a search that may prune the point.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    folder, overrides = Path(hydra_config.runtime.output_dir), resolved_overrides(hydra_config)
    ended = partial(has_ended, folder, until_epoch, prunable=trials is not None)
    if ended():
        return
    try:
        # a job that outlived its launcher may still be running this point: wait for its result
        with locked(folder, None):
            if ended():
                return
            if (folder / "checkpoints" / "last.ckpt").is_file():
                plain["resume"] = str(folder)
            keep = partial(write_configuration, folder, config=config, hydra=hydra_config, overrides=overrides)
            _run(keep, plain, folder, overrides, until_epoch, trials)
    except OSError as error:  # the failure cannot be recorded either, so the point counts as unfinished
        print_error(f"{error.filename or folder}: {error.strerror or error}")


def _run(
    keep: Callable[[], None],
    plain: dict[str, Any],
    folder: Path,
    overrides: list[str],
    until_epoch: int | None,
    trials: Trials | None,
) -> None:
    try:
        keep()
        pruner = None
        if until_epoch is not None:
            pruner = _StopAfter(until_epoch)
        elif trials is not None:
            pruner = trials.pruner(int(folder.name))
        job.train(plain, folder, overrides, pruner, progress_bar=False)  # the sweep shows the progress of all points
    except RegtorchError as error:
        if results(folder).get("status") not in ("failed", "pruned"):  # it failed before training started
            failure = {"status": "failed", "reason": str(error), "seed": plain["seed"], "overrides": overrides}
            write_json(folder / "results.json", failure)


class _StopAfter:
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, epochs: int, values: Mapping[str, float]) -> str | None:
        return f"halted after epoch {epochs}" if epochs >= self.epoch else None


def has_ended(folder: Path, until_epoch: int | None = None, *, prunable: bool = False) -> bool:
    """Whether a point has ended, or has trained until the given epoch.

    Args:
        folder: the point's folder.
        until_epoch: the epoch to reach; None: the end of the run.
        prunable: whether a pruned point counts as ended.
    """
    found = results(folder)
    status = found.get("status")
    if status == "pruned" and until_epoch is not None:
        return int(found.get("epochs", 0)) >= until_epoch
    return status in ENDED or (prunable and status == "pruned")
