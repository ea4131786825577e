"""Checks of ``resume=`` and ``ckpt_path=``: damaged folders, wrong kinds of files, and names that need quotes."""

from __future__ import annotations

import errno
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regtorch.config.command_line import check_paths, value_of
from regtorch.config.compose import compose
from regtorch.errors import RegtorchError
from regtorch.runs.earlier_overrides import earlier_overrides
from regtorch.runs.validate import checked
from regtorch.system.quoting import typed
from regtorch.training.failure import explain
from tests.testers.complete import parts

CONFIG = compose([])


def write_checkpoint(path: Path, **message: Any) -> None:
    described = {
        place: CONFIG[place] for place in ("model", "activation", "dropout", "input_dropout", "optimizer", "data")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = torch.zeros(2000)
    torch.save(
        {
            **parts(),
            "state_dict": {"w": weights},
            "regtorch": {**described, "seed": 0, "epochs": 2, "ranks": [{}], **message},
        },
        path,
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped after its second epoch; its parent is the working directory."""
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("- seed=0\n")
    (folder / "metrics.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n")
    for name in ("last", "best"):
        write_checkpoint(folder / f"checkpoints/{name}.ckpt")
    (folder / "results.json").write_text(json.dumps({"status": "interrupted"}))
    monkeypatch.chdir(tmp_path)
    return folder


def refused(*overrides: str) -> str:
    """Return the error of overrides that are refused before anything is written."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    with pytest.raises(RegtorchError) as error:
        resumed(*overrides)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    return str(error.value)


def resumed(*overrides: str) -> dict[str, Any]:
    """Return the configuration of a resumed run."""
    check_paths(overrides)
    return checked([*earlier_overrides(overrides), *overrides])


def test_an_undamaged_folder_is_resumed(run: Path) -> None:
    assert resumed("resume=run")["resume"] == "run"


@pytest.mark.parametrize("given", [["+resume=run"], ["++resume=run"], ["resume=nowhere", "resume=run"]])
def test_the_settings_are_used_however_the_folder_is_named(given: list[str], run: Path) -> None:
    (run / ".hydra/overrides.yaml").write_text("- optimizer.lr=0.25\n")
    assert resumed(*given)["optimizer"]["lr"] == 0.25


@pytest.mark.parametrize("given", ["rerun=", "rerun=nowhere", "rerun=run/checkpoints/last.ckpt"])
def test_rerun_takes_only_a_folder(given: str, run: Path) -> None:
    assert refused(given) == f"{given}: there is no such folder; it must be that of a run, such as rerun=outputs/a"


@pytest.mark.parametrize("content", [None, "", "seed: 0\n", "- [seed"])
def test_a_folder_without_overrides(content: str | None, run: Path) -> None:
    kept = run / ".hydra/overrides.yaml"
    kept.unlink()
    if content is not None:
        kept.write_text(content)
    line = refused("resume=run")
    assert line.startswith("resume=run: there is no complete .hydra/overrides.yaml")
    if not content:
        assert "to start a new run from its weights" in line
        assert line.endswith("ckpt_path=run/checkpoints/last.ckpt")


def test_a_run_whose_last_checkpoint_was_deleted(run: Path) -> None:
    (run / "checkpoints/last.ckpt").unlink()
    line = refused("resume=run")
    assert line.startswith("resume=run: checkpoints/last.ckpt is missing")
    assert line.endswith("to start a new run from its best epoch: ckpt_path=run/checkpoints/best.ckpt")
    (run / "checkpoints/best.ckpt").unlink()
    assert "ckpt_path" not in refused("resume=run")
    (run / "metrics.csv").unlink()
    assert resumed("resume=run")["resume"] == "run"  # there are no epochs to lose


def test_a_run_that_was_killed_before_its_first_last_checkpoint_starts_again(run: Path) -> None:
    write_checkpoint(run / "checkpoints/best.ckpt", epochs=1)
    (run / "metrics.csv").write_text("epoch,loss\n1,0.5\n")
    (run / "checkpoints/last.ckpt").unlink()
    (run / "results.json").unlink()
    assert resumed("resume=run")["resume"] == "run"
    (run / "results.json").write_text(json.dumps({"status": "completed"}))
    assert "is missing" in refused("resume=run")


def test_a_run_from_a_checkpoint_without_a_last_one_starts_from_it_again(run: Path) -> None:
    other = run.with_name("other")
    (other / ".hydra").mkdir(parents=True)
    (other / ".hydra/overrides.yaml").write_text("- resume=run\n")
    write_checkpoint(other / "checkpoints/best.ckpt")
    assert resumed("resume=other")["ckpt_path"] == "run/checkpoints/last.ckpt"
    write_checkpoint(other / "checkpoints/best.ckpt", epochs=4)
    assert "is missing" in refused("resume=other")


def test_another_number_of_processes_in_the_middle_of_an_epoch(run: Path) -> None:
    write_checkpoint(run / "checkpoints/last.ckpt", batches=3, ranks=[{}, {}])
    line = refused("resume=run", "trainer=cpu")
    assert line == (
        "resume=run was stopped in the middle of an epoch with trainer.devices=2, so trainer.devices=1 is not allowed "
        "before its end"
    )
    assert resumed("resume=run", "trainer=ddp_cpu")["trainer"]["devices"] == 2
    write_checkpoint(run / "checkpoints/last.ckpt", ranks=[{}, {}])
    assert resumed("resume=run", "trainer=cpu")["trainer"]["devices"] == 1


@pytest.mark.parametrize("key", ["resume", "ckpt_path"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_checkpoint(key: str, damage: str, run: Path) -> None:
    last = run / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # inside the weights
    last.write_bytes(content if damage == "flipped" else content[:1000])
    given = {"resume": "resume=run", "ckpt_path": f"ckpt_path={Path('run/checkpoints/last.ckpt')}"}[key]
    line = refused(given)
    assert line.startswith(f"{given}: run/checkpoints/last.ckpt ")
    assert line.endswith("to start a new run from the best epoch: ckpt_path=run/checkpoints/best.ckpt")
    (run / "checkpoints/best.ckpt").write_bytes(content[:1000])
    assert "best.ckpt" not in refused(given)


def test_a_damaged_best_checkpoint(run: Path) -> None:
    (run / "checkpoints/best.ckpt").write_bytes(b"")
    assert refused("resume=run") == (
        "resume=run: run/checkpoints/best.ckpt is damaged, but evaluate=best would use it; take evaluate=last"
    )
    assert resumed("resume=run", "evaluate=last")["evaluate"] == "last"


def test_a_file_in_place_of_a_folder_and_the_other_way_round(run: Path) -> None:
    line = refused("resume=run/checkpoints/last.ckpt")
    assert "to resume: resume=run; to start a new run from it: ckpt_path=run/checkpoints/last.ckpt" in line
    for folder in ("run", "run/checkpoints"):
        assert (
            "to resume the run: resume=run; to start a new run from it: ckpt_path=run/checkpoints/last.ckpt"
            in refused(f"ckpt_path={folder}")
        )
    assert "must be the folder of a run" in refused("resume=")
    assert "must be a checkpoint" in refused("ckpt_path=")
    assert "there is no such folder" in refused("resume=nowhere")
    assert "there is no such file" in refused("ckpt_path=nowhere.ckpt")


@pytest.mark.parametrize("name", ["a=1", "a,b", "[a]", "it's", "a(b)", "1e3", 'say "a"'])
def test_the_suggested_quoting_of_a_name_works(name: str, run: Path) -> None:
    run.rename(name)
    message = refused(f"resume={name}").partition(" cannot be read: write ")[2].removesuffix(", in both quotes")
    (override,) = shlex.split(message)
    assert resumed(override)["resume"] == name


def test_a_name_split_by_the_shell() -> None:
    with pytest.raises(RegtorchError) as error:
        check_paths(["seed=1", "resume=my=1,", "new", "run", "seed=2"])
    assert str(error.value) == "new run has no =: if it belongs to resume, write \"resume='my=1, new run'\""


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$"), min_size=1, max_size=9))
def test_suggestions_can_be_pasted_into_a_shell(name: str) -> None:
    (override,) = shlex.split(typed("resume", name))
    assert value_of(override) == name


def test_a_full_disk_shows_how_to_resume_in_a_folder_that_must_be_quoted(run: Path) -> None:
    folder = run.rename("my run")
    error = explain(OSError(errno.ENOSPC, "No space left on device"), CONFIG, folder)
    (override,) = shlex.split(str(error).split("to resume: ")[1].partition(" (after freeing disk space)")[0])
    assert resumed(override)["resume"] == "my run"
