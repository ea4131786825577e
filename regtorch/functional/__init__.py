"""Pure functions of tensors: the formulas, and only them. Each file holds one, under its own name."""

from importlib import import_module as _import_module
from pathlib import Path as _Path

for _path in sorted(_Path(__file__).parent.glob("[!_]*.py")):
    _module = _import_module(f"{__name__}.{_path.stem}")
    # the function takes the place of the submodule of the same name
    globals().update(
        {
            k: v
            for k, v in vars(_module).items()
            if not k.startswith("_") and getattr(v, "__module__", "") == _module.__name__
        }
    )
