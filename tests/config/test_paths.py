"""Names of files and folders with characters of Hydra's syntax, in runs, grids, studies and curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtorch.cli.compare_args import parse
from regtorch.config.command_line import check_paths, value_of
from regtorch.config.python_only import python_only
from regtorch.errors import SettingError
from regtorch.system.quoting import quoted
from tests.testers.cold import refusal

NAMES = [
    "plain-1.npz",
    "a=1.npz",
    "a b(c).npz",
    "it's.npz",
    'say "x".npz',
    "a,b.npz",
    "[a].npz",
    "{a}.npz",
    "é=ü.npz",
    "$a.npz",
    "a\\b=.npz",
]


@pytest.mark.parametrize("grid", [True, False])
@pytest.mark.parametrize("key", ["data.path", "hydra.sweep.dir", "sweep.resume", "resume"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_verbatim_or_the_error_shows_how_to_quote_it(name: str, key: str, grid: bool) -> None:
    written = f"{key}={quoted(name)}"
    check_paths([written], grid=grid)
    assert value_of(written) == name
    plain = f"{key}={name}"
    if name in ("plain-1.npz", "$a.npz"):
        check_paths([plain], grid=grid)
    elif not (grid and key == "data.path" and "," in name):
        with pytest.raises(SettingError, match=f"{key}=.*in both quotes"):
            check_paths([plain], grid=grid)


def test_a_file_name_with_a_comma_is_not_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_paths(["data.path=a,b.npz"], grid=True)
    Path("a,b.npz").touch()
    with pytest.raises(SettingError, match="in both quotes"):
        check_paths(["data.path=a,b.npz"], grid=True)


@pytest.mark.parametrize("override", ["hydra.sweep.dir=out/lr=1", "data.path=a/x=1.npz"])
def test_a_grid_and_a_study_show_how_to_quote(override: str, tmp_path: Path) -> None:
    line = refusal("train.py", ["-m", "seed=1,2", "data=arrays", override], tmp_path)
    key, _, value = override.partition("=")
    assert line == f"error: {override} cannot be read: write \"{key}='{value}'\", in both quotes"
    if key == "data.path":
        with pytest.raises(SettingError, match="in both quotes"):
            parse(["experiment=digits_standard", override])


@pytest.mark.parametrize("override", ["loss=mse", "+loss=mse", "class_weights=[1,2]", "model.label_smoothing=0.1"])
def test_another_loss_needs_python(override: str, tmp_path: Path) -> None:
    line = refusal("train.py", [override], tmp_path)
    assert line.startswith(f"error: {override.lstrip('+')}: there is no such key")
    assert "regtorch.training.RegularizedModule in Python" in line
    assert not python_only("data.rows")
