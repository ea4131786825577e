"""One run from a command line's overrides: check it, train it, and report a failure in one line."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.config.memory_demands import demands, rows_demand
from regtorch.errors import RegtorchError, as_one_line
from regtorch.runs.data import dataset
from regtorch.runs.initial_checkpoint import checkpoint_path
from regtorch.runs.prediction_files import PredictionFiles
from regtorch.runs.run_folder import check_writable
from regtorch.runs.validate import validate_run
from regtorch.system.launcher import is_first
from regtorch.system.memory import Demand, is_out_of_memory, out_of_memory
from regtorch.training.run_status import NAME

if TYPE_CHECKING:
    from regtorch.training.pruning import Pruner


class RunError(RegtorchError):
    """A run that failed unexpectedly; the traceback is in its log."""


def train(
    config: Mapping[str, Any],
    folder: Path,
    overrides: Sequence[str],
    pruner: Pruner | None = None,
    *,
    progress_bar: bool = True,
) -> dict[str, Any]:
    """Train one run into its folder.

    Args:
        config: as plain containers; it is checked again, because the data may have changed since.
        folder: the run's folder.
        overrides: the overrides as typed, for the results.
        pruner: called after each epoch; may end the run.
        progress_bar: whether to show a progress bar on a terminal; false for one of many runs.

    Returns:
        The content of ``results.json``.

    Raises:
        RegtorchError: the reason for the failure. The traceback of an unexpected failure is in the run's log.
        SystemExit: a signal ended the run.
    """
    try:
        check_writable(folder)
        validate_run(config)
        new = "regtorch.training.run" not in sys.modules
        from regtorch.training.pruning import PruningCallback
        from regtorch.training.run import run

        if new:  # otherwise the garbage collector scans a million objects of modules, which takes a second at exit
            gc.freeze()
        pruning = None if pruner is None else PruningCallback(pruner)
        before = _results_of(folder)
        try:
            return run(config, dataset(config), folder, checkpoint_path(config), overrides, pruning, progress_bar)
        finally:
            if _results_of(folder) != before:
                _remove_predictions(folder)
    except RegtorchError:
        raise
    except SystemExit as error:
        if type(error).__name__ in ("Interrupted", "SIGTERMException"):  # those of signals, ours and Lightning's
            raise
        _log_traceback()
        raise RunError(f"SystemExit: {error.code} (the traceback is in train.log)") from error
    except Exception as error:
        _log_traceback()
        if is_out_of_memory(error):
            raise out_of_memory(error, _memory_demands(config)) from error
        raise RunError(f"{as_one_line(error)} (the traceback is in train.log)") from error


def _results_of(folder: Path) -> object:
    """Return a fingerprint of ``results.json`` that changes when the file is written."""
    try:
        found = (folder / NAME).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _remove_predictions(folder: Path) -> None:
    """Remove predictions of the run's previous network, which would be mistaken for those of the new one."""
    if is_first() and (removed := PredictionFiles(folder, "csv", str(folder)).remove()):
        names = ", ".join(path.name for path in removed)
        logging.getLogger("regtorch").info("removed %s: predictions of the network before this training", names)


def _memory_demands(config: Mapping[str, Any]) -> list[Demand | None]:
    """Return the memory that a run's settings need, as far as its data can be read."""
    found = [rows_demand(config["data"])]
    with suppress(Exception):  # the run has failed already, perhaps for the same reason
        splits = dataset(config).load()
        found += demands(config, splits.shape, len(splits.classes), len(splits.train))
    return found


def _log_traceback() -> None:
    """Write the current exception's traceback to the run's log file, not to the terminal."""
    log = logging.getLogger("regtorch")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "the run failed", (), sys.exc_info()))
