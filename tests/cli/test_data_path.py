"""Relative paths of a run work from any folder, even if the run was moved together with its data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from regtorch.cli.composition import earlier_overrides
from regtorch.cli.data_path import moved_path
from regtorch.cli.run_folder import configuration


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
