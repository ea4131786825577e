"""Public names: listed, importable, equal for type checkers, and not hidden by submodules."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import pytest

import regtorch
from regtorch.errors import RegtorchError
from tests.testers import stubs

ROOT = Path(__file__).parents[1]
MODULES = [found for found in walk_packages(regtorch.__path__, "regtorch.") if found.name != "regtorch.__main__"]
PACKAGES = ["regtorch", *(found.name for found in MODULES if found.ispkg)]
LAZY = {package.__name__: package for package in stubs.lazy_packages()}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_lists_its_public_names(name: str) -> None:
    package = import_module(name)
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert set(package.__all__) <= set(dir(package))
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert {public: vars(package)[public] for public in package.__all__} == _starred(name)


def _starred(name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    exec(f"from {name} import *", found)
    return {key: value for key, value in found.items() if key != "__builtins__"}


def test_a_submodule_of_the_same_name_hides_no_public_name() -> None:
    for found in MODULES:
        import_module(found.name)
    for name in PACKAGES:
        package = import_module(name)
        for public in package.__all__:
            value = getattr(package, public)
            if name in LAZY and public not in package._subpackages:
                assert value is getattr(import_module(package._homes()[public]), public), f"{name}.{public}"
            if isinstance(value, types.ModuleType):
                assert name == "regtorch", f"{name}.{public} is a module"


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_the_same_names(name: str) -> None:
    package = LAZY[name]
    assert stubs.exports_of_stub(package) == stubs.exports(package), f"run: {stubs.COMMAND}"


@pytest.mark.parametrize("name", LAZY)
def test_unknown_names_suggest_near_ones(name: str) -> None:
    package = LAZY[name]
    public = max(package.__all__, key=len)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute '{public}s'; did you mean .*{public}"):
        getattr(package, f"{public}s")
    with pytest.raises(AttributeError, match=re.escape(f"'no_such_thing'; dir({name}) lists the names")):
        _ = package.no_such_thing
    assert not hasattr(package, "_no_such_thing")
    with pytest.raises(ImportError, match="cannot import name"):
        exec(f"from {name} import no_such_thing")


def test_functional_has_the_documented_functions_and_nothing_else() -> None:
    for name in regtorch.functional.__all__:
        function = getattr(regtorch.functional, name)
        assert isinstance(function, types.FunctionType)
        assert "Example:" in inspect.getdoc(function), f"if {name} is shared by formulas, it belongs to _SHARED"


def test_all_errors_are_public() -> None:
    for name, value in vars(import_module("regtorch.errors")).items():
        if isinstance(value, type) and issubclass(value, RegtorchError):
            assert getattr(regtorch, name) is value


def test_in_a_checkout_the_package_contains_conf_and_nothing_else() -> None:
    assert len(regtorch.__path__) == 1
    assert import_module("regtorch.conf").__path__ == [str(ROOT / "conf")]
    beside = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"} - {"conf"}
    assert {"regtorch", "tests", "scripts", "benchmarks", "docs", "examples"} <= beside
    assert [name for name in beside if name.isidentifier() and find_spec(f"regtorch.{name}") is not None] == []


_FIRST_IMPORT = """
import importlib, os, pathlib, sys, warnings
import lightning.pytorch, torchmetrics, hydra, omegaconf, matplotlib  # once, and not in each process
assert not [name for name in sys.modules if name.partition(".")[0] == "regtorch"]
warnings.simplefilter("error")
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    if file.stem in ("__init__", "__main__"):
        continue
    if not (child := os.fork()):
        try:
            importlib.import_module(f"regtorch.{file.stem}")
        except BaseException as error:
            print(f"{file.stem}: {error}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each module is imported in a forked process")
def test_each_module_may_be_imported_first() -> None:
    package = Path(regtorch.__path__[0])
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_IMPORT, str(package)], capture_output=True, text=True, check=True
    )
    assert not done.stdout, done.stdout
