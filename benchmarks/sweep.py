"""A grid's wall time over the sum of its fits, and two processes against one: ``python benchmarks/sweep.py``.

``--points 1000`` instead: what a point costs beyond its run, in time and in files, with runs of a single step.

Budgets: at most 1.2 times the sum in one process; joblib with two processes at least 1.7 times as fast as with one, on a
machine with two cores that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

TRAIN = Path(__file__).parents[1] / "scripts" / "train.py"
JOBLIB = "hydra/launcher=joblib"


def swept(arguments: list[str], folder: Path, *, new: bool = True) -> tuple[float, float]:
    """Seconds that a grid takes as a whole command, and that its runs say they took together."""
    began = perf_counter()
    command = [sys.executable, str(TRAIN), "-m", *arguments, *([f"hydra.sweep.dir={folder}"] if new else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    took = perf_counter() - began
    return took, json.loads((folder / "sweep.json").read_text())["seconds_of_points"]


def many_points(points: int) -> None:
    """What the scheduler, the file system and the leaderboard cost per point."""
    tiny = ["data.batch_size=1293", "mc=none", "logger.tensorboard=false", "trainer.max_epochs=1"]
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid"
        took, runs = swept([f"seed=range(0,{points})", *tiny], grid)
        files = [path.stat() for path in grid.rglob("*") if path.is_file()]
        began = perf_counter()
        swept([f"sweep.resume={grid}"], grid, new=False)
        again = perf_counter() - began
        board = (grid / "leaderboard.csv").stat().st_size
    print(
        f"{points} points: {took:.1f} s, of which their runs {runs:.1f} s: {(took - runs) / points:.3f} s a point more"
    )
    print(f"{len(files) / points:.1f} files and {sum(f.st_size for f in files) / points / 1e3:.1f} kB a point")
    print(f"{again:.1f} s to find that nothing is missing; leaderboard.csv: {board / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=4, help="of the grid of 2 regularizers, 2 dropouts and so many seeds"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--points", type=int, help="of one step each, instead")
    options = parser.parse_args()
    if options.points:
        many_points(options.points)
        return
    seeds = ",".join(str(seed) for seed in range(1, options.seeds + 1))
    grid = ["regularizer=none,l1_l2", "dropout=none,standard", f"seed={seeds}", f"trainer.max_epochs={options.epochs}"]
    cases = {
        "in process": [],
        "joblib, 1": [JOBLIB, "hydra.launcher.n_jobs=1"],
        "joblib, 2": [JOBLIB, "hydra.launcher.n_jobs=2"],
    }
    taken = {}
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, launcher) in enumerate(cases.items()):
            taken[name], fits = swept([*grid, *launcher], Path(folder) / str(index))
            print(f"{name:12} {taken[name]:6.1f} s, its runs {fits:6.1f} s, ratio {taken[name] / fits:.2f}", flush=True)
    print(f"two processes are {taken['joblib, 1'] / taken['joblib, 2']:.2f} times as fast as one of joblib's")
    print(f"and {taken['in process'] / taken['joblib, 2']:.2f} times as fast as in process")


if __name__ == "__main__":
    main()
