"""Recorded graphs for any number of rows, attention, and draws by the model's own code: the moments are those of a loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch
from regtorch.mc.any_rows import RowNumber, for_any_rows
from regtorch.mc.batch_args import BatchArgs
from regtorch.mc.graph import UntraceableError
from regtorch.mc.recording import recorded
from regtorch.mc.sampler import Sampler

ROWS = 5


class Attends(nn.Module):
    """Attention and dropout as functions, with sizes that are read as numbers."""

    def __init__(self, masked: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.qkv, self.out, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)
        self.masked, self.causal = masked, causal

    def forward(self, ids: Tensor) -> Tensor:
        rows, length = int(ids.shape[0]), int(ids.shape[1])
        x = F.dropout(self.embedding(ids), 0.2, self.training)
        q, k, v = (part.view(rows, length, 2, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mask = torch.ones(rows, 1, length, length, dtype=torch.bool).tril() if self.masked else None
        drop_prob = 0.4 if self.training else 0.0
        a = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=drop_prob, is_causal=self.causal)
        x = x + self.out(a.transpose(1, 2).reshape(rows, length, 8))
        return self.head(x.mean(1))


class Branches(Attends):
    """The same, with a branch on numbers that noise has reached."""

    def forward(self, ids: Tensor) -> Tensor:
        out = super().forward(ids)
        return out.tanh() if out.mean() > 1e6 else out


class OfTorch(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)
        self.length_dim = 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)).mean(self.length_dim)


def ids() -> Tensor:
    return torch.arange(ROWS * 6).reshape(ROWS, 6) % 20


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], dict[str, Any]]] = {
    "attention": (Attends, ids, {}),
    "attention with a mask": (lambda: Attends(masked=True), ids, {}),
    "causal attention": (lambda: Attends(causal=True), ids, {}),
    "a branch on noise": (Branches, ids, {}),
    "torch's layers": (lambda: OfTorch(True), lambda: torch.randn(ROWS, 6, 8), {}),
    "torch's layers, rows second": (lambda: OfTorch(False), lambda: torch.randn(6, ROWS, 8), {"batch_dim": 1}),
}


def predictor(name: str, **settings: Any) -> tuple[regtorch.MCPredictor, nn.Module, Tensor]:
    torch.manual_seed(0)
    make, inputs, how = MODELS[name]
    model = make().eval()
    return regtorch.MCPredictor(model, transform=None, **how, **settings), model, inputs()


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("name", MODELS)
def test_moments_are_those_of_a_loop(name: str, masks: str) -> None:
    mc, model, x = predictor(name, samples=600, masks=masks, keep_samples=True)
    ours = mc(x).samples.double()
    model.train()
    with torch.no_grad():
        loop = torch.stack([model(x) for _ in range(600)]).double()
    z = (ours.mean(0) - loop.mean(0)) / ((ours.var(0) + loop.var(0)) / 600).sqrt()
    assert z.abs().max() < 5
    assert 0.85 < (ours.std(0).mean() / loop.std(0).mean()).item() < 1.15
    assert len(set(ours[:, 0, 0].tolist())) == 600


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize(
    "name", ["attention", "attention with a mask", "causal attention", "a branch on noise", "torch's layers"]
)
def test_a_shared_sample_is_one_network(name: str) -> None:
    mc, _, x = predictor(name, samples=8, keep_samples=True)
    together = mc(x).samples
    order = torch.tensor([3, 0, 4, 1])
    torch.testing.assert_close(mc(x[order]).samples, together[:, order])
    torch.testing.assert_close(mc(x[2:3]).samples, together[:, 2:3])
    same = mc(x[:1].expand_as(x)).samples
    torch.testing.assert_close(same, same[:, :1].expand_as(same))


@pytest.mark.parametrize("name", ["attention", "attention with a mask", "causal attention", "torch's layers"])
def test_samples_go_through_together(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mc, _, x = predictor(name, samples=8)
        mc(x)
    plan = mc._plans.last
    assert plan is not None
    assert plan.partition.folds_samples
    assert not plan.partition.fixed


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_samples_and_leaves_the_global_state(name: str, masks: str) -> None:
    mc, _, x = predictor(name, samples=4, masks=masks, keep_samples=True, seed=5)
    first = mc(x).samples
    torch.manual_seed(77)
    state = torch.get_rng_state()
    assert torch.equal(mc(x).samples, first)
    assert torch.equal(torch.get_rng_state(), state)
    mc.seed = 6
    assert not torch.equal(mc(x).samples, first)


class DrawsLater(nn.Module):
    """A module that draws only for some numbers, which the first batches do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.head, self.part = nn.Dropout(0.5), nn.Linear(6, 3), OnLargeNumbers()

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(x)
        if h.mean() > 1e9:
            h = h.relu()
        return self.head(self.part(h))


class OnLargeNumbers(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return F.dropout(h, 0.5, self.training) if h.abs().max() > 100 else h


@pytest.mark.filterwarnings("ignore:.*sampled whole.*")
def test_draws_that_no_trial_has_seen_are_taken_over_all_the_same() -> None:
    torch.manual_seed(0)
    model = DrawsLater().eval()
    regtorch.mc.count_as_dropout(OnLargeNumbers)
    mc = regtorch.MCPredictor(model, samples=400, transform=None, keep_samples=True)
    mc(torch.randn(4, 6))
    large = 1000 * torch.randn(4, 6)
    out = mc(large)
    assert torch.equal(mc(large).samples, out.samples)
    model.train()
    with torch.no_grad():
        loop = torch.stack([model(large) for _ in range(400)])
    assert 0.9 < (out.std.mean() / loop.std(0).mean()).item() < 1.1


@pytest.mark.parametrize("randomness", ["different", "same"])
@pytest.mark.parametrize("kind", [F.dropout, nn.Dropout(0.5), regtorch.Dropout(drop_prob=0.5)])
def test_dropout_within_vmap(kind: Any, randomness: str) -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = kind if isinstance(kind, nn.Module) else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            def dropped(row: Tensor) -> Tensor:
                return self.part(row) if isinstance(kind, nn.Module) else kind(row, 0.5, self.training)

            return torch.func.vmap(dropped, randomness=randomness)(x)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*sampled whole.*")
        std = regtorch.MCPredictor(Mapped(), samples=400, transform=None)(torch.ones(3, 8)).std
    torch.testing.assert_close(std, torch.ones(3, 8), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x.view(x.shape[0] ** 2, -1)[: x.shape[0]],
        lambda x: x * (1 / int(x.shape[0])),
        lambda x: x.relu() if x.shape[0] == 2 else x,
    ],
)
def test_what_depends_on_the_rows_in_another_way_is_no_graph_for_any_rows(forward: Any) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self.dropout(x))

    model = Model().eval()
    mc = regtorch.MCPredictor(model, samples=300, transform=None)
    for rows in (6, 4):
        x = torch.randn(rows, 36)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*sampled whole.*|.*depend on each other.*")
            out = mc(x)
        model.train()
        with torch.no_grad():
            loop = torch.stack([model(x) for _ in range(300)])
        model.eval()
        assert 0.9 < (out.std.mean() / loop.std(0).mean()).item() < 1.1
        assert out.mean.shape == loop.shape[1:]


def test_integers_of_a_recorded_graph_grow_with_the_rows() -> None:
    model = Attends().eval()
    graphs = [recorded(model, BatchArgs((ids()[:rows],), {}), Sampler(0, True), ()) for rows in (2, 3)]
    merged = for_any_rows(graphs[0], graphs[1], (2, 3))
    numbers = [node.target(torch.ones(7, 1)) for node in merged.graph.nodes if isinstance(node.target, RowNumber)]
    assert numbers == [7]
    other = recorded(Attends(masked=True).eval(), BatchArgs((ids()[:3],), {}), Sampler(0, True), ())
    with pytest.raises(UntraceableError, match="depends on the number of rows"):
        for_any_rows(recorded(model, BatchArgs((ids()[:2],), {}), Sampler(0, True), ()), other, (2, 3))
