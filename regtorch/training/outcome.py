"""``results.json`` of a run: complete results are replaced only by other complete results."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning

from regtorch.errors import as_one_line
from regtorch.system.files import write_json
from regtorch.training.failure import how_to_resume
from regtorch.training.interruption import Interrupted
from regtorch.training.pruning import PrunedError
from regtorch.training.run_status import NAME, is_completed

log = logging.getLogger("regtorch")

_PREVIOUS = "results.previous.json"


class Outcome:
    """Writes the results of a run, or the reason for its failure.

    Existing complete results stay until the first new checkpoint is written, because they are valid until then. After
    that they are in ``results.previous.json`` until the run is complete again. So a resumed run that fails or is killed
    does not lose its results.

    Args:
        folder: the run's folder.
        about: returns the fields that every ``results.json`` has.
        writes: whether this process writes files; only rank 0 does.
    """

    def __init__(self, folder: Path, about: Callable[[], Mapping[str, Any]], writes: bool = True) -> None:
        self.path, self.about, self.writes = folder / NAME, about, writes
        self.completed = False
        self._kept = writes and is_completed(folder)

    def begin(self) -> None:
        """Remove the ``results.json`` of an earlier attempt that did not complete."""
        if self.writes and not self._kept:
            self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Rename existing complete results, because the run's network is about to change."""
        if self.writes and self._kept:
            self.path.replace(self.path.with_name(_PREVIOUS))
            self._kept = False

    def complete(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Write the results of a completed run, and return them."""
        results = {"status": "completed", **measured, **self.about()}
        first = ("status", "seed", "epochs", "seconds")
        results = {**{key: results[key] for key in first if key in results}, **results}
        if self.writes:
            write_json(self.path, results)
            self._kept = False
            self.path.with_name(_PREVIOUS).unlink(missing_ok=True)
        self.completed = True
        return results

    def fail(self, reason: BaseException | str) -> None:
        """Write the reason why a run did not complete."""
        if not self.writes or self.completed:
            return
        if self._kept:
            log.warning("nothing was trained: %s still has the complete results", self.path)
            return
        failure = {"status": "failed", "reason": reason} if isinstance(reason, str) else failure_of(reason)
        with suppress(OSError):  # if the disk has failed, the original error must be reported
            write_json(self.path, {**failure, **self.about()})

    def on_timeout(self, signum: int, seconds: float) -> int:
        """Record that a step did not end in time after a signal; return the exit status."""
        if self.completed:
            return 0
        error = Interrupted(signum, f", in a step that did not end within {seconds:g} s")
        self.fail(error)
        if self.writes:
            remedy = f"; {remedy}" if (remedy := how_to_resume(self.path.parent)) else ""
            print(f"error: interrupted: {error}{remedy}", file=sys.stderr, flush=True)
        return int(error.code or 1)


class SetResultsAside(lightning.Callback):
    """Calls `Outcome.set_aside` before the first new checkpoint is written."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def on_save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Set existing complete results aside, because they belong to an older network from now on."""
        self.outcome.set_aside()


def failure_of(error: BaseException) -> dict[str, Any]:
    """Return the fields of ``results.json`` for a run that ended with an error."""
    interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
    reason = str(error) if isinstance(error, SystemExit) and str(error) else as_one_line(error)
    if isinstance(error, PrunedError):
        of_val = {name.removeprefix("val_"): v for name, v in error.values.items() if name.startswith("val_")}
        return {"status": "pruned", "reason": reason, "epochs": error.epochs, "val": of_val}
    return {"status": "interrupted" if interrupted else "failed", "reason": reason}
