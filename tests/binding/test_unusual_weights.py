"""Complex, empty, 0-dim, lazy and half-precision weights, the meta device and two devices: correct, or an error of one line."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.errors import SettingError
from tests.testers.components import CONSTRAINTS, REGULARIZERS, made

every_regularizer = pytest.mark.parametrize("name", REGULARIZERS)
every_constraint = pytest.mark.parametrize("name", CONSTRAINTS)
COMPLEX = torch.complex128


def penalty_of(model: nn.Module, name: str, **where: Any) -> tuple[Tensor, regtorch.WeightPenalty]:
    """The penalty after a forward pass, which activities need."""
    penalty = regtorch.WeightPenalty(model, made("regularizer", name), **where)
    w = next(model.parameters())
    model(torch.ones(5, model[0].in_features, dtype=w.dtype, device=w.device))
    return penalty(), penalty


# regularizers


@every_regularizer
def test_a_penalty_of_complex_weights(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3, dtype=COMPLEX), nn.Linear(3, 2, dtype=COMPLEX))
    value, _ = penalty_of(model, name)
    assert not value.is_complex()
    assert value.isfinite()
    if value.requires_grad:
        value.backward()
    rule, w = made("regularizer", name), torch.randn(4, 3, dtype=COMPLEX)
    turned = w * torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(rule(turned), rule(w))  # the modulus does not depend on the angle
    torch.testing.assert_close(rule(w.real.to(COMPLEX)), rule(w.real))
    if name != "none":
        assert torch.autograd.gradcheck(rule, w.requires_grad_(), check_forward_ad=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
@every_regularizer
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    w = torch.randn(3, 4, dtype=torch.float64).to(dtype)
    rule = made("regularizer", name)
    wide = w.to(torch.complex128 if dtype.is_complex else torch.float64)
    value = rule(w)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.item() == pytest.approx(rule(wide).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
@every_regularizer
def test_integer_weights_count_and_do_not_train(name: str, dtype: torch.dtype) -> None:
    rule, w = made("regularizer", name), torch.tensor([[1, 0, 1], [1, 1, 0]])
    assert rule(w.to(dtype)).item() == pytest.approx(rule(w.float()).item(), rel=1e-6)
    model = nn.Sequential(nn.Linear(3, 2))
    model.register_parameter("counts", nn.Parameter(w.to(dtype), requires_grad=False))
    without = regtorch.WeightPenalty(model, made("regularizer", name), where="kernel" if name != "activity" else "0")
    with_counts = regtorch.WeightPenalty(
        model, made("regularizer", name), where="*weight" if name != "activity" else "0"
    )
    assert with_counts().item() == without().item()


@every_regularizer
def test_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    value, _ = penalty_of(model, name)
    assert (value.device.type, value.shape, value.dtype) == ("meta", (), torch.float32)
    if value.requires_grad:
        value.backward()


@pytest.mark.parametrize("first", ["cpu", "meta"])
@every_regularizer
def test_two_devices(name: str, first: str) -> None:
    second = "meta" if first == "cpu" else "cpu"
    model = nn.Sequential(nn.Linear(4, 3, device=first), nn.Linear(3, 2, device=second))
    penalty = regtorch.WeightPenalty(model, made("regularizer", name))
    model[0](torch.ones(5, 4, device=first))
    model[1](torch.ones(5, 3, device=second))
    if name != "none":
        assert penalty().device.type == "meta"  # one part has no value
    assert penalty().shape == ()


@every_regularizer
def test_a_scalar_parameter(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model.register_parameter("scale", nn.Parameter(torch.tensor(2.0)))
    value, _ = penalty_of(model, name, **({} if name == "activity" else {"where": "all"}))
    assert math.isfinite(value.item())
    rule = made("regularizer", name)
    assert rule(torch.tensor(2.0)).item() == pytest.approx(rule(torch.tensor([2.0])).item())
    w = torch.tensor(0.0, requires_grad=True)
    if name != "none":
        rule(w).backward()
        assert w.grad.isfinite()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("inputs", "units"), [(4, 0), (0, 4), (0, 0)])
@every_regularizer
def test_a_layer_without_entries(name: str, inputs: int, units: int) -> None:
    model = nn.Sequential(nn.Linear(inputs, units, bias=False))
    value, _ = penalty_of(model, name)
    assert value.item() == 0
    assert value.dtype == torch.float32
    if value.requires_grad:
        value.backward()
    if name != "activity" and units and not inputs:
        groups = nn.ConvTranspose1d(0, 4, 3, groups=1)
        assert regtorch.WeightPenalty(groups, made("regularizer", name))().item() == 0


@every_regularizer
def test_a_lazy_layer_before_and_after_its_first_pass(name: str) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))
    penalty = regtorch.WeightPenalty(model, made("regularizer", name))
    if name in ("activity", "none"):
        assert penalty().item() == 0
    else:
        with pytest.raises(SettingError, match=r"not possible yet for 0\.weight.*run the model's first forward pass"):
            penalty()
    model(torch.randn(5, 3))
    found = penalty()
    fresh = regtorch.WeightPenalty(model, made("regularizer", name))
    if name == "activity":
        model.eval()  # in training mode another pass of the same batch would belong to the same step
        assert found.item() > 0
    else:
        torch.testing.assert_close(found, fresh())


def test_a_user_defined_regularizer_that_does_not_support_complex_weights() -> None:
    class Squares(regtorch.Regularizer):
        def forward(self, w: Tensor) -> Tensor:
            return (w * w).sum()

    class Positive(regtorch.Regularizer):
        def forward(self, w: Tensor) -> Tensor:
            return w.clamp(min=0).sum()

    layer = nn.Linear(3, 2, dtype=torch.complex64)
    for rule, reason in ((Squares(), "it returns a complex number"), (Positive(), "clamp")):
        with pytest.raises(
            SettingError, match=rf"not possible for weight, whose weights are complex: .*{reason}.*where="
        ):
            regtorch.WeightPenalty(layer, rule)
    layer = nn.Linear(3, 2)
    penalty = regtorch.WeightPenalty(layer, Squares())
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.complex64))
    with pytest.raises(SettingError, match="returns a complex number for weight"):
        penalty()
    model = nn.Sequential(nn.Linear(3, 2, dtype=torch.complex64))
    regtorch.WeightPenalty(model, regtorch.Activity(Squares()))
    with pytest.raises(SettingError, match="complex number for the output of 0"):
        model(torch.ones(2, 3, dtype=torch.complex64))


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_computed_weights_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        layer = nn.Linear(3, 4)
        if name == "weight_norm":
            layer = nn.utils.parametrizations.weight_norm(layer)
        model = nn.Sequential(layer, nn.Linear(4, 2))
    penalty = regtorch.WeightPenalty(model, regtorch.L2(0.1))
    constraint = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.1))
    model.to_empty(device="cpu")
    for w in model.parameters():
        nn.init.normal_(w)
    torch.testing.assert_close(penalty(), 0.1 * sum(layer.weight.square().sum() for layer in model))
    constraint.project()
    assert max(layer.weight.norm(dim=1).max() for layer in model) <= 0.1 + 1e-6


# constraints


def angles(w: Tensor) -> Tensor:
    return torch.where(w.abs() > 0, torch.sgn(w), 0)


@every_constraint
def test_a_constraint_of_complex_weights(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False, dtype=COMPLEX)
    before = layer.weight.detach().clone()
    if name == "non_neg":
        with pytest.raises(SettingError, match=r"NonNeg.* not possible for weight, whose weights are complex"):
            regtorch.WeightConstraint(layer, made("constraint", name))
        return
    rule = made("constraint", name)
    regtorch.WeightConstraint(layer, rule).project()
    kept = layer.weight.detach()
    torch.testing.assert_close(angles(kept), torch.where(kept.abs() > 0, angles(before), 0))
    # units by norm, entries by modulus: as for real weights of the same size
    torch.testing.assert_close(kept.abs(), rule(before.abs()))


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@every_constraint
def test_a_constraint_of_weights_of_any_shape(name: str, device: str, shape: tuple[int, ...]) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.full(shape, 3.0, device=device))
    constraint = regtorch.WeightConstraint(model, made("constraint", name), where="all")
    constraint.project()
    assert model.weight.shape == shape
    if device == "cpu" and name in ("max_norm", "unit_norm", "min_max_norm") and shape == ():
        assert model.weight.item() <= 2.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@every_constraint
def test_a_constraint_of_each_dtype(name: str, dtype: torch.dtype) -> None:
    w = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    rule = made("constraint", name)
    torch.testing.assert_close(rule(w).double(), rule(w.double()), rtol=4 * torch.finfo(dtype).eps, atol=1e-6)


@every_constraint
def test_a_constraint_of_a_lazy_layer(name: str) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    constraint = regtorch.WeightConstraint(model, made("constraint", name))
    if name != "none":
        with pytest.raises(SettingError, match=r"not possible yet for 0\.weight.*run the model's first forward pass"):
            constraint.project()
    model(torch.randn(5, 3))
    constraint.project()
    torch.testing.assert_close(
        model[0].weight, made("constraint", name)(model[0].weight)
    ) if name == "non_neg" else None
