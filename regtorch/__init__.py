"""Regularization for PyTorch: penalties, dropouts, norm constraints and Monte Carlo dropout.

Names resolve on first use: ``import regtorch`` alone imports no torch, so that listing names, ``--help`` and
configuration errors are quick.
"""

from __future__ import annotations as _annotations

import sys as _sys
from importlib import import_module as _import_module
from importlib.machinery import ModuleSpec as _ModuleSpec
from importlib.machinery import PathFinder as _PathFinder
from os import path as _path

from regtorch.lazy_package import make_lazy as _make_lazy

__version__ = "0.1.0"

#: name -> module of the public names that are not registered components (`registry` finds those)
_HOMES = {
    "Regularizer": "regtorch.regularizers.base",
    "Constraint": "regtorch.constraints.base",
    "WeightPenalty": "regtorch.binding",
    "WeightConstraint": "regtorch.binding",
    "Noise": "regtorch.dropout.base",
    "ProbabilityDropout": "regtorch.dropout.base",
    "Schedule": "regtorch.schedules.base",
    "Scheduled": "regtorch.binding.scheduled",
    "MCPredictor": "regtorch.mc",
    "always_on": "regtorch.mc",
    "samples_needed": "regtorch.mc",
    "from_keras": "regtorch.keras",
    "KerasFileError": "regtorch.errors",
    "convert_dropout": "regtorch.dropout.convert",
    "consistent": "regtorch.dropout.consistent_dropout",
    "depth_schedule": "regtorch.dropout.depth_schedule",
    "plain": "regtorch.plain_torch",
    "advise_against": "regtorch.registry.advice",
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
#: without `testing`, which needs pytest
_SUBPACKAGES = (
    "activations",
    "augmentations",
    "constraints",
    "data",
    "dropout",
    "errors",
    "functional",
    "initializers",
    "keras",
    "mc",
    "models",
    "optimizers",
    "regularizers",
    "registry",
    "schedulers",
    "schedules",
    "settings",
    "study",
    "training",
)


def _homes() -> dict[str, str]:
    return {**_import_module("regtorch.registry").homes(), **_HOMES}


def _registered(name: str) -> object:
    return _import_module("regtorch.registry").attribute(name)


_make_lazy(__name__, _homes, _SUBPACKAGES, _registered)


class _CheckoutConfigFinder:
    """Finds ``regtorch.conf`` in a checkout, where conf/ is next to the package, and no other module next to it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> _ModuleSpec | None:
        return _PathFinder.find_spec(name, [_path.dirname(__path__[0])]) if name == f"{__name__}.conf" else None


if not _path.isdir(_path.join(__path__[0], "conf")):
    _sys.meta_path.append(_CheckoutConfigFinder)
