"""Stand-ins for layers: their arguments, loading and saving of their arrays, and refused ones."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Mapping

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import SettingError
from tests.keras.mutated_files import archive_of, members_of
from tests.keras.reference import ARCHIVE, unpack


def file_of(name, folder, change=None):
    """A reference file for stand-ins, with a changed configuration."""
    path = unpack(f"stand_in/{name}.keras", folder)
    if change is not None:
        members = members_of(path.read_bytes())
        config = json.loads(members["config.json"])
        change(config)
        path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    return path


def arrays_of(name):
    with zipfile.ZipFile(ARCHIVE) as archive, np.load(io.BytesIO(archive.read(f"stand_in/{name}.npz"))) as arrays:
        return dict(arrays)


def load(name, folder, custom, change=None):
    """Load a file, without the warnings about arguments and rules that its stand-ins ignore."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return regtorch.from_keras(file_of(name, folder, change), custom=custom)


class Lstm(nn.Module):
    """Keras' LSTM with torch's module and transposed arrays."""

    seen = None

    def __init__(self, units, input_shape):
        super().__init__()
        type(self).seen = input_shape
        self.lstm = nn.LSTM(input_shape[-1], units, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x, mask=None):
        if mask is None:
            return self.lstm(x)[1][0][-1]
        lengths = mask.sum(1).cpu().clamp_min(1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.lstm(packed)[1][0][-1]

    def load_keras(self, arrays):
        kernel, recurrent, bias = (torch.as_tensor(arrays[f"cell/{index}"]) for index in range(3))
        with torch.no_grad():
            for own, value in zip(self.lstm.parameters(), (kernel.T, recurrent.T, bias, 0 * bias), strict=True):
                own.copy_(value)

    def save_keras(self):
        kernel, recurrent, bias, _ = self.lstm.parameters()
        return {"cell/0": kernel.T, "cell/1": recurrent.T, "cell/2": bias}


class Attention(nn.Module):
    """Keras' MultiHeadAttention with torch's function and unchanged arrays."""

    def __init__(self, num_heads, key_dim):
        super().__init__()
        self.scale = key_dim**-0.5

    def load_keras(self, arrays):
        self.names = list(arrays)
        self.kept = nn.ParameterDict(
            {name.replace("/", "_"): nn.Parameter(torch.from_numpy(array)) for name, array in arrays.items()}
        )

    def save_keras(self):
        return {name: self.kept[name.replace("/", "_")] for name in self.names}

    def forward(self, query, value, use_causal_mask=False):
        def projected(x, name):
            return torch.einsum("blf,fhd->bhld", x, self.kept[f"{name}_0"]) + self.kept[f"{name}_1"][:, None]

        heads = nn.functional.scaled_dot_product_attention(
            projected(query, "query_dense"),
            projected(value, "key_dense"),
            projected(value, "value_dense"),
            is_causal=use_causal_mask,
            scale=self.scale,
        )
        return torch.einsum("bhld,hdf->blf", heads, self.kept["output_dense_0"]) + self.kept["output_dense_1"]


class Block(nn.Module):
    """A layer with one array and two sublayers."""

    def __init__(self, units, input_shape):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(input_shape[-1]))
        self.first, self.second = nn.Linear(input_shape[-1], units), nn.Linear(units, units)

    def forward(self, x):
        return self.second(self.first(x * self.scale).tanh())

    def load_keras(self, arrays):
        self.scale.data = torch.from_numpy(arrays["0"])
        for name, layer in (("parts/dense", self.first), ("parts/dense_1", self.second)):
            layer.weight.data = torch.from_numpy(arrays[f"{name}/0"]).T.contiguous()
            layer.bias.data = torch.from_numpy(arrays[f"{name}/1"])

    def save_keras(self):
        found = {"0": self.scale}
        for name, layer in (("parts/dense", self.first), ("parts/dense_1", self.second)):
            found |= {f"{name}/0": layer.weight.T, f"{name}/1": layer.bias}
        return found


MODELS = {
    "lstm": {"LSTM": Lstm},
    "attention": {"MultiHeadAttention": Attention},
    "block": {"Block": Block},
    "masked": {"LSTM": Lstm},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_stand_in_predicts_as_in_keras_and_is_saved_after_training(name, tmp_path):
    arrays, port = arrays_of(name), load(name, tmp_path, MODELS[name])
    np.testing.assert_allclose(port.predict(arrays["x"]), arrays["predicted"], atol=1e-5)
    with torch.no_grad():
        for parameter in port.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.rand_like(parameter))
    trained = port.predict(arrays["x"])
    assert not np.allclose(trained, arrays["predicted"])
    port.save(tmp_path / "out.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        again = regtorch.from_keras(tmp_path / "out.keras", custom=MODELS[name])
    np.testing.assert_allclose(again.predict(arrays["x"]), trained, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_arrays_are_loaded_before_the_first_forward(name, tmp_path):
    [(key, kind)] = MODELS[name].items()
    happened = []

    class Watched(kind):
        def load_keras(self, arrays):
            happened.append("load")
            super().load_keras(arrays)

        def forward(self, *args, **kwargs):
            happened.append("forward")
            return super().forward(*args, **kwargs)

    load(name, tmp_path, {key: Watched})
    assert happened == ["load", "forward"]


def test_a_factory_gets_the_shape_of_the_module_input(tmp_path):
    load("lstm", tmp_path, {"LSTM": Lstm})
    assert Lstm.seen == (None, 5, 3)
    seen = []

    def image(config):
        layer = {"module": "my", "class_name": "Mine", "config": {"name": "mine"}, "registered_name": "My>Mine"}
        config["config"]["layers"] = [
            {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 8, 7, 3]}},
            layer,
        ]

    class Mine(nn.Identity):
        def __init__(self, input_shape=None):
            super().__init__()
            seen.append(input_shape)

    load("block", tmp_path, {"Mine": Mine}, image)
    assert seen == [(None, 3, 8, 7)]


def test_an_ignored_mask_causes_a_warning(tmp_path):
    arrays = arrays_of("masked")

    class WithoutMask(Lstm):
        def forward(self, x):
            return super().forward(x)

    with pytest.warns(UserWarning, match="no parameter mask"):
        port = regtorch.from_keras(file_of("masked", tmp_path), custom={"LSTM": WithoutMask})
    assert not np.allclose(port.predict(arrays["x"]), arrays["predicted"], atol=1e-3)


def with_weights(path, change):
    """Change the weight file of an archive."""
    members = members_of(path.read_bytes())
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    path.write_bytes(archive_of({**members, "model.weights.h5": content.getvalue()}))
    return path


def test_the_state_of_a_seed_generator_is_not_an_array_of_a_layer(tmp_path):
    def seeded(file):
        file["layers/lstm/cell/seed_generator/vars/0"] = np.array([1, 2], np.uint32)

    path = with_weights(file_of("lstm", tmp_path), seeded)
    with pytest.warns(UserWarning, match="not bound"):
        port = regtorch.from_keras(path, custom={"LSTM": Lstm})
    port.save(tmp_path / "out.keras")


class Twin(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.scale + self.bias


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        return self.inner(x)


class Fails(nn.Identity):
    def load_keras(self, arrays):
        raise RuntimeError(len(arrays))


def _insert_custom_layer(name, key):
    """Insert a custom layer that has no arrays in the file."""

    def change(config):
        layer = {"module": "my", "class_name": key, "config": {"name": "mine"}, "registered_name": f"My>{key}"}
        config["config"]["layers"].insert(1, layer)

    return change


@pytest.mark.parametrize(
    ("name", "custom", "change", "words"),
    [
        ("block", {"Block": Twin}, None, "arrays of several sublayers, '0', 'parts/dense/0'"),
        ("block", {"Block": nn.Identity}, None, "arrays of several sublayers"),
        ("block", {"Block": Fails}, None, "load_keras of its stand-in failed on"),
        ("lstm", {"LSTM": lambda: nn.LSTM(3, 4)}, None, "must return one tensor (batch, ...), but it returned tuple"),
        ("lstm", {"LSTM": lambda: nn.Linear(3, 4)}, None, "give it a method load_keras"),
        (
            "block",
            {"Block": Block, "Mine": Twin},
            _insert_custom_layer("block", "Mine"),
            "parameters 'scale', 'bias', but the file has no array",
        ),
        ("attention", {"MultiHeadAttention": lambda: nn.Bilinear(3, 3, 3)}, None, "several sublayers"),
        (
            "operations",
            {},
            None,
            "'subtract' (Subtract): an operation on tensors, called with 2.0; give custom={'Subtract'",
        ),
    ],
)
def test_silent_mistakes_are_refused(name, custom, change, words, tmp_path):
    with pytest.raises(regtorch.KerasFileError) as refused:
        load(name, tmp_path, custom, change)
    assert words in str(refused.value)
    assert "config.json is damaged" not in str(refused.value)
    assert len(str(refused.value)) < 900


def test_a_square_kernel_is_not_loaded_without_a_transpose(tmp_path):
    def square(file):
        del file["layers/twice/vars/0"]
        file["layers/twice/vars/0"] = np.arange(36, dtype=np.float32).reshape(6, 6)
        file["layers/twice/vars/1"] = np.zeros(6, np.float32)

    path = with_weights(unpack("refused/custom_layer.keras", tmp_path), square)
    with pytest.raises(regtorch.KerasFileError, match="torch's Linear, whose weights have another order"):
        regtorch.from_keras(path, custom={"Twice": Square})


def test_load_keras_allows_parameters_without_arrays(tmp_path):
    class Declared(Twin):
        def load_keras(self, arrays):
            assert arrays == []

    port = load("block", tmp_path, {"Block": Block, "Mine": Declared}, _insert_custom_layer("block", "Mine"))
    assert port.predict(arrays_of("block")["x"]).shape == arrays_of("block")["predicted"].shape


def test_a_load_keras_without_effect_causes_a_warning(tmp_path):
    class LoadsNothing(Lstm):
        def load_keras(self, arrays): ...

    with pytest.warns(UserWarning, match="left all parameters unchanged"):
        regtorch.from_keras(file_of("lstm", tmp_path), custom={"LSTM": LoadsNothing})


class Forgets(Lstm):
    save_keras = property()  # hasattr returns False


class TooFew(Lstm):
    def save_keras(self):
        return [self.lstm.bias_hh_l0]


class OtherNames(Lstm):
    def save_keras(self):
        return {name.replace("cell", "sell"): array for name, array in super().save_keras().items()}


class OtherShapes(Lstm):
    def save_keras(self):
        return {name: array[..., :1] for name, array in super().save_keras().items()}


class Raises(Lstm):
    def save_keras(self):
        raise KeyError("weights")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Forgets, "no save_keras"),
        (TooFew, "save_keras returned 1 arrays, but the file has 3"),
        (OtherNames, "'sell/0', .* but the file has 'cell/0'"),
        (OtherShapes, "for cell/0, but the file has \\(3, 16\\)"),
        (Raises, "save_keras of its stand-in failed: KeyError"),
    ],
)
def test_saving_fails_if_a_stand_in_does_not_return_its_arrays(kind, words, tmp_path):
    port = load("lstm", tmp_path, {"LSTM": kind})
    with torch.no_grad():
        port.model.get_submodule("lstm").lstm.bias_ih_l0.add_(1.0)
    with pytest.raises(SettingError, match=words):
        port.save(tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_save_keras_may_return_a_list_for_a_mapping(tmp_path):
    class Listed(Lstm):
        def save_keras(self):
            return list(super().save_keras().values())

    port = load("lstm", tmp_path, {"LSTM": Listed})
    port.save(tmp_path / "out.keras")
    before, after = (members_of((tmp_path / name).read_bytes()) for name in ("lstm.keras", "out.keras"))
    assert before["model.weights.h5"] == after["model.weights.h5"]


def test_rules_of_a_stand_in_cause_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="'kernel_regularizer' of the file are not bound to its stand-in"):
        regtorch.from_keras(file_of("lstm", tmp_path), custom={"LSTM": Lstm})


class Flipped(nn.Module):
    """Takes the constant and the tensor in the order of Keras' operation."""

    def forward(self, a, b):
        return a - b


class TensorOnly(nn.Module):
    def forward(self, x):
        return 2.0 - x


class Times(nn.Module):
    def forward(self, x, *constants):
        return x * constants[0] if constants else x * torch.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize("subtract", [Flipped, TensorOnly])
@pytest.mark.parametrize("keys", [("Subtract", "Multiply"), ("subtract", "multiply_1")])
def test_an_operation_on_constants_has_a_stand_in(subtract, keys, tmp_path):
    arrays = arrays_of("operations")
    port = load("operations", tmp_path, dict(zip(keys, (subtract, Times), strict=True)))
    np.testing.assert_allclose(port.predict(arrays["x"]), arrays["predicted"], atol=1e-5)
    port.model.double()  # constants move with the model
    np.testing.assert_allclose(port.predict(arrays["x"]), arrays["predicted"], atol=1e-5)


def test_an_ignored_constant_causes_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="takes only the tensor, not \\[2.0\\]"):
        regtorch.from_keras(file_of("operations", tmp_path), custom={"Subtract": TensorOnly, "Multiply": Times})


def test_an_ignored_argument_of_a_call_is_refused(tmp_path):
    class WithoutFlag(Attention):
        def forward(self, query, value):
            return super().forward(query, value)

    with pytest.raises(
        regtorch.KerasFileError, match="is called with use_causal_mask=True, which is a parameter of neither"
    ):
        load("attention", tmp_path, {"MultiHeadAttention": WithoutFlag})

    class WithFlag(WithoutFlag):
        def __init__(self, num_heads, key_dim, use_causal_mask):
            super().__init__(num_heads, key_dim)
            self.causal = use_causal_mask

        def forward(self, query, value):
            return Attention.forward(self, query, value, self.causal)

    port, arrays = load("attention", tmp_path, {"MultiHeadAttention": WithFlag}), arrays_of("attention")
    np.testing.assert_allclose(port.predict(arrays["x"]), arrays["predicted"], atol=1e-5)


def test_the_optimizer_trains_a_stand_in_or_raises_an_error(tmp_path):
    def compiled(config):
        config["compile_config"] = {"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.1}}}

    port = load("lstm", tmp_path, {"LSTM": Lstm}, compiled)
    trained = {id(p) for group in port.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in port.model.parameters() if p.requires_grad}

    def state(file):
        for index in range(12):
            file[f"optimizer/vars/{index}"] = np.float32(1)

    with_weights(tmp_path / "lstm.keras", state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        port = regtorch.from_keras(tmp_path / "lstm.keras", custom={"LSTM": Lstm})
    with pytest.raises(SettingError, match="state for the weights of 'lstm' \\(LSTM\\)"):
        _ = port.optimizer


def test_a_frozen_layers_stand_in_does_not_train(tmp_path):
    def freeze(config):
        config["config"]["layers"][1]["config"]["trainable"] = False

    port = load("lstm", tmp_path, {"LSTM": Lstm}, freeze)
    assert not any(p.requires_grad for p in port.model.get_submodule("lstm").parameters())
    assert any(p.requires_grad for p in port.model.parameters())


def test_arrays_without_sublayers_are_passed_as_a_list(tmp_path):
    seen = []

    class Records(nn.Identity):
        def load_keras(self, arrays):
            seen.append(arrays)

    regtorch.from_keras(unpack("refused/custom_layer.keras", tmp_path), custom={"Twice": Records})
    assert [array.shape for array in seen[0]] == [(6,)]
    assert not isinstance(seen[0], Mapping)
