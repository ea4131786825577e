"""Hydra's flags work as in Hydra, or are refused in one line with a remedy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from regtorch.cli import train
from regtorch.cli.flags import parsed
from regtorch.errors import SettingError


def flags_of_hydra() -> list[str]:
    return [flag for action in get_args_parser()._actions for flag in action.option_strings]


@pytest.mark.parametrize("flag", flags_of_hydra())
def test_every_flag_of_hydra_is_known(flag: str) -> None:
    needs = {"--cfg": "job", "-c": "job", "--info": "all", "-i": "all"}.get(flag)
    with_cfg = ["--cfg", "job"] if flag in ("--resolve", "--package", "-p") else []
    value = [needs] if needs else ["data"] if flag in ("--package", "-p") else []
    refused = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--experimental-rerun")
    if flag in refused:
        with pytest.raises(SettingError, match="is not allowed: "):
            parsed([flag, "no/such/place"])
    else:
        parsed([*with_cfg, flag, *value, "seed=1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cfg", "foo"], "--cfg foo is not allowed: it must be one of job, hydra, all"),
        (["--cfg"], "--cfg needs a value, one of job, hydra, all"),
        (["--cfg", "seed=1"], "--cfg needs a value"),
        (["-m", "--cfg", "job"], "--cfg is not for -m: a sweep takes only KEY=VALUE"),
        (["--info", "--cfg", "job"], "--info and --cfg exclude each other"),
        (["-m", "--fast", "seed=1,2"], "--fast is not for -m: there is no such flag"),
        (["--resolve"], "--resolve is not allowed without --cfg"),
        (["--package", "data"], "--package is not allowed without --cfg"),
        (["-m", "--multirun"], "--multirun is given twice"),
        (["-m=3"], "-m=3 is not allowed: -m takes no value"),
        (["--multi-run"], "there is no such flag; did you mean --multirun?"),
        (["--epochs", "5"], "--epochs 5: there is no such flag; settings are KEY=VALUE, as in trainer.max_epochs=5"),
        (["--epochs=5"], "KEY=VALUE, as in trainer.max_epochs=5"),
        (["--batch-size", "64"], "KEY=VALUE, as in data.batch_size=64"),
        (["-x"], "-x: there is no such flag; settings are KEY=VALUE without dashes"),
        (["--experimental-rerun", "a.pickle"], "to train a run again: rerun=FOLDER"),
        (["--config-name", "mine"], "to use your own recipe: --config-dir=FOLDER experiment=NAME"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        parsed(arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_that_print_are_passed_on() -> None:
    line = parsed(["--cfg", "job", "-p", "data", "--resolve", "seed=1"])
    assert line.for_hydra == ("--cfg", "job", "--package", "data", "--resolve")
    assert (line.command, line.overrides) == ("--cfg", ("seed=1",))
    assert get_args_parser().parse_args([*line.for_hydra, *line.overrides]) == argparse.Namespace(
        **{
            **vars(get_args_parser().parse_args([])),
            "cfg": "job",
            "package": "data",
            "resolve": True,
            "overrides": ["seed=1"],
        }
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "it's mine"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment/mine.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: 3\n")
    return folder


@pytest.mark.parametrize("flag", ["--config-dir", "-cd"])
def test_user_recipes_are_found(
    flag: str, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["train.py", flag, str(recipe), "experiment=mine", "--cfg", "job", "-p", "trainer"]
    )
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 0
    assert "max_epochs: 3" in capsys.readouterr().out


def test_a_grid_finds_them_too(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plans = []
    monkeypatch.setattr("regtorch.sweeps.sweep.sweep", lambda plan: plans.append(plan) or 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "--config-dir", str(recipe), "experiment=mine", "seed=1,2"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 0
    assert (plans[0].epochs, plans[0].total) == (3, 2)


def test_the_version_is_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--version"])
    with pytest.raises(SystemExit):
        train.main()
    assert capsys.readouterr().out.startswith("regtorch 0.")
