"""Plugins: found by entry point, and loaded completely or left out with a one-line reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from importlib import metadata
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

import regtorch
from regtorch.cli.help import help_text
from regtorch.config import components, mistyped, option_lists, plugin_options
from regtorch.config.compose import compose
from regtorch.registry import advice, plugins
from regtorch.registry import components as registered_components
from regtorch.runs import job
from regtorch.runs.validate import checked

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plugin"

RULE = """
import regtorch

@regtorch.register("{kind}", "{name}")
class Rule({base}):
    {body}
"""


def rule(kind: str, name: str, base: str, body: str) -> str:
    return RULE.format(kind=kind, name=name, base=base, body=body)


#: module -> its source, and the reason why it is left out
BROKEN = {
    "no_import": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    "no_syntax": ("def broken(:", "SyntaxError: invalid syntax"),
    "ends": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "odd_name": (
        rule("regularizer", "Bad Name,x", "regtorch.Regularizer", "def forward(self, w): return w.sum()"),
        "'Bad Name,x' is not allowed as the name of a regularizer: it must consist of letters, digits, _ and -, start with a letter",
    ),
    "no_shape": (
        "import torch\n" + rule("model", "no_shape", "torch.nn.Linear", "def __init__(self): super().__init__(2, 2)"),
        "model 'no_shape' (no_shape.Rule) does not accept shape and classes: it is called with shape=, classes=",
    ),
    "nothing": ("", "ValueError: it registers nothing"),
    "taken": (
        rule("regularizer", "first", "regtorch.Regularizer", "def forward(self, w): return w.sum()")
        + rule("regularizer", "l2", "regtorch.Regularizer", "def forward(self, w): return w.sum()"),
        "regularizer 'l2' is already registered by regtorch.regularizers.l1_l2.L2; taken.Rule needs another name",
    ),
    "base": (
        rule("regularizer", "base", "object", "def __call__(self, w): return w.sum()"),
        "regularizer 'base' (base.Rule) must be a subclass of regtorch.regularizers.base.Regularizer",
    ),
    "vector": (
        rule("regularizer", "vector", "regtorch.Regularizer", "def forward(self, w): return w.sum(1)"),
        "regularizer 'vector' (vector.Rule) returns a tensor of shape (3,) for a weight of shape (3, 4): it must return shape ()",
    ),
    "shape": (
        rule("constraint", "shape", "regtorch.Constraint", "def forward(self, w): return w[:1]"),
        "constraint 'shape' (shape.Rule) returns a tensor of shape (1, 4) for a weight of shape (3, 4)",
    ),
    "where": (
        rule("regularizer", "where", "regtorch.Regularizer", "def __init__(self, where=None): super().__init__()")
        + "    def forward(self, w): return w.sum()",
        "regularizer 'where' (where.Rule) takes an argument where, which is a key of its configuration: rename it",
    ),
    "forgets": (
        rule("regularizer", "forgets", "regtorch.Regularizer", "def __init__(self, size=1): super().__init__()")
        + "    def forward(self, w): return w.sum()",
        "regularizer 'forgets' (forgets.Rule) has no attribute size: each argument must be stored under its own name",
    ),
    "drops": (
        rule("dropout", "drops", "regtorch.ProbabilityDropout", "def __init__(self, *, size=1, **settings):")
        + "        super().__init__(**settings)\n    def forward(self, x): return x",
        "dropout 'drops' (drops.Rule) has no attribute size: each argument must be stored under its own name",
    ),
    "advises": (
        "import regtorch\nfrom regtorch.registry.advice import advise_against\n"
        "advise_against(lambda c: True, 'by a plugin that is left out', 'unknown')\nraise ValueError('no')",
        "ValueError: no",
    ),
    "no_forward": (
        rule("dropout", "no_forward", "regtorch.ProbabilityDropout", "pass"),
        "dropout 'no_forward' (no_forward.Rule) lacks the method forward",
    ),
}

#: plugin -> a configuration file of it, the content, and the error
BAD_FILES = {
    "no_yaml": ("regularizer/no_yaml.yaml", "strength: [1", "ParserError"),
    "no_group": ("regularizers/no_group.yaml", "name: no_group", "there is no group regularizers; did you mean "),
    "no_name": ("regularizer/other.yaml", "strength: 1", "it lacks the key name, which names the regularizer"),
    "unknown": ("regularizer/other.yaml", "name: l3", "regularizer=l3 is not registered; did you mean"),
    "no_such_key": (
        "regularizer/no_such_key.yaml",
        "name: no_such_key\nsize: 1",
        "size=1: regularizer no_such_key has no such",
    ),
    "there": ("regularizer/l2.yaml", "name: l2\nl2: 1.0", "regularizer=l2 exists already"),
    "recipe": (
        "experiment/recipe.yaml",
        "defaults:\n- override /dropout: dropuot",
        "dropout=dropuot is not registered",
    ),
}

#: a model without components, a dropout with torch's p, and components that fail in use
THIRD_PARTY = """
import torch
import regtorch
from regtorch.data.base import DataSet

@regtorch.register("model", "lin")
class Lin(torch.nn.Sequential):
    def __init__(self, shape, classes, width=8, flat=True):
        layers = [torch.nn.Linear(shape[-1] if not flat else int(torch.Size(shape).numel()), width), torch.nn.Linear(width, classes)]
        super().__init__(*([torch.nn.Flatten()] if flat else []), *layers)

@regtorch.register("dropout", "theirs")
class Theirs(torch.nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.p = p

    def forward(self, x):
        return torch.nn.functional.dropout(x, self.p, self.training)

@regtorch.register("activation", "fails")
class Fails(torch.nn.Module):
    def __init__(self, when):
        super().__init__()
        self.when = when

    def forward(self, x):
        if self.when == "training":
            raise KeyError(self.when)
        return x

@regtorch.register("data", "unread")
class Unread(DataSet):
    def read(self):
        raise KeyError("no such table")
"""


def install(folder: Path, name: str, module: str, package: str = "") -> None:
    """Install a plugin as pip does: its module and its entry point."""
    info = folder / f"{package or name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[regtorch.plugins]\n{name} = {module}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, a plugin with a registering function, and all broken ones."""
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
        "def __init__(self, what=object(), many=(1, 2)): super().__init__(); self.what, self.many = what, many",
    )
    (site / "odd.py").write_text(odd + "    def forward(self, w): return w.sum()\n")
    install(site, "odd", "odd")
    body = "def forward(self, w): return w.sum()"
    for name, (file, content, _) in BAD_FILES.items():
        path = site / name / "conf" / file
        path.parent.mkdir(parents=True)
        path.write_text(content)
        (site / name / "__init__.py").write_text(rule("regularizer", name, "regtorch.Regularizer", body))
        install(site, name, name)
    (site / "third_party.py").write_text(THIRD_PARTY)
    install(site, "third_party", "third_party")
    for name, (source, _) in BROKEN.items():
        (site / f"{name}.py").write_text(source)
        install(site, name, name)
    return site


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


TRAIN = str(ROOT / "scripts/train.py")
SMALL = ["trainer.max_epochs=1", "data.batch_size=256", "mc.samples=2", "logger.tensorboard=false"]


def test_the_list_of_loaded_and_broken_plugins(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, str(ROOT / "scripts/plugins.py"))
    assert done.returncode == 0, done.stderr
    for text in ("regtorch-example 1.0", "regularizer=huber", "dropout=block", "constraint=box", "regularizer=by_call"):
        assert text in done.stdout
    for name, (_, reason) in BROKEN.items():
        assert f"{name} is left out: {reason}" in done.stdout
    for name, (file, _, reason) in BAD_FILES.items():
        assert f"{name} is left out: its conf/{file}: {reason}" in done.stdout
    assert done.stdout.count("is left out") == len(BROKEN) + len(BAD_FILES)
    assert not done.stderr
    assert "first" not in done.stdout  # of a plugin that is left out, nothing is loaded


def test_plugins_in_a_sweep_over_processes_with_advice(site: Path, tmp_path: Path) -> None:
    chosen = ["dropout=block", "dropout.size=2", "constraint=box", "constraint.limit=0.005", *SMALL]
    on_joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=grid"]
    done = run(site, tmp_path, TRAIN, "-m", "regularizer=huber,l2", *on_joblib, *chosen)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "grid/0/results.json").read_text())
    assert results["status"] == "completed"
    assert results["train"]["penalty"] > 0
    assert results["test_mc"]["samples"] == 2
    assert any("a box of less than 0.01" in advice["text"] for advice in results["advice"])
    assert not any("left out" in advice["text"] for advice in results["advice"])


@pytest.fixture(scope="module")
def here(site: Path) -> Iterator[None]:
    """Load the same plugins in this process."""
    compose([])  # Hydra fills its store at the first time, and keeps that after the tests
    caches = (
        *(plugin_options._nodes_of_plugins, components._of_file),
        *(mistyped._names, mistyped._keys, option_lists._names),
    )
    store, registered, modules = ConfigStore.instance(), dict(registered_components._registered), set(sys.modules)
    before, loaded, advised = deepcopy(store.repo), plugins._loaded, list(advice._plugin_advice)
    sys.path.insert(0, str(site))
    plugins._loaded = None
    for cache in caches:
        cache.cache_clear()
    yield
    sys.path.remove(str(site))
    plugins._loaded, store.repo = loaded, before
    registered_components._registered.clear()
    registered_components._registered.update(registered)
    advice._plugin_advice[:] = advised
    for cache in caches:
        cache.cache_clear()
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


def test_plugins_from_python_and_in_the_lists(here: None) -> None:
    rule = regtorch.create("regularizer", "huber", delta=0.5)
    assert rule.to_config() == {"name": "huber", "strength": 0.01, "delta": 0.5}
    assert "block" in regtorch.available("dropout")
    assert {"huber", "by_call", "l2"} <= set(regtorch.available("regularizer"))
    assert not {"first", "vector", "base"} & set(regtorch.available("regularizer"))
    assert all(f" {name}," in help_text() for name in ("huber", "block", "box", "by_call"))


def test_settings_come_from_the_class_or_from_the_plugins_file(here: None) -> None:
    config = checked(["regularizer=huber", "regularizer@bias_regularizer=odd", "dropout=block"])
    assert config["bias_regularizer"] == {
        "name": "odd",
        "many": [1, 2],
        "where": None,
    }  # a configuration file cannot contain the default object
    assert config["regularizer"] == {"name": "huber", "strength": 0.01, "delta": 0.1, "where": None}
    assert config["dropout"] == {"name": "block", "drop_prob": None, "keep_prob": None, "size": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["regularizer=huber", "regularizer.detla=1"],
            "regularizer.detla=1: there is no such key; write regularizer.delta=1",
        ),
        (["regularizer=huber", "regularizer.delta=-1"], "regularizer: delta=-1 is not allowed"),
        (["regularizer=huber", "regularizer.delta=x"], "regularizer=huber cannot be created: TypeError"),
        (["dropout=block", "dropout.drop_prob=2"], "dropout.drop_prob=2 is not allowed"),
        (["regularizer=by_call"], "regularizer.power is missing: regularizer by_call needs it"),
        (["regularizer=vector"], "regularizer=vector: there is no such option"),
        (["dropout=theirs", "dropout.drop_prob=0.2"], "dropout.drop_prob=0.2: there is no such key; there are: p"),
        (["dropout=theirs", "dropout.rate=0.2"], "dropout.rate=0.2: there is no such key; there are: p"),
        (["dropout=theirs", "+dropout.rate=0.2"], "dropout.rate=0.2: dropout theirs has no such setting; it has: p"),
        (["dropout=block", "dropout.p=0.2"], "dropout.p=0.2: there is no such key; write dropout.drop_prob"),
        (
            ["model=lin", "dropout=theirs"],
            "dropout=theirs is not allowed with model=lin, which has no argument dropout",
        ),
        (["model=lin", "model.width=x"], "model=lin cannot be used: TypeError: "),
        (
            ["model=lin", "model.flat=false"],
            "model=lin cannot be used: it returns (2, 1, 8, 10) for two rows of 10 classes",
        ),
        (["model=lin", "regularizer=l2", "regularizer.where=hidden.*"], "where=hidden.* matches no parameter"),
        (["data=unread"], "data=unread cannot be read: KeyError: 'no such table'"),
    ],
)
def test_mistakes_are_one_line(here: None, arguments: list[str], message: str) -> None:
    with pytest.raises(regtorch.RegtorchError) as raised:
        checked(arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("chosen", ["model=lin", "dropout=theirs"])
def test_third_party_components_work_unchanged(here: None, chosen: str) -> None:
    config = checked([chosen, *SMALL])
    assert config["model"] in ({"name": "lin", "width": 8, "flat": True}, checked([])["model"])


def test_results_report_a_plugins_failure(here: None, tmp_path: Path) -> None:
    config = checked(["activation=fails", "activation.when=training", *SMALL])
    with pytest.raises(job.RunError, match="KeyError: 'training'"):
        job.train(config, tmp_path, [])
    assert json.loads((tmp_path / "results.json").read_text())["reason"] == "KeyError: 'training'"


def test_ctrl_c_ends_the_program_while_a_plugin_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(9): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            plugins._load(metadata.EntryPoint("slow", "slow", plugins.GROUP))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


PAIR = """
import {imported}
import regtorch

@regtorch.register("regularizer", "{name}")
class Rule(regtorch.Regularizer):
    def forward(self, w):
        return w.{formula}
"""


LISTING = "; from regtorch.registry.plugins import loaded; import json"
LISTING += "; print(json.dumps({p.name: [c.name for c in p.components] or p.reason for p in loaded()}))"


def listed(site: Path, folder: Path, program: str) -> dict[str, list[str]]:
    """Run a user's program; return plugin -> names of its components, or the reason why it is left out."""
    done = run(site, folder, "-c", program + LISTING)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


#: runs each program in a fork of a process that has imported torch and not regtorch, which takes long
_FORKS = """
import os, sys, torch, numpy, hydra, omegaconf
assert not [name for name in sys.modules if name.partition(".")[0] == "regtorch"]
for program in sys.argv[1:]:
    sys.stdout.flush()
    if not (child := os.fork()):
        try:
            exec(program, {"__name__": "__main__"})
        except BaseException as error:
            print(repr(error))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


def after_torch(site: Path, folder: Path, programs: list[str]) -> list[str]:
    """Run programs, each of which prints one line; return these."""
    done = run(site, folder, "-c", _FORKS, *programs)
    lines = done.stdout.splitlines()
    assert len(lines) == len(programs), done.stdout + done.stderr
    return lines


def test_plugins_that_import_each_other_keep_their_components(tmp_path: Path) -> None:
    """In any order of imports, and also if one of them is broken."""
    site = tmp_path / "site"
    (site / "pair" / "conf" / "regularizer").mkdir(parents=True)
    (site / "pair" / "conf" / "regularizer" / "strong.yaml").write_text("name: drops\n")
    (site / "pair" / "__init__.py").write_text("")
    for name, imported in (("rules", "pair.shared"), ("drops", "pair.shared"), ("shared", "math")):
        (site / "pair" / f"{name}.py").write_text(PAIR.format(imported=imported, name=name, formula="abs().sum()"))
    (site / "one.py").write_text(PAIR.format(imported="two", name="one", formula="sum(1)"))
    (site / "two.py").write_text(PAIR.format(imported="math", name="two", formula="sum()"))
    (site / "asks.py").write_text(
        PAIR.format(imported="math", name="asks", formula="sum()")
        + "\nassert 'asks' in regtorch.available('regularizer')"
    )
    (site / "conf" / "regularizer").mkdir(parents=True)  # next to the modules, but not part of a plugin
    (site / "conf" / "regularizer" / "stray.yaml").write_text("name: nothing\n")
    for name, module in (("a", "pair.rules"), ("b", "pair.drops"), ("c", "one"), ("d", "two"), ("e", "asks")):
        install(site, name, module)
    firsts = ["one", "two", "pair.rules", "pair.drops", "regtorch", "asks"]
    *lines, strong = after_torch(
        *(site, tmp_path),
        [
            *(f"import {first}{LISTING}" for first in firsts),
            "from regtorch.runs.validate import checked; print(checked(['regularizer=strong'])['regularizer'])",
        ],
    )
    for first, line in zip(firsts, lines, strict=True):
        found = json.loads(line)
        assert found["a"] in (["rules"], ["shared", "rules"]), first
        assert found["b"] in (["drops"], ["shared", "drops"]), first
        assert found["c"].startswith("regularizer 'one' (one.Rule) returns a tensor of shape (3,)"), first
        assert (found["d"], found["e"]) == (["two"], ["asks"]), first
    assert strong == "{'name': 'drops', 'where': None}"


def test_ownership_of_components(tmp_path: Path) -> None:
    """A torch class, rules in another package, the user's own drafts, and two plugins in one module."""
    site = tmp_path / "site"
    for package in ("lab", "nest", "beside"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text("")
    (site / "act.py").write_text(
        "import regtorch, torch\nregtorch.register('activation', 'hards')(torch.nn.Hardswish)\n"
    )
    (site / "beside" / "rules.py").write_text(PAIR.format(imported="math", name="beside", formula="sum()"))
    (site / "plug.py").write_text("import regtorch\nfrom beside.rules import Rule\nregtorch.Dropout, regtorch.L2\n")
    (site / "lab" / "rules.py").write_text(PAIR.format(imported="math", name="lab", formula="sum()"))
    (site / "lab" / "experiment.py").write_text(PAIR.format(imported="math", name="draft", formula="sum(1)"))
    (site / "nest" / "__init__.py").write_text("import regtorch\nregtorch.available('regularizer')\nVALUE = 1\n")
    (site / "nest" / "rules.py").write_text(
        "from nest import VALUE\n" + PAIR.format(imported="math", name="nest", formula="sum()")
    )
    functions = "".join(
        f"\ndef {name}():\n    @regtorch.register('regularizer', '{name}')\n    class Rule(regtorch.Regularizer):\n"
        f"        def forward(self, w): return w.{formula}\n"
        for name, formula in (("good", "sum()"), ("bad", "sum(1)"))
    )
    (site / "two_in_one.py").write_text("import regtorch\n" + functions)
    (site / "adv").mkdir()
    (site / "adv" / "advices.py").write_text(
        "from regtorch import advise_against\nadvise_against(lambda c: True, 'by a plugin that is left out', 'unknown')\n"
    )
    (site / "adv" / "__init__.py").write_text(
        "import adv.advices\n" + PAIR.format(imported="math", name="adv", formula="sum(1)")
    )
    for name, module in (("a", "act"), ("b", "plug"), ("c", "lab.rules"), ("d", "nest.rules"), ("g", "adv")):
        install(site, name, module)
    install(site, "e", "two_in_one:good")
    install(site, "f", "two_in_one:bad")
    firsts = ["regtorch", "act", "plug", "lab.experiment", "nest.rules", "two_in_one"]
    advices = "; from regtorch.registry.advice import added; rule = regtorch.create('regularizer', 'good')"
    advices += "; print(rule, len(added()), 'draft' in regtorch.available('regularizer'))"
    lines = after_torch(site, tmp_path, [f"import {first}{LISTING}" for first in firsts])
    answers = after_torch(site, tmp_path, [f"import {first}, regtorch{advices}" for first in firsts])
    for first, line, answer in zip(firsts, lines, answers, strict=True):
        found = json.loads(line)
        assert {name: found[name] for name in "abcde"} == {
            **{"a": ["hards"], "b": ["beside"], "c": ["lab"], "d": ["nest"], "e": ["good"]},
        }, first
        assert "returns a tensor of shape (3,)" in found["f"], first
        assert "returns a tensor of shape (3,)" in found["g"], first
        assert answer == f"Rule() 0 {first == 'lab.experiment'}"


def test_threads_that_wait_for_each_other_do_not_deadlock(tmp_path: Path) -> None:
    """One thread imports the plugins, and one of these imports a module that another thread imports, which lists components."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "slow.py").write_text(
        "import time, regtorch\ntime.sleep(1)\nassert 'l2' in regtorch.available('regularizer')\nVALUE = 1\n"
    )
    (site / "plug.py").write_text(
        "import time\ntime.sleep(0.5)\n" + PAIR.format(imported="slow", name="plug", formula="sum()")
    )
    install(site, "plug", "plug")
    program = (
        "import threading, time, importlib, regtorch.registry.plugins as p; p._PATIENCE = 2.0\n"
        "first = threading.Thread(target=importlib.import_module, args=('slow',)); first.start(); time.sleep(0.3)\n"
        "print([c.name for plugin in p.loaded() for c in plugin.components]); first.join()\n"
    )
    done = run(site, tmp_path, "-c", program)
    assert done.stdout == "['plug']\n", done.stderr


def test_a_user_class_takes_precedence_over_a_plugin(site: Path, tmp_path: Path) -> None:
    mine = "import regtorch; regtorch.register('regularizer', 'by_call')(type('Mine', (regtorch.Regularizer,), {'forward': None}))"
    assert "regularizer 'by_call' is already registered by __main__.Mine" in listed(site, tmp_path, mine)["by_call"]


def test_in_the_background_keyboard_interrupt_is_raised_by_the_plugin(site: Path, tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert listed(site, tmp_path, program)["interrupts"] == "KeyboardInterrupt"


def test_a_plugin_uses_our_testers(site: Path, tmp_path: Path) -> None:
    tests = EXAMPLE / "tests"
    done = run(site, tmp_path, "-m", "pytest", "-q", str(tests), "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    assert done.returncode == 0, done.stdout
    source = (site / "regtorch_example/components.py").read_text()
    (site / "regtorch_example/components.py").write_text(source.replace("0.5 * inside", "inside"))
    chosen = ["-k", "test_value_is_the_formula", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    broken = run(site, tmp_path, "-m", "pytest", "-q", str(tests), *chosen)
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
