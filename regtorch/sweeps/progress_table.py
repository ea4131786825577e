"""Terminal output of a sweep: its progress and its leaderboard."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from regtorch.printable import shortened
from regtorch.study.leaderboard import Point, ranked, read_point
from regtorch.sweeps.plan import Plan
from regtorch.sweeps.trial import ENDED
from regtorch.sweeps.trial_table import point_table, rows_that_fit, words
from regtorch.system import output

_SHOWN = 10  # rows of the leaderboard on the terminal
_SECONDS = 0.5  # pause between two scans of the folders
_ECHO = 3  # free columns at the right, so that the last line does not wrap when the terminal adds ^C to it
_NOTE = 16  # columns for the progress of a running point
_LEFT_FREE = 4  # lines that are not rows of the table: the line above it, its heading, and room for messages


class Watch:
    """Shows the progress of a sweep by scanning the folders of its points, so it works with any launcher.

    On a terminal it shows a table that is updated in place; elsewhere it prints a line for each point that ends.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.by = plan, plan.by
        self.ended: dict[int, Point] = {}
        # successive halving may still resume a point that it has pruned
        self._ends = ENDED if plan.search is None else (*ENDED, "pruned")
        self.running: list[Point] = []
        self._epochs: dict[int, int] = {}
        self._look()
        self.before = len(self.ended)
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live: Any = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.live import Live

            console = output.console(stderr=True)
            if not console.is_dumb_terminal:
                self._live = Live(
                    get_renderable=lambda: self._table(console.width - _ECHO, console.height),
                    console=console,
                    refresh_per_second=4,
                    transient=True,
                )
                self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._print_ended(self._look())
        if self._live is not None:
            self._live.stop()

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            self._print_ended(self._look())

    def _look(self) -> list[Point]:
        """Return the points that have ended since the last scan; only folders of unfinished points are opened."""
        new: list[Point] = []
        running: list[Point] = []
        if self.plan.folder.is_dir():
            existing = {int(path.name) for path in self.plan.folder.iterdir() if path.name.isdecimal()}
            for number in sorted(existing - set(self.ended)):
                if number in self.plan.points:
                    point = read_point(self.plan.folder, number, self.plan.choices(number))
                    if point.status in self._ends:
                        self.ended[number] = point
                        new.append(point)
                    elif point.status != "pruned":  # a pruned point waits for the next rung of halving
                        running.append(point)
                        self._epochs[number] = _epochs_done(self.plan.folder / str(number))
        self.running = running
        return new

    def _print_ended(self, new: Sequence[Point]) -> None:
        if self._live is not None:
            return  # the live table updates itself
        for count, point in enumerate(new, start=len(self.ended) - len(new) + 1):
            value = point.values.get(self.by)
            outcome = f"{self.by} {value:.4f}" if value is not None else point.reason or point.status
            output.print_message(f"{count} of {self.plan.total}: {shortened(words(point))}: {outcome}")

    def _table(self, width: int, height: int) -> Any:
        """Build the table of the sweep's progress, its best points so far, and its running points."""
        from rich.console import Group
        from rich.text import Text

        ended, running = list(self.ended.values()), list(self.running)
        failed = [point for point in ended if point.status == "failed"]
        left = self._left()
        counts = [
            f"{len(ended)} of {self.plan.total} done",
            f"{len(running)} running",
            f"{len(failed)} failed",
            *([f"{left} left"] if left else []),
            f"best so far by {self.by}:",
        ]
        best = [point for point in ranked(ended, self.by) if point.status == "completed"]
        rows, by = max(2, height - _LEFT_FREE), [self.by]
        shown_running = running[: max(1, rows_that_fit(running, by, width, rows // 2, _NOTE))]
        shown_failed = failed[-1:]
        others = [*shown_running, *shown_failed]
        fitting = rows_that_fit([*others, *best], by, width, rows, _NOTE) - len(others)
        shown_best = best[: max(1, min(_SHOWN, fitting))]
        points = [*shown_best, *shown_running, *shown_failed]
        notes = [
            *("" for _ in shown_best),
            *(f"epoch {self._epochs.get(p.number, 0)} of {self.plan.epochs}" for p in shown_running),
            *("failed" for _ in shown_failed),
        ]
        ranks = [str(rank + 1) if rank < len(shown_best) else "" for rank in range(len(points))]
        head = Text(", ".join(counts))
        shown = Group(head, point_table(points, by, width, ranks, notes)) if points else head
        return _Cropped(shown, width, max(1, height - 1))

    def _left(self) -> str:
        done = len(self.ended) - self.before
        if not done:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self.plan.total - len(self.ended))
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"


class _Cropped:
    """A renderable cropped to the terminal's size, because a larger live table would scroll."""

    def __init__(self, content: Any, width: int, height: int) -> None:
        self.content, self.width, self.height = content, width, height

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.segment import Segment

        narrow = options.update(width=max(1, self.width), height=None)
        for line in console.render_lines(self.content, narrow, pad=False)[: self.height]:
            yield from line
            yield Segment.line()


def _epochs_done(folder: Path) -> int:
    """Return the number of completed epochs of a running point, from its metrics.csv."""
    with suppress(OSError, ValueError, IndexError):
        lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
        return int(lines[-1].split(",")[lines[0].split(",").index("epoch")])
    return 0


def show_leaderboard(points: Sequence[Point], by: str, folder: Path, total: int, elsewhere: int = 0) -> None:
    """Print the best points, the failed points with their reasons, and the path of the leaderboard.

    Args:
        points: the points that the sweep has started.
        by: the value that orders them.
        folder: the sweep's folder.
        total: number of points when the sweep is complete.
        elsewhere: number of these points that other sweeps of the same search have run.
    """

    console = output.console()
    names = list(dict.fromkeys([by, "test.accuracy", "test.nll"]))
    best = [point for point in ranked(points, by) if point.status == "completed"]
    ranks = [str(rank) if by in point.values else "" for rank, point in enumerate(best[:_SHOWN], start=1)]
    if best:
        console.print(point_table(best[:_SHOWN], names, console.width, ranks))
    if best and not any(by in point.values for point in best):
        console.print(
            f"the points cannot be ordered: there is no {by}; use sweep.by=test.accuracy, or a validation part"
        )
    failed = [point for point in points if point.status == "failed"]
    for point in failed[:_SHOWN]:
        console.print(
            f"point {point.number} failed: {shortened(words(point))}: {point.reason}", soft_wrap=not console.is_terminal
        )
    pruned = sum(point.status == "pruned" for point in points)
    mine = max(total - elsewhere, len(points))
    left = mine - len(best) - len(failed) - pruned
    rest = f"{f', {pruned} pruned' if pruned else ''}{f', {left} not finished' if left else ''}"
    console.print(f"{len(best)} of {mine} points completed, {len(failed)} failed{rest}", soft_wrap=True)
    if elsewhere:
        console.print(f"{elsewhere} more trials of this search are in other sweeps' folders", soft_wrap=True)
    console.print(str(folder / "leaderboard.csv"), soft_wrap=True)
