"""Forty trials on the digits, killed in between, are at least as good as the best point of the grid."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import optuna
import pytest

from tests.sweeps.test_sweep import TRAIN, leaderboard, swept, wait_for

pytestmark = pytest.mark.slow

GRID = ["regularizer=none,l1,l2,l1_l2", "dropout=none,standard,alpha", "seed=1,2,3"]
SEARCH = ["hparams_search=regularisation", "hparams_search.trials=40", "hydra.sweep.dir=search"]
OPTIONS = ["trainer.max_epochs=20", "mc=none", "logger.tensorboard=false"]


def test_forty_trials_beat_or_tie_the_grid(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*TRAIN, "-m", *SEARCH, *OPTIONS], cwd=tmp_path, stdout=-3, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "search" / "12" / "checkpoints" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)

    def trials() -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search/search.db'}").trials

    before = [(trial.state, trial.values) for trial in trials() if trial.state.is_finished()]
    assert len(before) == 12
    assert swept(tmp_path, "sweep.resume=search").returncode == 0
    kept = trials()
    assert len(kept) == 40
    assert all(trial.state.is_finished() for trial in kept)
    assert [(trial.state, trial.values) for trial in kept[:12]] == before
    assert swept(tmp_path, *GRID, *OPTIONS, "hydra.sweep.dir=grid").returncode == 0
    found, best = (float(leaderboard(tmp_path / name)[0]["val.accuracy"]) for name in ("search", "grid"))
    pruned = sum(trial.state.name == "PRUNED" for trial in kept)
    print(f"validation accuracy: {found:.4f} by 40 trials ({pruned} pruned), {best:.4f} by the grid of 36")
    assert found >= best
