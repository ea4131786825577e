"""``regtorch-train -m``: a sweep, which can be interrupted and resumed without repeating completed runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from regtorch.errors import DataError, SettingError
from regtorch.runs.resume import is_undamaged
from regtorch.study.leaderboard import ORDERS, Point, as_csv, ranked, read_point, results
from regtorch.sweeps.launcher import Engine, Job
from regtorch.sweeps.optuna_search import known_trials, pareto_front, search
from regtorch.sweeps.plan import SWEEP_FIELDS, Plan
from regtorch.sweeps.progress_table import Watch, show_leaderboard
from regtorch.sweeps.successive_halving import halve
from regtorch.sweeps.trial import has_ended, point
from regtorch.system.files import locked, replaced, write_json
from regtorch.system.output import print_error
from regtorch.system.quoting import is_for_hydra, typed
from regtorch.system.untrusted import check_fields, load_json
from regtorch.training.interruption import Interruption

_WRITTEN = ("results.json", "checkpoints/last.ckpt")


def sweep(plan: Plan) -> int:
    """Run the missing runs of a sweep, and write its leaderboard; return the exit status.

    Raises:
        RegtorchError: another process runs this sweep, or its folder cannot be created.
        SystemExit: SIGTERM or Ctrl-C; the leaderboard of the runs so far is written.
    """
    engine = Engine(plan.folder, [o for o in plan.fixed if is_for_hydra(o)])
    if plan.search is not None:
        plan.points.update(known_trials(plan.search, plan.folder, plan.fixed)[0])
        if plan.search.trials < len(plan.points):
            raise SettingError(
                f"hparams_search.trials={plan.search.trials} is not allowed: the search has {len(plan.points)} trials already"
            )
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"hydra.sweep.dir={plan.folder} cannot be created: {error.strerror}") from error
    with locked(plan.folder, f"sweep.resume={plan.folder} is being run by another process"):
        began = time.monotonic() - _seconds_before(plan.folder)
        if plan.retry_failed:
            _reset_failed_points(plan)
        status = "interrupted"
        try:
            with Interruption().handling_signals():  # also between runs
                _write_state(plan, "running", began)
                with Watch(plan):
                    _run(plan, engine)
            status = "completed"
        except (SystemExit, KeyboardInterrupt):
            print_error(f"interrupted; to resume: python scripts/train.py -m {typed('sweep.resume', plan.folder)}")
            raise
        finally:
            points = _write_state(plan, status, began)
            show_leaderboard(points, plan.by, plan.folder, plan.total, _trials_elsewhere(plan))
    return 0 if all(point.status in ("completed", "pruned") for point in points) else 1


def _run(plan: Plan, engine: Engine) -> None:
    """Run the missing runs of a grid, of successive halving, or of a search."""
    if plan.search is not None:
        search(engine, plan.search, plan.folder, plan.points, plan.fixed, plan.epochs)
        return
    jobs = [Job(number, plan.overrides_of(number)) for number in plan.points]
    if plan.halving is not None:
        by = "val.accuracy" if plan.by.endswith("accuracy") else "val.loss"
        halve(engine, jobs, plan.folder, epochs=plan.epochs, factor=plan.halving, by=by)
    else:
        engine.run(jobs, point, lambda number: has_ended(plan.folder / str(number)))


def _trials_elsewhere(plan: Plan) -> int:
    """Return the number of trials in other folders, for a search that several sweeps share."""
    if plan.search is not None and plan.search.storage is not None:
        with suppress(DataError):
            return known_trials(plan.search, plan.folder, plan.fixed)[1]
    return 0


def _seconds_before(folder: Path) -> float:
    """Return the duration of the sweep before it was stopped; if it was killed, until its points last wrote a file."""
    with suppress(OSError, DataError):
        kept = check_fields(load_json(folder / "sweep.json"), SWEEP_FIELDS, required=("seconds", "status"))
        written = [path.stat().st_mtime for name in _WRITTEN for path in folder.glob(f"*/{name}")]
        began = (folder / "sweep.json").stat().st_mtime
        return float(kept["seconds"]) + (
            max(0.0, max(written) - began) if kept["status"] == "running" and written else 0
        )
    return 0.0


def _reset_failed_points(plan: Plan) -> None:
    """Mark failed points as unfinished, so that they resume from their last checkpoint if it is undamaged."""
    for number in plan.points:
        folder = plan.folder / str(number)
        if results(folder).get("status") == "failed":
            last = folder / "checkpoints" / "last.ckpt"
            if last.is_file() and not is_undamaged(last):
                last.replace(last.with_name("last.damaged.ckpt"))
            (folder / "results.json").replace(folder / "results.failed.json")


def _write_state(plan: Plan, status: str, began: float) -> Sequence[Point]:
    """Write ``sweep.json`` and ``leaderboard.csv``."""
    points = [read_point(plan.folder, number, plan.choices(number)) for number in plan.points]
    completed = [p for p in ranked(points, plan.by) if p.status == "completed"]
    best = next((p for p in completed if plan.by in p.values), None)
    failed = [p for p in points if p.status == "failed"]
    pruned = [p for p in points if p.status == "pruned"]
    everything = {
        "status": status,
        "overrides": list(plan.overrides),
        **plan.begun,
        "points": len(points),
        "completed": len(completed),
        "failed": len(failed),
        "pruned": len(pruned),
        "by": plan.by,
        "halving": plan.halving,
        "best": {"point": best.number, **best.choices, **best.values} if best is not None else None,
        "pareto_front": _pareto_front(plan, completed),
        "failures": [{"point": p.number, **p.choices, "reason": p.reason} for p in failed],
        "seconds": round(time.monotonic() - began, 3),
        "seconds_of_points": round(sum(p.seconds for p in points), 3),
    }
    with replaced(plan.folder / "leaderboard.csv") as temporary:
        temporary.write_text(as_csv(points, plan.by), encoding="utf-8")
    write_json(plan.folder / "sweep.json", everything)
    return points


def _pareto_front(plan: Plan, completed: Sequence[Point]) -> list[int] | None:
    """Return the non-dominated points of a search with several objectives; None for other sweeps."""
    if plan.search is None or len(plan.search.objectives) == 1:
        return None
    names = plan.search.objectives
    values = [
        (p.number, [p.values[name] for name in names]) for p in completed if all(name in p.values for name in names)
    ]
    return pareto_front(values, [ORDERS[name] for name in names])
