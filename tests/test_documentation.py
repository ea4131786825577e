"""Every command and every Python program of the README and of the pages in docs/ runs unchanged; tables and links are right."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from tests.testers import documentation
from tests.testers.command import ended
from tests.testers.documentation import OTHERS, PAGES, ROOT, text

#: what CI runs in a fresh environment, the studies, and what needs a GPU
ELSEWHERE = ("pip install", "pytest -m slow", "pytest -m gpu")
#: `tests/runs/test_multi_node.py` runs torchrun; srun needs a cluster
ON_SEVERAL_MACHINES = ("torchrun ", "srun ")
ALL_COMMANDS = list(documentation.commands())
COMMANDS = [line for line in ALL_COMMANDS if not any(part in line for part in (*ELSEWHERE, *ON_SEVERAL_MACHINES))]
#: the folder of a run -> the command that creates it, for other commands to use
CREATING = {found[1]: line for line in COMMANDS if (found := re.search(r"hydra\.run\.dir=(\S+)", line))}
PROGRAMS = documentation.blocks("python")
#: a file of an example, and the part that is shown
EXCERPTS = [re.findall(r"# examples/(\w+\.py)\n(.*)", block, re.DOTALL)[0] for _, block in documentation.blocks("py")]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    if arguments[0].startswith("scripts/"):
        return ended(folder, *arguments[1:], script=arguments[0].removeprefix("scripts/"))
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, the runs that commands refer to, and data of one's own, as the pages assume."""
    folder = tmp_path_factory.mktemp("documentation")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    for name, command in CREATING.items():
        _, *arguments = shlex.split(command)
        done = run([*arguments, "trainer.max_epochs=1", "mc.samples=2"], folder)
        assert done.returncode == 0, done.stderr
        assert (folder / name / "results.json").is_file()
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


def test_commands_and_programs_are_found() -> None:
    assert len(COMMANDS) >= 25
    assert len(PROGRAMS) == 9
    assert len(ALL_COMMANDS) - len(COMMANDS) == 4 + 2
    fences = Counter(re.findall(r"^```(\w*)", "".join(map(text, PAGES.values())), re.MULTILINE))
    assert fences == {"python": 9, "py": len(EXCERPTS), "": 9 + len(EXCERPTS)}, "no test runs other blocks"


def test_a_run_that_a_page_uses_is_created_on_that_page() -> None:
    for path in PAGES.values():
        lines = re.findall(r"^    (python .*)", text(path), re.MULTILINE)
        used = {name for line in lines for name in re.findall(r"\boutputs/\w+", line) if "hydra.run.dir" not in line}
        created = [name for line in lines for name in re.findall(r"hydra\.run\.dir=(\S+)", line)]
        assert used <= set(created), path
        for name in created:
            assert CREATING[name] in lines, f"{path}: another page creates {name} with other settings"


def test_shown_parts_of_examples_are_in_their_files() -> None:
    """`tests/test_examples.py` runs the files."""
    assert {name for name, _ in EXCERPTS} == {path.name for path in (ROOT / "examples").glob("*.py")} - {
        "plain_loop.py"
    }
    for name, shown in EXCERPTS:
        assert shown in (ROOT / "examples" / name).read_text(encoding="utf-8"), name
        assert len(shown.splitlines()) <= 15


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in CREATING.values()])
def test_a_command(command: str, folder: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "python"
    trains = arguments[0] == "scripts/train.py" and "--help" not in arguments
    if trains and not any(argument.startswith("trainer.max_epochs=") for argument in arguments):
        arguments.append("trainer.max_epochs=1")
    if trains and not any(argument.startswith(("mc=", "mc.")) for argument in arguments):
        arguments.append("mc.samples=2")
    brief = {"trainer.max_epochs=80": "trainer.max_epochs=3", "trainer.max_epochs=5": "trainer.max_epochs=2"}
    arguments = [brief.get(argument, argument) for argument in arguments]
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


@pytest.mark.parametrize("command", CREATING.values())
def test_a_command_that_creates_a_run_for_others(command: str, folder: Path) -> None:
    name = re.findall(r"hydra\.run\.dir=(\S+)", command)[0]
    assert (folder / name / "results.json").is_file()


@pytest.mark.parametrize("program", [program for _, program in PROGRAMS], ids=[page for page, _ in PROGRAMS])
def test_a_program(program: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    # the digits notebook's network, saved by Keras 3.15.1 after three steps
    shutil.copy(ROOT / "tests/reference/digits_standard.keras", tmp_path / "model.keras")
    done = run(["program.py"], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_errors_that_a_page_shows(folder: Path) -> None:
    shown = documentation.answered()
    assert len(shown) == 2
    for command, answer in shown:
        assert run(shlex.split(command), folder).stderr.strip() == answer, f"{documentation.COMMAND} writes it"


def test_the_page_of_the_command_line_lists_every_option() -> None:
    page = text(PAGES["command-line"])
    assert set(documentation.listed_groups(page)) == documentation.groups()
    assert page == documentation.with_options(page), f"{documentation.COMMAND} writes it"


def test_the_pictures_exist() -> None:
    pictures = [path.parent / name for path in PAGES.values() for name in re.findall(r"!\[.*\]\((.*)\)", text(path))]
    assert {path.name for path in pictures} == {path.name for path in (ROOT / "docs").glob("*.png")}
    assert all(picture.stat().st_size > 10_000 for picture in pictures)


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text(path), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The names of a page's headings in links, as forges make them."""
    titles = re.findall(r"^#+ (.*)", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", [*PAGES.values(), *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if link.startswith("https://"):
            continue
        name, _, heading = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not heading or heading in anchors(target), link


def test_every_page_is_in_the_index_and_starts_with_a_title() -> None:
    index = text(PAGES["index"])
    for name, path in PAGES.items():
        assert text(path).startswith("# "), name
        assert name in ("README", "index") or f"]({name}.md)" in index, name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 15_000
