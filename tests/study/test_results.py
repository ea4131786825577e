"""Runs are read from their folders, and damaged ones are distinguished from finished ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regtorch.errors import DataError
from regtorch.study.results import find_runs, read_run, recipe_of

RESULTS = {
    "status": "completed",
    "seed": 3,
    "epochs": 2,
    "seconds": 1.5,
    "test": {"accuracy": 0.9, "loss": 0.4, "nll": 0.3, "brier": 0.2, "ece": 0.1},
    "test_mc": None,
    "sparsity": 0,
    "overrides": ["optimizer.lr=0.1", "seed=3"],
}
CONFIG = "seed: 3\nresume: null\noptimizer:\n  name: adam\n  lr: 0.1\n"


def write(folder: Path, results: object = RESULTS, config: str | None = CONFIG) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / "results.json").write_text(results if isinstance(results, str) else json.dumps(results))
    if config is not None:
        (folder / ".hydra/config.yaml").write_text(config)
    return folder


def test_a_run_is_read(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "run"))
    assert (run.status, run.seed, run.completed) == ("completed", 3, True)
    assert run.overrides == ("optimizer.lr=0.1", "seed=3")
    assert run.values["test.accuracy"] == 0.9
    assert run.values["sparsity"] == 0.0
    assert run.values["seconds"] == 1.5
    assert not any(name.startswith("test_mc") for name in run.values)
    assert run.recipe == {"optimizer": {"name": "adam", "lr": 0.1}}


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ('{"status": "comp', "not JSON"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
        (b"\xff\xfe{}".decode("latin1"), "not JSON"),
        ({**RESULTS, "status": None}, "status=None"),
        ({**RESULTS, "seed": "3"}, "seed=3"),
        ({**RESULTS, "seed": True}, "seed=True"),
        ({**RESULTS, "overrides": "seed=3"}, "overrides=seed=3"),
        ({**RESULTS, "test": {**RESULTS["test"], "nll": "low"}}, "test.nll=low: it must be a finite number"),
        ({**RESULTS, "test": {**RESULTS["test"], "nll": float("nan")}}, "test.nll=nan"),
        ({**RESULTS, "test": None}, "without test.accuracy"),
        ({**RESULTS, "test": [0.9]}, "test=[0.9]: it must be a mapping of names to numbers"),
    ],
)
def test_damaged_results_are_one_line(results: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_run(write(tmp_path / "run", results))
    assert "run/results.json is damaged" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("config", [None, "optimizer: [", "- 1", "a: ${"])
def test_a_run_without_a_recipe(config: str | None, tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "run", config=config))
    with pytest.raises(DataError, match=r"config\.yaml"):
        _ = run.recipe


def test_a_failed_run_needs_no_measurements(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "run", {"status": "failed", "reason": "the loss became NaN", "seed": 1}))
    assert (run.completed, run.reason) == (False, "the loss became NaN")


def test_a_recipe_excludes_seed_start_and_logging() -> None:
    one = {
        "seed": 1,
        "resume": "outputs/a",
        "logger": {"csv": True},
        "model": {"hidden": [64], "x": None},
        "ckpt_path": None,
    }
    assert recipe_of(one) == {"model": {"hidden": [64]}}
    assert recipe_of({**one, "ckpt_path": "a.ckpt"})["ckpt_path"] == "a.ckpt"


def test_folders_are_searched_in_the_order_of_their_numbers_and_each_run_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("10", "9", "1"):
        write(tmp_path / "multirun" / name)
    first = write(tmp_path / "outputs/a")
    found = find_runs([first, tmp_path / "multirun", Path("multirun/9"), tmp_path / "outputs"])
    assert [str(run.folder.relative_to(tmp_path)) for run in found] == [
        *("outputs/a", "multirun/1", "multirun/9", "multirun/10")
    ]


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no results\.json in it or its subfolders"):
        find_runs([tmp_path])
    with pytest.raises(DataError, match=r"there is no results\.json"):
        read_run(tmp_path)


def test_runs_that_a_study_has_moved_aside_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "study/runs/a/1")
    write(tmp_path / "study/earlier/a/1")
    assert [run.folder for run in find_runs([tmp_path / "study"])] == [tmp_path / "study/runs/a/1"]
    assert len(find_runs([tmp_path / "study/earlier"])) == 1
