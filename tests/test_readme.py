"""Every command and every Python block in the README runs unchanged."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.testers.command import ended

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDENTED = [line[4:] for line in README.splitlines() if re.match(r"    (python|regtorch)", line)]
#: commands that CI runs in a fresh environment, the studies, and those that need a GPU
ELSEWHERE = ("pip install", "pytest -m slow", "pytest -m gpu")
COMMANDS = [line for line in INDENTED if not any(part in line for part in ELSEWHERE)]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
#: file of an example, and the excerpt shown
EXCERPTS = re.findall(r"```py\n# examples/(\w+\.py)\n(.*?)```", README, re.DOTALL)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    if arguments[0].startswith("scripts/"):
        return ended(folder, *arguments[1:], script=arguments[0].removeprefix("scripts/"))
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, two finished runs and user data, as the README assumes."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    options = ["dropout=standard", "trainer.max_epochs=1", "mc.samples=2"]
    first = run(["scripts/train.py", "hydra.run.dir=outputs/a", *options], folder)
    assert first.returncode == 0, first.stderr
    shutil.copytree(folder / "outputs/a", folder / "outputs/b")
    rng = np.random.default_rng(0)
    parts = {"train": 60, "test": 20}
    arrays = {f"x_{part}": rng.random((rows, 5)) for part, rows in parts.items()}
    np.savez(folder / "my.npz", **arrays, **{f"y_{part}": np.arange(rows) % 3 for part, rows in parts.items()})
    from PIL import Image

    for part in parts:
        for name in ("cat", "dog"):
            (folder / "my_images" / part / name).mkdir(parents=True)
            for index in range(12):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "my_images" / part / name / f"{index}.png")
    return folder


def test_the_readme_has_commands_and_programs() -> None:
    assert len(COMMANDS) >= 10
    assert len(PROGRAMS) == 8
    assert len(INDENTED) - len(COMMANDS) == 4


def test_excerpts_of_the_examples_are_up_to_date() -> None:
    """The examples themselves run unchanged."""
    assert {name for name, _ in EXCERPTS} == {path.name for path in (ROOT / "examples").glob("*.py")} - {
        "plain_loop.py"
    }
    for name, shown in EXCERPTS:
        assert shown in (ROOT / "examples" / name).read_text(encoding="utf-8"), name
        assert len(shown.splitlines()) <= 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme(command: str, folder: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "python"
    trains = arguments[0] == "scripts/train.py" and "--help" not in arguments
    if trains and not any(argument.startswith("trainer.max_epochs=") for argument in arguments):
        arguments.append("trainer.max_epochs=2")
    arguments = ["trainer.max_epochs=3" if "max_epochs=80" in argument else argument for argument in arguments]
    if trains and "data=image_folder" in arguments:
        arguments.append("data.image_size=[16,16]")
    if any(argument.startswith(("experiment=", "study=")) for argument in arguments) and not trains:
        arguments = [argument for argument in arguments if not argument.startswith("seeds=")]
        arguments += ["seeds=2", "trainer.max_epochs=1"]
    done = run(arguments, folder)
    assert done.returncode == 0, done.stderr
    if trains:
        assert "Traceback" not in done.stderr
        if "-m" in arguments:
            leaderboard = Path(done.stdout.splitlines()[-1])
            assert leaderboard.name == "leaderboard.csv"
            assert "completed" in leaderboard.read_text()
            return
        finished = [Path(line) for line in done.stdout.splitlines() if line.startswith("/") and Path(line).is_dir()]
        assert finished
        assert all((path / "results.json").is_file() for path in finished)


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=["loop", "dropouts", "uncertainty", "keras", "lightning", "activity", "ensemble", "rule"]
)
def test_a_program_of_the_readme(program: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    # the digits notebook's network, saved by Keras 3.15.1 after three steps
    shutil.copy(ROOT / "tests/reference/digits_standard.keras", tmp_path / "model.keras")
    done = run(["program.py"], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_error_that_the_readme_shows(folder: Path) -> None:
    command, answer = re.findall(r"    \$ python (.*)\n    (error: .*)", README)[0]
    assert run(shlex.split(command), folder).stderr.strip() == answer


def test_the_readme_lists_every_option() -> None:
    for group in (
        "regularizer",
        "dropout",
        "constraint",
        "optimizer",
        "scheduler",
        "schedule",
        "trainer",
        "data",
        "augmentation",
    ):
        (row,) = re.findall(rf"^\| `{group}`.*", README, re.MULTILINE)
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert path.stem in row, f"{group}={path.stem}"


def test_the_pictures_exist() -> None:
    pictures = re.findall(r"!\[.*\]\((.*)\)", README)
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size > 10_000 for picture in pictures)
