"""``regtorch-train -m``: a grid of runs of which each counts once, however often it is stopped."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regtorch.cli import job
from regtorch.cli.exit_status import say
from regtorch.cli.new_folder import keep_configuration
from regtorch.cli.sweep_plan import Plan
from regtorch.cli.sweep_table import Watch, show_leaderboard
from regtorch.errors import RegtorchError
from regtorch.files import locked, replaced, write_json
from regtorch.study.leaderboard import Point, as_csv, ranked, read_point

#: how often a launcher that broke down (a worker was killed) is started again without one more point done
_ATTEMPTS = 3


def sweep(plan: Plan) -> int:
    """Run what is missing of a sweep, and write its leaderboard; gives back the process's exit status.

    Raises:
        RegtorchError: another process runs this sweep.
        SystemExit: SIGTERM or Ctrl-C; the leaderboard of what there is is written.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with locked(plan.folder, f"sweep.resume={plan.folder} is being run by another process"):
        began = time.monotonic()
        _note(plan, "running", began)
        status = "interrupted"
        watch = Watch(plan)
        try:
            with watch:
                _launch(plan)
            status = "completed"
        except (SystemExit, KeyboardInterrupt):
            say(f"interrupted; python scripts/train.py -m sweep.resume={plan.folder} goes on")
            raise
        finally:
            points = _note(plan, status, began)
            show_leaderboard(points, plan.by, plan.folder)
    return 1 if any(point.status != "completed" for point in points) else 0


def _launch(plan: Plan) -> None:
    """Let Hydra's launcher run the points; again, if it broke down and some were done."""
    import hydra

    sys.argv[1:] = [
        "-m",
        *plan.overrides,
        f"hydra.sweep.dir='{plan.folder}'",
        "hydra.job_logging.handlers.console.level=ERROR",  # a line an epoch is for a run of its own
        "hydra.hydra_logging.root.level=ERROR",
    ]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    attempts = 0
    while True:
        done = len(_finished(plan))
        try:
            hydra.main(version_base="1.3", config_path="pkg://regtorch.conf", config_name="train")(point)()
            return
        except Exception as error:  # of the launcher: points keep their own failures
            attempts = 0 if len(_finished(plan)) > done else attempts + 1
            if attempts == _ATTEMPTS:
                raise RegtorchError(
                    f"the launcher broke down {attempts} times without a point done: {type(error).__name__}: {error}"
                ) from error


def _finished(plan: Plan) -> list[int]:
    return [n for n in range(len(plan.points)) if (plan.folder / str(n) / "results.json").is_file()]


def point(config: Any) -> Any:
    """Run one point, in whatever process a launcher has brought it to; a failure is kept in its folder.

    A point that is done is not run again, and one that was begun goes on from its last checkpoint.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    hydra_config = HydraConfig.get()
    folder, overrides = Path(hydra_config.runtime.output_dir), list(hydra_config.overrides.task)
    results = _results(folder)
    if results.get("status") not in ("completed", "failed"):
        if (folder / "checkpoints" / "last.ckpt").is_file():
            plain["resume"] = str(folder)
        keep_configuration(folder, config=config, hydra=hydra_config, overrides=overrides)
        try:
            results = job.train(plain, folder, overrides)
        except RegtorchError as error:
            if _results(folder).get("status") != "failed":  # it failed before it began
                failure = {"status": "failed", "reason": str(error), "seed": plain["seed"], "overrides": overrides}
                write_json(folder / "results.json", failure)
            return None
    return results.get("test", {}).get("accuracy")


def _results(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return results if isinstance(results, dict) else {}
    return {}


def _note(plan: Plan, status: str, began: float) -> Sequence[Point]:
    """Write ``sweep.json`` and ``leaderboard.csv``."""
    points = [read_point(plan.folder, number, choices) for number, choices in enumerate(plan.points)]
    completed = [p for p in ranked(points, plan.by) if p.status == "completed"]
    failed = [p for p in points if p.status == "failed"]
    everything = {
        "status": status,
        "overrides": list(plan.overrides),
        "points": len(points),
        "completed": len(completed),
        "failed": len(failed),
        "by": plan.by,
        "best": {"point": completed[0].number, **completed[0].choices, **completed[0].values} if completed else None,
        "failures": [{"point": p.number, **p.choices, "reason": p.reason} for p in failed],
        "seconds": round(time.monotonic() - began, 3),
        "seconds_of_points": round(sum(p.seconds for p in points), 3),
    }
    with replaced(plan.folder / "leaderboard.csv") as temporary:
        temporary.write_text(as_csv(points, plan.by), encoding="utf-8")
    write_json(plan.folder / "sweep.json", everything)
    return points
