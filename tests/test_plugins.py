"""Plugins: found by their entry points, taken whole or left out with one line, everything else as before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"

RULE = """
import regtorch

@regtorch.register("{kind}", "{name}")
class Rule({base}):
    {body}
"""


def rule(kind: str, name: str, base: str, body: str) -> str:
    return RULE.format(kind=kind, name=name, base=base, body=body)


#: module -> its source, and why it is left out
BROKEN = {
    "no_import": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    "no_syntax": ("def broken(:", "SyntaxError: invalid syntax"),
    "ends": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "nothing": ("", "ValueError: it registers nothing"),
    "taken": (
        rule("regularizer", "first", "regtorch.Regularizer", "def forward(self, w): return w.sum()")
        + rule("regularizer", "l2", "regtorch.Regularizer", "def forward(self, w): return w.sum()"),
        "regularizer 'l2' is taken: regtorch.regularizers.l2.L2 has it, taken.Rule wants it",
    ),
    "base": (
        rule("regularizer", "base", "object", "def __call__(self, w): return w.sum()"),
        "regularizer 'base' (base.Rule) must be a subclass of regtorch.regularizers.base.Regularizer",
    ),
    "vector": (
        rule("regularizer", "vector", "regtorch.Regularizer", "def forward(self, w): return w.sum(1)"),
        "regularizer 'vector' (vector.Rule) gives a tensor of shape (3,) for a weight of shape (3, 4): it must give shape ()",
    ),
    "shape": (
        rule("constraint", "shape", "regtorch.Constraint", "def forward(self, w): return w[:1]"),
        "constraint 'shape' (shape.Rule) gives a tensor of shape (1, 4) for a weight of shape (3, 4)",
    ),
    "no_forward": (
        rule("dropout", "no_forward", "regtorch.ProbabilityDropout", "pass"),
        "dropout 'no_forward' (no_forward.Rule) lacks the method forward",
    ),
}


def install(folder: Path, name: str, module: str, package: str = "") -> None:
    """What pip leaves of a plugin: its module, and its entry point."""
    info = folder / f"{package or name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[regtorch.plugins]\n{name} = {module}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, one of a function that registers, and all the broken ones."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE / "regtorch_example", site / "regtorch_example")
    install(site, "example", "regtorch_example.components", "regtorch-example")
    (site / "by_call.py").write_text(
        "import regtorch\n\ndef add():\n    @regtorch.register('regularizer', 'by_call')\n"
        "    class ByCall(regtorch.Regularizer):\n        def __init__(self, power: int) -> None:\n"
        "            super().__init__()\n            self.power = power\n"
        "        def forward(self, w): return w.abs().pow(self.power).sum()\n"
    )
    install(site, "by_call", "by_call:add")
    odd = rule(
        "regularizer",
        "odd",
        "regtorch.Regularizer",
        "def __init__(self, what=object(), many=(1, 2)): super().__init__()",
    )
    (site / "odd.py").write_text(odd + "    def forward(self, w): return w.sum()\n")
    install(site, "odd", "odd")
    (site / "bad_yaml" / "conf" / "regularizer").mkdir(parents=True)
    (site / "bad_yaml" / "conf" / "regularizer" / "of_bad_yaml.yaml").write_text("strength: [1")
    body = "def forward(self, w): return w.sum()"
    (site / "bad_yaml" / "__init__.py").write_text(rule("regularizer", "of_bad_yaml", "regtorch.Regularizer", body))
    install(site, "bad_yaml", "bad_yaml")
    for name, (source, _) in BROKEN.items():
        (site / f"{name}.py").write_text(source)
        install(site, name, name)
    return site


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


TRAIN = str(ROOT / "scripts/train.py")
SMALL = ["trainer.max_epochs=1", "data.batch_size=256", "mc.samples=2", "logger.tensorboard=false"]


def test_a_list_of_what_is_there_and_what_is_broken(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, str(ROOT / "scripts/plugins.py"))
    assert done.returncode == 0, done.stderr
    for text in ("regtorch-example 1.0", "regularizer=huber", "dropout=block", "constraint=box", "regularizer=by_call"):
        assert text in done.stdout
    for name, (_, reason) in BROKEN.items():
        assert f"{name} is left out: {reason}" in done.stdout
    assert "bad_yaml is left out: its configuration cannot be read" in done.stdout
    assert done.stderr.count("is left out") == len(BROKEN) + 1 == len(done.stderr.splitlines())
    assert "first" not in done.stdout  # the rest of a plugin that is left out is left out too


def test_from_python_and_in_the_lists(site: Path, tmp_path: Path) -> None:
    code = (
        "import regtorch, json; rule = regtorch.create('regularizer', 'huber', delta=0.5); "
        "print(json.dumps([rule.to_config(), regtorch.available('dropout'), regtorch.available('regularizer')]))"
    )
    done = run(site, tmp_path, "-c", code)
    node, dropouts, regularizers = json.loads(done.stdout)
    assert node == {"name": "huber", "strength": 0.01, "delta": 0.5}
    assert "block" in dropouts
    assert {"huber", "by_call", "l2"} <= set(regularizers)
    assert not {"first", "vector", "base"} & set(regularizers)
    listed = run(site, tmp_path, TRAIN, "--help").stdout
    assert all(f" {name}," in listed for name in ("huber", "block", "box", "by_call"))


def test_at_the_shell_with_advice_and_in_a_sweep(site: Path, tmp_path: Path) -> None:
    chosen = ["dropout=block", "dropout.size=2", "constraint=box", "constraint.limit=0.005", *SMALL]
    done = run(site, tmp_path, TRAIN, "-m", "regularizer=huber,l2", "hydra.sweep.dir=grid", *chosen)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "grid/0/results.json").read_text())
    assert results["status"] == "completed"
    assert results["train"]["penalty"] > 0
    assert results["test_mc"]["samples"] == 2
    assert any("a box of less than 0.01" in advice["text"] for advice in results["advice"])
    on_joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=joblib"]
    assert run(site, tmp_path, TRAIN, "-m", "regularizer=huber,l2", *on_joblib, *chosen).returncode == 0
    tables = [(tmp_path / name / "leaderboard.csv").read_text() for name in ("grid", "joblib")]
    assert tables[0] == tables[1]


def test_its_settings_are_those_of_its_class_or_its_own_file(site: Path, tmp_path: Path) -> None:
    shown = run(site, tmp_path, TRAIN, "regularizer=huber", "dropout=block", "--cfg", "job").stdout
    odd = run(site, tmp_path, TRAIN, "regularizer=odd", "--cfg", "job").stdout
    assert "name: odd\n  many:\n  - 1\n  - 2\n  where: null\n" in odd  # an object is nothing that a file can say
    assert "name: huber\n  strength: 0.01\n  delta: 0.1\n  where: null\n" in shown
    assert "name: block\n  drop_prob: null\n  keep_prob: null\n  size: 4\n" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["regularizer=huber", "regularizer.detla=1"],
            "regularizer.detla=1: there is no such key; did you mean delta?",
        ),
        (["regularizer=huber", "regularizer.delta=-1"], "regularizer: delta=-1 is not allowed"),
        (["regularizer=huber", "regularizer.delta=x"], "regularizer=huber cannot be made: TypeError"),
        (["dropout=block", "dropout.drop_prob=2"], "dropout.drop_prob=2 is not allowed"),
        (["regularizer=by_call"], "regularizer.power is missing: regularizer by_call must have it"),
        (["regularizer=vector"], "regularizer=vector: there is no such option"),
    ],
)
def test_mistakes_are_one_line(site: Path, arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run(site, tmp_path, TRAIN, *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}"), done.stderr
    assert not list(tmp_path.iterdir())


def test_our_testers_are_its_testers(site: Path, tmp_path: Path) -> None:
    tests = EXAMPLE / "tests"
    done = run(site, tmp_path, "-m", "pytest", "-q", str(tests), "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    assert done.returncode == 0, done.stdout
    source = (site / "regtorch_example/components.py").read_text()
    (site / "regtorch_example/components.py").write_text(source.replace("0.5 * inside", "inside"))
    broken = run(site, tmp_path, "-m", "pytest", "-q", str(tests), "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    (site / "regtorch_example/components.py").write_text(source)
    assert broken.returncode == 1
    assert "test_value_is_the_formula" in broken.stdout


def test_pip_installs_the_example(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "plugin")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    done = subprocess.run([sys.executable, *pip, str(tmp_path / "plugin")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = run(tmp_path / "site", tmp_path, str(ROOT / "scripts/plugins.py")).stdout
    assert "regtorch-example 0.1.0" in shown
    assert (tmp_path / "site/regtorch_example/conf/dropout/block.yaml").is_file()
