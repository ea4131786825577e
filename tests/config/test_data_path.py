"""Relative paths of a run work from any folder, even if the run was moved together with its data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from regtorch.config.data_path import moved_path
from regtorch.errors import DataError
from regtorch.runs.earlier_overrides import earlier_overrides
from regtorch.runs.finished_run import configuration
from regtorch.sweeps.check import check
from regtorch.sweeps.plan import _begun, plan
from regtorch.sweeps.sweep import _write_state
from regtorch.system.quoting import quoted


def begun(folder: Path, started: Path, path: str = "my.npz", **changes: object) -> Path:
    """The folder of a run that was started in another working directory."""
    kept = folder / ".hydra"
    kept.mkdir(parents=True)
    overrides = ["data=arrays", f"data.path={path}", "seed=3"]
    (kept / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (kept / "config.yaml").write_text(yaml.safe_dump({"data": {"name": "arrays", "path": path}, "trainer": {}}))
    runtime = {"cwd": str(started), "output_dir": str(folder), **changes}
    (kept / "hydra.yaml").write_text(yaml.safe_dump({"runtime": runtime}))
    return folder


def paths(run: Path) -> set[str]:
    """Return the paths that resume, rerun, predict and export use."""
    of_rerun = [o for o in earlier_overrides([f"rerun={run}"]) if o.startswith("data.path=")]
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints/last.ckpt").touch()
    of_resume = [o for o in earlier_overrides([f"resume={run}"]) if o.startswith("data.path=")]
    assert of_rerun == of_resume
    return {of_rerun[0].partition("=")[2].strip("'"), configuration(run)["data"]["path"]}


@pytest.mark.parametrize("name", ["run", "outputs/a/b", "../runs/a"])
def test_a_relative_path_works_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "project"
    (started / "elsewhere").mkdir(parents=True)
    (started / "my.npz").touch()
    run = begun((started / name).resolve(), started)
    monkeypatch.chdir(started)
    assert paths(run) == {"my.npz"}
    monkeypatch.chdir(started / "elsewhere")
    (started / "elsewhere/my.npz").touch()  # another file of this name must not be used
    assert paths(run) == {str(started / "my.npz")}


@pytest.mark.parametrize("name", ["project/run", "project/outputs/a/b", "runs/a"])
def test_a_run_that_was_moved_with_its_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "then/project").mkdir(parents=True)
    (tmp_path / "then/project/my.npz").touch()
    begun(tmp_path / "then" / name, tmp_path / "then/project")
    shutil.move(tmp_path / "then", tmp_path / "now")
    monkeypatch.chdir(tmp_path)
    assert paths(Path("now") / name) == {str(tmp_path / "now/project/my.npz")}


def test_absolute_and_missing_paths_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(["/nowhere/my.npz", "gone.npz"]):
        assert paths(begun(tmp_path / str(number), tmp_path / "before", path)) == {path}


@pytest.mark.parametrize("changes", [{"cwd": 3}, {"cwd": "relative"}, {"output_dir": None}, {"cwd": ["/"]}])
def test_a_folder_with_a_wrong_description(changes: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/my.npz").touch()
    run = begun(tmp_path / "run", tmp_path / "project", **changes)
    assert paths(run) == {"my.npz"}
    for text in ("[", "&a [*a]", ""):
        (run / ".hydra/hydra.yaml").write_text(text)
        assert paths(run) == {"my.npz"}


@pytest.mark.parametrize("value", ["text", [1], 3, None, {}, {1: 2}, True, "\0", "x" * 5000, "~nobody/x"], ids=repr)
def test_any_value_at_any_place_of_its_description(
    value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = begun(tmp_path / "run", tmp_path / "project")
    good = {"cwd": str(tmp_path / "project"), "output_dir": str(run)}
    for content in (
        value,
        {"hydra": value},
        {"hydra": {"runtime": value}},
        {"runtime": value},
        {"hydra": {"runtime": {**good, "cwd": value}}},
        {"runtime": {**good, "output_dir": value}},
        {"runtime": {**good, "cwd": f"/{value}"}},
        {"runtime": {**good, "output_dir": f"/{value}"}},
    ):
        (run / ".hydra/hydra.yaml").write_text(yaml.safe_dump(content))
        assert paths(run) == {"my.npz"}
    (run / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"runtime": good}))
    for content in (value, {"path": value}):
        (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"data": content}))
        assert moved_path(run) is None


def test_data_named_on_the_command_line_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/my.npz").touch()
    run = begun(tmp_path / "run", tmp_path / "project")
    for given in ("data.path=other.npz", "data=digits"):
        earlier = earlier_overrides([f"rerun={run}", given])
        assert not [override for override in earlier if override.startswith("data.path=")]


def sweep_of(folder: Path, /, *overrides: str, **about: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"overrides": ["data=arrays", "seed=1,2", *overrides], **about}))
    return folder


def arrays(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return path


def goes_on(folder: Path) -> list[str]:
    """What the points of a sweep are run with."""
    made = plan([f"sweep.resume={quoted(str(folder))}"])
    check(made)
    return [o for number in made.points for o in made.overrides_of(number) if o.startswith("data.path")]


@pytest.mark.parametrize("says", ["the sweep", "its first run"])
def test_a_sweep_goes_on_from_another_folder(says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    data, other = (arrays(started / f"{name}.npz") for name in ("my", "other"))
    arrays(elsewhere / "my.npz")  # another file of this name is not taken for it
    begun_in = {"started_in": str(started), "folder": str(started / "grid")} if says == "the sweep" else {}
    grid = sweep_of(started / "grid", "data.path=my.npz", **begun_in)
    swept = sweep_of(started / "swept", "data.path=my.npz,other.npz", **{**begun_in, "folder": str(started / "swept")})
    of_weights = sweep_of(started / "of_weights", "ckpt_path=other.npz", **begun_in)
    for folder in (grid, swept, of_weights):
        begun(folder / "1", elsewhere)
        begun(folder / "0", started)
    monkeypatch.chdir(elsewhere)
    assert goes_on(grid) == [f"data.path='{data}'"] * 2
    assert goes_on(swept) == [f"data.path='{data}'", f"data.path='{other}'"] * 2
    assert f"ckpt_path='{other}'" in plan([f"sweep.resume={of_weights}"]).fixed
    made = plan(["sweep.resume=../project/swept"])
    assert made.choices(0)["data.path"] == "my.npz"  # as it was typed, also in the leaderboard
    assert made.overrides == ("data=arrays", "seed=1,2", "data.path=my.npz,other.npz")
    assert made.begun == ({**begun_in, "folder": str(swept)} if begun_in else {"folder": str(swept)})
    monkeypatch.chdir(started)
    assert goes_on(grid) == ["data.path=my.npz"] * 2


def test_a_sweep_that_was_moved_with_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "then"
    sweep_of(started / "grid", "data.path=my.npz", started_in=str(started), folder=str(started / "grid"))
    arrays(started / "my.npz")
    shutil.move(started, tmp_path / "now")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert goes_on(Path("now/grid")) == [f"data.path='{tmp_path / 'now/my.npz'}'"] * 2


def test_a_search_s_database_is_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "project"
    search = ["hparams_search=custom", "hparams_search.storage='sqlite:///trials.db'"]
    about = {"started_in": str(started), "folder": str(started / "search")}
    folder = sweep_of(started / "search", overrides=["optimizer.lr=interval(0.1,1)", *search], **about)
    (started / "trials.db").touch()
    monkeypatch.chdir(tmp_path)
    made = plan([f"sweep.resume={folder}"]).search
    assert made is not None
    assert made.storage == made.storage_text == f"sqlite:///{started / 'trials.db'}"


def test_a_recipe_s_data_is_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "project"
    (started / "data/cifar-10-batches-py").mkdir(parents=True)
    about = {"started_in": str(started), "folder": str(started / "grid")}
    sweep_of(started / "grid", overrides=["data=cifar10", "seed=1,2"], **about)
    monkeypatch.chdir(tmp_path)
    assert f"data.path='{started / 'data'}'" in plan(["sweep.resume=project/grid"]).fixed


@pytest.mark.parametrize("value", [3, None, [], {}, "", "relative", "\0", "/\0", "/" + "x" * 5000], ids=repr)
def test_a_sweep_that_describes_itself_wrongly(value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays(tmp_path / "my.npz")
    monkeypatch.chdir(tmp_path)
    for about in ({"started_in": value, "folder": "/a"}, {"started_in": "/a", "folder": value}):
        sweep_of(tmp_path / "grid", "data.path=my.npz", **about)
        if isinstance(value, str):
            assert goes_on(Path("grid")) == ["data.path=my.npz"] * 2
            continue
        with pytest.raises(DataError, match="it must be a folder"):
            goes_on(Path("grid"))


def test_a_new_sweep_says_where_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays(tmp_path / "my.npz")
    monkeypatch.chdir(tmp_path)
    made = plan(["data=arrays", "data.path=my.npz", "seed=1,2", "hydra.sweep.dir=grid"])
    made.folder.mkdir()
    _write_state(made, "running", 0.0)
    assert _begun(made.folder) == {"started_in": str(tmp_path), "folder": str(tmp_path / "grid")}
    monkeypatch.chdir("/")
    assert goes_on(tmp_path / "grid") == [f"data.path='{tmp_path / 'my.npz'}'"] * 2
    _write_state(plan([f"sweep.resume={tmp_path / 'grid'}"]), "running", 0.0)
    assert _begun(made.folder)["started_in"] == str(tmp_path)
