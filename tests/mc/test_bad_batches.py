"""What is wrong with a batch, a model or `max_batch` is one line of the library's own, or makes no difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import regtorch
from regtorch.errors import RegtorchError, SettingError


def network(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3)).eval().to(device)


class Shrinking(nn.Module):
    """Gives another number of tokens in every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x)
        return x[:, : int(torch.randint(2, 7, ()))] if self.training else x


CPU, META = (torch.ones(8, 6, device=device) for device in ("cpu", "meta"))
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "batch on another device": (lambda: regtorch.MCPredictor(network())(META), "on meta and Sequential on cpu"),
    "model on another device": (lambda: regtorch.MCPredictor(network("meta"))(CPU), "on cpu and Sequential on meta"),
    "both without numbers": (lambda: regtorch.MCPredictor(network("meta"))(META), "the device meta holds no numbers"),
    "sampled modules": (lambda: regtorch.mc.sampled_modules(network(), META), "on meta and Sequential on cpu"),
    "always on": (lambda: regtorch.always_on(network())(META), "on meta and Sequential on cpu"),
    "always on, lazy": (
        lambda: regtorch.always_on(nn.Sequential(nn.LazyLinear(3), nn.Dropout(0.5))),
        "uninitialized lazy parameters",
    ),
    "a number alone": (lambda: regtorch.MCPredictor(network())(torch.tensor(1.0)), "takes a batch"),
    "passes of other shapes": (
        lambda: regtorch.MCPredictor(Shrinking().eval(), transform=None)(torch.ones(4, 7, 6)),
        "in one pass and",
    ),
}


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_one_line(name: str) -> None:
    call, text = REFUSED[name]
    with pytest.raises(RegtorchError) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SettingError)


class Moving(nn.Module):
    """Does not take its input as it comes, so that its device makes no difference."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.ones(x.shape, device=self.inner[0].weight.device))


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"an error of its own for {len(self.inner(x))} rows")


def test_devices_are_reported_only_where_a_pass_fails_on_them() -> None:
    assert regtorch.MCPredictor(Moving().eval(), samples=4)(META).mean.shape == (8, 3)
    with pytest.raises(RuntimeError, match="an error of its own"):
        regtorch.MCPredictor(Failing().eval())(CPU)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, scale: Tensor, x: Tensor) -> Tensor:
        return self.inner(x) * scale


def test_a_single_number_may_come_before_the_batch() -> None:
    x = torch.randn(4, 6)
    predictor = regtorch.MCPredictor(Scaled().eval(), samples=4, transform=None)
    assert torch.equal(predictor(torch.tensor(0.5), x).mean, predictor(x=x, scale=torch.tensor(0.5)).mean)


class Square(nn.Module):
    """An entry for each pair of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.layer(x)) @ self.layer(x).T


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x - x.mean(0))


@pytest.mark.parametrize("make", [Square, Centred])
def test_max_batch_does_not_cut_rows_that_depend_on_each_other(make: type[nn.Module]) -> None:
    model, x = make().eval(), torch.randn(8, 6)
    settings = {"samples": 5, "transform": None, "keep_samples": True}
    wanted = regtorch.MCPredictor(model, **settings)(x)
    with pytest.warns(UserWarning, match="depend on each other: all 8 of a batch go through together"):
        found = regtorch.MCPredictor(model, **settings, max_batch=3)(x)
    torch.testing.assert_close(found.samples, wanted.samples)
