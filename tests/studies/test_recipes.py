"""All recipes: they build the same network as in Keras, and train on data in the original file formats."""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.build import make_module
from regtorch.training.run import run

RECIPES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/experiment").glob("*.yaml"))
KERNELS = ["hidden.0.linear.weight", "hidden.1.linear.weight", "head.weight"]
HIDDEN = KERNELS[:2]
SGD = {"name": "sgd", "lr": 0.01}
ADAM = {"name": "adam", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}
NADAM = {**ADAM, "name": "nadam"}
NESTEROV = {"name": "nesterov", "lr": 0.01, "momentum": 0.9}
HE, LECUN, GLOROT = "he_normal", "lecun_normal", "glorot_uniform"

Rules = Mapping[str, Any]


@dataclass(frozen=True)
class Net:
    """The network that a recipe must build.

    Args:
        parameters: number of trainable parameters in Keras, without moving statistics.
        layers: parts of the input and of each hidden layer; consecutive equal ones are written once.
        initializers: initializers of the hidden kernels and of the head.
        optimizer: settings of the optimizer.
        penalties: rule -> its bound parameters; the rule is its node without name and where.
        constraints: the same for constraints.
        epochs: number of epochs.
        rows: number of training and validation rows, of the first 240 Fashion-MNIST images.
    """

    parameters: int
    layers: tuple[str, ...]
    initializers: tuple[str, str] = (GLOROT, GLOROT)
    optimizer: Rules = field(default_factory=lambda: SGD)
    penalties: Rules = field(default_factory=dict)
    constraints: Rules = field(default_factory=dict)
    epochs: int = 10
    rows: tuple[int, int] = (220, 20)


PLAIN = ("", "linear relu")
NORMED = ("batch_norm", "linear relu batch_norm")
BEFORE = ("batch_norm", "linear batch_norm relu")
PRELU = Net(267_010, ("", "linear prelu"), (HE, GLOROT))
PRELU_BN = Net(269_378, ("batch_norm", "linear prelu batch_norm"), ("he_uniform", GLOROT))
ALPHA = Net(266_610, ("alpha", "linear selu alpha"), (LECUN, GLOROT), NESTEROV)


def digits(rule: str) -> Net:
    bound = {rule: HIDDEN[:1]}
    return Net(4_810, ("", "linear relu standard"), optimizer=ADAM, penalties=bound, epochs=50, rows=(1437, 0))


def prelu_bn(**optimizer: Any) -> Net:
    return Net(PRELU_BN.parameters, PRELU_BN.layers, PRELU_BN.initializers, optimizer)


def net_140(
    parameters: int = 131_050, layers: tuple[str, ...] = PLAIN, epochs: int = 10, **penalties: list[str]
) -> Net:
    return Net(parameters, layers, optimizer=ADAM, epochs=epochs, rows=(192, 48), penalties=penalties)


NETS = {
    "digits_standard": digits("l1=0.001"),
    "digits_custom": digits("factor=0.001"),
    "fashion_baseline": Net(266_610, PLAIN),
    "fashion_leaky_relu": Net(266_610, ("", "linear leaky_relu"), (HE, GLOROT)),
    "fashion_prelu_he_normal": PRELU,
    "fashion_prelu_he_uniform": Net(PRELU.parameters, PRELU.layers, ("he_uniform", GLOROT)),
    "fashion_prelu_scaled_variance": Net(PRELU.parameters, PRELU.layers, ("variance_scaling", GLOROT)),
    "fashion_bn": Net(268_978, NORMED),
    "fashion_bn_before": Net(268_578, BEFORE),
    "fashion_prelu_bn": PRELU_BN,
    "fashion_prelu_bn_momentum": prelu_bn(name="momentum", lr=1e-3, momentum=0.9),
    "fashion_prelu_bn_nesterov": prelu_bn(name="nesterov", lr=1e-3, momentum=0.9),
    "fashion_prelu_bn_adagrad": prelu_bn(name="adagrad", lr=1e-3, initial_accumulator_value=0.1, epsilon=1e-7),
    "fashion_prelu_bn_rmsprop": prelu_bn(name="rmsprop", lr=1e-3, rho=0.9, momentum=0.0, epsilon=1e-7),
    "fashion_prelu_bn_adam": prelu_bn(**ADAM),
    "fashion_prelu_bn_adamax": prelu_bn(**{**ADAM, "name": "adamax"}),
    "fashion_prelu_bn_nadam": prelu_bn(**NADAM),
    "fashion_l2_bn": Net(268_578, BEFORE, optimizer=NADAM, penalties={"l2=0.01": KERNELS}),
    "fashion_l1_bn": Net(
        268_978, ("batch_norm", "linear elu batch_norm"), (HE, HE), NADAM, penalties={"l1=0.01": KERNELS}
    ),
    "fashion_elastic_net": Net(
        268_978, ("batch_norm", "linear selu batch_norm"), (HE, HE), NADAM, penalties={"l1=0.01 l2=0.01": KERNELS}
    ),
    "fashion_dropout": Net(
        268_978, ("standard batch_norm", "linear elu standard batch_norm"), (HE, GLOROT), optimizer=NADAM
    ),
    "fashion_alpha_dropout": ALPHA,
    "fashion_mc_alpha_dropout": ALPHA,
    "fashion_max_norm": Net(
        266_610,
        ("", "linear selu"),
        (LECUN, GLOROT),
        NADAM,
        constraints={"max_value=1.0 dims=None": HIDDEN},
        epochs=20,
    ),
    "fashion_deep_selu": Net(761_510, ("", "linear selu"), (LECUN, GLOROT)),
    "fashion_deep_relu": Net(761_510, ("", "linear relu"), (LECUN, GLOROT)),
    "fashion_140_baseline": net_140(),
    "fashion_140_l1": net_140(**{"l1=0.01": HIDDEN}),
    "fashion_140_l2": net_140(**{"l2=0.01": HIDDEN}),
    "fashion_140_l1_l2": net_140(**{"l1=1e-05 l2=0.0001": HIDDEN}),
    "fashion_140_dropout": net_140(layers=("", "linear relu standard")),
    "fashion_140_bn": net_140(131_610, ("", "linear relu batch_norm")),
    "fashion_140_early_stopping": net_140(epochs=50),
    "cifar10_l2_dropout": Net(
        618_698,
        ("", "conv batch_norm relu pool", "conv batch_norm relu", "linear relu standard"),
        optimizer={**ADAM, "lr": 3e-4},
        penalties={"l2=0.01": [*(f"hidden.{layer}.conv.weight" for layer in range(3)), "hidden.3.linear.weight"]},
        rows=(72, 8),
    ),
}
DROP_PROBS = {
    "digits_standard": [0.5],
    "digits_custom": [0.5],
    "fashion_dropout": [0.25] * 3,
    "fashion_alpha_dropout": [0.2] * 3,
    "fashion_mc_alpha_dropout": [0.2] * 3,
    "fashion_140_dropout": [0.1] * 2,
    "cifar10_l2_dropout": [0.5],
}
#: recipes that reproduce Keras runs use one order of the rows in all epochs, as these do
ONE_ORDER = [name for name in RECIPES if "_140_" not in name and not name.startswith("cifar10")]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def pictures(rows: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter in one tenth of the pixels for each class, so that the classes can be learned."""
    generator = np.random.default_rng(rows)
    labels = np.arange(rows, dtype=np.uint8) % 10
    images = generator.integers(0, 100, (rows, math.prod(shape)), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label::10] += 100
    return images.reshape(rows, *shape), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of Fashion-MNIST and CIFAR-10 with few images."""
    folder = tmp_path_factory.mktemp("data")
    for part, rows in (("train", 240), ("t10k", 40)):
        images, labels = pictures(rows, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    (folder / "cifar-10-batches-py").mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        images, labels = pictures(16, 3072)
        content = pickle.dumps({"data": images, "labels": labels.tolist()})
        (folder / "cifar-10-batches-py" / name).write_bytes(content)
    return folder


def composed(name: str, folder: Path, *overrides: str) -> dict[str, Any]:
    own = [] if name.startswith("digits") else [f"data.path={folder}"]
    return compose([f"experiment={name}", *own, *overrides])


def test_there_is_a_row_for_each_recipe() -> None:
    assert sorted(NETS) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build_the_same_network_as_keras(name: str, folder: Path) -> None:
    expected, config = NETS[name], composed(name, folder)
    splits = dataset(config).load()
    model = make_module(config, splits.shape, len(splits.classes)).model
    node = model.to_config()
    assert sum(w.numel() for w in model.parameters()) == expected.parameters
    assert layers_of(model, node) == expected.layers
    assert initializers(node) == expected.initializers
    assert [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")] == DROP_PROBS.get(name, [])
    assert {key: value for key, value in config["optimizer"].items() if key != "weight_decay"} == expected.optimizer
    assert config["optimizer"]["weight_decay"] == 0


@pytest.mark.parametrize("name", RECIPES)
def test_rules_are_bound_as_in_keras(name: str, folder: Path) -> None:
    expected, config = NETS[name], composed(name, folder)
    splits = dataset(config).load()
    module = make_module(config, splits.shape, len(splits.classes))
    assert {written(penalty): penalty.names for penalty in module.penalties} == expected.penalties
    assert {written(constraint): constraint.names for constraint in module.constraints} == expected.constraints


@pytest.mark.parametrize("name", RECIPES)
def test_data_and_metrics_are_the_same_as_in_keras(name: str, folder: Path) -> None:
    expected, config = NETS[name], composed(name, folder)
    splits = dataset(config).load()
    assert (len(splits.train), len(splits.val) if splits.val else 0) == expected.rows
    assert config["data"]["batch_size"] == (64 if name.startswith("cifar10") else 32)
    assert config["data"]["standardize"] == ("all" if name.startswith("digits") else "none")
    assert config["data"]["reshuffle"] == (name not in ONE_ORDER)
    assert config["trainer"]["max_epochs"] == expected.epochs
    assert config["evaluate"] == "last"
    assert config["callbacks"]["patience"] == (2 if name == "fashion_140_early_stopping" else None)
    assert config["mc"]["samples"] == 100


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train(name: str, folder: Path, tmp_path: Path) -> None:
    config = composed(name, folder, "trainer.max_epochs=2", "mc.samples=4", "logger.tensorboard=false")
    validate_run(config)
    run(config, dataset(config), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["status"] == "completed"
    assert results["epochs"] == 2
    assert results["parameters"] == NETS[name].parameters
    assert all(map(math.isfinite, numbers(results)))
    assert (results["train"]["penalty"] > 0) == bool(NETS[name].penalties)
    assert (results["test_mc"] is not None) == (name in DROP_PROBS)
    weights = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for names in NETS[name].constraints.values():
        assert all(weights[f"model.{kernel}"].norm(dim=1).max() <= 1 + 1e-6 for kernel in names)


def layers_of(model: torch.nn.Module, node: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of the input and of each hidden layer, activations and dropouts by their registered names."""
    layers = [(model.input, node["input_dropout"]), *((layer, node["dropout"]) for layer in model.hidden)]
    described = []
    for layer, dropout in layers:
        names = {"activation": node["activation"]["name"], "dropout": dropout["name"]}
        described.append(" ".join(names.get(name, name) for name, _ in layer.named_children()))
    return tuple(parts for parts, _ in groupby(described))


def initializers(node: Mapping[str, Any]) -> tuple[str, str]:
    hidden = node["initializer"]
    if hidden["name"] == "variance_scaling":
        assert hidden == {"name": "variance_scaling", "scale": 2.0, "mode": "fan_avg", "distribution": "uniform"}
    return hidden["name"], (node["head_initializer"] or hidden)["name"]


def written(bound: WeightPenalty | WeightConstraint) -> str:
    """A bound rule's settings."""
    rule = bound.regularizer if isinstance(bound, WeightPenalty) else bound.constraint
    settings = {key: value for key, value in rule.to_config().items() if key not in ("name", "where")}
    return " ".join(f"{key}={value}" for key, value in settings.items())


def numbers(node: Any) -> Iterator[float]:
    """All numbers in a nested structure."""
    for value in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else []:
        yield from [value] if isinstance(value, (int, float)) else numbers(value)
