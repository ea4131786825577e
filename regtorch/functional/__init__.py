"""Pure functions of tensors: the formulas of the components, under their own names.

Each function is in the file of its component, next to the class, and is listed in the ``__all__`` of that file.
"""

import re as _re
from pathlib import Path as _Path

from regtorch.lazy_package import make_lazy as _make_lazy

_PACKAGES = ("regularizers", "constraints", "dropout", "initializers", "schedules")
_PUBLIC = _re.compile(r"^__all__ = \[([^]]*)\]", _re.MULTILINE)


def _formulas() -> dict[str, str]:
    """Name of each public function -> its module; classes have a capital letter."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        for path in sorted((_Path(__file__).parents[1] / package).glob("[!_]*.py")):
            for listed in _PUBLIC.findall(path.read_text(encoding="utf-8")):
                module = f"regtorch.{package}.{path.stem}"
                found |= {name: module for name in _re.findall(r'"(\w+)"', listed) if name.islower()}
    return found


_make_lazy(__name__, _formulas())
