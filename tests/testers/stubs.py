"""Stubs with the exports of lazy packages, for type checkers and editors: ``python -m tests.testers.stubs`` writes them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import regtorch
from regtorch.lazy_package import LazyPackage

COMMAND = "python -m tests.testers.stubs"


def lazy_packages() -> Iterator[LazyPackage]:
    """regtorch, and the packages in it that import their names on first use."""
    yield regtorch
    for found in walk_packages(regtorch.__path__, "regtorch.", onerror=lambda name: None):
        if (
            found.ispkg
            and "make_lazy" in Path(found.module_finder.path, found.name.rpartition(".")[2], "__init__.py").read_text()
        ):
            yield import_module(found.name)


def exports(package: LazyPackage) -> dict[str, str]:
    """Public name -> module that it is imported from, as at run time."""
    return {**package._homes(), **dict.fromkeys(package._subpackages, package.__name__)}


def stub(package: LazyPackage) -> Path:
    """The path of a package's stub."""
    return Path(package.__path__[0]) / "__init__.pyi"


def exports_of_stub(package: LazyPackage) -> dict[str, str]:
    """Public name -> module that it is imported from, as a type checker sees it."""
    found: dict[str, str] = {}
    named: list[str] = []
    for node in ast.parse(stub(package).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name: str(node.module) for alias in node.names}
        elif isinstance(node, ast.Assign):
            named = ast.literal_eval(node.value)
    assert sorted(found) == sorted(named), "names that are imported but not in __all__ are private for type checkers"
    return found


def text(package: LazyPackage) -> str:
    """The stub, unformatted."""
    names = exports(package)
    lines = [f'"""Names that `__init__.py` imports on first use; written by `{COMMAND}`."""', ""]
    lines += [f"from {module} import {name}" for name, module in names.items()]
    lines += ["", f"__all__ = {sorted(names)!r}"]
    lines += ["", "__version__: str"] if package is regtorch else []
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all stubs."""
    paths = [stub(package) for package in lazy_packages()]
    for package, path in zip(lazy_packages(), paths, strict=True):
        path.write_text(text(package), encoding="utf-8")
    for command in (["check", "-q", "--fix", "--select", "I,RUF022"], ["format", "-q"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *paths], check=True)


if __name__ == "__main__":
    main()
