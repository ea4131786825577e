"""Files of Keras 2: group names in the style of Windows and of Keras 2.13, created from files of tf_keras 2.21."""

from __future__ import annotations

import io
import itertools
import json

import h5py
import numpy as np
import pytest
import torch

import regtorch
from tests.keras.mutated_files import archive_of, members_of
from tests.keras.reference import arrays_of, cases, inputs_of, unpack

MODELS = [name for name, case in cases().items() if name.startswith("k2_") and case["kind"] == "model"]
FOLDER = "_layer_checkpoint_dependencies"


def arrays_in(content: bytes) -> dict[str, np.ndarray]:
    """Path of a group of arrays -> its arrays, in the order of the file."""
    found: dict[str, list[np.ndarray]] = {}
    with h5py.File(io.BytesIO(content), "r") as file:

        def note(name: str, item: object) -> None:
            if isinstance(item, h5py.Group) and name.split("/")[-1] == "vars":
                found[name.removesuffix("vars").rstrip("/")] = [item[str(n)][()] for n in range(len(item))]

        file.visititems(note)
    return found


def file_with(arrays: dict[str, list[np.ndarray]]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in arrays.items():
            group = file.require_group(f"{name}/vars" if name else "vars")
            for index, value in enumerate(values):
                group[str(index)] = value
    return content.getvalue()


def windows(arrays):
    """Keras 2 joined the parts of a path with the separator of the operating system."""
    return {name.replace("/", "\\"): values for name, values in arrays.items()}


def keras_2_13(arrays):
    """Keras 2.13 counted a layer with weights twice, and named the folder differently."""
    counts: dict[str, itertools.count] = {}
    renamed: dict[str, str] = {"": ""}
    for name in sorted(arrays, key=lambda name: (name.count("/"), len(name), name)):
        parent, _, last = name.rpartition("/")
        folder, _, kind = parent.rpartition("/")
        if kind != "layers" and parent != "layers":
            renamed[name] = name
            continue
        base = last.rstrip("0123456789").rstrip("_") if "_" in last else last
        weighted = any(values for other, values in arrays.items() if other == name or other.startswith(f"{name}/"))
        key = f"{parent}:{base}"
        number = counts.setdefault(key, 0)
        counts[key] += 2 if weighted else 1
        renamed[name] = "/".join(
            filter(None, (renamed.get(folder, folder), FOLDER, f"{base}_{number}" if number else base))
        )
    return {renamed[name]: values for name, values in arrays.items()}


VARIANTS = {
    "windows": windows,
    "2.13": keras_2_13,
    "2.13 on windows": lambda arrays: windows(keras_2_13(arrays)),
}


def rewritten(name, folder, change):
    """A file of the reference with renamed groups."""
    path = unpack(f"{name}.keras", folder)
    members = members_of(path.read_bytes())
    arrays = arrays_in(members["model.weights.h5"])
    changed = change(arrays)
    assert len(changed) == len(arrays)
    members["model.weights.h5"] = file_with(changed)
    path.write_bytes(archive_of(members))
    return path


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [*MODELS, "k2_optimizer_nadam"])
def test_groups_are_found_under_all_names(name, variant, tmp_path):
    arrays = arrays_of(name)
    path = rewritten(name, tmp_path, VARIANTS[variant])
    port = regtorch.from_keras(path)
    inputs = inputs_of(port, arrays)
    np.testing.assert_allclose(port.predict(inputs), arrays["predicted"], atol=1e-5)
    with torch.no_grad():
        for parameter in port.model.parameters():
            parameter.mul_(1.5)
    port.save(tmp_path / "out.keras")
    np.testing.assert_allclose(regtorch.from_keras(tmp_path / "out.keras").predict(inputs), port.predict(inputs))
    if "optimizer" in name:
        assert port.optimizer is not None


def test_more_than_ten_layers_of_one_class_keep_their_order(tmp_path):
    """The eleventh Dense is dense_10 today, and was dense_20: neither is the eleventh in alphabetical order."""
    layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_input_shape": [None, 2]}}]
    arrays = {"": []}
    for index in range(13):
        settings = {"name": f"d{index}", "units": 2, "use_bias": True, "activation": "linear"}
        layers.append({"module": "keras.layers", "class_name": "Dense", "config": settings})
        arrays[f"{FOLDER}/dense_{2 * index}" if index else f"{FOLDER}/dense"] = [
            np.eye(2, dtype=np.float32),
            np.full(2, 2.0**index, np.float32),
        ]
    members = members_of(unpack("k2_nested_of_several.keras", tmp_path).read_bytes())
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    members |= {"config.json": json.dumps(config).encode(), "model.weights.h5": file_with(arrays)}
    (tmp_path / "many.keras").write_bytes(archive_of(members))
    port = regtorch.from_keras(tmp_path / "many.keras")
    for index in range(13):
        assert port.model.get_submodule(f"d{index}").bias.tolist() == [2.0**index] * 2


@pytest.mark.parametrize("gap", [1, 3, 4])
def test_inconsistent_numbers_of_groups_are_refused(gap, tmp_path):
    """With a missing group, each later layer would get the arrays of the next one."""

    def change(arrays):
        other = keras_2_13(arrays)
        names = sorted(n for n in other if n.startswith(f"{FOLDER}/dense"))
        other[f"{FOLDER}/dense_{2 + gap}"] = other.pop(names[-1])
        return other

    path = rewritten("k2_optimizer_sgd", tmp_path, change)
    with pytest.raises(regtorch.KerasFileError, match="are not numbered as Keras"):
        regtorch.from_keras(path)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 40, 10**6])
def test_the_product_of_momenta_of_nadam_matches_the_traced_graph_of_keras_2(steps):
    """Simulate the graph step by step: each weight multiplies unless its constant is the number of the step."""
    from regtorch.keras.optimizer import _keras_2_product_of_momenta

    weights, beta = 3, 0.9

    def momentum(step):
        return beta * (1 - 0.5 * 0.96**step)

    product, seen = 1.0, []
    for step in range(1, min(steps, 500) + 2):
        seen = []
        for place in range(weights):
            if weights + 1 + place != step + 1:
                product *= momentum(step)
            seen.append(product)
    for place in range(weights):
        given = _keras_2_product_of_momenta(beta, steps, weights, place).item()
        assert given * momentum(min(steps, 500) + 1) == pytest.approx(seen[place], rel=1e-5, abs=1e-30)


@pytest.mark.parametrize(
    ("class_name", "settings", "words"),
    [
        ("Nadam", {"decay": 0.004}, "legacy.Nadam takes other steps"),
        ("RMSprop", {"decay": 0.0, "rho": 0.8}, "torch.optim.RMSprop(port.model.parameters(), lr=0.001, alpha=0.8"),
        ("x" * 9000, {}, "has no counterpart here"),
        ("Adam", {"amsgrad": "\x1b" * 9000}, "has no counterpart here"),
        ("Adam", {"beta_1": "\x1b" * 9000}, "is not allowed"),
    ],
)
def test_optimizers_without_a_counterpart_are_refused_in_one_line(class_name, settings, words, tmp_path):
    members = members_of(unpack("k2_optimizer_adam.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    config["compile_config"]["optimizer"] = {"class_name": class_name, "config": settings}
    path = tmp_path / "changed.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    port = regtorch.from_keras(path)
    with pytest.raises((regtorch.RegtorchError, ValueError)) as refused:
        _ = port.optimizer
    assert words in str(refused.value)
    assert len(str(refused.value)) < 700
    assert str(refused.value).isprintable()


def test_a_schedule_of_a_legacy_optimizer_is_left_to_the_loop(tmp_path):
    members = members_of(unpack("k2_optimizer_legacy_adam.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    config["compile_config"]["optimizer"]["config"]["decay"] = 0.1
    path = tmp_path / "changed.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    port = regtorch.from_keras(path)
    with (
        pytest.warns(UserWarning, match="decay=0.1 of the file is left to your training loop"),
        pytest.warns(UserWarning, match="no state of this legacy optimizer"),
    ):
        _ = port.optimizer


@pytest.mark.parametrize("mode", [True, False])
def test_a_mode_that_keras_2_fixes_causes_a_warning(mode, tmp_path):
    path = unpack("k2_nested_of_several.keras", tmp_path)
    members = members_of(path.read_bytes())
    config = json.loads(members["config.json"])
    inner = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Sequential")
    inner["inbound_nodes"][0][0][3]["training"] = mode
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    with pytest.warns(UserWarning, match=f"'sequential[_0-9]*' training={mode} in training and in prediction"):
        regtorch.from_keras(path)
