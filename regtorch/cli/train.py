"""``regtorch-train``: train one run, or a grid of them with ``-m``."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from regtorch.cli import job
from regtorch.cli.composition import (
    check_paths,
    check_readable,
    compose,
    earlier_overrides,
    implied_overrides,
    overrides_of,
)
from regtorch.cli.exit_status import exit_interrupted, exit_with, say
from regtorch.cli.help import help_text
from regtorch.cli.new_folder import as_typed, keep_configuration, run_folder_overrides
from regtorch.cli.trust import check_names_only
from regtorch.cli.what_is_left import completed
from regtorch.errors import RegtorchError, SettingError
from regtorch.files import BusyError, locked, write_json
from regtorch.launcher import is_first, started_as
from regtorch.overrides import typed
from regtorch.training.interruption import Interrupted, Interruption


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2, a failed run exit status 1."""
    exit_with(_main)


def _main() -> int:
    if any(flag in sys.argv[1:] for flag in ("-h", "--help")):
        print(help_text())
        return 0
    overrides = overrides_of(sys.argv[1:])
    multirun = any(flag in sys.argv[1:] for flag in ("-m", "--multirun"))
    first = is_first()
    if overrides is not None and multirun:
        if flag := next((a for a in sys.argv[1:] if a.startswith("-") and a not in ("-m", "--multirun")), None):
            raise SettingError(f"{flag} is not for -m: a sweep is described by KEY=VALUE alone")
        return _sweep(overrides)
    if overrides is not None:
        if many := next((o for o in overrides if o.lstrip("+").startswith(("sweep.", "hydra.mode="))), None):
            raise SettingError(f"{many} is about many runs: say -m")
        check_names_only(overrides)
        check_paths(overrides)
        given, earlier = overrides, earlier_overrides(overrides)
        added = [*implied_overrides([*earlier, *overrides]), *earlier]
        sys.argv[1:] = [*added, *(argument for argument in sys.argv[1:] if not argument.startswith("rerun="))]
        overrides = [*added, *(override for override in overrides if not override.startswith("rerun="))]
        if _prints_only():
            compose(overrides)
        else:
            if search := next((override for override in given if override.startswith("hparams_search=")), None):
                raise SettingError(f"{search} is a search over many runs: say -m")
            job.checked(overrides)
            if (found := completed(config := compose(overrides), given)) is not None:
                say_completed(config, *found)
                return 0
            sys.argv[1:] += run_folder_overrides(overrides)

    import hydra
    from omegaconf import DictConfig

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us, instead of Hydra's printing them
    failures: list[RegtorchError] = []

    @hydra.main(version_base="1.3", config_path="pkg://regtorch.conf", config_name="train")
    def train(config: DictConfig) -> Any:
        try:
            return _train(config, first)
        except RegtorchError as error:
            failures.append(error)
        return None

    try:
        with Interruption().taking_signals():
            train()
    except Interrupted as error:
        exit_interrupted(error)
    for failure in failures:
        say(failure)
    refused = any(isinstance(failure, BusyError) for failure in failures)  # nothing was run
    return 2 if refused else int(bool(failures))


def _sweep(overrides: list[str]) -> int:
    from regtorch.cli.sweep import sweep
    from regtorch.cli.sweep_plan import check, plan

    if started_as() is not None:
        raise SettingError(
            "-m is not for processes that torchrun or srun started: let the sweep start them (trainer=ddp)"
        )
    if forbidden := next(
        (o for o in overrides if o.lstrip("+").split("=")[0] in ("resume", "rerun", "ckpt_path")), None
    ):
        raise SettingError(f"{forbidden} is not allowed with -m: sweep.resume=FOLDER goes on with a sweep")
    check_readable(overrides)
    planned = plan([*implied_overrides(overrides), *overrides])
    check(planned)
    return sweep(planned)


def _prints_only() -> bool:
    return any(argument.split("=")[0] in ("--cfg", "-c") for argument in sys.argv[1:])


def _train(config: Any, first: bool) -> Any:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    folder, overrides = Path(hydra_config.runtime.output_dir), as_typed(hydra_config)
    resumed = plain["resume"] is not None and Path(plain["resume"]).absolute() == folder
    named = f"resume={plain['resume']}" if resumed else f"hydra.run.dir={folder}"
    before = _written(folder)
    with locked(folder, f"{named} is not allowed: another process trains there") if first else nullcontext():
        try:
            if first:
                keep_configuration(folder, config=config, hydra=hydra_config, overrides=overrides)
            results = job.train(plain, folder, overrides)
        except SystemExit as error:
            if first and _written(folder) == before:  # it came before the run began, which says so itself
                ended = {"status": "interrupted", "reason": str(error), "seed": plain["seed"], "overrides": overrides}
                write_json(folder / "results.json", ended)
            exit_interrupted(error, f"; python scripts/train.py {typed('resume', folder)} goes on")
        finally:
            if first:
                (folder / ".lock").unlink(missing_ok=True)
    if first:
        show(results, folder)
    return results["test"]["accuracy"]


def _written(folder: Path) -> int | None:
    """When a run's results were written."""
    try:
        return (folder / "results.json").stat().st_mtime_ns
    except OSError:
        return None


def say_completed(config: dict[str, Any], results: dict[str, Any], longer: str) -> None:
    """Say that a run is complete, instead of going on with it."""
    print(f"resume={config['resume']} is complete, with {results['epochs']} epochs; {longer} would train on")
    show(results, Path(config["resume"]))


def show(results: dict[str, Any], folder: Path) -> None:
    """Print a run's results as a short table, and where its folder is."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("", "accuracy", "loss", "nll", "brier", "ece"):
        table.add_column(column, justify="left" if not column else "right")
    for part in ("train_eval", "val", "test", "test_mc"):
        if values := results.get(part):
            table.add_row(part, *(f"{values[name]:.4f}" for name in ("accuracy", "loss", "nll", "brier", "ece")))
    console = Console(highlight=False)
    console.width = max(console.width, 80)  # a narrow terminal breaks lines itself, and cuts no number
    console.print(table)
    console.print(
        f"{results['epochs']} epochs, {results['seconds']:.1f} s, {results['parameters']:,} parameters", soft_wrap=True
    )
    console.print(str(folder), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
