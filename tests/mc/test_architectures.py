"""The engine against a plain loop, on many kinds of models: moments, correlations, and what a shared mask is."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import regtorch
from tests.testers.tiers import slow_unless

#: networks of which a pass takes long
LARGE = ("mobilenet_v3_small", "efficientnet_b0", "resnet18 with dropout")
ROWS = 3


class Residual(nn.Module):
    """Functional dropout, batch normalisation, an addition in place, and a size that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        out = F.dropout(self.branch(x), 0.3, training=self.training)
        out += x
        x.add_(1)  # after the branch, in place: the order counts, and the model cannot be split
        out = F.dropout2d(out, 0.2, self.training)
        return self.head(out.reshape(out.size(0), -1)) + x.mean((1, 2, 3))[:, None]


class Recurrent(nn.Module):
    """Dropout between an LSTM's layers, time first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, num_layers=3, dropout=0.4, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.flatten(1, 2).transpose(0, 1))[0][-1])


class Encoder(nn.Module):
    """Attention with the rows of the batch second."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=batch_first)
        self.embed = nn.Linear(12, 8)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(len(x), 6, 12))
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(1))


class StochasticBranches(nn.Module):
    """A class called DropPath, as timm has it, which draws in its own code."""

    class DropPath(nn.Module):
        def __init__(self, drop_prob: float) -> None:
            super().__init__()
            self.drop_prob = drop_prob

        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            keep = 1 - self.drop_prob
            return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep).div_(keep)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(72, 8), nn.Linear(8, 8)
        self.paths = nn.ModuleList([self.DropPath(0.4), regtorch.DropPath(drop_prob=0.5)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        x = self.paths[0](self.first(x))
        return self.head(x + self.paths[1](torch.tanh(self.second(x))))


class Untraceable(nn.Module):
    """What it does depends on the numbers in its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.head = nn.Linear(72, 16), nn.Dropout(0.4), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(torch.relu(self.first(x.flatten(1))))
        if x.sum() > 1e9:
            return x
        return self.head(F.dropout(x, 0.1, self.training))


class OwnNoise(nn.Module):
    """A type that a user registers; it draws floats and compares them."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) > 0.3) / 0.7 + 0.1 * torch.randn(x.shape) if self.training else x


regtorch.mc.count_as_dropout(OwnNoise)


class Packed(nn.Module):
    """Sequences of several lengths, packed: rows of zeros at the end of one do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x.abs().sum(2) > 0).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed = packed._replace(data=self.drop(packed.data))
        return self.head(self.lstm(packed)[1][0][-1])


def image(size: int = 6, channels: int = 2) -> Tensor:
    return torch.randn(ROWS, channels, size, size, generator=torch.Generator().manual_seed(1))


def sequential(*dropouts: nn.Module) -> nn.Module:
    first, second = dropouts
    return nn.Sequential(
        nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), first, nn.Linear(12, 12), nn.Tanh(), second, nn.Linear(12, 4)
    )


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "mlp": lambda: (
        regtorch.create("model", name="mlp", shape=(2, 6, 6), classes=4, hidden=[16, 8], batch_norm="before",
                        dropout={"name": "alpha"}, input_dropout={"name": "standard", "drop_prob": 0.2}),
        image(),
    ),
    "cnn": lambda: (
        regtorch.create("model", name="cnn", shape=(2, 6, 6), classes=4, channels=[4, 8], head=[8], batch_norm="after",
                        dropout={"name": "spatial2d"}, dropout_at="both"),
        image(),
    ),
    "resnet18 with dropout": lambda: (with_dropout(torchvision.models.resnet18(num_classes=4), "fc"), image(32, 3)),
    "mobilenet_v3_small": lambda: (torchvision.models.mobilenet_v3_small(num_classes=4), image(32, 3)),
    "efficientnet_b0": lambda: (torchvision.models.efficientnet_b0(num_classes=4), image(32, 3)),
    "vit": lambda: (
        torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16, dropout=0.2, attention_dropout=0.3, num_classes=4),
        image(8, 3),
    ),
    "residual, functional": lambda: (Residual(), image()),
    "lstm": lambda: (Recurrent(), image()),
    "transformer, batch second": lambda: (Encoder(False), image()),
    "transformer, batch first": lambda: (Encoder(True), image()),
    "drop path": lambda: (StochasticBranches(), image()),
    "drop connect": lambda: (
        nn.Sequential(nn.Flatten(), regtorch.DropConnect(nn.Linear(72, 8), drop_prob=0.3), nn.ReLU(), nn.Linear(8, 4)),
        image(),
    ),
    "untraceable": lambda: (Untraceable(), image()),
    "own type": lambda: (sequential(OwnNoise(), nn.AlphaDropout(0.2)), image()),
    "exact count and gaussian": lambda: (
        sequential(regtorch.ExactCountDropout(drop_prob=0.3), regtorch.GaussianDropout(drop_prob=0.3)), image()
    ),
}  # fmt: skip


#: of the large ones, one is always tried where it is quick, and the others with ``pytest -m slow``
NAMES = slow_unless(lambda name: name not in LARGE[:2], MODELS)
SMALL = slow_unless(lambda name: name not in (*LARGE, "vit"), MODELS)


def with_dropout(model: nn.Module, head: str) -> nn.Module:
    layer = getattr(model, head)
    setattr(model, head, nn.Sequential(nn.Dropout(0.5), layer))
    return model


def made(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model, x = MODELS[name]()
    if name in ("mobilenet_v3_small", "efficientnet_b0"):  # 32 pixels leave one in the end, so that all is quick
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.fill_(0.1)
    with torch.no_grad():
        for weight in list(model.parameters())[-2:-1]:
            weight.normal_(std=0.5)
    return model.eval(), x


#: what a plain loop puts into training mode, written down here and not taken from the code under test
IN_TRAINING_MODE = (
    *(nn.modules.dropout._DropoutNd, regtorch.dropout.base.Noise, torchvision.ops.StochasticDepth),
    *(nn.LSTM, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder),
    *(Residual, Untraceable, OwnNoise, StochasticBranches.DropPath),
)


def plain_loop(model: nn.Module, x: Tensor, samples: int) -> Tensor:
    """The usual loop: dropout modules in training mode, everything else in eval mode, one pass a sample."""
    for module in model.modules():
        module.training = isinstance(module, IN_TRAINING_MODE)
    with torch.no_grad():
        out = torch.stack([model(x.clone()) for _ in range(samples)])
    model.eval()
    return out


def predict(model: nn.Module, x: Tensor, **settings: object) -> regtorch.mc.MCPrediction:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*sampled whole.*")
        return regtorch.MCPredictor(model, transform=None, **settings)(x)


@pytest.fixture(scope="module")
def loops() -> dict[tuple[str, int], Tensor]:
    return {}


@pytest.mark.parametrize("samples", [400, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("name", SMALL)
def test_moments_and_covariance_are_those_of_a_plain_loop(
    name: str, masks: str, samples: int, loops: dict[tuple[str, int], Tensor]
) -> None:
    model, x = made(name)
    if (name, samples) not in loops:
        torch.manual_seed(7)
        loops[name, samples] = plain_loop(model, x, samples).double()
    loop = loops[name, samples]
    out = predict(model, x, samples=samples, masks=masks, keep_samples=True, seed=11)
    ours = out.samples.double()
    assert (out.std > 0).all()
    z = (ours.mean(0) - loop.mean(0)) / ((ours.var(0) + loop.var(0)) / samples).sqrt()
    assert z.abs().max() < 6
    products = [outer(s - s.mean(0)) for s in (ours, loop)]  # (samples, rows, units, units)
    error = ((products[0].var(0) + products[1].var(0)) / samples).sqrt()
    assert ((products[0].mean(0) - products[1].mean(0)) / error).abs().max() < 6
    # the entries of a row go together, so that their z are few independent ones: their spread is about 1 all the same
    assert 0.1 < z.square().mean().sqrt() < 2.5


def outer(centered: Tensor) -> Tensor:
    return centered[..., :, None] * centered[..., None, :]


@pytest.mark.parametrize("name", SMALL)
def test_a_shared_sample_is_one_network(name: str) -> None:
    model, x = made(name)
    together = predict(model, x, samples=6, keep_samples=True, seed=3).samples
    close = {"rtol": 1e-4, "atol": 1e-5 * max(1.0, together.abs().max().item())}
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        predict(model, x[order], samples=6, keep_samples=True, seed=3).samples, together[:, order], **close
    )
    torch.testing.assert_close(
        predict(model, x[1:2], samples=6, keep_samples=True, seed=3).samples, together[:, 1:2], **close
    )
    for max_batch in (2,) if name in LARGE else (1, 2, 100):
        again = predict(model, x, samples=6, keep_samples=True, seed=3, max_batch=max_batch).samples
        torch.testing.assert_close(again, together, **close)
    torch.testing.assert_close(predict(model, x, samples=3, keep_samples=True, seed=3).samples, together[:3], **close)
    assert not torch.allclose(predict(model, x, samples=6, keep_samples=True, seed=4).samples, together, **close)
    same = x[:1].expand_as(x)
    one = predict(model, same, samples=6, keep_samples=True, seed=3).samples
    torch.testing.assert_close(one, one[:, :1].expand_as(one), **close)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "drop connect"])
def test_independent_rows_differ(name: str) -> None:
    model, x = made(name)
    same = x[:1].expand_as(x)
    for max_batch in (2,) if name in LARGE else (1, 2, 100):
        out = predict(model, same, samples=20, masks="independent", keep_samples=True, max_batch=max_batch)
        rows = out.samples
        assert not torch.allclose(rows[:, 0], rows[:, 1])
        again = predict(model, same, samples=20, masks="independent", keep_samples=True, max_batch=max_batch)
        assert torch.equal(again.samples, rows)


@pytest.mark.parametrize("masks", ["shared", "independent"])
@pytest.mark.parametrize("lengths", [[7, 7, 7, 7, 7], [7, 7, 7, 3, 5], [2, 7, 5, 7, 1]])
def test_rows_that_cannot_be_told_apart_draw_for_themselves(lengths: list[int], masks: str) -> None:
    torch.manual_seed(0)
    model, x = Packed(), torch.randn(1, 7, 4).repeat(5, 1, 1)
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    samples = 200
    out = predict(model, x, samples=samples, masks=masks, max_batch=100)
    loop = plain_loop(model.eval(), x, samples)
    z = (out.mean - loop.mean(0)) / ((out.std**2 + loop.var(0)) / samples).sqrt()
    assert z.abs().max() < 6
    same = [row for row, length in enumerate(lengths) if length == 7]
    chunked = predict(model, x, samples=6, masks=masks, keep_samples=True, max_batch=1).samples
    assert not torch.allclose(chunked[:, same[0]], chunked[:, same[-1]]), "also in forward passes of their own"


@pytest.mark.parametrize("fails", ["not at all", "with an exception", "by Ctrl-C"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_changed_afterwards(name: str, fails: str) -> None:
    model, x = made(name)
    model.train()
    next(model.children()).eval()
    modes = {n: module.training for n, module in model.named_modules()}
    state = {n: value.clone() for n, value in model.state_dict().items()}
    attributes = {n: set(vars(module)) for n, module in model.named_modules()}
    random_state, input_before = torch.get_rng_state(), x.clone()
    calls = 0

    def transform(logits: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 8 and fails != "not at all":
            raise KeyboardInterrupt if fails == "by Ctrl-C" else RuntimeError("on purpose")
        return logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = regtorch.MCPredictor(model, samples=12, transform=transform, max_batch=ROWS)
        if fails == "not at all":
            predictor(x)
        else:
            with pytest.raises((KeyboardInterrupt, RuntimeError)):
                predictor(x)
    assert calls >= 8
    assert {n: module.training for n, module in model.named_modules()} == modes
    assert all(torch.equal(value, state[n]) for n, value in model.state_dict().items())
    assert {n: set(vars(module)) for n, module in model.named_modules()} == attributes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(x, input_before)
    assert all(getattr(module, "generator", None) is None for module in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_downstream_of_a_dropout_is_repeated(name: str) -> None:
    model, x = made(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor = regtorch.MCPredictor(model, samples=4, transform=None)
        predictor(x)
        predictor(x)
    warned = [str(w.message) for w in caught if "sampled whole" in str(w.message)]
    assert len(warned) == (1 if name in ("untraceable", "residual, functional") else 0)
    plan = predictor._plans.last
    assert plan is not None
    # one sample a pass where masks are in weights, and where what is run depends on numbers
    assert plan.partition.folds_samples == (name not in ("drop connect", "untraceable"))
    if name in ("resnet18 with dropout", "mobilenet_v3_small"):
        assert predictor.reused > 0.8
