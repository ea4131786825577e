"""Only a model that cannot draw is refused before it has run."""

from __future__ import annotations

import types

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError
from regtorch.mc import has_noise

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))
SAMPLES = 400


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


def dropping(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return F.dropout(output, 0.5, module.training)


def with_hook(*where: int) -> nn.Module:
    model = plain()
    for index in where:
        model[index].register_forward_hook(dropping)
    return model


def with_hook_on_the_model() -> nn.Module:
    model = plain()
    model.register_forward_hook(dropping)
    return model


def with_hook_on_inputs() -> nn.Module:
    model = plain()
    model[2].register_forward_pre_hook(lambda module, inputs: (F.dropout(inputs[0], 0.5, module.training),))
    return model


def with_own_forward(in_place: bool) -> nn.Module:
    def forward(module: nn.Linear, x: Tensor) -> Tensor:
        return F.dropout(F.linear(x, module.weight, module.bias), 0.5, module.training)

    model = plain()
    model[0].forward = types.MethodType(forward, model[0]) if in_place else lambda x: forward(model[0], x)
    return model


class Dropping(nn.Module):
    """The weights of a layer, some of them zero."""

    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, 0.5, self.training)


def with_parametrization() -> nn.Module:
    model = plain()
    nn.utils.parametrize.register_parametrization(model[0], "weight", Dropping())
    return model


def with_pooling() -> nn.Module:
    pooling = nn.FractionalMaxPool2d(2, output_size=6)
    return nn.Sequential(nn.Conv2d(1, 3, 3), pooling, nn.Flatten(), nn.Linear(108, 2))


MODELS = {
    "hook": lambda: with_hook(0),
    "hooks": lambda: with_hook(0, 1),
    "hook on the model": with_hook_on_the_model,
    "hook on the inputs": with_hook_on_inputs,
    "method of an instance": lambda: with_own_forward(True),
    "function of an instance": lambda: with_own_forward(False),
    "parametrization": with_parametrization,
    "randomized activation": lambda: nn.Sequential(nn.Linear(6, 16), nn.RReLU(), nn.Linear(16, 2)),
    "randomized activation alone": nn.RReLU,
    "pooling that draws in eval mode, too": with_pooling,
    "pooling by a ratio": lambda: nn.Sequential(nn.FractionalMaxPool2d(2, output_ratio=0.4), nn.Flatten()),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", MODELS)
def test_noise_that_no_layer_shows_is_sampled(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    x = IMAGES if "pooling" in name else X
    assert has_noise(model, x)
    found = [regtorch.MCPredictor(model, SAMPLES, transform=None)(x).std]
    if "function" not in name:  # a copy has the original's function
        always = regtorch.always_on(model).eval()
        with torch.no_grad():
            found.append(torch.stack([always.eval()(x) for _ in range(SAMPLES)]).std(0))
    with torch.no_grad():
        wanted = torch.stack([model.train()(x) for _ in range(SAMPLES)]).std(0)
    for std in found:
        torch.testing.assert_close(std.mean(), wanted.mean(), rtol=0.1, atol=1e-3)


LAYERS = {
    "norm": lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.0)),
    "norm without parameters": lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False)),
    "activation": lambda: nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Softmax(1), nn.Hardtanh()),
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0),
    "recurrent": lambda: nn.LSTM(6, 6, num_layers=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_of_layers_that_cannot_draw_is_refused_at_once_and_left_alone(name: str) -> None:
    model = LAYERS[name]()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    for use in (regtorch.MCPredictor, regtorch.always_on):
        with pytest.raises(NothingBoundError, match="has no dropout"):
            use(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_hooks_that_draw_nothing_are_an_error_in_the_first_prediction() -> None:
    model = plain()
    model[0].register_forward_hook(lambda module, inputs, output: output.relu())
    predictor = regtorch.MCPredictor(model)
    with pytest.raises(NothingBoundError, match="Sequential has no dropout that drops something"):
        predictor(X)
    active = regtorch.always_on(model).eval()
    with pytest.raises(NothingBoundError, match="Sequential has no dropout that drops something"):
        active(X)
