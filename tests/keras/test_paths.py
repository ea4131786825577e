"""Other arguments of `from_keras` than a ``.keras`` file: one short line names the problem and a remedy."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import socket
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import regtorch
from regtorch import KerasFileError
from tests.keras.mutated_files import archive_of, members_of
from tests.keras.reference import unpack


def refusal(path, **more) -> str:
    with pytest.raises(KerasFileError) as refused:
        regtorch.from_keras(path, **more)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) <= 2300
    assert "config.json is damaged" not in message
    return message


@pytest.fixture
def real(tmp_path):
    return unpack("a_dense_sequential.keras", tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "path=None is not allowed: it must be the path of a file, not NoneType"),
        (3, "path=3 is not allowed"),
        (b"PK" * 4000, "not the content of a file"),
        (io.BytesIO(b"PK"), "not BytesIO"),
        ("", "path='' is not allowed"),
        ("a" * 300, "File name too long"),
        ("a" * 9000, "File name too long"),
        ("a\0b", "null byte"),
        (["model.keras"], "not list"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_an_argument_that_is_not_a_path_is_refused(value, words):
    message = refusal(value)
    assert words in message
    assert len(message) < 600


@pytest.mark.parametrize("value", [None, "", 3, b"model.keras"])
def test_a_model_is_saved_only_to_a_path(value, real):
    port = regtorch.from_keras(real)
    with pytest.raises(KerasFileError, match="it must be the path of a file"):
        port.save(value)


def test_a_path_may_be_a_string_or_an_object(real):
    assert regtorch.from_keras(str(real)).model is not None
    [entry] = os.scandir(real.parent)
    assert regtorch.from_keras(entry).model is not None


@pytest.mark.parametrize("custom", [["Dense"], {"Dense": 3}, 7, {"x" * 9000: 1}])
def test_custom_must_be_a_mapping_of_factories(custom, real):
    assert "must map names to factories" in refusal(real, custom=custom)


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("make", [_pipe, _socket])
def test_special_files_are_not_opened(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    make("special.keras")
    assert "is not a regular file" in refusal("special.keras")
    Path("link.keras").symlink_to("special.keras")
    assert "is not a regular file" in refusal("link.keras")


def test_devices_and_loops_are_not_read(tmp_path):
    assert "is not a regular file" in refusal("/dev/zero")
    (tmp_path / "loop.keras").symlink_to("loop.keras")
    assert "cannot be read" in refusal(tmp_path / "loop.keras")


def test_a_huge_file_that_is_not_an_archive_is_not_read_into_memory(tmp_path):
    path = tmp_path / "sparse.keras"
    with path.open("wb") as file:
        file.truncate(2**42)
    assert "not a complete zip archive" in refusal(path)


def _hdf5(**attributes) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["x"] = np.zeros(3)
        file.attrs.update(attributes)
    return content.getvalue()


CONTENTS = {
    "pointer.keras": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
    "model.keras": (_hdf5(model_config="{}"), "rename it to model.h5, load it in Keras 3"),
    "model.h5": (_hdf5(model_config="{}"), "legacy .h5 model), not a .keras file: load it in Keras 3"),
    "weights.keras": (_hdf5(), "weights only"),
    "page.keras": (b"\n<!DOCTYPE html><html></html>", "a web page"),
    "config.keras": (b'{"class_name": "Sequential"}', "is JSON"),
    "pickle.keras": (b"\x80\x04K\x01.", "is a pickle"),
    "empty.keras": (b"", "not a complete zip archive"),
    "torch.keras": (archive_of({"archive/data.pkl": b"", "archive/version": b"3"}), "torch.save"),
    "arrays.keras": (archive_of({"a.npy": b"", "b.npy": b""}), "NumPy archive"),
    "nothing.keras": (archive_of({}), "the member config.json is missing"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_kinds_of_files_are_named(name, tmp_path):
    content, words = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert words in message
    assert message.count(str(tmp_path / name)) == 1


def test_other_members_of_an_archive_are_named(real):
    members = members_of(real.read_bytes())
    npz = {name.replace(".h5", ".npz"): content for name, content in members.items()}
    for changed, words in (
        ({f"model/{name}": content for name, content in members.items()}, "in the folder 'model/' of the archive"),
        ({f"model\\{name}": content for name, content in members.items()}, "in the folder 'model/' of the archive"),
        (npz, "model.weights.npz"),
    ):
        real.write_bytes(archive_of(changed))
        assert words in refusal(real)


def test_the_kind_of_a_folder_is_named(real, tmp_path):
    folder = tmp_path / "folder.keras"
    with zipfile.ZipFile(real) as archive:
        archive.extractall(folder)
    assert "members of a .keras file of Keras 3: zip them" in refusal(folder)
    (folder / "config.json").unlink()
    assert "is a folder, not a .keras file" in refusal(folder)
    (folder / "saved_model.pb").touch()
    assert "is a folder (a SavedModel)" in refusal(folder)


def test_only_one_reason_is_given(real):
    for name, words in (("metadata.json", "is in the archive twice"), ("../../outside", "would leave the archive")):
        content = io.BytesIO(unpack("a_dense_sequential.keras", real.parent).read_bytes())
        with zipfile.ZipFile(content, "a") as archive, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            archive.writestr(name, "{}")
        real.write_bytes(content.getvalue())
        message = refusal(real)
        assert words in message
        assert message.count(str(real)) == 1
        assert "complete zip" not in message


def _layer(name, kind, **settings):
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **settings}, "registered_name": None}


def _with_layers(path, layers):
    members = members_of(path.read_bytes())
    config = json.loads(members["config.json"])
    config["config"]["layers"][1:] = layers
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))


LONG = {
    "4,000 layers of one class": [_layer(f"foo_{n}", "Foo") for n in range(4000)],
    "40 classes": [_layer(f"foo_{n}", f"Foo{n}") for n in range(40)],
    "a long name": [_layer("foo" * 100_000, "Foo")],
    "a long class": [_layer("foo", "Foo" * 100_000)],
    "a long activation": [_layer("act", "Activation", activation="x" * 500_000)],
    "a long regularizer": [_layer("d", "Dense", units=3, kernel_regularizer="x" * 500_000)],
    "a long setting": [_layer("d", "Dense", units="7" * 500_000)],
    "a list of numbers": [_layer("d", "Dense", units=list(range(100_000)))],
    "a long policy": [_layer("d", "Dense", units=3, dtype={"class_name": "x" * 500_000})],
    "many lambdas": [_layer(f"lambda_{n}", "Lambda") for n in range(4000)],
    "many names": [_layer(f"foo_{n}" + "x" * 400, "Foo") for n in range(4000)],
    "escape codes": [_layer("\x1b[31m\n", "\x1b[0m\x07", units="\x1b")],
}


@pytest.mark.parametrize("name", LONG)
def test_messages_are_short_and_do_not_repeat_themselves(name, real):
    _with_layers(real, LONG[name])
    message = refusal(real).removeprefix(str(real))
    assert len(message) <= 2000
    assert all(
        len(item) <= 520 for item in message.split("supported here: ")[-1].split("a torch module that stands in; ")
    )
    if name != "40 classes":
        assert message.count("this layer is not available here") + message.count("never run") <= 1


def test_operations_of_one_class_are_listed_once_whatever_their_constants(real):
    def node(name, *args):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        return [{"args": [tensor, *args], "kwargs": {}}]

    entry = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 7]}, "name": "i"}
    names = ["i", *(f"power_{n}" for n in range(300))]
    powers = [
        {"module": "keras.src.ops.numpy", "class_name": "Power", "config": {"name": name}, "name": name}
        | {"inbound_nodes": node(before, n)}
        for n, (before, name) in enumerate(itertools.pairwise(names))
    ]
    config = {"layers": [entry, *powers], "input_layers": ["i", 0, 0], "output_layers": [names[-1], 0, 0], "name": "m"}
    members = members_of(real.read_bytes())
    model = {"module": "keras", "class_name": "Functional", "config": config}
    real.write_bytes(archive_of({**members, "config.json": json.dumps(model).encode()}))
    message = refusal(real)
    assert message.count("an operation on tensors") == 1
    assert "Power ('power_0', 'power_1', 'power_2', ... 297 more)" in message
    assert "custom={'Power': ...}" in message


def test_layers_of_one_class_are_counted(real):
    _with_layers(real, LONG["4,000 layers of one class"])
    assert "Foo ('foo_0', 'foo_1', 'foo_2', ... 3,997 more): this layer is not available here" in refusal(real)
    _with_layers(real, LONG["40 classes"])
    assert re.search(r"and \d+ more", refusal(real))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RandomFlip", "give custom={'RandomFlip': torch.nn.Identity}, which is right for prediction"),
        ("RandomHeight", "torch.nn.Identity"),
        ("RandAugment", "torch.nn.Identity"),
        ("MixUp", "torch.nn.Identity"),
        ("RandomCrop", "in prediction crops the center"),
    ],
)
def test_random_augmentation_is_removed_by_a_stand_in(kind, words, real):
    _with_layers(real, [_layer("first", kind, seed=None), _layer("second", kind, seed=3)])
    assert words in refusal(real)
    if "Identity" in words:
        custom = {kind: __import__("torch").nn.Identity}
        assert regtorch.from_keras(real, custom=custom).model is not None


@pytest.mark.parametrize("key", ["units", "stddev", "rate"])
@pytest.mark.parametrize("value", [2**31 + 1, -(2**31) - 1, 10**30, "x", None, True, float("inf")])
def test_a_message_names_both_ends_of_a_range(key, value, real):
    layers = {
        "units": _layer("d", "Dense", units=value),
        "stddev": _layer("d", "GaussianNoise", stddev=value),
        "rate": _layer("d", "Dropout", rate=value),
    }
    _with_layers(real, [layers[key]])
    message = refusal(real)
    ends = {"units": ">= 1 and < 2147483648", "stddev": "from 0 to 2147483648", "rate": "from 0 to 1"}
    assert f"{key}=" in message
    assert ends[key] in message
