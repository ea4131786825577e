"""``results.json`` of a run: complete results give way to better ones only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning

from regtorch.errors import as_one_line
from regtorch.files import write_json
from regtorch.results_json import NAME, is_completed
from regtorch.training.failure import goes_on
from regtorch.training.interruption import Interrupted
from regtorch.training.pruning import PrunedError

log = logging.getLogger("regtorch")

_PREVIOUS = "results.previous.json"


class Outcome:
    """Writes what becomes of a run.

    Complete results that are there already stay until the first new checkpoint is written: up to then the run is what
    it was. From then on they are in ``results.previous.json``, until the run is complete again. So a run that is
    resumed and fails, or is killed, has lost nothing.

    Args:
        folder: of the run.
        about: gives what each ``results.json`` says of the run.
        writes: whether this process writes; only the first one of a run does.
    """

    def __init__(self, folder: Path, about: Callable[[], Mapping[str, Any]], writes: bool = True) -> None:
        self.path, self.about, self.writes = folder / NAME, about, writes
        self.completed = False
        self._kept = writes and is_completed(folder)

    def begin(self) -> None:
        """Remove what an earlier attempt says of its end, if that was not its completion."""
        if self.writes and not self._kept:
            self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """The run is about to be another than complete results say."""
        if self.writes and self._kept:
            self.path.replace(self.path.with_name(_PREVIOUS))
            self._kept = False

    def complete(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Write the results of a run that came to its end, and give them back."""
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
        """Write why a run did not come to its end."""
        if not self.writes or self.completed:
            return
        if self._kept:
            log.warning("nothing was trained: %s still holds the complete results", self.path)
            return
        said = {"status": "failed", "reason": reason} if isinstance(reason, str) else failure_of(reason)
        with suppress(OSError):  # the disk may be what failed: the error itself is what must be said
            write_json(self.path, {**said, **self.about()})

    def on_timeout(self, signum: int, seconds: float) -> int:
        """Write that a step did not end in time after a signal; gives back the process's exit status."""
        if self.completed:
            return 0
        error = Interrupted(signum, f", in a step that did not end within {seconds:g} s")
        self.fail(error)
        if self.writes:
            then = f"; {then}" if (then := goes_on(self.path.parent)) else ""
            print(f"error: interrupted: {error}{then}", file=sys.stderr, flush=True)
        return int(error.code or 1)


class SetResultsAside(lightning.Callback):
    """Tells an `Outcome` when the first new checkpoint is about to be written."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def on_save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Complete results that are there are of an older network from now on."""
        self.outcome.set_aside()


def failure_of(error: BaseException) -> dict[str, Any]:
    """What ``results.json`` says of a run that an error ended."""
    interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
    reason = str(error) if isinstance(error, SystemExit) and str(error) else as_one_line(error)
    if isinstance(error, PrunedError):
        of_val = {name.removeprefix("val_"): v for name, v in error.values.items() if name.startswith("val_")}
        return {"status": "pruned", "reason": reason, "epochs": error.epochs, "val": of_val}
    return {"status": "interrupted" if interrupted else "failed", "reason": reason}
