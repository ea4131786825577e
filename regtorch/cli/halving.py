"""Successive halving of a grid: all points train a few epochs, the best of them longer, the best of those to the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from regtorch.cli.engine import Engine, Job
from regtorch.cli.point import has_ended, point, results
from regtorch.files import write_json

_KEPT = "halving.json"


def rungs(points: int, epochs: int, factor: int) -> list[int]:
    """Behind which epochs a factor-th of the points is kept, so that about one of them trains all epochs.

    Args:
        points: how many begin.
        epochs: of a whole training.
        factor: > 1.

    Example:
        >>> rungs(points=36, epochs=20, factor=3)
        [1, 3, 7]
        >>> rungs(points=2, epochs=20, factor=3)
        []
    """
    cuts = int(math.log(points, factor) + 1e-9)
    found = {math.ceil(epochs / factor**cut) for cut in range(cuts, 0, -1)}
    return sorted(epoch for epoch in found if epoch < epochs)


def best(values: Mapping[int, float | None], factor: int, higher_is_better: bool) -> list[int]:
    """The factor-th of the points, rounded up, with the best values; the first ones where they are equal.

    Example:
        >>> best({0: 0.5, 1: None, 2: 0.9, 3: 0.9}, factor=2, higher_is_better=True)
        [2, 3]
    """
    sign = -1.0 if higher_is_better else 1.0
    known = sorted((sign * value, number) for number, value in values.items() if value is not None)
    return sorted(number for _, number in known[: math.ceil(len(values) / factor)])


def halve(engine: Engine, jobs: Sequence[Job], folder: Path, *, epochs: int, factor: int, by: str) -> None:
    """Run the points of a grid as far as they are worth it.

    A point that is kept goes on from its checkpoint, so it ends where it would have ended in the whole grid. What was
    decided is kept in the sweep's folder, so that a sweep that was stopped decides the same.

    Args:
        engine: runs them.
        jobs: the points.
        folder: of the sweep.
        epochs: of a whole training.
        factor: a factor-th of the points is kept at each rung.
        by: the validation's accuracy or loss.
    """
    alive = {job.number for job in jobs}
    decided = _decided(folder)
    name = by.partition(".")[2]
    for index, epoch in enumerate(rungs(len(jobs), epochs, factor)):
        if index == len(decided):
            left = [job for job in jobs if job.number in alive]
            engine.run(left, partial(point, until_epoch=epoch), partial(_has_ended, folder, epoch))
            values = {number: _value(folder / str(number), name) for number in sorted(alive)}
            kept = best(values, factor, name == "accuracy")
            decided.append({"epoch": epoch, "values": {str(n): v for n, v in values.items()}, "kept": kept})
            write_json(folder / _KEPT, decided)
        values, kept = decided[index]["values"], decided[index]["kept"]
        for number in alive - set(kept):
            _tell_why(
                folder / str(number),
                f"{by} {values[str(number)]} behind epoch {epoch}, not among the best {len(kept)} of {len(alive)}",
            )
        alive = set(kept)
    engine.run([job for job in jobs if job.number in alive], point, partial(_has_ended, folder, None))


def _has_ended(folder: Path, epoch: int | None, number: int) -> bool:
    return has_ended(folder / str(number), epoch)


def _decided(folder: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):
        decided = list(json.loads((folder / _KEPT).read_text(encoding="utf-8")))
        if all(isinstance(rung, dict) and {"epoch", "values", "kept"} <= rung.keys() for rung in decided):
            return decided
    return []


def _value(folder: Path, name: str) -> float | None:
    found = results(folder)
    value = (found.get("val") or {}).get(name)
    return None if found.get("status") == "failed" or value is None else float(value)


def _tell_why(folder: Path, reason: str) -> None:
    found = results(folder)
    if found.get("status") == "pruned" and found.get("reason") != reason:
        write_json(folder / "results.json", {**found, "reason": reason})
