"""Export of a trained model: the same function, without regtorch."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import regtorch
from regtorch.cli.export import _write, network_input
from regtorch.config.compose import compose
from regtorch.data.further_rows import NetworkInput
from regtorch.errors import DataError, SettingError
from tests.testers.command import ended

DROPOUTS = [
    name for name in regtorch.available("dropout") if regtorch.create("dropout", name).to_config()["name"] == name
]
ACTIVATIONS = ["relu", "prelu", "selu", "gelu", "leaky_relu", "hard_sigmoid"]


def built(kind: str, dropout: str, activation: str = "prelu", **settings: object) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    node = None if dropout == "none" else {"name": dropout}
    sizes = {"hidden": [7, 5]} if kind == "mlp" else {"channels": [3, 4], "head": [5]}
    model = regtorch.create(
        "model", kind, shape=(2, 8, 8), classes=3, dropout=node, activation={"name": activation}, batch_norm="before",
        input_batch_norm=True, **sizes, **settings,
    )  # fmt: skip
    x = torch.randn(6, 2, 8, 8)
    model.train()
    for _ in range(3):  # moving statistics other than the initial ones
        model(x)
    return model.eval(), x


def same(found: nn.Module, model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(found(x), model(x), rtol=0, atol=1e-6)


def assert_as_exact_as_torch(found: np.ndarray, model: nn.Module, x: torch.Tensor) -> None:
    """Another runtime sums in another order: its deviation from float64 may be as large as that of torch in float32."""
    with torch.no_grad():
        single = model(x).double().numpy()
        exact = copy.deepcopy(model).double()(x.double()).numpy()
    allowed = max(1e-6, 2 * abs(single - exact).max())
    assert allowed < 1e-5
    np.testing.assert_allclose(found, exact, rtol=0, atol=allowed)


@pytest.mark.parametrize(
    ("kind", "dropout"),
    [(kind, name) for kind in ("mlp", "cnn") for name in DROPOUTS if (kind, name) != ("mlp", "drop_block2d")],
)
def test_the_plain_model_is_equivalent_and_uses_only_torch_modules(kind: str, dropout: str) -> None:
    model, x = built(kind, dropout)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = regtorch.plain(model)
    assert {type(module).__module__.split(".")[0] for module in found.modules()} == {"torch"}
    same(found, model, x)
    kept = [key for key in before if not key.endswith(".logit")]  # parameters of a learned dropout
    assert [key.replace(".layer.", ".") for key in kept] == list(found.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    model, x = built("mlp", "standard", activation)
    same(regtorch.plain(model), model, x)


def test_hooks_of_activity_penalties_are_removed() -> None:
    model, x = built("mlp", "standard")
    penalty = regtorch.WeightPenalty(model, regtorch.Activity(regtorch.L2(0.1)))
    found = regtorch.plain(model)
    found(x)
    assert penalty().item() == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in found.modules())


def test_models_of_other_libraries_and_keras_layers() -> None:
    model = torchvision.models.mobilenet_v3_small(num_classes=4)
    regtorch.convert_dropout(model)
    found = regtorch.plain(model)
    assert not any(type(module).__module__.startswith("regtorch") for module in found.modules())
    same(found, model.eval(), torch.randn(2, 3, 32, 32))

    class Mine(nn.Module):
        pass

    Mine.__module__ = "regtorch.keras.padding"
    with pytest.raises(SettingError, match="part is a Mine, which torch does not have: export the model as it is"):
        regtorch.plain(nn.ModuleDict({"part": Mine()}))


def test_another_process_without_regtorch_loads_it(tmp_path: Path) -> None:
    model, x = built("cnn", "drop_connect")
    torch.save(regtorch.plain(model), tmp_path / "model.pt")
    with torch.no_grad():
        np.savez(tmp_path / "known.npz", x=x.numpy(), y=model(x).numpy())
    code = (
        "import sys, numpy, torch; sys.modules['regtorch'] = None; known = numpy.load('known.npz'); "
        "model = torch.load('model.pt', weights_only=False); "
        "print(abs(model(torch.from_numpy(known['x'])).detach().numpy() - known['y']).max())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-6


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("made_plain", [True, False])
def test_torch_export_supports_any_batch_size(kind: str, made_plain: bool) -> None:
    model, x = built(kind, "standard")
    source = regtorch.plain(model) if made_plain else model
    exported = torch.export.export(source, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert not any("dropout" in str(node.target) or "rand" in str(node.target) for node in exported.graph.nodes)
    same(exported.module(), model, x)
    same(exported.module(), model, x[:4])


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_onnx_computes_the_same(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs an extra: pip install 'regtorch[onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="needs an extra: pip install 'regtorch[onnx]'")
    model, x = built(kind, "alpha", "selu")
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(regtorch.plain(model), (x,), path, dynamo=True, input_names=["x"], verbose=False)
    (found,) = runtime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    assert_as_exact_as_torch(found, model, x)


def test_weights_can_be_exchanged_between_torchs_dropouts_and_ours() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.AlphaDropout(0.1), nn.Linear(8, 3))

    torch.manual_seed(0)
    theirs, ours = network(), regtorch.convert_dropout(network())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    same(ours.eval(), theirs.eval(), torch.randn(5, 4))
    again = network()
    again.load_state_dict(ours.state_dict())
    same(again.eval(), theirs, torch.randn(5, 4))


@pytest.mark.parametrize("dropout", [regtorch.Dropout(drop_prob=0.5), nn.Dropout(0.5)], ids=["ours", "torch's"])
def test_a_shared_dropout_is_removed_from_both_places(dropout: nn.Module) -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, dropout, layer, dropout)
    found = regtorch.plain(model)
    assert [type(module) for module in found] == [nn.Linear, nn.Identity, nn.Linear, nn.Identity]
    assert found[0] is found[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    arguments = ["hydra.run.dir=a", "dropout=standard", "trainer.max_epochs=1", "mc=none", "logger.tensorboard=false"]
    train = ended(folder, *arguments)
    assert train.returncode == 0, train.stderr
    (folder / "folder.pt").mkdir()
    return folder


def export(run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ended(run, *arguments, script="export.py")


def test_a_run_is_exported_on_the_command_line(run: Path) -> None:
    raw = regtorch.create("data", "digits", standardize="none").load().test
    scaled = torch.from_numpy(np.asarray(regtorch.create("data", "digits").load().test.x))
    for name in ("model.pt", "model.pt2", "model.onnx"):
        done = export(run, "run=a", f"out={name}")
        assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    weights = torch.load(run / "model.pt", weights_only=True)
    assert list(weights) == ["hidden.0.linear.weight", "hidden.0.linear.bias", "head.weight", "head.bias"]
    layers.load_state_dict(dict(zip(layers.state_dict(), weights.values(), strict=True)))
    x = torch.from_numpy(np.asarray(raw.x))
    assert_as_exact_as_torch(torch.export.load(run / "model.pt2").module()(x).detach().numpy(), layers, scaled)
    results = json.loads((run / "a/results.json").read_text())
    assert (results["class_names"], results["output_transform"]) == (list("0123456789"), "softmax")
    runtime = pytest.importorskip("onnxruntime", reason="needs an extra: pip install 'regtorch[onnx]'")
    (found,) = runtime.InferenceSession(str(run / "model.onnx")).run(None, {"x": x.numpy()})
    assert_as_exact_as_torch(found, layers, scaled)
    assert (found.argmax(1) == raw.y).mean() == pytest.approx(results["test"]["accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=a"], "out= is missing"),
        (["run=a", "out=model.h5"], "out=model.h5 is not allowed: its name must end in .pt, .pt2, .onnx"),
        (["run=nowhere", "out=model.pt"], "run=nowhere: there is no such folder"),
        (["run=a", "run=b", "out=model.pt"], "run=b is not allowed: run=a is given too; give one of them"),
        (["run=a", "out=/proc/model.pt"], "out=/proc/model.pt cannot be written: No such file or directory"),
        (["run=a", "out=a/../folder.pt"], "out=a/../folder.pt is a folder: it must be the name of a file"),
        (["run=a", "out=no/model.pt"], "out=no/model.pt: there is no folder no"),
        (
            ["run=a", "out=model.pt", "checkpoint=first"],
            "checkpoint=first is not allowed: it must be one of best, last",
        ),
        (
            ["run=a", "out=model.pt", "preprocess=no"],
            "preprocess=no is not allowed: it must be one of true, false",
        ),
        (["rnu=a", "out=model.pt"], "rnu=a: there is no such key; did you mean run?"),
    ],
)
def test_mistakes_are_one_line(run: Path, arguments: list[str], message: str) -> None:
    done = export(run, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_the_message_names_an_invalid_model() -> None:
    with pytest.raises(regtorch.SettingError, match=r"model=3 is not allowed: it must be an nn\.Module"):
        regtorch.plain(3)  # type: ignore[arg-type]


BROKEN: dict[str, tuple[Any, str]] = {
    "NaN": (lambda w: torch.full_like(w, torch.nan), "not finite (hidden.0.linear.weight)"),
    "infinite": (lambda w: torch.full_like(w, -torch.inf), "not finite (hidden.0.linear.weight)"),
    "complex": (lambda w: w.to(torch.complex64), "hidden.0.linear.weight as complex64, but the model has float32"),
    "int8": (lambda w: w.to(torch.int8), "hidden.0.linear.weight as int8, but the model has float32"),
    "booleans": (lambda w: w > 0, "hidden.0.linear.weight as bool, but the model has float32"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_weights_are_not_exported(run: Path, change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    content = torch.load(run / "a/checkpoints/best.ckpt", weights_only=True)
    name = "model.hidden.0.linear.weight"
    torch.save({**content, "state_dict": {**content["state_dict"], name: change(content["state_dict"][name])}}, path)
    with pytest.raises(DataError, match=re.escape(message)):
        _write(compose([]), path, NetworkInput((1, 8, 8), tuple("0123456789")), tmp_path / "out.pt", True)
    assert not (tmp_path / "out.pt").exists()


def test_a_run_of_an_older_version_is_scaled_like_its_data(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    content = torch.load(run / "a/checkpoints/best.ckpt", weights_only=True)
    described = {
        key: value for key, value in content["regtorch"].items() if key not in ("preprocessing", "class_names")
    }
    torch.save({**content, "regtorch": described}, path)
    new = network_input(Path("a"), compose([]), run / "a/checkpoints/best.ckpt", True).preprocessing
    old = network_input(Path("a"), compose([]), path, True).preprocessing
    assert new is not None
    assert old is not None
    assert new.described() == old.described()
    assert network_input(Path("a"), {}, path, False).preprocessing is None
    elsewhere = {"data": {"name": "arrays", "path": "gone.npz"}}
    with pytest.raises(DataError, match=r"run=a: .*data\.path=gone\.npz.*preprocess=false$"):
        network_input(Path("a"), elsewhere, path, True)
