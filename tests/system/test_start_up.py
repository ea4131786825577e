"""Ctrl-C and SIGTERM during start-up: one line, the signal's exit status, no traceback and no left-over files."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regtorch.errors import SettingError
from regtorch.runs.run_folder import FolderError, check_folders_named, check_writable

#: sends the signal when a module is about to be imported, from a callback whose exceptions Python prints and ignores
CODE = """
import gc, os, signal, sys, weakref

class Thing: pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            thing = Thing()
            weakref.finalize(thing, os.kill, os.getpid(), {signum})
            del thing
            {again}

sys.meta_path.insert(0, Finder())
from regtorch.cli.train import main
sys.argv = ["regtorch-train", "trainer=cpu", "data=synthetic", "data.rows=60", "hydra.run.dir=run"]
main()
"""


@pytest.mark.parametrize(
    ("module", "signum", "again"),
    [
        ("hydra", signal.SIGINT, ""),
        ("regtorch.data.synthetic", signal.SIGTERM, ""),
        ("hydra.main", signal.SIGINT, "os.kill(os.getpid(), signal.SIGINT)"),
    ],
)
def test_a_signal_while_modules_are_imported(module: str, signum: int, again: str, tmp_path: Path) -> None:
    code = CODE.format(module=module, signum=int(signum), again=again)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (128 + signum, "error: interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "sweep.resume"])
@pytest.mark.parametrize("value", ["", "''", '""', " ", "null"])
def test_a_folder_without_a_name(key: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{key}=.* is not allowed: it is empty; name a folder"):
        check_folders_named(["seed=1", f"{key}={value}"])


@pytest.mark.parametrize(
    "name", ["results.json", "metrics.csv", "train.log", "checkpoints/last.ckpt", ".hydra/overrides.yaml"]
)
def test_a_folder_in_place_of_a_file_to_be_written(name: str, tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new")
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(FolderError, match=f"{name} is a folder, and must be a file"):
        check_writable(tmp_path)


@pytest.mark.parametrize("name", [".hydra", "checkpoints", "tensorboard"])
def test_a_file_in_place_of_a_folder_to_be_created(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(FolderError, match=f"{name} is a file, and must be a folder"):
        check_writable(tmp_path)
