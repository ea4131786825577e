"""Untrusted ``.keras`` files: a file is loaded or refused in one line, without any side effect."""

from __future__ import annotations

import io
import json
import random
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch import nn

import regtorch
from regtorch import KerasFileError
from tests.keras.mutated_files import archive_of, members_of, mutated, real_files
from tests.keras.reference import cases, unpack

#: audit events of running code, starting a process or using the network
_FORBIDDEN = (
    "exec",
    "compile",
    "marshal.loads",
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "socket.connect",
)

_watched: list[list[str]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and (event in _FORBIDDEN or _writes(event, arguments)):
        _watched[-1].append(f"{event} {str(arguments)[:200]}")


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and isinstance(arguments[1], str) and bool(set("wax+") & set(arguments[1]))


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect the forbidden audit events in the block."""
    _watched.append([])
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def _watched_load(path: Path) -> tuple[str | None, list[str]]:
    with watched() as happened:
        try:
            regtorch.from_keras(path)
        except KerasFileError as error:
            return str(error), happened
    return None, happened


def load(content: bytes, folder: Path) -> str | None:
    """Load a file, and return the message of its refusal, or None. No code may run and no file may be written."""
    path = folder / "model.keras"
    path.write_bytes(content)
    before = {entry.name for entry in folder.iterdir()}
    message, happened = _watched_load(path)
    if happened:  # the first import of a module runs code, too
        message, happened = _watched_load(path)
    assert happened == []
    assert {entry.name for entry in folder.iterdir()} == before
    if message is None:
        return None
    assert message.startswith(f"{path}")
    assert message.isprintable()
    return message.removeprefix(str(path))  # the folder has the name of the test, which can contain an expected word


def _fuzz(seeds: range, folder: Path) -> tuple[int, int]:
    files, refused = real_files(), 0
    for seed in seeds:
        rng = random.Random(seed)
        refused += load(mutated(rng.choice(files), rng), folder) is not None
    return len(seeds) - refused, refused


def test_mutated_files_are_loaded_or_refused_in_one_line(tmp_path):
    read, refused = _fuzz(range(250), tmp_path)
    assert read > 30  # most numbers in a configuration do not affect its shapes
    assert refused > 100


@pytest.mark.slow
def test_ten_thousand_mutations(tmp_path):
    read, refused = _fuzz(range(1000, 11_000), tmp_path)
    assert read + refused == 10_000


@pytest.fixture
def members(tmp_path) -> dict[str, bytes]:
    return members_of(unpack("a_dense_sequential.keras", tmp_path).read_bytes())


def _with_config(members: dict[str, bytes], change: Callable[[Any], None]) -> bytes:
    config = json.loads(members["config.json"])
    change(config)
    return archive_of({**members, "config.json": json.dumps(config).encode()})


def _with_weights(members: dict[str, bytes], change: Callable[[h5py.File], None]) -> bytes:
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    return archive_of({**members, "model.weights.h5": content.getvalue()})


def _first_array(file: h5py.File) -> str:
    return "layers/dense/vars/0"


def test_the_unchanged_file_is_loaded(members, tmp_path):
    assert load(archive_of(members), tmp_path) is None


def test_a_zip_bomb_is_refused_before_memory_is_allocated(members, tmp_path):
    bomb = archive_of({**members, "model.weights.h5": b"\0" * 200_000_000}, zipfile.ZIP_DEFLATED)
    message = load(bomb, tmp_path)
    assert "model.weights.h5" in message
    assert "bomb" in message


def test_a_member_with_a_wrong_size_is_refused(members, tmp_path):
    content = bytearray(archive_of(members, zipfile.ZIP_DEFLATED))
    real = len(members["config.json"]).to_bytes(4, "little")
    small = (len(members["config.json"]) - 100).to_bytes(4, "little")
    message = load(bytes(content).replace(real, small), tmp_path)
    assert "config.json" in message


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "a/../../b", "C:\\windows\\x", "..\\x"])
def test_members_with_paths_outside_the_archive_are_refused(name, members, tmp_path):
    message = load(archive_of({**members, name: b"x"}), tmp_path)
    assert "would leave the archive" in message


def test_a_duplicate_member_is_refused(members, tmp_path):
    content = io.BytesIO(archive_of(members))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(content, "a") as archive:
        archive.writestr("config.json", "{}")
    assert "twice" in load(content.getvalue(), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_missing_member_is_named(name, members, tmp_path):
    del members[name]
    assert name in load(archive_of(members), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_member_with_one_changed_byte_is_named(name, members, tmp_path):
    content = bytearray(archive_of(members))
    place = bytes(content).index(members[name][:200]) + 100
    content[place] ^= 1
    message = load(bytes(content), tmp_path)
    assert name in message
    assert "damaged" in message


def test_a_truncated_file_is_refused(members, tmp_path):
    content = archive_of(members)
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        assert load(content[:length], tmp_path) is not None


def test_weights_of_another_file_are_not_read(members, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros((7, 16), np.float32)

    def link(file: h5py.File) -> None:
        del file[_first_array(file)]
        file[_first_array(file)] = h5py.ExternalLink(str(secret), "x")

    def soft(file: h5py.File) -> None:
        del file[_first_array(file)]
        file[_first_array(file)] = h5py.SoftLink("/layers/dense/vars/1")

    def external(file: h5py.File) -> None:
        shape = file[_first_array(file)].shape
        del file[_first_array(file)]
        file.create_dataset(_first_array(file), shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    def virtual(file: h5py.File) -> None:
        shape = file[_first_array(file)].shape
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(str(secret), "x", shape)
        del file[_first_array(file)]
        file.create_virtual_dataset(_first_array(file), layout)

    for change in (link, soft, external, virtual):
        message = load(_with_weights(members, change), tmp_path)
        assert "not an array stored in the file itself" in message, change.__name__


def test_an_array_with_a_declared_size_above_the_file_is_refused(members, tmp_path):
    def huge(file: h5py.File) -> None:
        del file[_first_array(file)]
        file.create_dataset(_first_array(file), (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")

    message = load(_with_weights(members, huge), tmp_path)
    assert "does not store so many numbers" in message


def test_sizes_beyond_memory_are_refused(members, tmp_path):
    def units(config: Any) -> None:
        config["config"]["layers"][1]["config"]["units"] = 2**30

    def upsampled(config: Any) -> None:
        layer = {"module": "keras.layers", "class_name": "RepeatVector", "config": {"name": "r", "n": 2**30}}
        config["config"]["layers"].insert(1, layer)

    assert "the configuration requires" in load(_with_config(members, units), tmp_path)
    assert "would return the shape" in load(_with_config(members, upsampled), tmp_path)


def test_arrays_without_numbers_are_refused(members, tmp_path):
    def text(file: h5py.File) -> None:
        shape = file[_first_array(file)].shape
        del file[_first_array(file)]
        file.create_dataset(_first_array(file), data=np.full(shape, b"abcd"))

    assert "not numbers" in load(_with_weights(members, text), tmp_path)


def test_deeply_nested_configurations_are_refused(members, tmp_path):
    deep = b"[" * 100_000 + b"]" * 100_000
    assert "config.json" in load(archive_of({**members, "config.json": deep}), tmp_path)

    config = json.loads(members["config.json"])
    for _ in range(100):
        config = {
            "module": "keras",
            "class_name": "Sequential",
            "registered_name": None,
            "config": {"name": "s", "layers": [config], "build_input_shape": [None, 7]},
        }
    message = load(archive_of({**members, "config.json": json.dumps(config).encode()}), tmp_path)
    assert "nested" in message


def test_a_network_that_calls_itself_exponentially_often_is_refused(members, tmp_path):
    """Each of thirty nested models calls the next one eight times: 8^30 calls."""

    def tensor(name: str, call: int) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, 7], "keras_history": [name, call, 0]}}

    def entry() -> dict[str, Any]:
        config = {"batch_shape": [None, 7], "name": "i"}
        return {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": config,
            "name": "i",
            "inbound_nodes": [],
        }

    inner: dict[str, Any] = {"module": "keras.layers", "class_name": "Identity", "config": {"name": "m"}, "name": "m"}
    for _ in range(30):
        chain = [{"args": [tensor("i", 0)], "kwargs": {}}]
        chain += [{"args": [tensor("m", call)], "kwargs": {}} for call in range(7)]
        layers = [entry(), {**inner, "name": "m", "inbound_nodes": chain}]
        last = 8 if inner["class_name"] == "Functional" else 7
        config = {"name": "m", "layers": layers, "input_layers": ["i", 0, 0], "output_layers": ["m", last, 0]}
        inner = {
            "module": "keras.models",
            "class_name": "Functional",
            "registered_name": "Functional",
            "config": config,
        }
    message = load(archive_of({**members, "config.json": json.dumps(inner).encode()}), tmp_path)
    assert "calls" in message


def test_a_loop_is_refused(members, tmp_path):
    def node(name: str) -> list[Any]:
        config = {"shape": [None, 7], "keras_history": [name, 0, 0]}
        return [{"args": [{"class_name": "__keras_tensor__", "config": config}], "kwargs": {}}]

    def layer(kind: str, name: str, nodes: list[Any], **config: Any) -> dict[str, Any]:
        settings = {"name": name, **config}
        return {"module": "keras.layers", "class_name": kind, "config": settings, "name": name, "inbound_nodes": nodes}

    layers = [
        layer("InputLayer", "i", [], batch_shape=[None, 7]),
        layer("Identity", "a", node("b")),
        layer("Identity", "b", node("a")),
    ]
    config = {
        "module": "keras",
        "class_name": "Functional",
        "config": {"name": "m", "layers": layers, "input_layers": ["i", 0, 0], "output_layers": ["a", 0, 0]},
    }
    assert "loop" in load(archive_of({**members, "config.json": json.dumps(config).encode()}), tmp_path)


def test_the_checksum_is_tested(members, tmp_path):
    assert zlib.crc32(members["config.json"])  # an archive has one for each member
    content = bytearray(archive_of(members))
    checksum = zlib.crc32(members["config.json"]).to_bytes(4, "little")
    wrong = bytes(content).replace(checksum, b"\1\2\3\4")
    assert "config.json" in load(wrong, tmp_path)


def _many_layers(members: dict[str, bytes], count: int) -> bytes:
    """Write a file with twice as many calls: of layers whose names are equal in torch, and of one shared layer."""

    def node(name: str, call: int) -> dict[str, Any]:
        config = {"shape": [None, 7], "keras_history": [name, call, 0]}
        return {"args": [{"class_name": "__keras_tensor__", "config": config}], "kwargs": {}}

    names = [f"{'a' if index % 2 else 'b'}{chr(0x2200 + index)}" for index in range(count)]
    layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 7]}, "name": "i"}]
    for before, name in zip(["i", *names], names, strict=False):
        config = {"name": name, "activity_regularizer": "l2"}
        layer = {"module": "keras.layers", "class_name": "Identity", "config": config, "name": name}
        layers.append({**layer, "inbound_nodes": [node(before, 0)]})
    shared = [node(names[-1], 0), *(node("shared", call) for call in range(count))]
    config = {"name": "shared", "activation": "relu"}
    layer = {"module": "keras.layers", "class_name": "Activation", "config": config, "name": "shared"}
    layers.append({**layer, "inbound_nodes": shared})
    outputs = [["shared", call, 0] for call in range(0, count, 3)]
    config = {"name": "m", "layers": layers, "input_layers": ["i", 0, 0], "output_layers": outputs}
    model = {"module": "keras", "class_name": "Functional", "config": config}
    return archive_of({**members, "config.json": json.dumps(model).encode()})


def _calls(path: Path) -> int:
    """Count the function calls while a file is loaded, which is its time without the load of the machine."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        regtorch.from_keras(path)
    finally:
        sys.setprofile(before)
    return count


def test_the_time_of_many_layers_with_the_same_torch_name_grows_at_most_with_their_square(members, tmp_path):
    path = tmp_path / "model.keras"
    assert load(_many_layers(members, 60), tmp_path) is None
    calls = []
    for count in (60, 120):
        path.write_bytes(_many_layers(members, count))
        calls.append(_calls(path))
    assert calls[1] < 5 * calls[0]


@pytest.mark.slow
def test_almost_five_thousand_layers_with_the_same_torch_name_are_loaded(members, tmp_path):
    assert load(_many_layers(members, 2400), tmp_path) is None


def test_an_array_with_many_names_is_refused(members, tmp_path):
    def linked(file: h5py.File) -> None:
        del file["layers"]
        file["layers/dense/vars/0"] = np.zeros((512, 512), np.float32)
        for index in range(1, 40):
            file[f"layers/dense_{index}/vars/0"] = file["layers/dense/vars/0"]

    def wide(config: Any) -> None:
        dense = {"units": 512, "use_bias": False}
        layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 512]}}]
        for index in range(40):
            settings = {**dense, "name": f"d{index}"}
            layers.append({"module": "keras.layers", "class_name": "Dense", "config": settings})
        config["config"]["layers"] = layers

    weights = members_of(_with_weights(members, linked))["model.weights.h5"]
    content = _with_config({**members, "model.weights.h5": weights}, wide)
    assert "together larger than the file" in load(content, tmp_path)


def test_a_compressed_or_huge_configuration_is_refused(members, tmp_path):
    content = b"[" + b"[]," * 1_000_000 + b"[]]"
    message = load(archive_of({**members, "config.json": content}, zipfile.ZIP_DEFLATED), tmp_path)
    assert "zip bomb" in message
    content = b"[" + b"0," * 9_000_000 + b"0]"
    assert "more than" in load(archive_of({**members, "config.json": content}), tmp_path)


def test_many_small_members_that_form_a_zip_bomb_are_refused(members, tmp_path):
    many = {f"assets/{index}": b"\0" * 1_000_000 for index in range(30)}
    assert "zip bomb" in load(archive_of({**members, **many}, zipfile.ZIP_DEFLATED), tmp_path)


def test_members_that_keras_would_not_write_are_refused(members, tmp_path):
    assert "compressed in a way" in load(archive_of(members, zipfile.ZIP_BZIP2), tmp_path)
    content = bytearray(archive_of(members))
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1  # the flag of an encrypted member
    assert "encrypted" in load(bytes(content), tmp_path)


def test_integer_weights_are_refused(members, tmp_path):
    def integers(file: h5py.File) -> None:
        shape = file[_first_array(file)].shape
        del file[_first_array(file)]
        file[_first_array(file)] = np.zeros(shape, np.int32)

    assert "must contain floating-point numbers" in load(_with_weights(members, integers), tmp_path)


def test_a_wrong_number_of_arrays_is_refused(members, tmp_path):
    def further(file: h5py.File) -> None:
        file["layers/dense/vars/2"] = np.zeros(3, np.float32)

    def fewer(file: h5py.File) -> None:
        del file["layers/dense/vars/1"]

    assert "has 2 arrays (kernel, bias), but the file has 3 for it" in load(_with_weights(members, further), tmp_path)
    assert "has 2 arrays (kernel, bias), but the file has 1 for it" in load(_with_weights(members, fewer), tmp_path)


def test_a_group_that_is_a_link_is_refused(members, tmp_path):
    def link(file: h5py.File) -> None:
        file.move("layers/dense", "elsewhere")
        file["layers/dense"] = h5py.SoftLink("/elsewhere")

    assert "is a link" in load(_with_weights(members, link), tmp_path)


class AcceptsAll(nn.Identity):
    """A stand-in that accepts all arrays."""

    def load_keras(self, arrays: Any) -> None: ...


def _load_stand_in(content: bytes, folder: Path) -> str:
    (folder / "model.keras").write_bytes(content)
    with pytest.raises(KerasFileError) as refused:
        regtorch.from_keras(folder / "model.keras", custom={"Block": AcceptsAll})
    return str(refused.value)


def test_sublayers_that_contain_themselves_are_refused(tmp_path):
    stand_in = members_of(unpack("stand_in/block.keras", tmp_path).read_bytes())

    def ring(file: h5py.File) -> None:
        for name in ("a", "b", "c"):
            file[f"layers/block/parts/{name}"] = file["layers/block"]

    assert "sublayers" in _load_stand_in(_with_weights(stand_in, ring), tmp_path)


def test_arrays_of_sublayers_are_stored_in_the_file_itself(tmp_path):
    stand_in = members_of(unpack("stand_in/block.keras", tmp_path).read_bytes())
    array = "layers/block/parts/dense/vars/0"

    def soft(file: h5py.File) -> None:
        del file[array]
        file[array] = h5py.SoftLink("/layers/block/parts/dense/vars/1")

    def chunked(file: h5py.File) -> None:
        del file[array]
        file.create_dataset(array, (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")

    def group(file: h5py.File) -> None:
        del file["layers/block/parts/dense"]
        file["layers/block/parts/dense"] = h5py.ExternalLink("other.h5", "/")

    assert "stored in the file itself" in _load_stand_in(_with_weights(stand_in, soft), tmp_path)
    assert "does not store so many numbers" in _load_stand_in(_with_weights(stand_in, chunked), tmp_path)
    assert "is a link" in _load_stand_in(_with_weights(stand_in, group), tmp_path)


@pytest.mark.parametrize("dtype", ["U400000000", "object", "void", "datetime64[s]", None, ["f4"]])
def test_constants_of_other_types_are_refused(dtype, tmp_path):
    operations = members_of(unpack("stand_in/operations.keras", tmp_path).read_bytes())

    def typed(config: Any) -> None:
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "Multiply":
                layer["inbound_nodes"][0]["args"][1]["config"]["dtype"] = dtype

    assert "a constant of the type" in load(_with_config(operations, typed), tmp_path)


def test_arguments_of_a_call_are_read_once(tmp_path, members):
    """A model is called a thousand times, and a call in it has many arguments."""

    def tensor(name: str, call: int) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, 0]}}

    def layer(kind: str, name: str, nodes: list[Any], **config: Any) -> dict[str, Any]:
        settings = {"name": name, **config}
        return {"module": "keras.layers", "class_name": kind, "config": settings, "name": name, "inbound_nodes": nodes}

    entry = layer("InputLayer", "i", [], batch_shape=[None, 7])
    many = {"args": [tensor("i", 0), [[]] * 20_000], "kwargs": {}}
    inner = {"name": "m", "layers": [entry, layer("Identity", "a", [many])], "input_layers": ["i", 0, 0]}
    inner["output_layers"] = ["a", 0, 0]
    calls = [{"args": [tensor("i", 0)], "kwargs": {}}, *({"args": [tensor("m", n)], "kwargs": {}} for n in range(1000))]
    nested = {
        "module": "keras.models",
        "class_name": "Functional",
        "config": inner,
        "name": "m",
        "inbound_nodes": calls,
    }
    outer = {"name": "o", "layers": [entry, nested], "input_layers": ["i", 0, 0], "output_layers": ["m", 1000, 0]}
    config = {"module": "keras.models", "class_name": "Functional", "config": outer}
    message = load(archive_of({**members, "config.json": json.dumps(config).encode()}), tmp_path)
    assert message is not None
    assert len(message) < 2000


def test_a_chunked_array_is_refused(members, tmp_path):
    def chunked(file: h5py.File) -> None:
        values = file[_first_array(file)][()]
        del file[_first_array(file)]
        file.create_dataset(_first_array(file), data=values, chunks=True)

    assert "does not store so many numbers" in load(_with_weights(members, chunked), tmp_path)


def test_names_with_control_characters_do_not_reach_the_terminal(members, tmp_path):
    def with_control_characters(config: Any) -> None:
        config["config"]["layers"][1]["class_name"] = "Evil\n\x1b[31mX"

    assert "\\x1b[31mX" in load(_with_config(members, with_control_characters), tmp_path)
    twice = io.BytesIO(archive_of({**members, "x\ny": b""}))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("x\ny", "")
    assert "in the archive twice" in load(twice.getvalue(), tmp_path)


def test_two_layers_with_one_name_are_refused(members, tmp_path):
    def same(config: Any) -> None:
        config["config"]["layers"].append(config["config"]["layers"][1])

    assert "two layers of" in load(_with_config(members, same), tmp_path)


@pytest.mark.parametrize("steps", [-5, 2**62])
def test_an_impossible_number_of_optimizer_steps_is_refused(steps, tmp_path):
    name = next(n for n, case in cases().items() if case["kind"] == "optimizer" and "nadam" in n)
    members = members_of(unpack(f"{name}.keras", tmp_path).read_bytes())

    def set_steps(file: h5py.File) -> None:
        file["optimizer/vars/0"][()] = steps

    path = tmp_path / "steps.keras"
    path.write_bytes(_with_weights(members, set_steps))
    port = regtorch.from_keras(path)
    with pytest.raises(KerasFileError, match="steps"):
        _ = port.optimizer
