"""The wheel is complete and works without a checkout."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(kind: str, source: Path, folder: Path) -> Path:
    code = f"from hatchling.build import build_{kind}; print(build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel built only from it."""
    folder = tmp_path_factory.mktemp("dist")
    source = build("sdist", ROOT, folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder / "source", filter="data")
    (unpacked,) = (folder / "source").iterdir()
    return source, build("wheel", unpacked, folder)


@pytest.fixture(scope="module")
def site(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_both_distributions_are_valid(built: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_source_distribution_is_complete(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "regtorch/__init__.py",
        "conf/train.yaml",
        "scripts/train.py",
    } <= names
    assert {"tests/conftest.py", "examples/plain_loop.py", "benchmarks/mc.py"} <= names
    assert {"docs/index.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "CITATION.cff"} <= names
    assert not any(name.startswith(("outputs", "multirun", ".git/")) or name.endswith(".pyc") for name in names)


def run(code: str, site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_configs_types_and_license(site: Path) -> None:
    names = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    configs = {f"regtorch/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert configs <= names
    assert {"regtorch/py.typed", "regtorch/conf/__init__.py", "regtorch/data/digits.npz"} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "regtorch").rglob("*.pyi")} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"regtorch"}  # nothing besides the package
    (points,) = site.glob("*.dist-info/entry_points.txt")
    for command in ("train", "compare", "curves"):
        assert f"regtorch-{command} = regtorch.cli.{command}:main" in points.read_text()


#: distribution -> module, if their names differ
MODULES = {"hydra-core": "hydra", "pillow": "PIL", "pyyaml": "yaml"}
#: imported packages that another requirement installs; and required packages that only others import
COMES_WITH = {"omegaconf": "hydra-core", "pyyaml": "omegaconf", "pillow": "matplotlib", "sqlalchemy": "optuna"}
IMPORTED_BY_LIGHTNING = {"tensorboard"}


def module_of(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement)[0].lower()
    return MODULES.get(name, name.replace("-", "_"))


def test_requirements_and_imports_correspond(site: Path) -> None:
    (folder,) = site.glob("*.dist-info")
    required = metadata.PathDistribution(folder).requires or []
    always = {module_of(line) for line in required if "extra ==" not in line}
    nodes = [n for path in (site / "regtorch").rglob("*.py") for n in ast.walk(ast.parse(path.read_text("utf-8")))]
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"regtorch"}
    assert always - imported == IMPORTED_BY_LIGHTNING
    for name, carrier in COMES_WITH.items():
        assert module_of(name) in {module_of(line) for line in metadata.requires(carrier) or []}
    assert imported - {module_of(line) for line in required} == {module_of(name) for name in COMES_WITH}


def test_the_package_contains_conf_and_nothing_else(site: Path, tmp_path: Path) -> None:
    code = "import regtorch, regtorch.conf, importlib.util as u; print(len(regtorch.__path__), regtorch.conf.__file__)"
    code += "; print([n for n in ('regtorch', 'tests', 'scripts', 'examples') if u.find_spec(f'regtorch.{n}')])"
    done = run(code, site, tmp_path)
    assert done.stdout.splitlines() == [f"1 {site / 'regtorch/conf/__init__.py'}", "[]"], done.stderr


def test_plugins_can_subclass_the_testers_of_the_wheel(site: Path, tmp_path: Path) -> None:
    code = (
        f"import sys, pytest; sys.path.insert(0, {str(ROOT / 'examples/plugin')!r}); import regtorch_example.components"
    )
    code += "; import regtorch; print(regtorch.__file__); sys.exit(pytest.main(sys.argv[1:]))"
    chosen = ["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-k", "formula or idempotent or nothing_to_drop"]
    done = run(code, site, tmp_path, *chosen, str(ROOT / "examples/plugin/tests"))
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(str(site))
    assert "9 passed" in done.stdout


def test_the_console_command_works_from_any_folder(site: Path, tmp_path: Path) -> None:
    code = "import regtorch.cli.train as t; print(t.__file__); t.main()"
    done = run(code, site, tmp_path, "regularizer=l1", "trainer.max_epochs=1", "mc=none", "hydra.run.dir=here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert json.loads((tmp_path / "here/results.json").read_text())["status"] == "completed"


def test_another_hydra_application_finds_the_groups(site: Path, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/app.yaml").write_text(
        "defaults: [{regularizer: l1_l2}, _self_]\nhydra: {searchpath: ['pkg://regtorch.conf']}\n"
    )
    (tmp_path / "app.py").write_text(
        "import hydra, regtorch\n"
        "@hydra.main(version_base=None, config_path='conf', config_name='app')\n"
        "def app(cfg): print(regtorch.create('regularizer', **cfg.regularizer))\n"
        "app()\n"
    )
    for path in (site, ROOT):  # from the wheel, and from a checkout
        done = run("import runpy; runpy.run_path('app.py', run_name='__main__')", path, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "L1L2(l1=1e-05, l2=0.0001)"


def test_help_and_the_printed_configuration_need_no_torch(tmp_path: Path) -> None:
    code = "import sys; from regtorch.cli.train import main; import atexit; "
    code += "atexit.register(lambda: sys.stderr.write('TORCH' if 'torch' in sys.modules else '')); main()"
    for arguments, words in ((["--help"], "drop_connect"), (["--cfg", "job", "dropout=alpha"], "name: alpha")):
        done = run(code, ROOT, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
        assert "TORCH" not in done.stderr
