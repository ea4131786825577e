"""The layout of the package: imports go downwards only, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import regtorch

ROOT = Path(regtorch.__file__).parent
MODULES = {
    ".".join(("regtorch", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
ENTRY_POINTS = {"regtorch", "regtorch.__main__"}  # the first imports names lazily, from everywhere
LAYERS = [
    re.findall(r"`(\w+)[/.]", row.split("|")[1])
    for row in re.findall(
        r"^\|.*`.*\|.*$",
        (ROOT.parent / "docs/architecture.md")
        .read_text(encoding="utf-8")
        .split("<!-- layers -->")[1]
        .split("<!-- end -->")[0],
        re.MULTILINE,
    )
]
DEPTH = {package: depth for depth, layer in enumerate(LAYERS) for package in layer}


def imports(path: Path) -> Iterator[str]:
    """The modules of regtorch that a file imports, also in functions; without those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                name if (name := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {
    name: {found for found in imports(path) if found in MODULES and found not in {name, *ENTRY_POINTS}}
    for name, path in MODULES.items()
}


def package_of(module: str) -> str:
    return module.split(".")[1]


def test_every_package_has_its_place() -> None:
    assert {package_of(name) for name in MODULES if name not in ENTRY_POINTS} - {"testing"} == DEPTH.keys()


def test_there_are_no_cycles() -> None:
    assert len(list(TopologicalSorter(IMPORTS).static_order())) == len(MODULES)


@pytest.mark.parametrize("package", DEPTH)
def test_imports_go_downwards_only(package: str) -> None:
    upwards = [
        f"{name} imports {found}"
        for name in MODULES.keys() - ENTRY_POINTS
        if package_of(name) == package
        for found in IMPORTS[name]
        if package_of(found) != package and DEPTH[package_of(found)] <= DEPTH[package]
    ]
    assert upwards == []


def test_imports_by_name_are_those_of_components_and_lazy_packages() -> None:
    """Such imports are in no import graph, so each one is listed here with its reason."""
    calling = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].strip("_") == "import_module"
    }
    assert calling == {
        "regtorch",  # its own names, on first use
        "regtorch.lazy_package",  # names of a package, on first use
        "regtorch.registry.components",  # a component, when it is created
        "regtorch.registry.contracts",  # the base class of a kind, when a plugin is checked
        "regtorch.registry.plugins",  # plugins
        "regtorch.keras.from_keras_file",  # the families of layers in the same package
    }


@pytest.mark.parametrize("package", sorted(DEPTH.keys() - {"cli"}))
def test_no_package_uses_the_lazy_names_of_the_top(package: str) -> None:
    used = {
        f"{name}: regtorch.{node.attr}"
        for name, path in MODULES.items()
        if name not in ENTRY_POINTS and package_of(name) == package
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "regtorch"
    }
    assert {use for use in used if not use.endswith((".__version__", ".conf"))} == set()


def external(name: str) -> set[str]:
    """The top-level packages that a module imports at any time, other than regtorch."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in found}


def test_heavy_libraries_stay_on_top() -> None:
    low = [name for name in MODULES.keys() - ENTRY_POINTS if package_of(name) in DEPTH]
    low = [name for name in low if DEPTH["training"] < DEPTH[package_of(name)] < DEPTH["compat"]]
    assert {name: heavy for name in low if (heavy := external(name) & {"lightning", "hydra", "optuna"})} == {}


def test_files_are_short() -> None:
    long_files = [name for name, path in MODULES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long_files == []


def test_few_modules_are_outside_packages() -> None:
    assert len(list(ROOT.glob("[a-z]*.py"))) <= 10
