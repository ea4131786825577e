"""CONTRIBUTING works as written; workflows, hooks, templates and the citation agree with the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import regtorch

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that a new component needs."""
    copy = tmp_path_factory.mktemp("contributing") / "checkout"
    for name in ("regtorch", "conf", "docs", "scripts", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    return copy


#: what the default tests leave out of the shared tester, because it takes long
BRIEF = "not rank and not compile and not plain_loop"


@pytest.mark.parametrize("brief", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_component_is_added_as_contributing_describes(brief: bool, checkout: Path) -> None:
    section = CONTRIBUTING.partition("## Add a regularizer")[2].partition("\n## ")[0]
    blocks = re.findall(r"`([\w/]+\.\w+)`[^`]*:\n.*?\n```\w+\n(.*?)```", section, re.DOTALL)
    (program, code), (config, node), (table, cases) = blocks
    (row,) = re.findall(r"^    Case\(.*\n", cases, re.MULTILINE)
    assert (Path(program).suffix, Path(config).suffix) == (".py", ".yaml")
    for name, content in ((program, code), (config, node)):
        assert not (checkout / name).exists(), f"{name} exists: show another component"
        (checkout / name).write_text(content, encoding="utf-8")
    tests = (checkout / table).read_text(encoding="utf-8")
    (checkout / table).write_text(tests.replace("CASES = [\n", f"CASES = [\n{row}"), encoding="utf-8")

    commands = re.findall(r"^    python (.*)", section, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        quick = ["trainer.max_epochs=1", "mc=none", "logger.tensorboard=false"] if "train.py" in command else []
        command += f" and {BRIEF}" if brief and "pytest" in command else ""
        before, _, chosen = command.partition(" -k ")
        done = run(checkout, *before.split(), *(["-k", chosen] if chosen else []), *quick)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    component = Path(program).stem
    assert component in (checkout / "docs/command-line.md").read_text(encoding="utf-8")
    assert f"regularizers.{component} import" in (checkout / "regtorch/__init__.pyi").read_text(encoding="utf-8")
    done = run(
        checkout,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        program,
        f"{table}::test_every_regularizer_is_in_the_table",
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    done = run(checkout, "-m", "ruff", "check", program, table)
    assert done.returncode == 0, done.stdout
    done = run(checkout, "-m", "ruff", "format", "--check", program, table)
    assert done.returncode == 0, done.stdout


def test_other_commands_of_contributing_name_files_and_modules_that_exist() -> None:
    commands = re.findall(r"^    python -m pytest (\S+)", CONTRIBUTING, re.MULTILINE)
    paths = [name for name in commands if not name.startswith("-")]
    assert len(paths) >= 3
    assert [name for name in paths if not (ROOT / name).exists()] == []
    for name in re.findall(r"`((?:regtorch|tests|conf)/[\w/]+(?:\.\w+)?/?)`", CONTRIBUTING):
        if "log_cosh" not in name:
            assert (ROOT / name).exists(), name


def test_the_workflow_covers_every_python_and_the_lowest_versions() -> None:
    jobs = load(".github/workflows/tests.yml")["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == PYTHONS
    lowest = "\n".join(step.get("run", "") for step in jobs["lowest-versions"]["steps"])
    assert "--resolution lowest-direct" in lowest
    (python,) = [step["with"]["python-version"] for step in jobs["lowest-versions"]["steps"] if "with" in step]
    assert f'requires-python = ">={python}"' in PROJECT


def test_pre_commit_runs_the_linters() -> None:
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert [hook["id"] for hook in local["hooks"]] == ["ruff", "ruff-format", "mypy"]


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_an_issue_template_asks_questions(name: str) -> None:
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    questions = [item for item in form["body"] if item["type"] != "markdown"]
    assert questions
    assert all(item["attributes"]["label"] and item["id"] for item in questions)


def test_the_citation_has_version_and_license() -> None:
    citation = load("CITATION.cff")
    assert citation["version"] == regtorch.__version__
    assert f'license = "{citation["license"]}"' in PROJECT
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_module_prints_the_version_without_torch() -> None:
    done = run(ROOT, "-X", "importtime", "-m", "regtorch", "--version")
    assert done.returncode == 0
    assert done.stdout == f"regtorch {regtorch.__version__}\n"
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_the_module_lists_the_commands() -> None:
    done = run(ROOT, "-m", "regtorch")
    assert done.returncode == 0
    declared = re.findall(r"^(regtorch-\w+) = ", PROJECT, re.MULTILINE)
    assert sorted(re.findall(r"^  (regtorch-\w+)", done.stdout, re.MULTILINE)) == sorted(declared)
