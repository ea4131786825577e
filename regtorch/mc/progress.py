"""A progress bar that shows itself when work takes long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

#: seconds of work before the bar appears
PATIENCE = 2.0


class ProgressBar:
    """Counts forward passes; on a terminal a bar stands there once they have taken two seconds.

    Args:
        total: passes to come.
        shown: True from the start, False never, None on a terminal and after two seconds.
    """

    def __init__(self, total: int, shown: bool | None = None) -> None:
        self.total, self.shown = total, shown
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        self._since = time.monotonic()
        self._done = 0
        return self

    def advance(self, passes: int) -> None:
        """So many more are done."""
        self._done += passes
        if self._bar is None and self._wanted():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
            console = Console(stderr=True)
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task("MC prediction", total=self.total)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def _wanted(self) -> bool:
        if self.shown is not None:
            return self.shown
        return sys.stderr.isatty() and time.monotonic() - self._since > PATIENCE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
