"""``regtorch-train``: train one run, or a sweep with ``-m``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from regtorch.cli.flags import CommandLine, parsed
from regtorch.cli.help import help_text
from regtorch.cli.help_page import print_requested_help
from regtorch.compat.hydra_internals import flags_parser
from regtorch.config.command_line import check_paths, check_readable, implied_overrides
from regtorch.config.compose import check_given_once, compose, one_line, without_option_lists
from regtorch.config.trust import check_names_only
from regtorch.errors import RegtorchError, SettingError
from regtorch.runs import job
from regtorch.runs.completed_run import completed
from regtorch.runs.earlier_overrides import earlier_overrides
from regtorch.runs.run_folder import (
    check_folders_named,
    check_writable,
    named_folder,
    resolved_overrides,
    run_folder_overrides,
    write_configuration,
)
from regtorch.runs.validate import checked
from regtorch.system.exit_status import exit_interrupted, exit_with
from regtorch.system.files import BusyError, locked, write_json
from regtorch.system.launcher import is_first, started_as
from regtorch.system.output import console, print_error, print_output
from regtorch.system.quoting import typed
from regtorch.system.start_up import before_exit
from regtorch.training.run_status import is_completed


def main() -> None:
    """Run the command line. A user error prints one line and exits with 2; a failed run exits with 1."""
    exit_with(_main)


def _main() -> int:
    if print_requested_help(sys.argv[1:], help_text):
        return 0
    line = parsed(sys.argv[1:])
    overrides = list(line.overrides)
    sys.argv[1:] = [*line.for_hydra, *overrides]
    first = is_first()
    check_folders_named(overrides)
    if line.command == "--multirun":
        return _sweep(overrides)
    if line.needs_overrides and not _prepared(line, overrides):
        return 0

    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    _check_flags()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    failures: list[RegtorchError] = []

    @hydra.main(version_base="1.3", config_path="pkg://regtorch.conf", config_name="train")
    def train(config: DictConfig) -> Any:
        try:
            return _train(config, first)
        except RegtorchError as error:
            failures.append(error)
        return None

    try:
        train()
    except RegtorchError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # a wrong flag or Hydra setting
        raise SettingError(one_line(error, overrides or [])) from error
    for failure in failures:
        print_error(failure)
    refused = any(isinstance(failure, BusyError) for failure in failures)  # nothing was trained
    return 2 if refused else int(bool(failures))


def _prepared(line: CommandLine, overrides: list[str]) -> bool:
    """Check the run, and add the implied overrides to the list and to the command line that Hydra reads.

    Returns:
        False if the run is complete already.
    """
    if many := next((o for o in overrides if o.lstrip("+").startswith(("sweep.", "hydra.mode="))), None):
        raise SettingError(f"{many} is allowed only for several runs: add -m")
    check_names_only(overrides)
    check_paths(overrides)
    check_given_once(overrides)
    given, earlier = list(overrides), earlier_overrides(overrides)
    added = [*implied_overrides([*earlier, *overrides]), *earlier]
    overrides[:] = without_option_lists([*added, *(o for o in overrides if not o.startswith("rerun="))])
    sys.argv[1:] = [*line.for_hydra, *overrides]
    if line.command != "--run":
        compose(overrides)
        return True
    if search := next((override for override in given if override.startswith("hparams_search=")), None):
        raise SettingError(f"{search} is a search over several runs: add -m")
    config = checked(overrides)
    if (found := completed(config, given)) is not None:
        print_completed(config, *found)
        return False
    sys.argv[1:] += (of_folder := run_folder_overrides(overrides))
    if (folder := named_folder([*overrides, *of_folder])) is not None:
        check_writable(folder)
    return True


def _check_flags() -> None:
    """Refuse flags that Hydra's own parser refuses, in one line.

    Raises:
        SettingError: an unknown flag, or a flag without its value.
    """

    def refuse(message: str) -> NoReturn:
        raise SettingError(f"{message}; for a list: regtorch-train --help")

    parser = flags_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args()


def _sweep(overrides: list[str]) -> int:
    from regtorch.sweeps.check import check
    from regtorch.sweeps.plan import plan
    from regtorch.sweeps.sweep import sweep

    if started_as() is not None:
        raise SettingError(
            "-m is not allowed in processes that torchrun or srun started: let the sweep start them (trainer=ddp)"
        )
    if forbidden := next(
        (o for o in overrides if o.lstrip("+").split("=")[0] in ("resume", "rerun", "ckpt_path")), None
    ):
        raise SettingError(f"{forbidden} is not allowed with -m; to resume a sweep: sweep.resume=FOLDER")
    check_paths(overrides, grid=True)
    check_readable(overrides)
    check_given_once(overrides)
    planned = plan([*implied_overrides(overrides), *overrides])
    check(planned)
    return sweep(planned)


def _train(config: Any, first: bool) -> Any:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    folder, overrides = Path(hydra_config.runtime.output_dir), resolved_overrides(hydra_config)
    resumed = plain["resume"] is not None and Path(plain["resume"]).absolute() == folder
    named = f"resume={plain['resume']}" if resumed else f"hydra.run.dir={folder}"
    note = partial(_note_interrupted, folder, {"seed": plain["seed"], "overrides": overrides})
    with (
        locked(folder, f"{named} is not allowed: another process trains there") if first else nullcontext(),
        before_exit(note if first else str),
    ):
        try:
            if first:
                write_configuration(folder, config=config, hydra=hydra_config, overrides=overrides)
            results = job.train(plain, folder, overrides)
        except SystemExit as error:
            exit_interrupted(error, _how_to_continue(folder))
    if first:
        show(results, folder)
    return results["test"]["accuracy"]


def _note_interrupted(folder: Path, about: Mapping[str, Any], signum: int) -> str:
    """Record that a run was interrupted before training started; return how to resume it."""
    reason = f"stopped from outside ({signal.Signals(signum).name})"
    if not is_completed(folder):  # results of a completed run stay valid
        write_json(folder / "results.json", {"status": "interrupted", "reason": reason, **about})
    return _how_to_continue(folder)


def _how_to_continue(folder: Path) -> str:
    return f"; to resume: python scripts/train.py {typed('resume', folder)}"


def print_completed(config: dict[str, Any], results: dict[str, Any], longer: str) -> None:
    """Report that a run is complete, with its results and the override that would train it longer."""
    epochs = f", with {results['epochs']} epochs" if "epochs" in results else ""
    print_output(f"resume={config['resume']} is complete{epochs}; to train longer: {longer}")
    show(results, Path(config["resume"]))


def show(results: dict[str, Any], folder: Path) -> None:
    """Print a run's results as a short table, and the path of its folder."""
    from rich.table import Table

    table, names = Table(box=None, pad_edge=False), ("accuracy", "loss", "nll", "brier", "ece")
    for column in ("", *names):
        table.add_column(column, justify="left" if not column else "right")
    for part in ("train_eval", "val", "test", "test_mc"):
        if values := results.get(part):
            measured = [values.get(name) for name in names]
            table.add_row(part, *("" if value is None else f"{value:.4f}" for value in measured))
    shown = console()
    shown.width = max(shown.width, 80)  # a narrow terminal wraps long lines itself; rich would cut numbers
    shown.print(table)
    numbers = {"epochs": "{} epochs", "seconds": "{:.1f} s", "parameters": "{:,} parameters"}
    shown.print(
        ", ".join(words.format(results[key]) for key, words in numbers.items() if key in results), soft_wrap=True
    )
    shown.print(str(folder), soft_wrap=True)


if __name__ == "__main__":
    main()
