"""The models: names, shapes, order of layers, and Keras' conventions."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from regtorch import create
from regtorch.binding.selection import is_bias, is_kernel
from regtorch.config.compose import compose
from regtorch.errors import SettingError
from regtorch.models.batch_norm import batch_norm
from regtorch.models.names import parameter_names
from regtorch.runs.validate import checked
from regtorch.training.build import make_model
from tests.testers.tiers import every


def built(*overrides: str, shape: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    return make_model(compose(list(overrides)), shape, 10)


def parts(model: nn.Module, layer: int) -> list[str]:
    return [name for name, _ in model.hidden[layer].named_children()]


def test_names_and_sizes_of_an_mlp() -> None:
    model = built("model.hidden=[32,16]")
    shapes = {name: tuple(w.shape) for name, w in model.named_parameters()}
    assert shapes == {
        "hidden.0.linear.weight": (32, 64),
        "hidden.0.linear.bias": (32,),
        "hidden.1.linear.weight": (16, 32),
        "hidden.1.linear.bias": (16,),
        "head.weight": (10, 16),
        "head.bias": (10,),
    }


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("none", ["linear", "activation", "dropout"]),
        ("before", ["linear", "batch_norm", "activation", "dropout"]),
        ("after", ["linear", "activation", "batch_norm", "dropout"]),
        ("after_dropout", ["linear", "activation", "dropout", "batch_norm"]),
    ],
)
def test_the_order_of_a_layers_parts(order: str, expected: list[str]) -> None:
    model = built(f"model.batch_norm={order}", "dropout=standard")
    assert parts(model, 0) == expected
    assert (model.hidden[0].linear.bias is None) == (order == "before")
    conv = built("model=cnn", f"model.batch_norm={order}", "dropout=spatial2d")
    pooled = list(expected)
    pooled[0] = "conv"
    pooled.insert(pooled.index("dropout"), "pool")
    assert parts(conv, 0) == pooled
    assert (conv.hidden[0].conv.bias is None) == (order == "before")


def test_the_input_is_normalized_and_dropped() -> None:
    model = built("model.input_batch_norm=true", "dropout@input_dropout=alpha", "input_dropout.drop_prob=0.2")
    assert [name for name, _ in model.input.named_children()] == ["batch_norm", "dropout"]
    assert model.input.dropout.drop_prob == 0.2


def test_bias_setting() -> None:
    assert built("model.bias=false").hidden[0].linear.bias is None
    assert built("model.bias=true", "model.batch_norm=before").hidden[0].linear.bias is not None


def test_the_sizes_of_a_cnn_follow_the_data() -> None:
    model = built("model=cnn", shape=(3, 33, 20))
    assert model(torch.randn(2, 3, 33, 20)).shape == (2, 10)
    assert model.hidden[3].linear.in_features == 128 * 8 * 5
    assert model.head.in_features == 64
    small = built("model=cnn", "model.head=[]", "model.global_pooling=true", "dropout=standard")
    assert small.head.in_features == 128
    assert small.flat_dropout.drop_prob == 0.5


def test_map_dropouts_follow_convolutions_and_others_follow_dense_layers() -> None:
    maps, units = built("model=cnn", "dropout=drop_block2d"), built("model=cnn", "dropout=standard")
    assert ["dropout" in parts(maps, layer) for layer in range(4)] == [True, True, True, False]
    assert ["dropout" in parts(units, layer) for layer in range(4)] == [False, False, False, True]
    both = built("model=cnn", "dropout=standard", "model.dropout_at=both")
    assert all("dropout" in parts(both, layer) for layer in range(4))


@pytest.mark.parametrize("dropout", ["spatial1d", "spatial2d", "spatial3d", "drop_block2d"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_spatial_dropout_drops_maps_in_any_model(dropout: str, model: str) -> None:
    network = built(f"model={model}", f"dropout={dropout}", "model.dropout_at=both" if model == "cnn" else "seed=0")
    seen = []
    network.hidden[0].dropout.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    network.train()(torch.randn(16, 1, 8, 8))
    ((x, y),) = seen
    assert x.shape == y.shape
    dropped = (y == 0) & (x != 0)
    assert dropped.any()
    if dropout != "drop_block2d" and model == "cnn":
        of_map = dropped.flatten(2)
        alive = (x != 0).flatten(2)
        assert ((of_map == alive).all(2) | ~of_map.any(2)).all()


@pytest.mark.parametrize(
    "chosen", [["dropout=variational", "model.dropout_at=both"], ["dropout@input_dropout=variational"]]
)
def test_a_dropout_of_sequences_is_refused_on_feature_maps(chosen: list[str]) -> None:
    with pytest.raises(SettingError, match=r"dropout=variational is not allowed on feature maps.*spatial2d"):
        checked(["model=cnn", *chosen])
    with pytest.raises(SettingError, match="VariationalDropout is for sequences, not for feature maps"):
        built("model=cnn", *chosen)
    built("model=cnn", "dropout=variational")  # after the dense layers


def test_prelus_and_dropouts_are_not_shared() -> None:
    model = built("model.hidden=[8,4]", "activation=prelu", "dropout=standard")
    assert [layer.activation.weight.numel() for layer in model.hidden] == [8, 4]
    assert model.hidden[0].dropout is not model.hidden[1].dropout


def test_kernels_are_initialized_and_biases_zero() -> None:
    model = built("initializer=constant", "initializer.value=0.25")
    assert (model.hidden[0].linear.weight == 0.25).all()
    assert (model.head.bias == 0).all()


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_head_may_have_a_separate_initializer(model: str) -> None:
    ones = [f"model={model}", "initializer=ones"]
    network = built(*ones, "initializer@head_initializer=constant", "head_initializer.value=0.25")
    assert (network.head.weight == 0.25).all()
    assert (network.head.bias == 0).all()
    assert (network.hidden[-1].linear.weight == 1).all()
    assert (built(*ones).head.weight == 1).all()
    assert network.to_config()["head_initializer"] == {"name": "constant", "value": 0.25}


def test_drop_connect_wraps_the_hidden_layers() -> None:
    model = built("dropout=drop_connect")
    assert next(name for name, _ in model.named_parameters()) == "hidden.0.linear.layer.weight"
    x = torch.randn(1, 1, 8, 8)
    model.train()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


CHOICES = {
    "model": ["mlp", "cnn"],
    "model.batch_norm": ["none", "before", "after"],
    "model.input_batch_norm": ["true", "false"],
    "activation": ["relu", "prelu"],
    "dropout": ["none", "drop_connect", "standard"],
}


@pytest.mark.parametrize(
    "values", every(5, ([values] for values in itertools.product(*CHOICES.values()))), ids=" ".join
)
def test_names_without_torch_equal_the_models_names(values: tuple[str, ...]) -> None:
    extra: tuple[str, ...] = ()
    if len("".join(values)) % 2:  # for about half of them
        cnn = values[0] == "cnn"
        extra = (
            ("model.dropout_at=both", "model.dense_batch_norm=true")
            if cnn
            else ("model.hidden=[8,4]", "model.bias=true")
        )
    config = compose([*(f"{key}={value}" for key, value in zip(CHOICES, values, strict=True)), *extra])
    model = make_model(config, (1, 8, 8), 10)
    modules = dict(model.named_modules())
    own = []
    for name, parameter in model.named_parameters():
        prefix, _, attribute = name.rpartition(".")
        own.append(
            (name, is_kernel(modules[prefix], attribute, parameter), is_bias(modules[prefix], attribute, parameter))
        )
    assert list(parameter_names(config["model"], activation=config["activation"], dropout=config["dropout"])) == own


def test_batch_norm_tracks_the_biased_variance_as_in_keras() -> None:
    for spatial_dims, shape in ((0, (5, 3)), (2, (5, 3, 4, 4))):
        layer = batch_norm(3, spatial_dims)
        x = (torch.randn(shape) * 3 + 1).requires_grad_()
        theirs = nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=1e-3)
        layer.train()(x).square().sum().backward()
        (gradient,) = torch.autograd.grad(theirs.square().sum(), x)
        torch.testing.assert_close(x.grad, gradient)
        x = x.detach()
        assert layer.num_batches_tracked == 1
        over = (0, 2, 3)[: 1 + spatial_dims]
        torch.testing.assert_close(layer.running_mean, 0.01 * x.mean(over))
        torch.testing.assert_close(layer.running_var, 0.99 + 0.01 * x.var(over, unbiased=False))
        before = layer.running_var.clone()
        layer.eval()(x)
        assert torch.equal(layer.running_var, before)
    assert layer.eps == 1e-3


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("mlp", {"hidden": []}, "hidden="),
        ("mlp", {"hidden": [3, 0]}, "hidden="),
        ("mlp", {"batch_norm": "later"}, "batch_norm=later"),
        ("cnn", {"kernel_size": 2}, "kernel_size=2"),
        ("cnn", {"channels": [4] * 6}, "8x8 pixels are too few for"),
        ("cnn", {"dropout_at": "head"}, "dropout_at=head"),
    ],
)
def test_bad_settings(name: str, settings: dict, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        create("model", name, shape=(1, 8, 8), classes=3, **settings)


@pytest.mark.parametrize("overrides", [[], ["model=cnn", "dropout=spatial2d", "activation=prelu"]], ids=["mlp", "cnn"])
def test_the_node_of_a_model_builds_it_again(overrides: list[str]) -> None:
    model = built(*overrides)
    node = model.to_config()
    again = create("model", **node)
    assert again.to_config() == node
    assert {n: w.shape for n, w in again.named_parameters()} == {n: w.shape for n, w in model.named_parameters()}
    assert node["shape"] == [1, 8, 8]
    assert node["classes"] == 10


def test_a_batch_of_one_row_trains_as_in_keras() -> None:
    layer = batch_norm(3, 0).train()
    y = layer(torch.randn(1, 3))
    torch.testing.assert_close(y, torch.zeros(1, 3), rtol=0, atol=1e-5)  # its variance is 0
    torch.testing.assert_close(layer.running_var, torch.full((3,), 0.99))
    y.sum().backward()
