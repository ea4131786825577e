"""Detection of modules of other libraries that drop branches as `DropPath` does, by a trial, not only by name."""

from __future__ import annotations

import copy
import re
from numbers import Real
from typing import Any

import torch
from torch import nn

#: names of classes that drop branches: DropPath, SwinDropPath, StochasticDepth, ...
_NAMES = re.compile("drop_?path|stochastic_?depth", re.IGNORECASE)
#: their names for the probability to drop
_PROBABILITIES = ("p", "drop_prob")
#: number of rows in the trial: all are kept, or all are dropped, with probability 2^-63
_ROWS = 64

#: class and settings -> result of the trial
_known: dict[tuple[Any, ...], bool] = {}


def branch_drop_prob(module: nn.Module) -> float | None:
    """The probability with which a module drops each row's branch, scaling the others; None for other modules.

    A copy is tried on a few rows with probability 1/2: each row must become zero or double. So the result is None for
    modules that do not scale, or that drop all rows together.

    Example:
        >>> from torchvision.ops import StochasticDepth
        >>> branch_drop_prob(StochasticDepth(0.1, "row")), branch_drop_prob(StochasticDepth(0.1, "batch"))
        (0.1, None)
    """
    if not _NAMES.search(type(module).__name__) or isinstance(module, torch.jit.ScriptModule):
        return None
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return None
    name = next((name for name in _PROBABILITIES if hasattr(module, name)), None)
    value = getattr(module, name) if name is not None else "none"
    if name is None or not (value is None or isinstance(value, Real)):
        return None
    key = (type(module), *sorted((k, repr(v)) for k, v in _settings(module).items() if k != name))
    if key not in _known:
        _known[key] = _drops_rows(module, name)
    return float(value or 0.0) if _known[key] else None


def _settings(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and k not in ("training", "forward")}


def _drops_rows(module: nn.Module, name: str) -> bool:
    x = torch.arange(1.0, 1 + 8 * _ROWS).reshape(_ROWS, 2, 2, 2)
    trial = copy.copy(module)
    vars(trial).pop("forward", None)  # a patched forward is not the one of the class
    try:
        setattr(trial, name, 0.5)
        trial.training = True
        with torch.random.fork_rng(devices=()), torch.no_grad():
            y = trial(x.clone())
    except Exception:  # a module that needs more than an input does not only drop
        return False
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        return False
    dropped = (y == 0).flatten(1).all(1)
    kept = (y == 2 * x).flatten(1).all(1)
    return bool((dropped | kept).all() and dropped.any() and kept.any())
