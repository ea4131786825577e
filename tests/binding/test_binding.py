"""Rules bound to models: penalties and constraints."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import NothingBoundError


def the_example() -> nn.Linear:
    """A small example that can be computed by hand."""
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 3.0], [4.0, 3.0], [1.0, 5.0]]))
        layer.bias.copy_(torch.tensor([1.0, 3.0, 2.0]))
    return layer


def test_the_weights_and_biases_example() -> None:
    layer = the_example()
    kernel = regtorch.WeightPenalty(layer, regtorch.L1L2(l1=0.1, l2=0.1), where="kernel")
    bias = regtorch.WeightPenalty(layer, regtorch.L1L2(l1=0.1, l2=0.1), where="bias")
    assert (5.0 + kernel() + bias()).item() == pytest.approx(15.2)


@pytest.mark.parametrize(
    ("rule", "where", "expected"),
    [
        (regtorch.L1(0.1), "kernel", 1.8),
        (regtorch.L2(0.1), "kernel", 6.4),
        (regtorch.L1(0.1), "bias", 0.6),
        (regtorch.L2(0.1), "bias", 1.4),
    ],
)
def test_each_strength_alone(rule: nn.Module, where: str, expected: float) -> None:
    assert regtorch.WeightPenalty(the_example(), rule, where=where)().item() == pytest.approx(expected)


def test_the_signs_of_the_l1_gradient() -> None:
    layer = the_example()
    with torch.no_grad():
        layer.weight[0] *= -1
        layer.weight[1, 0] = 0.0
    regtorch.WeightPenalty(layer, regtorch.L1(0.1))().backward()
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[-0.1, -0.1], [0.0, 0.1], [0.1, 0.1]]))
    assert layer.bias.grad is None


def test_the_penalty_is_a_float32_scalar_also_under_autocast() -> None:
    layer = the_example()
    penalty = regtorch.WeightPenalty(layer, regtorch.Orthogonal(0.1))
    expected = penalty()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = penalty()
        under_autocast.backward()
    assert under_autocast.shape == ()
    assert under_autocast.dtype == torch.float32
    assert under_autocast.item() == pytest.approx(expected.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(expected, layer.weight)
    torch.testing.assert_close(layer.weight.grad, gradient, rtol=1e-6, atol=1e-7)
    assert regtorch.WeightPenalty(the_example().bfloat16(), regtorch.L2(0.1))().dtype == torch.float32
    assert regtorch.WeightPenalty(the_example().double(), regtorch.L2(0.1))().dtype == torch.float64


def test_a_shared_parameter_is_penalized_once() -> None:
    model = nn.Sequential(the_example(), nn.ReLU(), nn.Linear(2, 3))
    model[2].weight = model[0].weight
    assert regtorch.WeightPenalty(model, regtorch.L1(0.1))().item() == pytest.approx(1.8)


def test_only_trainable_parameters_are_penalized() -> None:
    layer = the_example()
    penalty = regtorch.WeightPenalty(layer, regtorch.L1(0.1), where="all")
    layer.weight.requires_grad_(False)
    assert penalty().item() == pytest.approx(0.6)
    layer.bias.requires_grad_(False)
    assert penalty().item() == 0.0


def test_several_rules_are_bound_to_separate_places() -> None:
    rules = regtorch.SeveralRegularizers(
        [{"name": "l1", "l1": 0.1, "where": "bias"}, {"name": "l2", "l2": 0.1, "where": "kernel"}, regtorch.L1(0.1)]
    )
    penalty = regtorch.WeightPenalty(the_example(), rules)
    assert penalty.names == ["bias", "weight", "weight"]
    assert penalty().item() == pytest.approx(0.6 + 6.4 + 1.8)


def test_where_of_the_rule_and_of_the_binding() -> None:
    rule = regtorch.create("regularizer", "l1", l1=0.1, where="bias")
    assert regtorch.WeightPenalty(the_example(), rule)().item() == pytest.approx(0.6)
    assert regtorch.WeightPenalty(the_example(), rule, where="kernel")().item() == pytest.approx(1.8)


def test_a_user_defined_regularizer() -> None:
    class Quartic(regtorch.Regularizer):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return w.pow(4).sum()

    assert regtorch.WeightPenalty(the_example(), Quartic(), where="bias")().item() == 1 + 81 + 16


def test_a_rule_bound_to_nothing_is_an_error() -> None:
    for bind, rule in ((regtorch.WeightPenalty, regtorch.L1()), (regtorch.WeightConstraint, regtorch.NonNeg())):
        with pytest.raises(NothingBoundError, match=r"where=hidden.* it has: weight, bias"):
            bind(the_example(), rule, where="hidden*")


def test_the_binding_follows_a_copied_pickled_or_recast_model() -> None:
    layer = the_example()
    penalty = regtorch.WeightPenalty(layer, regtorch.L1(0.1))
    for twin_layer, twin in (copy.deepcopy((layer, penalty)), pickle.loads(pickle.dumps((layer, penalty)))):
        nn.init.ones_(twin_layer.weight)
        assert twin().item() == pytest.approx(0.6)
    assert penalty().item() == pytest.approx(1.8)
    layer.weight = nn.Parameter(torch.ones(3, 2))
    assert penalty().item() == pytest.approx(0.6)


def test_the_activity_penalty_is_divided_by_the_batch_size() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(0.1)), where="0")
    assert penalty().item() == 0.0
    for batch in (5, 7):
        x = torch.randn(batch, 3)
        model(x)
        expected = 0.1 * nn.functional.linear(x, model[0].weight, model[0].bias).square().sum() / batch
        torch.testing.assert_close(penalty(), expected)
        model(x)
        torch.testing.assert_close(penalty(), 2 * expected)
        penalty().backward()
    assert model[0].weight.grad is not None
    assert model[2].weight.grad is None
    copy.deepcopy((model, penalty))


def test_a_layer_used_twice_counts_twice() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L1(1.0)), where="0")
    x = torch.randn(1, 2)
    y = model(x)
    torch.testing.assert_close(penalty(), nn.functional.linear(x, layer.weight, layer.bias).abs().sum() + y.abs().sum())


# constraints


def test_project_by_hand() -> None:
    layer = the_example()
    regtorch.WeightConstraint(layer, regtorch.MaxNorm(max_value=1.0)).project()
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(layer.bias, the_example().bias)


def step(layer: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    layer(torch.ones(4, 2)).square().mean().backward()
    optimizer.step()


def test_an_attached_constraint_applies_to_the_optimizers_parameters_after_each_step() -> None:
    model = nn.ModuleList([the_example(), the_example()])
    optimizers = [torch.optim.SGD(layer.parameters(), lr=1e-3) for layer in model]
    handle = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=1.0)).attach(optimizers[0])
    for layer, optimizer in zip(model, optimizers, strict=True):
        step(layer, optimizer)
    assert model[0].weight.norm(dim=1).max() <= 1.0 + 1e-6
    assert model[1].weight.norm(dim=1).max() > 3.0
    handle.remove()
    nn.init.constant_(model[0].weight, 3.0)
    step(model[0], optimizers[0])
    assert model[0].weight.norm(dim=1).max() > 3.0


def test_the_threshold_is_strength_times_the_groups_learning_rate() -> None:
    layer = the_example()
    groups = [{"params": [layer.weight], "lr": 0.5}, {"params": [layer.bias], "lr": 0.25}]
    optimizer = torch.optim.SGD(groups)
    regtorch.WeightConstraint(layer, regtorch.SoftThreshold(strength=2.0), where="all").attach(optimizer)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.data, torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.0, 4.0]]))
    torch.testing.assert_close(layer.bias.data, torch.tensor([0.5, 2.5, 1.5]))
    regtorch.WeightConstraint(layer, regtorch.SoftThreshold(strength=2.0)).project(step_size=0.25)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.5, 1.5], [2.5, 1.5], [0.0, 3.5]]))


@pytest.mark.parametrize("groups", [1, 2])
def test_the_unit_of_a_transposed_convolution_is_its_output_channel(groups: int) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups)
    nn.init.ones_(layer.weight)
    regtorch.WeightConstraint(layer, regtorch.UnitNorm()).project()
    torch.testing.assert_close(layer.weight.data, torch.full_like(layer.weight, (4 / groups * 9) ** -0.5))
    lasso = regtorch.WeightPenalty(layer, regtorch.GroupLasso(1.0))
    assert lasso().item() == pytest.approx(6.0, rel=1e-5)


def test_lbfgs_counts_one_step_however_often_it_calls_the_closure() -> None:
    layer, calls = the_example(), []
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=5)

    class Counting(regtorch.Constraint):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return w

    regtorch.WeightConstraint(layer, Counting()).attach(optimizer)
    evaluations = []

    def closure() -> torch.Tensor:
        evaluations.append(1)
        optimizer.zero_grad()
        loss = layer(torch.ones(4, 2)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(evaluations) > 1
    assert len(calls) == 1


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_grad_scaler_skips_changes_nothing(fused: bool) -> None:
    layer = the_example()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    regtorch.WeightConstraint(layer, regtorch.MaxNorm(max_value=1.0)).attach(optimizer)

    def scaled_step(factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale(layer(torch.ones(4, 2)).square().mean() * factor).backward()
        scaler.step(optimizer)
        scaler.update()

    scaled_step(float("inf"))
    assert torch.equal(layer.weight, the_example().weight)
    scaled_step(1.0)
    assert layer.weight.norm(dim=1).max() <= 1.0 + 1e-6


def test_bfloat16_weights_are_scaled_by_a_float32_norm() -> None:
    layer = nn.Linear(4096, 2, dtype=torch.bfloat16)
    nn.init.constant_(layer.weight, 1.0)
    regtorch.WeightConstraint(layer, regtorch.MaxNorm(max_value=2.0)).project()
    torch.testing.assert_close(layer.weight.float().norm(dim=1), torch.full((2,), 2.0), rtol=1e-2, atol=0)


def test_wrong_models_and_optimizers_are_named_in_the_message() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(
        regtorch.SettingError, match="a list has no parameters to bind a rule to: pass the model itself"
    ):
        regtorch.WeightPenalty(list(model.parameters()), regtorch.L2(0.1))  # type: ignore[arg-type]
    with pytest.raises(regtorch.SettingError, match=r"^regularizer=a Linear is not allowed: it must be a Regularizer"):
        regtorch.WeightPenalty(regtorch.L2(0.1), model)  # type: ignore[arg-type]
    with pytest.raises(regtorch.SettingError, match=r"^constraint=a Linear is not allowed: it must be a Constraint"):
        regtorch.WeightConstraint(regtorch.MaxNorm(max_value=1.0), model)  # type: ignore[arg-type]
    with pytest.raises(regtorch.SettingError, match="a generator has no parameters"):
        regtorch.WeightConstraint(model.parameters(), regtorch.MaxNorm(max_value=1.0))  # type: ignore[arg-type]
    with pytest.raises(
        regtorch.SettingError, match=r"attach\(Linear\) is not allowed: it must be a torch.optim.Optimizer"
    ):
        regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=1.0)).attach(model)  # type: ignore[arg-type]
