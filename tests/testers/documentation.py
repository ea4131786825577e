"""The documentation as the tests read it; ``python -m tests.testers.documentation`` writes its generated parts.

Generated are the options in tables whose rows start with the name of a group, and the output below ``$ python ...``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = "python -m tests.testers.documentation"
#: the README first: its commands are the ones that most people try
PAGES = {path.stem: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
#: other texts for people, whose links are checked
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/plugin/README.md")]

_ROW = re.compile(r"^\| `(\w+)` \|(?P<options>[^|]*)\|", re.MULTILINE)
_ANSWERED = re.compile(r"^    \$ python (?P<command>.*)\n(?P<answer>    .*)$", re.MULTILINE)
#: options that are listed before the others
_FIRST = ("none", "default", "auto")


def text(path: Path) -> str:
    """The content of a page."""
    return path.read_text(encoding="utf-8")


def commands() -> dict[str, list[str]]:
    """Each command in an indented block -> the pages that show it."""
    found: dict[str, list[str]] = {}
    for page, path in PAGES.items():
        for command in re.findall(r"^    ((?:python|regtorch|torchrun|srun)\b.*)", text(path), re.MULTILINE):
            found.setdefault(command, []).append(page)
    return found


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language, each with its page."""
    return [
        (page, block)
        for page, path in PAGES.items()
        for block in re.findall(rf"^```{language}\n(.*?)^```", text(path), re.DOTALL | re.MULTILINE)
    ]


def answered() -> list[tuple[str, str]]:
    """Each command that is shown with its output, and the output."""
    return [
        (found["command"], found["answer"].strip())
        for path in PAGES.values()
        for found in _ANSWERED.finditer(text(path))
    ]


def options(group: str) -> list[str]:
    """The options of a group, as the table lists them."""
    names = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
    return sorted(names, key=lambda name: name not in _FIRST)


def groups() -> set[str]:
    """All groups of the configuration that users choose from."""
    return {path.name for path in (ROOT / "conf").iterdir() if any(path.glob("*.yaml"))}


def listed_groups(page: str) -> Iterator[str]:
    """The groups whose options a page lists."""
    for row in _ROW.finditer(page):
        if row[1] in groups():
            yield row[1]


def with_options(page: str) -> str:
    """A page with the options that the configuration has."""

    def with_row(row: re.Match[str]) -> str:
        return f"| `{row[1]}` | {', '.join(options(row[1]))} |" if row[1] in groups() else row[0]

    return _ROW.sub(with_row, page)


def _answer(command: re.Match[str]) -> str:
    done = subprocess.run(
        [sys.executable, *shlex.split(command["command"])], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return f"    $ python {command['command']}\n    {done.stderr.strip()}"


def main() -> None:
    """Write all generated parts."""
    for path in PAGES.values():
        path.write_text(_ANSWERED.sub(_answer, with_options(text(path))), encoding="utf-8")


if __name__ == "__main__":
    main()
