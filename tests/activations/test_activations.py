"""All activations: values, torch class, settings; and no two components share a Python name."""

from __future__ import annotations

import copy
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from torch import fx, nn

from regtorch import available, create
from regtorch.errors import SettingError
from regtorch.registry import components

CONF = Path(__file__).parents[2] / "conf" / "activation"

X = torch.tensor([-4.0, -1.0, 0.0, 0.5, 2.0, 7.0], dtype=torch.float64)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772

#: name -> (the formula, torch's class)
FORMULAS = {
    "identity": (lambda x: x, nn.Identity),
    "relu": (lambda x: max(x, 0.0), nn.ReLU),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), nn.ReLU6),
    "leaky_relu": (lambda x: x if x > 0 else 0.3 * x, nn.LeakyReLU),
    "prelu": (lambda x: max(x, 0.0), nn.PReLU),
    "elu": (lambda x: x if x > 0 else math.expm1(x), nn.ELU),
    "celu": (lambda x: x if x > 0 else math.expm1(x), nn.CELU),
    "selu": (lambda x: SCALE * (x if x > 0 else ALPHA * math.expm1(x)), nn.SELU),
    "gelu": (lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2, nn.GELU),
    "silu": (lambda x: x / (1 + math.exp(-x)), nn.SiLU),
    "mish": (lambda x: x * math.tanh(math.log1p(math.exp(x))), nn.Mish),
    "hard_silu": (lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0), nn.Hardswish),
    "tanh": (math.tanh, nn.Tanh),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), nn.Sigmoid),
    "hard_sigmoid": (lambda x: min(max(x / 6 + 0.5, 0.0), 1.0), nn.Hardsigmoid),
    "softplus": (lambda x: math.log1p(math.exp(x)), nn.Softplus),
    "softsign": (lambda x: x / (1 + abs(x)), nn.Softsign),
}
NAMES = sorted(FORMULAS)


def test_the_table_lists_all_components():
    assert available("activation") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_values_and_class(name):
    formula, torchs = FORMULAS[name]
    activation = create("activation", name).double()
    assert isinstance(activation, torchs)
    before = X.clone()
    torch.testing.assert_close(
        activation(X).detach(), torch.tensor([formula(x) for x in X.tolist()], dtype=torch.float64)
    )
    assert torch.equal(X, before)


@pytest.mark.parametrize("name", NAMES)
def test_each_call_builds_a_new_module_that_traces_copies_and_supports_half_types(name):
    activation = create("activation", name)
    assert create("activation", name) is not activation
    x = X.float()
    for other in (copy.deepcopy(activation), fx.symbolic_trace(nn.Sequential(activation))):
        torch.testing.assert_close(other(x), activation(x))
    for dtype in (torch.float16, torch.bfloat16):
        assert activation.to(dtype)(X.to(dtype)).dtype == dtype


SETTINGS = {
    "leaky_relu": {"negative_slope": 0.1},
    "prelu": {"num_parameters": 3},
    "elu": {"alpha": 0.5},
    "celu": {"alpha": 0.5},
    "gelu": {"approximate": "tanh"},
}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    node = {"name": name, **SETTINGS.get(name, {})}
    activation = create("activation", **node)
    assert activation.to_config() == node
    assert repr(create("activation", **activation.to_config())) == repr(activation)


def test_prelu_learns_a_slope_per_unit_from_zero():
    prelu = create("activation", "prelu", num_parameters=3)
    assert prelu.weight.tolist() == [0.0, 0.0, 0.0]
    prelu(-torch.ones(2, 3)).sum().backward()
    assert prelu.weight.grad.tolist() == [-2.0, -2.0, -2.0]
    assert create("activation", "prelu", num_parameters=None).num_parameters == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_holds_the_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert create("activation", **node).to_config() == create("activation", name).to_config()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("leaky_relu", {"negative_slope": -0.1}, "negative_slope=-0.1 is not allowed: it must be a finite number >= 0"),
        ("prelu", {"num_parameters": 0}, "num_parameters=0 is not allowed: it must be an integer >= 1"),
        ("elu", {"alpha": 0.0}, "alpha=0.0 is not allowed: it must be a finite number > 0"),
        ("celu", {"alpha": 0.0}, "alpha=0.0 is not allowed: it must be a finite number > 0"),
        ("gelu", {"approximate": True}, "approximate=True is not allowed: it must be one of none, tanh"),
        ("relu", {"inplace": True}, "inplace=True: activation relu has no such setting; it has: none"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(SettingError) as error:
        create("activation", name, **settings)
    assert str(error.value) == message


def test_no_two_components_share_a_python_name():
    """`regtorch.<Class>` finds a component by its Python name alone."""
    twice = [
        name
        for name, count in Counter(found.attribute for found in components._builtin().values()).items()
        if count > 1
    ]
    assert twice == []
