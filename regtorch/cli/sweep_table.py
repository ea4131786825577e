"""What a sweep shows on the terminal: how far it is, and its leaderboard."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from regtorch.cli.point import ENDED
from regtorch.cli.sweep_plan import Plan
from regtorch.study.leaderboard import Point, ranked, read_point

_SHOWN = 10  # rows of the leaderboard on the terminal
_SECONDS = 0.5  # between two looks at the folders


class Watch:
    """Looks at the folders of a sweep's points while they run, and says how far it is; works with any launcher.

    On a terminal it is a table that stays in place; elsewhere a line for each point that ends.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.by = plan, plan.by
        self.ended: dict[int, Point] = {}
        # a point that successive halving has pruned so far may go on
        self._ends = ENDED if plan.search is None else (*ENDED, "pruned")
        self._look()
        self.before = len(self.ended)
        self.running = 0
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live: Any = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._table(), console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._tell(self._look())
        if self._live is not None:
            self._live.stop()

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            self._tell(self._look())

    def _look(self) -> list[Point]:
        """The points that have ended since the last look; only folders that are there and not ended are opened."""
        new: list[Point] = []
        self.running = 0
        if not self.plan.folder.is_dir():
            return new
        there = {int(path.name) for path in self.plan.folder.iterdir() if path.name.isdecimal()}
        for number in sorted(there - set(self.ended)):
            if number in self.plan.points:
                point = read_point(self.plan.folder, number, self.plan.choices(number))
                if point.status in self._ends:
                    self.ended[number] = point
                    new.append(point)
                elif point.status != "pruned":  # which waits for what halving decides
                    self.running += 1
        return new

    def _tell(self, new: Sequence[Point]) -> None:
        if self._live is not None:
            self._live.update(self._table())
            return
        for count, point in enumerate(new, start=len(self.ended) - len(new) + 1):
            value = point.values.get(self.by)
            outcome = f"{self.by} {value:.4f}" if value is not None else point.reason or point.status
            print(f"{count} of {self.plan.total}: {words(point)}: {outcome}", file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("done", "running", "failed", "best so far", "time left"):
            table.add_column(column, no_wrap=True)
        failed = sum(point.status == "failed" for point in self.ended.values())
        best = next(iter(ranked(list(self.ended.values()), self.by)), None)
        value = None if best is None else best.values.get(self.by)
        shown = "" if best is None or value is None else f"{self.by} {value:.4f} ({words(best)})"
        done = f"{len(self.ended)} of {self.plan.total}"
        table.add_row(done, str(self.running), str(failed), escape(shown), self._left())
        return table

    def _left(self) -> str:
        done = len(self.ended) - self.before
        if not done:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self.plan.total - len(self.ended))
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def words(point: Point) -> str:
    """A point by what it was swept over.

    Example:
        >>> words(Point(3, {"regularizer": "l2", "seed": "1"}, "completed"))
        'regularizer=l2 seed=1'
    """
    return " ".join(f"{key}={short(value)}" for key, value in point.choices.items()) or f"point {point.number}"


def short(value: str) -> str:
    """A value with no more digits than are of use to a reader.

    Example:
        >>> short("1.9628224813442797e-05"), short("[300,100]"), short("0.25")
        ('1.963e-05', '[300,100]', '0.25')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def show_leaderboard(points: Sequence[Point], by: str, folder: Path, total: int, elsewhere: int = 0) -> None:
    """Print the best points, the failed ones with their reasons, and where everything is.

    Args:
        points: that the sweep has begun.
        by: what they are ordered by.
        folder: of the sweep.
        total: how many it is to have.
        elsewhere: how many of those other sweeps of the same search have taken.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    names = list(dict.fromkeys([by, "test.accuracy", "test.nll"]))
    table = Table(box=None, pad_edge=False)
    for column in ("", "point", *dict.fromkeys(key for point in points for key in point.choices), *names):
        table.add_column(column, justify="right" if column in ("", "point", *names) else "left", overflow="fold")
    best = [point for point in ranked(points, by) if point.status == "completed"]
    for rank, point in enumerate(best[:_SHOWN], start=1):
        chosen = [short(point.choices.get(str(column.header), "")) for column in table.columns[2 : -len(names)]]
        values = [f"{point.values[name]:.4f}" if name in point.values else "" for name in names]
        table.add_row(str(rank) if by in point.values else "", str(point.number), *map(escape, chosen), *values)
    if best:
        console.print(table)
    if best and not any(by in point.values for point in best):
        console.print(
            f"none is the best: there is no {by}; sweep.by=test.accuracy orders them, as does a validation part"
        )
    failed = [point for point in points if point.status == "failed"]
    for point in failed[:_SHOWN]:
        console.print(f"point {point.number} failed: {words(point)}: {point.reason}", soft_wrap=True, markup=False)
    pruned = sum(point.status == "pruned" for point in points)
    mine = max(total - elsewhere, len(points))
    left = mine - len(best) - len(failed) - pruned
    rest = f"{f', {pruned} pruned' if pruned else ''}{f', {left} not finished' if left else ''}"
    console.print(f"{len(best)} of {mine} points completed, {len(failed)} failed{rest}", soft_wrap=True)
    if elsewhere:
        console.print(f"{elsewhere} more trials of this search are in other sweeps' folders", soft_wrap=True)
    console.print(str(folder / "leaderboard.csv"), soft_wrap=True, markup=False)
