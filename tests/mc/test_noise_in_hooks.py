"""Noise that a hook on a layer draws: it has the shared masks, like noise in a forward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

SAMPLES = 300
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def dropped(module: nn.Module, given: object, output: Tensor) -> Tensor:
    return F.dropout(output, 0.4, module.training)


def drawn(module: nn.Module, given: object, output: Tensor) -> Tensor:
    return output * (0.5 + torch.rand_like(output)) if module.training else output


def drawn_before(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (given[0] + torch.randn_like(given[0]),) if module.training else given


class Hooked(nn.Module):
    def __init__(self, place: str, hook: Callable, before: bool = False) -> None:
        super().__init__()
        self.first, self.drop, self.own = nn.Linear(4, 6), nn.Dropout(0.3), regtorch.Dropout(drop_prob=0.3)
        self.part, self.last = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 3)
        layer = self.get_submodule(place)
        layer.register_forward_pre_hook(hook) if before else layer.register_forward_hook(hook)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.part(self.own(self.drop(self.first(x)))))


PLACES = ("first", "drop", "own", "part", "part.0")


@pytest.mark.parametrize("hook", [dropped, drawn, drawn_before])
@pytest.mark.parametrize("place", PLACES)
def test_a_row_s_samples_are_its_own_and_moments_those_of_a_loop(place: str, hook: Callable) -> None:
    torch.manual_seed(0)
    model = Hooked(place, hook, before=hook is drawn_before)
    predictor = regtorch.MCPredictor(model, SAMPLES, transform=None, keep_samples=True)
    out = predictor(X)
    backwards = torch.arange(len(X) - 1, -1, -1)
    torch.testing.assert_close(predictor(X[backwards]).samples, out.samples[:, backwards])
    torch.testing.assert_close(predictor(X[4:]).samples, out.samples[:, 4:])
    model.train()
    with torch.no_grad():
        loop = torch.stack([model(X) for _ in range(SAMPLES)])
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-4)
