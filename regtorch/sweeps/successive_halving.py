"""Successive halving of a grid: all points train a few epochs, the best of them longer, the best of those to the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.settings import ANY_NUMBER, COUNT, COUNT_OR_ZERO, Range
from regtorch.study.leaderboard import results
from regtorch.sweeps.launcher import Engine, Job
from regtorch.sweeps.trial import has_ended, point
from regtorch.system.files import write_json
from regtorch.system.untrusted import check_fields, load_json

_KEPT = "halving.json"
_RUNG: dict[str, Range] = {
    "epoch": COUNT,
    "values": Range(
        "a mapping of points to numbers, or null",
        lambda v: (
            isinstance(v, dict)
            and all(key.isdecimal() and (value is None or ANY_NUMBER.holds(value)) for key, value in v.items())
        ),
    ),
    "kept": Range("a list of points", lambda v: isinstance(v, list) and all(map(COUNT_OR_ZERO.holds, v))),
}


def rungs(points: int, epochs: int, factor: int) -> list[int]:
    """Return the epochs after which 1/factor of the points is kept, so that about one point trains all epochs.

    Args:
        points: number of points at the start.
        epochs: epochs of a complete training.
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


def best(costs: Mapping[int, Sequence[float] | None], factor: int) -> list[int]:
    """Return the 1/factor of the points, rounded up, with the lowest costs; ties are broken by the next cost.

    Args:
        costs: each point's costs, the most important first; None: the point has failed.
        factor: > 1.

    Example:
        >>> best({0: (0.5, 7.0), 1: None, 2: (0.1, 3.0), 3: (0.1, 2.0)}, factor=4)
        [3]
    """
    known = sorted((*cost, number) for number, cost in costs.items() if cost is not None)
    return sorted(int(number) for *_, number in known[: math.ceil(len(costs) / factor)])


def halve(engine: Engine, jobs: Sequence[Job], folder: Path, *, epochs: int, factor: int, by: str) -> None:
    """Run the points of a grid, and prune the worst ones at each rung.

    A point that is kept resumes from its checkpoint, so its result is the same as in the complete grid. Ties in accuracy
    are broken by the loss. The decisions are stored in the sweep's folder, so that a resumed sweep repeats them.

    Args:
        engine: runs the points.
        jobs: the points.
        folder: the sweep's folder.
        epochs: epochs of a complete training.
        factor: 1/factor of the points is kept at each rung.
        by: ``val.accuracy`` or ``val.loss``.

    Raises:
        DataError: the stored decisions cannot be read.
    """
    alive = {job.number for job in jobs}
    decided = _stored_decisions(folder)
    name = by.partition(".")[2]
    for index, epoch in enumerate(rungs(len(jobs), epochs, factor)):
        if index == len(decided):
            left = [job for job in jobs if job.number in alive]
            engine.run(left, partial(point, until_epoch=epoch), partial(_has_reached, folder, epoch))
            found = {number: results(folder / str(number)) for number in sorted(alive)}
            values = {number: _value(result, name) for number, result in found.items()}
            kept = best({number: _costs(result, name) for number, result in found.items()}, factor)
            decided.append({"epoch": epoch, "values": {str(n): v for n, v in values.items()}, "kept": kept})
            write_json(folder / _KEPT, decided)
        values, kept = decided[index]["values"], decided[index]["kept"]
        for number in alive - set(kept):
            _write_reason(
                folder / str(number),
                f"{by} {values.get(str(number))} after epoch {epoch}, not among the best {len(kept)} of {len(alive)}",
            )
        alive = set(kept)
    engine.run([job for job in jobs if job.number in alive], point, lambda number: has_ended(folder / str(number)))


def _has_reached(folder: Path, epoch: int, number: int) -> bool:
    return has_ended(folder / str(number), epoch)


def _stored_decisions(folder: Path) -> list[dict[str, Any]]:
    """Read the stored decisions. They cannot be repeated from the runs, because points have trained further since."""
    if not (folder / _KEPT).exists():
        return []
    with suppress(DataError):
        decided = load_json(folder / _KEPT)
        if isinstance(decided, list):
            return [check_fields(rung, _RUNG, required=tuple(_RUNG)) for rung in decided]
    raise DataError(f"{folder / _KEPT} is damaged: it listed the points to keep; start the sweep in another folder")


def _value(found: Mapping[str, Any], name: str) -> float | None:
    value = (found.get("val") or {}).get(name)
    return None if found.get("status") == "failed" or value is None else float(value)


def _costs(found: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """Return the loss, or the negative accuracy and then the loss, because few rows give many equal accuracies."""
    value, loss = _value(found, name), _value(found, "loss")
    if value is None or loss is None:
        return None
    return (loss,) if name == "loss" else (-value, loss)


def _write_reason(folder: Path, reason: str) -> None:
    found = results(folder)
    if found.get("status") == "pruned" and found.get("reason") != reason:
        write_json(folder / "results.json", {**found, "reason": reason})
