"""Complete results are replaced only by other complete results, however a resumed run ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regtorch.training.failure import NonFiniteLossError
from regtorch.training.interruption import Interrupted
from regtorch.training.outcome import Outcome
from regtorch.training.pruning import PrunedError

COMPLETE = {"status": "completed", "epochs": 3, "test": {"accuracy": 0.9}}

ERRORS = {
    "failed": NonFiniteLossError("the loss became NaN"),
    "interrupted": Interrupted(15),
    "pruned": PrunedError("seen enough", 2, {"val_loss": 1.0, "loss": 2.0}),
}


def read(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def begun(folder: Path, before: dict[str, Any] | None, writes: bool = True) -> Outcome:
    if before is not None:
        (folder / "results.json").write_text(json.dumps(before))
    outcome = Outcome(folder, lambda: {"seed": 1, "seconds": 2.0}, writes)
    outcome.begin()
    return outcome


@pytest.mark.parametrize("status", [*ERRORS, None])
def test_incomplete_results_are_removed_when_a_run_starts(status: str | None, tmp_path: Path) -> None:
    begun(tmp_path, None if status is None else {"status": status})
    assert read(tmp_path) == {}


@pytest.mark.parametrize("damaged", ["", "[]", "{", "null", "[" * 100_000])
def test_unreadable_results_are_not_complete(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(damaged)
    Outcome(tmp_path, dict).begin()
    assert read(tmp_path) == {}


@pytest.mark.parametrize("status", ERRORS)
def test_complete_results_stay_until_the_first_new_checkpoint(status: str, tmp_path: Path) -> None:
    outcome = begun(tmp_path, COMPLETE)
    assert read(tmp_path) == {"results.json": COMPLETE}  # even if the run were killed now
    outcome.fail(ERRORS[status])
    assert read(tmp_path) == {"results.json": COMPLETE}


@pytest.mark.parametrize("status", ERRORS)
def test_complete_results_are_set_aside_after_the_first_new_checkpoint(status: str, tmp_path: Path) -> None:
    outcome = begun(tmp_path, COMPLETE)
    outcome.set_aside()
    outcome.set_aside()
    assert read(tmp_path) == {"results.previous.json": COMPLETE}
    outcome.fail(ERRORS[status])
    assert read(tmp_path)["results.previous.json"] == COMPLETE
    assert read(tmp_path)["results.json"]["status"] == status
    Outcome(tmp_path, dict).complete({"epochs": 6})
    assert read(tmp_path) == {"results.json": {"status": "completed", "epochs": 6}}


def test_new_results_are_not_replaced(tmp_path: Path) -> None:
    outcome = begun(tmp_path, None)
    results = outcome.complete({"epochs": 3})
    assert list(results) == ["status", "seed", "epochs", "seconds"]
    outcome.fail(RuntimeError("while the processes end"))
    assert outcome.on_timeout(15, 20.0) == 0
    assert read(tmp_path) == {"results.json": results}


def test_only_rank_0_writes(tmp_path: Path) -> None:
    outcome = begun(tmp_path, COMPLETE, writes=False)
    outcome.set_aside()
    outcome.fail(ERRORS["failed"])
    assert outcome.on_timeout(15, 20.0) == 143
    outcome.complete({})
    assert read(tmp_path) == {"results.json": COMPLETE}


def test_a_step_that_does_not_end_is_an_interruption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert begun(tmp_path, None).on_timeout(15, 20.0) == 143
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["status"], found["seed"]) == ("interrupted", 1)
    assert "SIGTERM" in found["reason"]
    assert "did not end within 20 s" in found["reason"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"resume={tmp_path}" in line
