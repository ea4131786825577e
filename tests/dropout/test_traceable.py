"""Models with regtorch's dropouts in torch.fx and torch.jit.script."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0
from torchvision.models.feature_extraction import create_feature_extractor

import regtorch
from regtorch import available, create
from regtorch.errors import SettingError
from regtorch.registry import component

NAMES = sorted(name for name in available("dropout") if component("dropout", name).module.startswith("regtorch."))
SHAPES = {
    "spatial1d": (3, 4, 5),
    "spatial3d": (3, 4, 5, 5, 5),
    "drop_block3d": (3, 4, 5, 5, 5),
    "variational": (3, 4, 5),
}


def dropout(name: str) -> nn.Module:
    strength = component("dropout", name).load().setting_names()[0]
    made: nn.Module = create("dropout", name, **{strength: None if name == "none" else 0.5})
    return made.around(nn.Linear(5, 5)) if hasattr(made, "around") else made


class PluginDropout(regtorch.ProbabilityDropout):
    """Written without regard to fx."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if x.ndim != 4:
            raise ValueError("images only")
        return x * (torch.rand_like(x) >= self.drop_prob) / self.keep_prob


ALL = {name: lambda name=name: dropout(name) for name in NAMES} | {"plugin": lambda: PluginDropout(drop_prob=0.5)}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("training", [True, False])
def test_fx_records_one_node_that_follows_the_mode(name: str, training: bool) -> None:
    model = nn.Sequential(nn.Identity(), ALL[name]()).train(training)
    graph = torch.fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1"]
    x = torch.randn(SHAPES.get(name, (3, 4, 5, 5)))
    assert torch.equal(graph.eval()(x), model.eval()(x))
    torch.manual_seed(0)
    found = graph.train()(x)
    torch.manual_seed(0)
    assert torch.equal(found, model.train()(x))
    assert name == "none" or not torch.equal(found, model.eval()(x))


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("name", ALL)
def test_scripted_models_are_equal_in_evaluation_and_refuse_to_train(name: str, tmp_path) -> None:
    model, x = nn.Sequential(ALL[name]()).eval(), torch.randn(SHAPES.get(name, (3, 4, 5, 5)))
    if name == "drop_connect":
        with pytest.raises(
            SettingError, match=r"^torch.jit.script cannot compile a DropConnect: script regtorch.plain"
        ):
            torch.jit.script(model)
        model = regtorch.plain(model)
    scripted = torch.jit.script(model)
    assert torch.equal(scripted(x), model(x))
    torch.jit.save(scripted, tmp_path / "model.pt")
    assert torch.equal(torch.jit.load(tmp_path / "model.pt")(x), model(x))
    if name != "drop_connect":
        with pytest.raises(torch.jit.Error, match=r"script regtorch.plain\(model\)"):
            scripted.train()(x)
        assert isinstance(model[0], nn.Module)  # scripting has replaced nothing
        assert type(model[0]).__module__ != "torch.nn.modules.linear"


def test_features_of_a_converted_backbone() -> None:
    backbone = regtorch.convert_dropout(efficientnet_b0(stochastic_depth_prob=0.5))
    extractor = create_feature_extractor(backbone, ["features.3"])
    x = torch.randn(2, 3, 32, 32)
    wanted = backbone.eval().features[:4](x)
    torch.testing.assert_close(extractor.eval()(x)["features.3"], wanted)
    assert any(isinstance(module, regtorch.DropPath) for module in extractor.modules())


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_models_with_maps_of_other_ranks_are_recorded(model: str) -> None:
    made = create("model", model, shape=(3, 8, 8), classes=2, dropout=regtorch.SpatialDropout1d(drop_prob=0.5))
    x = torch.randn(2, 3, 8, 8)
    made = made.train()
    assert torch.equal(torch.fx.symbolic_trace(made).eval()(x), made.eval()(x))
