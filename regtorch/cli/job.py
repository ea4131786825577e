"""One run from a command line's overrides: check it, train it, and say in one line why it failed."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.cli.composition import compose
from regtorch.cli.validation import checkpoint_path, dataset, validate
from regtorch.errors import RegtorchError, as_one_line

if TYPE_CHECKING:
    from regtorch.training.judged import Judge


class RunError(RegtorchError):
    """A run that broke off for a reason that nobody foresaw; the traceback is in its log."""


def checked(overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration that these overrides give, checked, data included; needs no torch.

    Raises:
        RegtorchError: the first thing that is wrong.
    """
    config = compose(overrides)
    validate(config)
    return config


def train(
    config: Mapping[str, Any], folder: Path, overrides: Sequence[str], judge: Judge | None = None
) -> dict[str, Any]:
    """Train one run into its folder.

    Args:
        config: as plain containers; it is checked again, as data may have changed since.
        folder: of the run.
        overrides: what was typed, for the record.
        judge: asked behind each epoch whether the run ends there.

    Returns:
        What ``results.json`` holds.

    Raises:
        RegtorchError: why it failed. A failure that nobody foresaw leaves its traceback in the run's log.
        SystemExit: Lightning ended it on a signal.
    """
    try:
        validate(config)
        new = "regtorch.training.run" not in sys.modules
        from regtorch.training.judged import Judged
        from regtorch.training.run import run

        if new:  # else the process looks for garbage among a million objects of modules, and for a second at its end
            gc.freeze()
        judged = None if judge is None else Judged(judge)
        return run(config, dataset(config), folder, checkpoint_path(config), overrides, judged)
    except RegtorchError:
        raise
    except SystemExit as error:
        if type(error).__name__ in ("Interrupted", "SIGTERMException"):  # those of signals, ours and Lightning's
            raise
        _keep_traceback()
        raise RunError(f"SystemExit: {error.code} (the traceback is in train.log)") from error
    except Exception as error:
        _keep_traceback()
        raise RunError(f"{as_one_line(error)} (the traceback is in train.log)") from error


def _keep_traceback() -> None:
    """Into the run's log file, not onto the terminal."""
    log = logging.getLogger("regtorch")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "the run failed", (), sys.exc_info()))
