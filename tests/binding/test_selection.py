"""Selection of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regtorch.binding.selection import select, select_layers, units_first
from regtorch.errors import NothingBoundError, SettingError


class Everything(nn.Module):
    """One layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.linear = nn.Linear(3, 3)
        self.conv = nn.Conv2d(1, 2, 3)
        self.transposed = nn.ConvTranspose1d(2, 4, 3, groups=2)
        self.batch_norm = nn.BatchNorm2d(2)
        self.layer_norm = nn.LayerNorm((2, 3))
        self.group_norm = nn.GroupNorm(1, 2)
        self.prelu = nn.PReLU(3)
        self.lstm = nn.LSTM(3, 2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.scale = nn.Parameter(torch.ones(2, 2))


KERNELS = [
    "linear.weight",
    "conv.weight",
    "transposed.weight",
    "lstm.weight_ih_l0",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
]
BIASES = [
    "linear.bias",
    "conv.bias",
    "transposed.bias",
    "lstm.bias_ih_l0",
    "lstm.bias_hh_l0",
    "attention.in_proj_bias",
    "attention.out_proj.bias",
]


def names(where: object) -> list[str]:
    return [place.name for place in select(Everything(), where)]


def test_kernels_are_weights_of_linear_and_convolution_layers() -> None:
    assert sorted(names("kernel")) == sorted(KERNELS)


def test_biases_are_those_of_the_same_layers() -> None:
    assert sorted(names("bias")) == sorted(BIASES)


def test_all_is_every_parameter() -> None:
    assert names("all") == [name for name, _ in Everything().named_parameters()]


def test_globs_alone_and_with_a_kind() -> None:
    assert names("linear.*") == ["linear.weight", "linear.bias"]
    assert names("kernel:linear*") == ["linear.weight"]
    assert names("bias:*conv*") == ["conv.bias"]
    assert names("scale") == ["scale"]


def test_a_callable_sees_module_full_name_and_parameter() -> None:
    seen = []

    def where(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
        seen.append((type(module), name, parameter.shape))
        return isinstance(module, nn.Conv2d)

    assert names(where) == ["conv.weight", "conv.bias"]
    assert (nn.Linear, "linear.weight", torch.Size([3, 3])) in seen


def test_a_shared_parameter_counts_once_and_matches_each_name() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False), nn.Linear(3, 4, bias=False))
    model[1].weight = model[2].weight = nn.Parameter(model[0].weight.data)
    assert [place.name for place in select(model, "kernel")] == ["1.weight"]
    assert [place.name for place in select(model, "2.*")] == ["2.weight"]


def test_nothing_bound_lists_the_names() -> None:
    with pytest.raises(NothingBoundError, match=r"where=head\.\* matches no parameter of Linear; it has: weight, bias"):
        select(nn.Linear(2, 2), "head.*")


@pytest.mark.parametrize("where", ["kernels:head", "kernel:", "", 3, None])
def test_invalid_where_is_refused(where: object) -> None:
    with pytest.raises(SettingError, match="where="):
        select(nn.Linear(2, 2), where)


def test_outputs_are_read_after_the_activation() -> None:
    block = nn.Sequential()
    block.add_module("linear", nn.Linear(2, 3))
    block.add_module("activation", nn.ReLU())
    model = nn.Sequential(block, nn.Linear(3, 1))
    assert select_layers(model, "kernel") == [("0", block.activation), ("1", model[1])]
    assert select_layers(model, "0*") == [("0", block.activation)]
    model[1].bias = None
    assert [name for name, _ in select_layers(model, "bias")] == ["0"]
    assert [name for name, _ in select_layers(model, "all")] == ["0", "1"]
    with pytest.raises(NothingBoundError, match=r"it has: 0, 0\.linear, 0\.activation, 1"):
        select_layers(model, "hidden.*")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_units_of_a_transposed_convolution_are_its_output_channels(groups: int) -> None:
    layer = nn.ConvTranspose2d(8, 4 * groups, 3, groups=groups, bias=False)
    turned = units_first(layer.weight, groups)
    assert torch.equal(units_first(turned, groups), layer.weight)
    for channel in range(4 * groups):  # a channel's output depends only on these weights
        layer.zero_grad()
        layer(torch.rand(1, 8, 5, 5))[0, channel].sum().backward()
        used = units_first(layer.weight.grad, groups) != 0
        assert used[channel].all()
        assert used.sum() == turned[channel].numel()


def test_subclasses_of_linear_and_convolution_layers_have_a_kernel() -> None:
    class PatchEmbedding(nn.Conv2d): ...

    class NormalizedLinear(nn.Linear): ...

    model = nn.Sequential(PatchEmbedding(1, 2, 3), NormalizedLinear(2, 2))
    assert [place.name for place in select(model, "kernel")] == ["0.weight", "1.weight"]
