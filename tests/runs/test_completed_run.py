"""A run that has ended in any way is complete until its training is made longer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from regtorch.config.compose import compose
from regtorch.runs.completed_run import completed
from regtorch.runs.earlier_overrides import earlier_overrides
from tests.testers.command import running

SETTINGS = [
    "hydra.run.dir=run", "data.batch_size=256", "model.hidden=[4]", "mc=none", "logger.tensorboard=false", "trainer=cpu",
    "callbacks=early_stopping", "callbacks.patience=1", "callbacks.min_delta=10", "trainer.max_epochs=9",
]  # fmt: skip


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that early stopping ended after its second epoch."""
    folder = tmp_path_factory.mktemp("completed")
    with running(folder, *SETTINGS) as command:
        assert command.status() == 0, command.stderr
    return folder / "run"


@pytest.fixture
def run(stopped_early: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(stopped_early, tmp_path / "run")).relative_to(tmp_path)


def test_a_run_ended_by_early_stopping_is_complete_unless_patience_is_raised(run: Path) -> None:
    def done(*given: str) -> Any:
        config = compose([*earlier_overrides(["resume=run", *given]), "resume=run", *given])
        return completed(config, ["resume=run", *given])

    results, longer = done()
    assert results == json.loads((run / "results.json").read_text())
    assert longer == "callbacks.patience=2 (it was stopped early)"
    assert done("trainer.max_epochs=20") is not None
    assert done("trainer.max_epochs=2")[1] == "trainer.max_epochs=4"
    assert done("trainer.max_steps=3")[1] == "trainer.max_steps=6"
    assert done("callbacks.patience=2") is None
    assert done("callbacks=default") is None
    assert done("evaluate=last") is None  # the results would change
    (run / "results.json").write_text(json.dumps({"status": "interrupted"}))
    assert done() is None


def test_it_resumes_with_more_patience_and_counts_the_seconds_of_both_parts(run: Path) -> None:
    before = json.loads((run / "results.json").read_text())["seconds"]
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert 0 < saved["regtorch"]["seconds"] <= before
    saved["regtorch"]["seconds"] = 1000.0
    torch.save(saved, run / "checkpoints/last.ckpt")
    with running(Path.cwd(), "resume=run", "callbacks.patience=2") as command:
        assert command.status() == 0, command.stderr
    results = json.loads((run / "results.json").read_text())
    assert (results["epochs"], results["status"]) == (3, "completed")
    assert 1000 < results["seconds"] < 2000
