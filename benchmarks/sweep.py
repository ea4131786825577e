"""The wall time of a grid relative to the sum of its runs, and two processes against one: ``python benchmarks/sweep.py``.

``--points 1000`` measures instead the overhead of a point beyond its run, in time and files, with runs of a single step.

Budgets: at most 1.2 times the sum in one process; joblib with two processes at least 1.7 times as fast as with one, on an
otherwise idle machine with two cores.
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


def run_grid(arguments: list[str], folder: Path, *, new: bool = True) -> tuple[float, float]:
    """Run a grid; return the seconds of the complete command, and the sum of the seconds of its runs."""
    start = perf_counter()
    command = [sys.executable, str(TRAIN), "-m", *arguments, *([f"hydra.sweep.dir={folder}"] if new else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    took = perf_counter() - start
    return took, json.loads((folder / "sweep.json").read_text())["seconds_of_points"]


def many_points(points: int) -> None:
    """Measure the overhead of the scheduler, the file system and the leaderboard per point."""
    tiny = ["data.batch_size=1293", "mc=none", "logger.tensorboard=false", "trainer.max_epochs=1"]
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid"
        took, runs = run_grid([f"seed=range(0,{points})", *tiny], grid)
        files = [path.stat() for path in grid.rglob("*") if path.is_file()]
        start = perf_counter()
        run_grid([f"sweep.resume={grid}"], grid, new=False)
        again = perf_counter() - start
        board = (grid / "leaderboard.csv").stat().st_size
    print(
        f"{points} points: {took:.1f} s, of which their runs take {runs:.1f} s: {(took - runs) / points:.3f} s of overhead per point"
    )
    print(f"{len(files) / points:.1f} files and {sum(f.st_size for f in files) / points / 1e3:.1f} kB per point")
    print(f"{again:.1f} s to resume a finished grid; leaderboard.csv: {board / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=4, help="number of seeds in the grid, with 2 regularizers and 2 dropouts"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--points", type=int, help="run this number of points of one step each instead")
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
            taken[name], fits = run_grid([*grid, *launcher], Path(folder) / str(index))
            print(f"{name:12} {taken[name]:6.1f} s, its runs {fits:6.1f} s, ratio {taken[name] / fits:.2f}", flush=True)
    print(f"two processes are {taken['joblib, 1'] / taken['joblib, 2']:.2f} times as fast as one process of joblib")
    print(f"and {taken['in process'] / taken['joblib, 2']:.2f} times as fast as in process")


if __name__ == "__main__":
    main()
