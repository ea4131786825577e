"""Regularisation for PyTorch: penalties, dropouts, norm constraints and Monte Carlo dropout.

Names resolve on first use: ``import regtorch`` alone imports no torch, so that listing names, ``--help`` and
configuration errors are quick.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.1.0"

# In a checkout conf/ lies beside the package, not in it: make `regtorch.conf` importable from there too.
if not (_Path(__file__).parent / "conf").is_dir():
    __path__.append(str(_Path(__file__).parent.parent))

#: name -> module, for what is no registered component (those are found by `registry`)
_HOMES = {
    "Regularizer": "regtorch.regularizers.base",
    "Constraint": "regtorch.constraints.base",
    "WeightPenalty": "regtorch.binding",
    "WeightConstraint": "regtorch.binding",
    "Noise": "regtorch.dropout.base",
    "ProbabilityDropout": "regtorch.dropout.base",
    "Schedule": "regtorch.schedules.base",
    "Scheduled": "regtorch.scheduled",
    "MCPredictor": "regtorch.mc",
    "always_on": "regtorch.mc",
    "samples_needed": "regtorch.mc",
    "from_keras": "regtorch.keras",
    "KerasFileError": "regtorch.errors",
    "convert_dropout": "regtorch.dropout.convert",
    "consistent": "regtorch.dropout.consistent_dropout",
    "depth_schedule": "regtorch.dropout.depth_schedule",
    "plain": "regtorch.plain_torch",
    "advise_against": "regtorch.advice",
    "register": "regtorch.registry",
    "available": "regtorch.registry",
    "create": "regtorch.registry",
    "RegtorchError": "regtorch.errors",
    "SettingError": "regtorch.errors",
    "UnknownNameError": "regtorch.errors",
    "NameTakenError": "regtorch.errors",
    "ContractError": "regtorch.errors",
    "NamingError": "regtorch.errors",
    "NothingBoundError": "regtorch.errors",
    "DataError": "regtorch.errors",
}
_SUBPACKAGES = {
    "constraints",
    "data",
    "dropout",
    "functional",
    "initializers",
    "keras",
    "mc",
    "models",
    "optimizers",
    "regularizers",
    "registry",
    "settings",
    "training",
}


def __getattr__(name: str) -> _Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'regtorch' has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(_import_module(_HOMES[name]), name)
    elif name in _SUBPACKAGES:
        value = _import_module(f"regtorch.{name}")
    else:
        value = _import_module("regtorch.registry").attribute(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    components = _import_module("regtorch.registry").attributes()
    return sorted({*_HOMES, *_SUBPACKAGES, *components, "__version__"})
