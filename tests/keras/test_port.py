"""Ported models: use as a torch module, saving to a file, and the equivalent configuration."""

from __future__ import annotations

import copy
import json
import pickle
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import SettingError
from regtorch.training.build import make_constraints, make_model, make_penalties
from tests.keras.mutated_files import archive_of, members_of
from tests.keras.reference import ARCHIVE, arrays_of, cases, inputs_of, listed, port_of, unpack

NAMES = list(cases())


def perturb(port) -> None:
    """Change all weights and moving statistics."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in port.model.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))


@pytest.mark.parametrize("name", NAMES[::3])
def test_weights_are_saved_to_a_file(name, tmp_path):
    port, arrays = port_of(name, tmp_path), arrays_of(name)
    inputs = inputs_of(port, arrays)
    untouched = listed(port.predict(inputs))
    perturb(port)
    wanted = listed(port.predict(inputs))
    port.save(tmp_path / "out.keras")

    half = "float16" in str(cases()[name].get("policy"))
    again = listed(regtorch.from_keras(tmp_path / "out.keras").predict(inputs))
    for ours, theirs in zip(again, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-2 if half else 1e-6 * max(1, np.abs(theirs).max()))
    if port.model.state_dict():
        assert any(not np.allclose(ours, before, atol=1e-6) for ours, before in zip(again, untouched, strict=True))
    before, after = (members_of((tmp_path / file).read_bytes()) for file in (f"{name}.keras", "out.keras"))
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} <= {"model.weights.h5"}


def test_saving_over_the_loaded_file(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    perturb(port)
    port.save(tmp_path / "a_dense_sequential.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["a_dense_sequential.keras"]
    again = regtorch.from_keras(tmp_path / "a_dense_sequential.keras")
    for ours, theirs in zip(again.model.parameters(), port.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_saving_to_a_missing_folder_raises_an_error(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    with pytest.raises(OSError, match="absent"):
        port.save(tmp_path / "absent" / "out.keras")


def test_saving_works_after_the_file_was_deleted(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    (tmp_path / "a_dense_sequential.keras").unlink()
    port.save(tmp_path / "out.keras")
    assert regtorch.from_keras(tmp_path / "out.keras").model


def test_loading_does_not_change_the_random_state(tmp_path):
    before = torch.get_rng_state()
    port_of(
        "l_nested_sequential_in_functional" if "l_nested_sequential_in_functional" in cases() else NAMES[0], tmp_path
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_predict_keeps_modes_and_does_not_depend_on_the_batch_size(tmp_path):
    name = next(
        n for n, case in cases().items() if "Dropout" in case["layers"] and "BatchNormalization" in case["layers"]
    )
    port, arrays = port_of(name, tmp_path), arrays_of(name)
    inputs = inputs_of(port, arrays)
    port.model.train()
    dropout = next(module for module in port.model.modules() if isinstance(module, regtorch.Dropout))
    dropout.eval()
    modes = [module.training for module in port.model.modules()]
    in_one_batch, single = port.predict(inputs), port.predict(inputs, batch_size=1)
    np.testing.assert_allclose(in_one_batch, single, rtol=1e-5, atol=1e-6)
    assert [module.training for module in port.model.modules()] == modes
    assert len(port.predict([x[:0] for x in inputs])) == 0
    np.testing.assert_array_equal(port.predict([torch.from_numpy(x) for x in inputs]), in_one_batch)


def test_a_wrong_shape_raises_a_clear_error(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    with pytest.raises(SettingError, match=r"x has the shape \(2, 3, 4\): the model takes \(batch, \d+\)"):
        port.model(torch.zeros(2, 3, 4))


class LayerTracer(torch.fx.Tracer):
    """Traces every module without children as a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children())


@pytest.mark.parametrize("name", NAMES[1::9])
def test_a_ported_model_is_an_ordinary_module(name, tmp_path):
    port, arrays = port_of(name, tmp_path), arrays_of(name)
    model, inputs = port.model.eval(), [torch.from_numpy(np.ascontiguousarray(x)) for x in inputs_of(port, arrays)]

    def outputs(module: nn.Module) -> list[torch.Tensor]:
        out = module(*inputs)
        return [out] if isinstance(out, torch.Tensor) else list(out)

    wanted = outputs(model)
    traced = torch.fx.GraphModule(model, LayerTracer().trace(model))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), traced):
        assert all(torch.equal(a, b) for a, b in zip(outputs(other), wanted, strict=True))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    perturb(port)
    model.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(outputs(model), wanted, strict=True))


def test_a_ported_model_compiles_without_a_graph_break(tmp_path):
    name = next(n for n, case in cases().items() if "Conv2D" in case["layers"] and "Flatten" in case["layers"])
    port = port_of(name, tmp_path)
    (x,) = inputs_of(port, arrays_of(name))
    x = torch.from_numpy(np.ascontiguousarray(x))
    compiled = torch.compile(port.model.eval(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), port.model(x))


def test_mc_prediction_of_a_ported_model(tmp_path):
    name = next(n for n, case in cases().items() if case["layers"].count("Dropout") and case["loss"] == "sparse")
    port = port_of(name, tmp_path)
    (x,) = inputs_of(port, arrays_of(name))
    out = regtorch.MCPredictor(port.model, samples=20)(torch.from_numpy(np.ascontiguousarray(x)))
    assert out.mean.shape == port.predict(x).shape
    assert (out.std > 0).any()


def test_names_of_layers_can_be_used_in_where(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    first = next(name for name, _ in port.model.named_parameters() if name.endswith("weight"))
    penalty = regtorch.WeightPenalty(port.model, regtorch.L2(1.0), where=first)
    assert penalty().item() == pytest.approx(port.model.get_parameter(first).square().sum().item(), rel=1e-6)


@pytest.fixture(scope="module")
def equivalents(tmp_path_factory) -> dict[str, dict]:
    """The configuration of each network that has one."""
    found, folder = {}, tmp_path_factory.mktemp("equivalents")
    for name in NAMES:
        with suppress(SettingError):
            found[name] = port_of(name, folder).to_config()
    return found


def test_the_configuration_builds_an_equal_model_with_equal_rules(equivalents, tmp_path):
    """A model that is built from the configuration has the same output and penalty for the same weights."""
    found = equivalents
    assert len(found) > 15
    assert {config["model"]["name"] for config in found.values()} == {"mlp", "cnn"}
    none = {"name": "none"}
    for name, config in found.items():
        port, arrays = port_of(name, tmp_path), arrays_of(name)
        (x,) = (torch.from_numpy(np.ascontiguousarray(x)) for x in inputs_of(port, arrays))
        classes = port._results[0].shape[-1]
        model = make_model(json.loads(json.dumps(config)), tuple(x.shape[1:]), classes)
        model.to(next(port.model.parameters()).dtype)
        x = x.to(next(model.parameters()).dtype)
        _copy_weights(port.model, model)
        torch.testing.assert_close(model.eval()(x), port.model.eval()(x), rtol=1e-5, atol=1e-5)
        penalties = make_penalties({"activity_regularizer": none, **config}, model)
        model(x)
        assert sum(penalty().item() for penalty in penalties) == pytest.approx(
            port.penalty().item(), rel=1e-5, abs=1e-8
        )
        _same_constraints(port, make_constraints(config, model), model)


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    ours, theirs = dict(source.state_dict()), dict(target.state_dict())
    values = [value for key, value in ours.items() if "num_batches" not in key]
    keys = [key for key in theirs if "num_batches" not in key]
    assert len(values) == len(keys)
    target.load_state_dict(dict(zip(keys, values, strict=True)), strict=False)


def _same_constraints(port, constraints, model) -> None:
    for constraint in (*port.constraints, *constraints):
        constraint.project()
    for ours, theirs in zip(model.parameters(), port.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_network_without_a_configuration_is_refused(tmp_path):
    name = next(n for n, case in cases().items() if "Add" in case["layers"])
    with pytest.raises(SettingError, match="not a chain of layers"):
        port_of(name, tmp_path).to_config()


def test_numbers_of_a_configuration_are_short(equivalents):
    configs = equivalents.values()
    numbers = [json.dumps(config) for config in configs]
    assert not any(
        len(part) > 12
        for text in numbers
        for part in text.replace(",", " ").replace("}", " ").split()
        if part[0] == "0"
    )


class _Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(6))
        self.factor = factor

    def forward(self, x):
        return x * self.scale * self.factor


@pytest.mark.parametrize(
    "factory",
    [
        _Scaled,
        lambda config: _Scaled(config["factor"]),
        lambda **settings: _Scaled(settings["factor"]),
        lambda factor, unknown=1: _Scaled(factor),
    ],
)
@pytest.mark.parametrize("key", ["Twice", "twice"])
def test_a_module_stands_in_for_a_custom_layer(factory, key, tmp_path):
    path = unpack("refused/custom_layer.keras", tmp_path)
    port = regtorch.from_keras(path, custom={key: factory})
    module = port.model.get_submodule("twice")
    assert isinstance(module, _Scaled)
    assert module.factor == 3.0
    assert module.scale.abs().min() > 0  # from the file
    assert port.predict(np.zeros((2, 7), np.float32)).shape == (2, 4)
    perturb(port)
    port.save(tmp_path / "out.keras")
    again = regtorch.from_keras(tmp_path / "out.keras", custom={key: factory})
    assert torch.equal(again.model.get_submodule("twice").scale, module.scale)


def test_a_stand_in_may_load_its_arrays_itself(tmp_path):
    class Loads(nn.Identity):
        def load_keras(self, arrays):
            self.arrays = arrays

    port = regtorch.from_keras(unpack("refused/custom_layer.keras", tmp_path), custom={"Twice": lambda: Loads()})
    assert [array.shape for array in port.model.get_submodule("twice").arrays] == [(6,)]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: 3, "must be a torch module"),
        (lambda: 1 / 0, "failed with ZeroDivisionError"),
        (lambda: nn.Linear(2, 2), "stand-in failed on"),
        (lambda: nn.Linear(6, 6), "load_keras"),
        (nn.Identity, "0 parameters and buffers"),
    ],
)
def test_a_stand_in_that_does_not_fit_is_refused(factory, message, tmp_path):
    with pytest.raises(regtorch.KerasFileError, match=message):
        regtorch.from_keras(unpack("refused/custom_layer.keras", tmp_path), custom={"Twice": factory})


def test_the_code_of_a_lambda_does_not_run(tmp_path):
    path = unpack("refused/lambda.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"lambda": lambda: nn.Tanh()})
    assert isinstance(port.model.get_submodule("lambda_" if hasattr(port.model, "lambda_") else "lambda"), nn.Tanh)


def test_custom_rules_and_activations_have_stand_ins(tmp_path):
    path = unpack("refused/custom_regularizer_function.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"squared_l1": lambda: regtorch.SquaredL1(0.001)})
    kernel = port.model.get_submodule("dense").weight
    assert port.penalty().item() == pytest.approx(0.001 * kernel.abs().sum().item() ** 2, rel=1e-5)

    class Clip(regtorch.Constraint):
        def __init__(self, **settings):
            super().__init__()

        def forward(self, w):
            return w.clamp(-0.01, 0.01)

    path = unpack("refused/custom_constraint.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"Clip": Clip})
    port.constraints[0].project()
    assert port.model.get_submodule("dense").weight.abs().max() <= 0.01

    path = unpack("refused/custom_activation.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"cube": nn.Tanh})
    assert isinstance(port.model.get_submodule("dense_activation"), nn.Tanh)


REFUSED = {
    "custom_layer.keras": ["'twice' (Twice)", "a custom layer", "custom={'Twice'"],
    "custom_dropout.keras": ["(MCDropout)"],
    "lambda.keras": ["'lambda' (Lambda)", "never run"],
    "two_bad_layers.keras": ["(LSTM)", "(Lambda)", "(Twice)"],
    "subclassed.keras": ["'Sub'", "Sequential and functional"],
    "lstm.keras": ["'lstm' (LSTM)"],
    "custom_regularizer_function.keras": ["kernel_regularizer 'squared_l1'"],
    "custom_activation.keras": ["activation 'cube'"],
    "custom_constraint.keras": ["kernel_constraint 'Clip'"],
    "quantized_int8.keras": ["'dense' (Dense)", "quantized"],
    "lora.keras": ["LoRA"],
    "unbuilt.keras": ["never been built"],
    "multi_head_attention.keras": ["(MultiHeadAttention)"],
    "legacy.h5": ["legacy .h5", "model.save('model.keras')"],
}


@pytest.mark.parametrize("member", REFUSED)
def test_unsupported_layers_are_named_in_one_line(member, tmp_path):
    path = unpack(f"refused/{member}", tmp_path)
    with pytest.raises(regtorch.KerasFileError) as refused:
        regtorch.from_keras(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for words in REFUSED[member]:
        assert words in message


def test_all_refused_files_are_tried():
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = {name.removeprefix("refused/") for name in archive.namelist() if name.startswith("refused/")}
    assert names == set(REFUSED)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("units", -3, "layer 'dense' (Dense): units=-3 is not allowed: it must be an integer >= 1"),
        ("units", "many", "units='many'"),
        ("use_bias", "yes", "use_bias='yes' is not allowed: it must be true or false"),
        ("activation", "reluu", "its activation 'reluu'"),
        ("kernel_regularizer", {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": -1}}, "l2=-1"),
        (
            "kernel_constraint",
            {"module": "keras.constraints", "class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": 5}},
            "axis=5 is not allowed",
        ),
    ],
)
def test_an_invalid_setting_is_named(key, value, words, tmp_path):
    members = members_of(unpack("a_dense_sequential.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    layer = next(entry for entry in config["config"]["layers"] if entry["class_name"] == "Dense")
    layer["config"][key] = value
    path = tmp_path / "changed.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    with pytest.raises(regtorch.KerasFileError) as refused:
        regtorch.from_keras(path)
    assert words in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(regtorch.KerasFileError, match="there is no such file"):
        regtorch.from_keras(tmp_path / "absent.keras")
    with pytest.raises(regtorch.KerasFileError, match="is a folder"):
        regtorch.from_keras(tmp_path)


def test_an_optimizer_without_a_counterpart_raises_an_error_on_access(tmp_path):
    members = members_of(unpack("a_dense_sequential.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    config["compile_config"]["optimizer"]["class_name"] = "Lion"
    path = tmp_path / "changed.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    port = regtorch.from_keras(path)
    with pytest.raises(SettingError, match="optimizer=Lion has no counterpart here"):
        _ = port.optimizer


def test_a_sequence_may_have_the_order_of_keras_or_torch(tmp_path):
    name = next(
        n
        for n, case in cases().items()
        if case["layers"][:2] == ["InputLayer", "Conv1D"] or case["layers"][0] == "Conv1D"
    )
    port = port_of(name, tmp_path)
    (x,) = inputs_of(port, arrays_of(name))
    assert x.shape[1] != x.shape[2]
    np.testing.assert_array_equal(port.predict(np.ascontiguousarray(x.transpose(0, 2, 1))), port.predict(x))


@pytest.mark.parametrize("name", [n for n, case in cases().items() if n[:2] in ("c_", "e_", "f_", "h_", "j_")])
def test_initialize_uses_the_initializers_of_the_file(name, tmp_path):
    """Glorot-uniform kernels have a bound that depends on their fans; scales start at 1 and biases at 0."""
    port = port_of(name, tmp_path)
    state = torch.get_rng_state()
    port.initialize(seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    first = {key: value.clone() for key, value in port.model.state_dict().items()}
    for weight in port._weights:
        values, shape = port._tensor(weight), weight.arrangement.keras_shape
        if weight.name.endswith("kernel"):
            receptive = np.prod(shape[:-2])
            bound = (6 / (receptive * (shape[-2] + shape[-1]))) ** 0.5
            assert values.abs().max() <= bound
            if values.numel() > 40:
                assert values.abs().max() > 0.8 * bound
        elif weight.name in ("gamma", "moving_variance"):
            assert (values == 1).all()
        elif weight.name in ("bias", "beta", "moving_mean", "alpha"):
            assert (values == 0).all()
    port.initialize(seed=4)
    assert any(not torch.equal(first[key], value) for key, value in port.model.state_dict().items())
    port.initialize(seed=3)
    assert all(torch.equal(first[key], value) for key, value in port.model.state_dict().items())


def test_a_model_may_be_converted_to_another_type(tmp_path):
    name = next(n for n, case in cases().items() if "Conv2D" in case["layers"] and "Flatten" in case["layers"])
    port = port_of(name, tmp_path)
    (x,) = inputs_of(port, arrays_of(name))
    expected = port.predict(x)
    port.model.to(torch.float64)
    assert port.predict(x).dtype == np.float64
    np.testing.assert_allclose(port.predict(x), expected, rtol=1e-5, atol=1e-6)
    port.model.to(torch.bfloat16)
    assert port.model(torch.from_numpy(np.ascontiguousarray(x))).dtype == torch.bfloat16
    np.testing.assert_allclose(port.predict(x), expected, atol=0.1 * np.abs(expected).max())
    port.save(tmp_path / "half.keras")  # rounded weights in the file's own type
    np.testing.assert_allclose(
        regtorch.from_keras(tmp_path / "half.keras").predict(x), expected, atol=0.1 * np.abs(expected).max()
    )
    port.model.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert port.model(torch.from_numpy(np.ascontiguousarray(x))).dtype == torch.bfloat16


def test_wrong_inputs_raise_clear_errors(tmp_path):
    name = next(
        n for n, case in cases().items() if case["layers"].count("InputLayer") == 2 and not case.get("input_keys")
    )
    port, inputs = port_of(name, tmp_path), inputs_of(port_of(name, tmp_path), arrays_of(name))
    with pytest.raises(SettingError, match="1 tensors: the model has 2 inputs"):
        port.predict(inputs[0])
    with pytest.raises(SettingError, match="1 tensors: the model has 2 inputs"):
        port.model(torch.from_numpy(inputs[0]))
    with pytest.raises(SettingError, match="as many rows"):
        port.predict([inputs[0], inputs[1][:3]])
    with pytest.raises(SettingError, match="batch_size=0"):
        port.predict(inputs, batch_size=0)


def test_a_nested_list_of_numbers_is_accepted(tmp_path):
    port, x = port_of("a_dense_sequential", tmp_path), arrays_of("a_dense_sequential")["x"]
    np.testing.assert_array_equal(port.predict(x.tolist()), port.predict(x))


def test_a_model_can_be_saved_repeatedly(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    for step in range(3):
        perturb(port)
        port.save(tmp_path / f"{step}.keras")
        again = regtorch.from_keras(tmp_path / f"{step}.keras")
        for ours, theirs in zip(again.model.parameters(), port.model.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    assert port.optimizer is not None


def test_a_port_can_be_copied_and_pickled(tmp_path):
    port, x = port_of("a_dense_sequential", tmp_path), arrays_of("a_dense_sequential")["x"]
    for other in (copy.deepcopy(port), pickle.loads(pickle.dumps(port))):
        np.testing.assert_array_equal(other.predict(x), port.predict(x))
        assert other.penalty() == port.penalty()


def test_inputs_may_be_passed_by_name(tmp_path):
    port, arrays = (
        port_of("u_inputs_not_in_the_order_of_names", tmp_path),
        arrays_of("u_inputs_not_in_the_order_of_names"),
    )
    zeta, alpha = arrays["x0"], arrays["x1"]
    wanted = port.predict([zeta, alpha])
    np.testing.assert_array_equal(port.predict({"alpha": alpha, "zeta": zeta}), wanted)
    assert not np.allclose(port.predict([alpha, zeta]), wanted)
    with pytest.raises(SettingError, match="inputs are zeta, alpha"):
        port.predict({"alpha": alpha, "beta": zeta})


def test_final_activation_names_the_omitted_activation(tmp_path):
    losses = {"sparse": "softmax", "sparse_from_logits": "", "binary": "sigmoid"}
    for loss, activation in losses.items():
        name = next(n for n, case in cases().items() if case["loss"] == loss and case["layers"][-1] == "Dense")
        assert port_of(name, tmp_path).final_activation == activation


def test_a_stand_in_returns_its_arrays(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))

        def forward(self, x):
            return x * self.scale

        def load_keras(self, arrays):
            self.scale.data = torch.from_numpy(arrays[0]) * 2

        def save_keras(self):
            return [self.scale.detach().numpy() / 2]

    path = unpack("refused/custom_layer.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"Twice": Own})
    perturb(port)
    port.save(tmp_path / "out.keras")
    again = regtorch.from_keras(tmp_path / "out.keras", custom={"Twice": Own})
    torch.testing.assert_close(again.model.get_submodule("twice").scale, port.model.get_submodule("twice").scale)

    class Loads(nn.Identity):
        def load_keras(self, arrays): ...

    with pytest.warns(UserWarning, match="no save_keras"):
        regtorch.from_keras(path, custom={"Twice": Loads}).save(tmp_path / "out.keras")


def test_custom_does_not_replace_a_supported_class_of_keras(tmp_path):
    port = regtorch.from_keras(unpack("a_dense_sequential.keras", tmp_path), custom={"Dense": nn.Identity})
    assert any(isinstance(module, nn.Linear) for module in port.model.modules())


def test_a_custom_regularizer_gets_the_weight_in_keras_arrangement(tmp_path):
    seen = []

    class Records(regtorch.Regularizer):
        def __init__(self, **settings):
            super().__init__()

        def forward(self, w):
            seen.append(tuple(w.shape))
            return w.sum()

    path = unpack("refused/custom_regularizer_function.keras", tmp_path)
    port = regtorch.from_keras(path, custom={"squared_l1": Records})
    port.penalty()
    assert seen == [tuple(port.model.get_submodule("dense").weight.shape[::-1])]


def _changed(name, tmp_path, change):
    members = members_of(unpack(f"{name}.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    change(config)
    path = tmp_path / "changed.keras"
    path.write_bytes(archive_of({**members, "config.json": json.dumps(config).encode()}))
    return regtorch.from_keras(path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("activation", "sigmoid", "ends in a sigmoid"),
        ("bias_initializer", {"class_name": "Ones", "config": {}}, "initializes its bias by Ones"),
        ("dtype", "bfloat16", "computes in bfloat16"),
    ],
)
def test_a_configuration_that_would_differ_is_refused(key, value, reason, equivalents, tmp_path):
    name = next(n for n, config in equivalents.items() if config["model"]["name"] == "mlp")

    def change(config):
        config["config"]["layers"][-1]["config"][key] = value

    with pytest.raises(SettingError, match=reason):
        _changed(name, tmp_path, change).to_config()


def test_settings_around_the_optimizer_cause_a_warning(tmp_path):
    name = next(
        n for n, case in cases().items() if n == "digits" or (case["kind"] == "optimizer" and n.startswith("r_adam"))
    )

    def clip(config):
        config["compile_config"]["optimizer"]["config"]["clipnorm"] = 1.0

    port = _changed(name, tmp_path, clip)
    with pytest.warns(UserWarning, match="clipnorm=1.0 of the file is left to your training loop"):
        _ = port.optimizer


def test_optimizer_state_of_other_weights_is_refused(tmp_path):
    name = next(n for n, case in cases().items() if case["kind"] == "optimizer" and n.startswith("r_adam"))

    def freeze(config):
        config["config"]["layers"][-1]["config"]["trainable"] = False

    with pytest.raises(regtorch.KerasFileError, match="weights that train now"):
        _ = _changed(name, tmp_path, freeze).optimizer


def test_noise_shape_shares_masks_along_axes(tmp_path):
    """The mask is shared along an axis, and its scale preserves the mean."""
    from regtorch.keras.noise import SharedMaskDropout

    torch.manual_seed(0)
    x = torch.ones(200, 5, 6, 7)
    y = SharedMaskDropout(drop_prob=0.25, shared_dims=[2])(x)
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(y, y[:, :, :1].expand_as(y))
    assert not torch.equal(y, y[:, :1].expand_as(y))
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    ported = {n: port_of(n, tmp_path) for n in NAMES if "noise_shape" in n}
    assert ported
    for port in ported.values():
        (dropout,) = (module for module in port.model.modules() if isinstance(module, SharedMaskDropout))
        assert dropout.shared_dims


def test_hard_sigmoid_of_keras_2_is_refused(tmp_path):
    members = members_of(unpack("a_dense_sequential.keras", tmp_path).read_bytes())
    config = json.loads(members["config.json"])
    next(entry for entry in config["config"]["layers"] if entry["class_name"] == "Dense")["config"]["activation"] = (
        "hard_sigmoid"
    )
    path = tmp_path / "changed.keras"
    members["config.json"] = json.dumps(config).encode()
    path.write_bytes(archive_of(members))
    assert regtorch.from_keras(path).model is not None
    path.write_bytes(archive_of({**members, "metadata.json": b'{"keras_version": "2.15.0"}'}))
    with pytest.raises(regtorch.KerasFileError, match="'dense' \\(Dense\\): Keras 2's hard_sigmoid"):
        regtorch.from_keras(path)
    path.write_bytes(archive_of({**members, "metadata.json": b"no json"}))
    with pytest.raises(regtorch.KerasFileError, match="is not JSON"):
        regtorch.from_keras(path)


def test_a_stand_in_without_its_own_constructor(tmp_path):
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    path = unpack("refused/lambda.keras", tmp_path)
    for factory in (nn.Tanh, Double):
        port = regtorch.from_keras(path, custom={"Lambda": factory})
        assert any(isinstance(module, factory) for module in port.model.modules())
    for custom in ({"Lambda": "Double"}, ["Lambda"]):
        with pytest.raises(regtorch.KerasFileError, match="must map names to factories"):
            regtorch.from_keras(path, custom=custom)


def test_constraints_of_frozen_layers_attach_to_the_files_optimizer(tmp_path):
    name = next(n for n, case in cases().items() if n.startswith("o_max_norm_dense"))

    def freeze(config):
        for layer in config["config"]["layers"][1:-1]:
            layer["config"]["trainable"] = False

    port = _changed(name, tmp_path, freeze)
    before = {key: value.clone() for key, value in port.model.state_dict().items()}
    for constraint in port.constraints:
        constraint.attach(port.optimizer)
    port.optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in port.model.state_dict().items())


def test_a_model_with_another_head_cannot_be_saved(tmp_path):
    port = port_of("a_dense_sequential", tmp_path)
    name, head = list(port.model.named_children())[-1]
    setattr(port.model, name, nn.Linear(head.in_features, head.out_features + 1))
    with pytest.raises(SettingError, match=rf"{name}.weight has the shape .* save it with torch.save"):
        port.save(tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()
