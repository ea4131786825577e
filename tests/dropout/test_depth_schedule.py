"""Probabilities that increase linearly with depth."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import regtorch
from regtorch.errors import NothingBoundError, SettingError


class DropPath(nn.Module):
    """Like timm's."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)


@pytest.mark.parametrize("branches", [1, 3, 54])
@pytest.mark.parametrize("kind", ["ours", "timm", "torchvision"])
def test_survival_falls_linearly_as_in_the_paper(branches: int, kind: str) -> None:
    from torchvision.ops import StochasticDepth

    makers = {
        "ours": lambda: regtorch.DropPath(drop_prob=0.0),
        "timm": DropPath,
        "torchvision": lambda: StochasticDepth(0.0, "row"),
    }
    model = nn.ModuleDict(
        {f"block{i}": nn.ModuleList([nn.Linear(1, 1), makers[kind]()]) for i in range(branches)}
    ).eval()
    given = regtorch.depth_schedule(model, last=0.5)
    survival = [1 - (i / branches) * (1 - 0.5) for i in range(1, branches + 1)]  # equation 4: p_l = 1 - l/L (1 - p_L)
    assert list(given) == [f"block{i}.1" for i in range(branches)]
    assert [1 - p for p in given.values()] == pytest.approx(survival, abs=1e-12)
    attribute = "p" if kind == "torchvision" else "drop_prob"
    assert [getattr(model[f"block{i}"][1], attribute) for i in range(branches)] == list(given.values())


def test_the_expected_depth_matches_the_paper() -> None:
    model = nn.Sequential(*(regtorch.DropPath(drop_prob=0.1) for _ in range(54)))
    assert sum(1 - p for p in regtorch.depth_schedule(model).values()) == pytest.approx((3 * 54 - 1) / 4)  # 40.25


def test_a_model_of_torchvision() -> None:
    from torchvision.models import convnext_tiny

    model = convnext_tiny(stochastic_depth_prob=0.0)
    given = regtorch.depth_schedule(model, last=0.2)
    assert len(given) == sum(type(m).__name__ == "StochasticDepth" for m in model.modules()) == 18
    assert list(given.values()) == pytest.approx([0.2 * i / 18 for i in range(1, 19)])
    converted = regtorch.convert_dropout(model)
    again = [m.drop_prob for m in converted.modules() if isinstance(m, regtorch.DropPath)]
    assert again == list(given.values())


def test_branches_are_dropped_with_the_set_probabilities() -> None:
    model = nn.Sequential(regtorch.DropPath(drop_prob=0.0), regtorch.DropPath(drop_prob=0.0))
    regtorch.depth_schedule(model, last=1.0)
    torch.manual_seed(0)
    assert (model[0](torch.ones(10_000, 1)) == 0).double().mean() == pytest.approx(0.5, abs=0.025)
    assert (model[1](torch.ones(100, 1)) == 0).all()


def test_mistakes() -> None:
    with pytest.raises(NothingBoundError, match="Linear has no module that drops branches"):
        regtorch.depth_schedule(nn.Linear(2, 2), last=0.1)
    model = regtorch.DropPath(drop_prob=0.3)
    with pytest.raises(SettingError, match=r"last=1\.5"):
        regtorch.depth_schedule(model, last=1.5)
    with pytest.raises(TypeError):
        regtorch.depth_schedule(model, 0.5)  # type: ignore[misc]
    assert model.drop_prob == 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regtorch.depth_schedule(model, last=0.5) == {"": 0.5}
