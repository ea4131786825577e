"""Check that training can resume from a checkpoint exactly: its weights fit, and its optimizer state is complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from regtorch.errors import DataError
from regtorch.registry import create

_SHAPE = (2, 3)  # shape of the weight for a trial step of the optimizer


def check_resumable(config: Mapping[str, Any], module: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint with the weights of another network, or without complete optimizer state.

    Args:
        config: the run's configuration.
        module: the module to load the checkpoint into.
        checkpoint: the checkpoint's content.
        path: the checkpoint's file.

    Raises:
        DataError: names the part that does not fit.
    """
    _check_weights(module, checkpoint["state_dict"], path)
    states = checkpoint.get("optimizer_states")
    if not checkpoint.get("global_step"):
        return
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], Mapping):
        raise DataError(f"{path} is incomplete: it has no optimizer state")
    expected = _state_of_one_step(config["optimizer"])
    state = states[0].get("state")
    skipped = str(config["trainer"]["precision"]).startswith("16")  # a scaled loss may have skipped all steps so far
    if expected and not state and not skipped:
        raise DataError(
            f"{path} is incomplete: after {checkpoint['global_step']} steps it has no optimizer state, such as "
            f"{next(iter(expected))}"
        )
    weights = list(module.parameters())
    for key, of_weight in (state or {}).items():
        missing = [name for name in expected if name not in of_weight]
        if missing:
            raise DataError(f"{path} is incomplete: the optimizer's state of weight {key} lacks {', '.join(missing)}")
        if not isinstance(key, int) or key >= len(weights):
            continue  # the state of sharded weights, by name
        for name, value in expected.items():
            found = of_weight[name]
            like_weight = isinstance(value, Tensor) and value.shape == _SHAPE
            if like_weight and (not isinstance(found, Tensor) or found.shape != weights[key].shape):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise DataError(
                    f"{path} does not fit the optimizer: {name} of weight {key} has the shape {shape}, but the weight has "
                    f"{tuple(weights[key].shape)}"
                )


def _check_weights(module: nn.Module, there: Mapping[str, Any], path: Path) -> None:
    here = module.state_dict()
    refusal = f"{path} does not fit the model of the run's configuration"
    if different := sorted(set(here) ^ set(there)):
        what = "the checkpoint lacks" if different[0] in here else "the model has no"
        raise DataError(f"{refusal}: {what} {different[0]}")
    for name, weight in here.items():
        if is_lazy(weight):
            continue
        if tuple(there[name].shape) != tuple(weight.shape):
            raise DataError(
                f"{refusal}: {name} has the shape {tuple(there[name].shape)} in it, but {tuple(weight.shape)} in the model"
            )


def _state_of_one_step(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the optimizer's state for a weight after a trial step."""
    weight = nn.Parameter(torch.zeros(_SHAPE))
    weight.grad = torch.ones(_SHAPE)
    with torch.random.fork_rng(devices=()):
        try:
            trial: Any = create("optimizer", **optimizer, params=[weight])
            trial.step()
        except Exception:  # a plugin's optimizer may need more for a step
            return {}
    return {name: value for name, value in trial.state[weight].items() if value is not None}
