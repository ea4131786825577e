"""Dropouts that stay on in eval mode."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.errors import NothingBoundError


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.norm(x), 0.5, self.training)


MODELS = {
    "torch": lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)),
    "ours": lambda: nn.Sequential(nn.BatchNorm1d(4), regtorch.AlphaDropout(drop_prob=0.3)),
    "functional": Functional,
    "weights": lambda: nn.Sequential(nn.BatchNorm1d(4), regtorch.DropConnect(nn.Linear(4, 4), drop_prob=0.5)),
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.4, batch_first=True),
    "recurrent": lambda: nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_dropouts_are_on_in_eval_mode_and_batch_normalisation_is_not(name: str) -> None:
    model = MODELS[name]()
    x = torch.randn(6, 4) if name in ("torch", "ours", "functional", "weights") else torch.randn(2, 3, 4)
    active = regtorch.always_on(model).eval()
    before = {key: value.clone() for key, value in active.state_dict().items()}
    first, second = (output(active, x) for _ in range(2))
    assert not torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in active.state_dict().items())
    assert list(before) == list(model.state_dict())
    assert torch.equal(output(model.eval(), x), output(model, x)), "the model itself is as before"
    again = copy.deepcopy(active)
    assert not torch.equal(output(again, x), output(again, x))
    buffer = io.BytesIO()
    torch.save(active, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert not torch.equal(output(loaded, x), output(loaded, x))


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        value = model(x)
    return value[0] if isinstance(value, tuple) else value


def test_a_copy_that_is_trained_updates_its_batch_normalisation() -> None:
    active = regtorch.always_on(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))).train()
    active(torch.randn(6, 4))
    assert active[0].num_batches_tracked == 1


def test_no_dropout_is_an_error() -> None:
    with pytest.raises(NothingBoundError, match="Sequential has no dropout"):
        regtorch.always_on(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
