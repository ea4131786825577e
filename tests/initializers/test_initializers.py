"""All initializers: Keras' distributions, layouts, dtypes, seeds, settings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from regtorch import available, create
from regtorch.errors import SettingError
from regtorch.initializers.base import Initializer
from regtorch.initializers.variance_scaling import fans

CONF = Path(__file__).parents[2] / "conf" / "initializer"

# moments of large draws of Keras 3.15.1, shapes in Keras' layout
KERAS = json.loads((Path(__file__).parents[1] / "reference" / "initializers.json").read_text())
NODES = {
    "VarianceScaling": {"name": "variance_scaling", "scale": 2.0, "mode": "fan_avg"},
    "VarianceScalingUntruncated": {
        "name": "variance_scaling",
        "scale": 2.0,
        "mode": "fan_avg",
        "distribution": "untruncated_normal",
    },
}
UNBOUNDED = {"RandomNormal", "VarianceScalingUntruncated", "Orthogonal"}


def _node(keras_name: str) -> dict[str, object]:
    snake = "".join("_" + c.lower() if c.isupper() else c for c in keras_name).strip("_")
    return NODES.get(keras_name, {"name": snake})


@pytest.mark.parametrize("row", KERAS, ids=lambda row: f"{row['initializer']}-{len(row['shape'])}d")
def test_draws_from_keras_distribution(row):
    *kernel, inputs, outputs = row["shape"]
    torch.manual_seed(0)
    w = create("initializer", **_node(row["initializer"]))(torch.empty(outputs, inputs, *kernel)).double()
    assert w.std().item() == pytest.approx(row["std"], rel=0.01, abs=1e-12)
    assert w.mean().item() == pytest.approx(row["mean"], abs=5 * row["std"] / math.sqrt(w.numel()) * 1.5 + 1e-12)
    if row["initializer"] not in UNBOUNDED:
        width = row["max"] - row["min"]
        assert w.max().item() == pytest.approx(row["max"], abs=2e-3 * width + 1e-12)
        assert w.min().item() == pytest.approx(row["min"], abs=2e-3 * width + 1e-12)


@pytest.mark.parametrize(
    ("name", "variance", "bounded_by"),
    [
        ("glorot_normal", 2 / 1500, 2 / 0.87962566),
        ("glorot_uniform", 2 / 1500, math.sqrt(3)),
        ("he_normal", 2 / 1000, 2 / 0.87962566),
        ("he_uniform", 2 / 1000, math.sqrt(3)),
        ("lecun_normal", 1 / 1000, 2 / 0.87962566),
        ("lecun_uniform", 1 / 1000, math.sqrt(3)),
    ],
)
def test_the_named_initializers_have_the_variance_of_their_papers(name, variance, bounded_by):
    torch.manual_seed(1)
    w = create("initializer", name)(torch.empty(500, 1000))
    assert w.std().item() == pytest.approx(math.sqrt(variance), rel=0.005)
    assert w.abs().max().item() == pytest.approx(bounded_by * math.sqrt(variance), rel=2e-3)


def test_a_truncated_normal_is_truncated_and_not_rescaled():
    torch.manual_seed(2)
    z = create("initializer", "truncated_normal", mean=3.0, std=1.0)(torch.empty(400_000)) - 3.0
    assert z.abs().max() <= 2.0
    inside = math.erf(math.sqrt(2))
    for edge in (0.25, 0.5, 1.0, 1.5, 1.9):
        wanted = math.erf(edge / math.sqrt(2)) / inside
        assert (z.abs() < edge).float().mean().item() == pytest.approx(wanted, abs=4e-3)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(30, 20), (30, 20)),
        (nn.Conv1d(4, 6, 5), (20, 30)),
        (nn.Conv2d(4, 6, 3, groups=2), (18, 54)),
        (nn.Conv3d(1, 2, 2), (8, 16)),
    ],
)
def test_fans_of_torchs_layouts(layer, expected):
    assert fans(layer.weight.shape) == expected


def test_fans_of_vectors_and_numbers():
    assert fans(torch.Size((7,))) == (7, 7)
    assert fans(torch.Size(())) == (1, 1)


def test_a_transposed_view_fills_the_weight_with_the_true_fans():
    layer = nn.ConvTranspose2d(5, 300, 3)
    create("initializer", "he_uniform")(layer.weight.transpose(0, 1))
    assert layer.weight.detach().abs().max().item() == pytest.approx(math.sqrt(6 / 45), rel=0.01)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 4, 3, 3), (40, 2, 3, 3)])
def test_orthogonal(shape):
    matrix = create("initializer", "orthogonal", gain=2.0)(torch.empty(shape, dtype=torch.float64)).flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, 4.0 * torch.eye(len(gram), dtype=torch.float64))


def test_orthogonal_has_no_preferred_sign():
    torch.manual_seed(3)
    corners = torch.stack([create("initializer", "orthogonal")(torch.empty(2, 2))[0, 0] for _ in range(200)])
    assert 60 < (corners > 0).sum() < 140


def test_identity_makes_a_convolution_return_its_input():
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    create("initializer", "identity", gain=0.5)(conv.weight)
    x = torch.randn(2, 3, 6, 6)
    y = conv(x)
    torch.testing.assert_close(y[:, :3], 0.5 * x)
    assert (y[:, 3:] == 0).all()


@pytest.mark.parametrize("name", ["orthogonal", "identity"])
def test_matrices_need_two_dimensions(name):
    with pytest.raises(SettingError, match=r"need two dimensions or more, not the shape \(3,\)"):
        create("initializer", name)(torch.empty(3))


NAMES = available("initializer")


@pytest.mark.parametrize("name", NAMES)
def test_fills_every_dtype_in_place_by_the_seed(name):
    initializer = create("initializer", name)
    assert isinstance(initializer, Initializer)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        w = nn.Parameter(torch.full((8, 6), float("nan"), dtype=dtype))
        version = w._version
        assert initializer(w, torch.Generator().manual_seed(5)) is w
        assert w._version > version
        assert w.dtype == dtype
        assert w.requires_grad
        assert w.isfinite().all()
        again = initializer(torch.empty_like(w), torch.Generator().manual_seed(5))
        assert torch.equal(w, again)
        torch.manual_seed(5)
        first = initializer(torch.empty_like(w)).clone()
        torch.manual_seed(5)
        assert torch.equal(first, initializer(w))


@pytest.mark.parametrize("name", NAMES)
def test_half_types_are_the_rounded_float32_draw(name):
    initializer = create("initializer", name)
    wide = initializer(torch.empty(8, 6), torch.Generator().manual_seed(1))
    half = initializer(torch.empty(8, 6, dtype=torch.bfloat16), torch.Generator().manual_seed(1))
    assert torch.equal(half, wide.bfloat16())


@pytest.mark.parametrize("name", NAMES)
def test_meta_and_empty_tensors_are_accepted(name):
    meta = torch.empty(4, 3, device="meta")
    assert create("initializer", name)(meta) is meta
    assert create("initializer", name)(torch.empty(0, 3)).shape == (0, 3)


SETTINGS = {
    "variance_scaling": {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"},
    "orthogonal": {"gain": 1.4},
    "identity": {"gain": -1.0},
    "constant": {"value": 0.1},
    "truncated_normal": {"mean": 1.0, "std": 0.2},
    "random_normal": {"mean": 1.0, "std": 0.2},
    "random_uniform": {"low": -1.0, "high": 3.0},
}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    node = {"name": name, **SETTINGS.get(name, {})}
    built = create("initializer", **node)
    assert built.to_config() == node
    copy = create("initializer", **built.to_config())
    draw = [x(torch.empty(4, 4), torch.Generator().manual_seed(0)) for x in (built, copy)]
    assert torch.equal(*draw)


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_holds_the_defaults(name):
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert create("initializer", **node).to_config() == create("initializer", name).to_config()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("variance_scaling", {"scale": 0.0}, "scale=0.0 is not allowed: it must be a finite number > 0"),
        ("variance_scaling", {"mode": "fan"}, "mode=fan is not allowed: it must be one of fan_in, fan_out, fan_avg"),
        (
            "variance_scaling",
            {"distribution": "normal"},
            "distribution=normal is not allowed: it must be one of truncated_normal, untruncated_normal, uniform",
        ),
        ("orthogonal", {"gain": "big"}, "gain=big is not allowed: it must be a finite number"),
        ("identity", {"gain": None}, "gain=None is not allowed: it must be a finite number"),
        ("constant", {"value": math.inf}, "value=inf is not allowed: it must be a finite number"),
        ("truncated_normal", {"std": -1}, "std=-1 is not allowed: it must be a finite number >= 0"),
        ("random_normal", {"mean": math.nan}, "mean=nan is not allowed: it must be a finite number"),
        ("random_uniform", {"low": 1.0, "high": 0.0}, "low=1.0 is not allowed: it must be at most high=0.0"),
        ("he_normal", {"scale": 3.0}, "scale=3.0: initializer he_normal has no such setting; it has: none"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(SettingError) as error:
        create("initializer", name, **settings)
    assert str(error.value) == message
