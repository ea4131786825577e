"""Arguments of the wrong type are errors of one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import regtorch
from regtorch import functional
from tests.testers.components import CONSTRAINTS, REGULARIZERS, made

NO_TENSORS: dict[str, Any] = {
    "an array": np.ones((3, 4)),
    "a list": [1.0],
    "None": None,
    "a number": 5,
    "a module": nn.Linear(2, 2),
}
every_value = pytest.mark.parametrize("value", NO_TENSORS.values(), ids=NO_TENSORS)


def one_line(call: Callable[[], Any]) -> None:
    with pytest.raises(regtorch.RegtorchError) as error:
        call()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 500


DROPOUTS = [name for name in regtorch.available("dropout") if not regtorch.create("dropout", name).acts_on_weights]
OF_ONE_TENSOR = [
    *(("regularizer", name) for name in REGULARIZERS),
    *(("constraint", name) for name in CONSTRAINTS),
    *(("dropout", name) for name in DROPOUTS),
]


@pytest.mark.parametrize(("kind", "name"), OF_ONE_TENSOR, ids=lambda value: value)
@every_value
def test_components_of_one_tensor(kind: str, name: str, value: Any) -> None:
    for training in (True, False):
        one_line(lambda training=training: made(kind, name).train(training)(value))


#: valid values of the arguments that formulas need
VALUES: dict[str, Any] = {
    **dict.fromkeys(("l1", "l2", "factor", "strength", "threshold"), 0.1),
    **{"units": 2, "penalty": torch.sum, "min_value": 0.5, "max_value": 1.0},
    **{"std": 0.5, "drop_prob": 0.5, "logit": torch.zeros(1)},
}


def needed(name: str) -> dict[str, Any] | None:
    """The arguments without a default after the first; None if the first is not a tensor."""
    first, *others = inspect.signature(getattr(functional, name)).parameters.values()
    if first.name not in ("w", "weights", "x", "output"):
        return None
    return {
        other.name: VALUES[other.name]
        for other in others
        if other.default is other.empty and other.kind is not other.VAR_POSITIONAL
    }


FORMULAS = {name: given for name in functional.__all__ if (given := needed(name)) is not None}


@pytest.mark.parametrize("name", FORMULAS)
@every_value
def test_formulas(name: str, value: Any) -> None:
    one_line(lambda: getattr(functional, name)(value, **FORMULAS[name]))


def test_schedules_alone_take_no_tensor() -> None:
    assert set(functional.__all__) - FORMULAS.keys() == {
        *("cosine_annealing", "linear_warmup", "step_decay"),
    }


NO_MODULES: dict[str, Any] = {"None": None, "a list": [], "a number": 5, "an array": np.ones(3), "a class": nn.Linear}
TAKING_MODELS: dict[str, Callable[[Any], Any]] = {
    "convert_dropout": regtorch.convert_dropout,
    "consistent": regtorch.consistent,
    "depth_schedule": regtorch.depth_schedule,
    "always_on": regtorch.always_on,
    "plain": regtorch.plain,
    "WeightPenalty": lambda model: regtorch.WeightPenalty(model, regtorch.L2(0.1)),
    "WeightConstraint": lambda model: regtorch.WeightConstraint(model, regtorch.NonNeg()),
    "Scheduled": lambda model: regtorch.Scheduled(model, regtorch.create("schedule", "cosine"), 5),
}


@pytest.mark.parametrize("name", TAKING_MODELS)
@pytest.mark.parametrize("value", NO_MODULES.values(), ids=NO_MODULES)
def test_functions_of_a_model(name: str, value: Any) -> None:
    one_line(lambda: TAKING_MODELS[name](value))


@pytest.mark.parametrize("value", [5, None, "text", [1]], ids=str)
def test_objects_that_cannot_be_registered(value: Any) -> None:
    one_line(lambda: regtorch.register("regularizer", "of_no_class")(value))
    assert "of_no_class" not in regtorch.available("regularizer")


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize(
    "setting", [{"shape": "x"}, {"shape": [-4]}, {"shape": [0]}, {"shape": 4}, {"shape": []}, {"classes": 0}]
)
def test_models_of_impossible_sizes(model: str, setting: dict[str, Any]) -> None:
    sizes = {"shape": [1, 4, 4], "classes": 2}
    one_line(lambda: regtorch.create("model", model, **{**sizes, **setting}))


@pytest.mark.parametrize("kind", ["regularizer", "constraint"])
def test_strengths_are_finite_and_floats(kind: str) -> None:
    for name in regtorch.available(kind):
        rule = made(kind, name)
        numbers = [key for key, value in rule.settings().items() if isinstance(value, float)]
        for key in numbers:
            assert type(getattr(regtorch.create(kind, name, **{key: 1}), key)) is float
            with pytest.raises(regtorch.SettingError, match=rf"{key}=inf is not allowed: it must be a"):
                regtorch.create(kind, name, **{key: float("inf")})
