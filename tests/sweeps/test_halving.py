"""Successive halving: kept points have the same results as in the complete grid, and a resumed sweep decides the same."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regtorch.config.compose import compose
from regtorch.errors import DataError
from regtorch.runs import job
from regtorch.sweeps.launcher import Job
from regtorch.sweeps.successive_halving import best, halve, rungs
from regtorch.sweeps.trial import _StopAfter
from regtorch.training.pruning import PrunedError
from tests.sweeps.test_sweep import SMALL, leaderboard, swept
from tests.testers.command import running

GRID = ["optimizer.lr=0.0001,0.003,0.01,1e30", "seed=1", *SMALL, "trainer.max_epochs=8"]


@given(points=st.integers(1, 1000), epochs=st.integers(1, 300), factor=st.integers(2, 5))
def test_rungs_are_increasing_epochs(points: int, epochs: int, factor: int) -> None:
    found = rungs(points, epochs, factor)
    assert found == sorted(set(found))
    assert all(1 <= epoch < epochs for epoch in found)
    assert len(found) <= max(0, points.bit_length())
    if points >= factor and epochs >= factor:
        assert found[-1] <= -(-epochs // factor)


COSTS = st.none() | st.tuples(st.sampled_from([-0.5, 0.0, 0.5]), st.floats(0, 1))


@given(costs=st.dictionaries(st.integers(0, 50), COSTS, min_size=1), factor=st.integers(2, 4))
def test_no_pruned_point_is_better_than_a_kept_one(costs: dict[int, tuple[float, float] | None], factor: int) -> None:
    kept = best(costs, factor)
    known = {number: cost for number, cost in costs.items() if cost is not None}
    assert len(kept) == min(len(known), -(-len(costs) // factor))
    cut = [cost for number, cost in known.items() if number not in kept]
    assert not kept or not cut or max(known[number] for number in kept) <= min(cut)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halved")
    done = swept(folder, *GRID, "sweep.halving=2", "hydra.sweep.dir=grid")
    assert done.returncode == 1, done.stderr  # because one point fails
    assert "1 of 4 points completed, 1 failed, 2 pruned" in done.stdout
    return folder / "grid"


def test_the_best_point_has_the_same_results_as_in_the_complete_grid(halved: Path) -> None:
    rows = {row["optimizer.lr"]: row for row in leaderboard(halved)}
    assert [rows[lr]["status"] for lr in ("0.0001", "0.003", "0.01", "1e+30")] == [
        *("pruned", "pruned", "completed", "failed")
    ]
    assert (rows["0.0001"]["epochs"], rows["0.003"]["epochs"], rows["0.01"]["epochs"]) == ("2", "4", "8")
    assert rows["0.0001"]["reason"].startswith("val.accuracy 0.")
    assert "after epoch 2, not among the best 2 of 4" in rows["0.0001"]["reason"]
    done = swept(halved.parent, "optimizer.lr=choice(0.01)", *GRID[1:], "hydra.sweep.dir=alone")
    assert done.returncode == 0, done.stderr
    alone, kept = (
        json.loads((folder / "results.json").read_text()) for folder in (halved.parent / "alone" / "0", halved / "2")
    )
    for part in ("train", "train_eval", "val", "test"):
        assert kept[part] == alone[part]


def test_a_killed_sweep_repeats_its_decisions(halved: Path, tmp_path: Path) -> None:
    with running(tmp_path, "-m", *GRID, "sweep.halving=2", "hydra.sweep.dir=grid") as command:
        command.until((tmp_path / "grid" / "halving.json").exists)
        command.kill()
        assert command.status() == -signal.SIGKILL
    done = swept(tmp_path, "sweep.resume=grid", "sweep.halving=3")
    assert done.returncode == 2
    assert "sweep.halving=3 is not allowed: grid was started with 2" in done.stderr
    done = swept(tmp_path, "sweep.resume=grid", "sweep.by=val.nll")
    assert done.returncode == 2
    assert "sweep.by=val.nll is not allowed: halving in grid compares points by val.accuracy" in done.stderr
    assert swept(tmp_path, "sweep.resume=grid").returncode == 1
    assert (tmp_path / "grid" / "leaderboard.csv").read_text() == (halved / "leaderboard.csv").read_text()


@pytest.mark.parametrize("damaged", ["", "[1]", '[{"epoch": 2}]', "{}", "null"])
def test_unreadable_decisions_are_not_repeated(damaged: str, tmp_path: Path) -> None:
    """Points may have trained further since, so new decisions would use other values."""
    (tmp_path / "halving.json").write_text(damaged)
    with pytest.raises(DataError, match=r"halving\.json is damaged"):
        halve(None, [Job(0, ())], tmp_path, epochs=8, factor=2, by="val.accuracy")  # type: ignore[arg-type]


def test_a_point_killed_before_its_rung_is_recorded_does_not_train_further(tmp_path: Path) -> None:
    """Its checkpoint of the rung's last epoch exists, but the pruner was not called."""
    config = compose([*SMALL, "trainer.max_epochs=4"])
    pruned = []
    for ckpt_path in (None, str(tmp_path / "checkpoints" / "last.ckpt")):
        with pytest.raises(PrunedError) as raised:
            job.train({**config, "ckpt_path": ckpt_path}, tmp_path, [], _StopAfter(2))
        pruned.append((raised.value.epochs, raised.value.values))
        (tmp_path / "results.json").unlink()
    assert pruned[0] == pruned[1]
    assert pruned[0][0] == 2
