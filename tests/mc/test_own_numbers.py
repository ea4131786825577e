"""Models that write into their own parameters, buffers and attributes: the samples are right, and all is as before."""

from __future__ import annotations

import random
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regtorch

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
SAMPLES = 400


class Base(nn.Module):
    """A dropout that does next to nothing keeps the model from having no noise at all when `act`'s is overlooked."""

    def __init__(self, act: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.act = act
        self.first, self.small, self.last = nn.Linear(6, 20), nn.Dropout(1e-3), nn.Linear(20, 2)
        self.register_buffer("table", torch.zeros(20))
        self.register_buffer("large", torch.zeros(200, 100))
        self.frozen = nn.Parameter(torch.zeros(20), requires_grad=False)
        self.plain, self.array = torch.zeros(20), np.zeros(20)
        self.attribute = torch.ones(2, 20)

    def rest(self, h: Tensor) -> Tensor:
        return self.last(self.small(h))  # type: ignore[no-any-return]


class NoisyWeight(Base):
    """Runs its last layer with noise in the weights: `act` is a context in which the noise is there."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if not self.training:
            return self.rest(h)
        with self.act(self, self.last.weight):
            return self.rest(h)


def noise(weight: Tensor) -> Tensor:
    return 0.5 * torch.randn_like(weight)


@contextmanager
def data_changed(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.data.clone()
    w.data += noise(keep)
    yield
    w.data = keep


@contextmanager
def data_set(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.data
    w.data = keep + noise(keep)
    yield
    w.data = keep


@contextmanager
def written_and_copied(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.detach().clone()
    with torch.no_grad():
        w.add_(noise(keep))
    yield
    with torch.no_grad():
        w.copy_(keep)


@contextmanager
def a_view_written(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.detach().clone()
    w.detach().view(-1).add_(noise(keep).view(-1))
    yield
    w.detach().view(-1).copy_(keep.view(-1))


@contextmanager
def never_put_back(m: Base, w: Tensor) -> Iterator[None]:
    w.data.normal_(0.0, 0.5)
    yield


@contextmanager
def set_and_never_put_back(m: Base, w: Tensor) -> Iterator[None]:
    w.data = noise(w)
    yield


@contextmanager
def written_as_out(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.detach().clone()
    torch.add(keep, noise(keep), out=w.data)
    yield
    w.data.copy_(keep)


@contextmanager
def several_written(m: Base, w: Tensor) -> Iterator[None]:
    keep = w.detach().clone()
    torch._foreach_add_([w.data, m.last.bias.data], [noise(keep), torch.zeros(2)])
    yield
    w.data.copy_(keep)


@contextmanager
def exchanged(m: Base, w: Tensor) -> Iterator[None]:
    m.last.weight = nn.Parameter(w + noise(w))
    yield
    m.last.weight = w


@contextmanager
def an_attribute_written(m: Base, w: Tensor) -> Iterator[None]:
    m.attribute.add_(noise(m.attribute))
    w.data.mul_(m.attribute)
    yield
    w.data.div_(m.attribute)


WEIGHTS = [data_changed, data_set, written_and_copied, a_view_written, never_put_back, set_and_never_put_back,
           written_as_out, several_written, exchanged, an_attribute_written]  # fmt: skip


def numbers_of(model: nn.Module) -> dict[str, tuple[int, Tensor]]:
    """Each tensor's memory and a copy of its numbers."""
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found |= {f"{n}.{k}": v for n, m in model.named_modules() for k, v in vars(m).items() if isinstance(v, Tensor)}
    return {name: (v.data_ptr(), v.detach().clone()) for name, v in found.items()}


def assert_as_before(model: nn.Module, before: dict[str, tuple[int, Tensor]]) -> None:
    now = numbers_of(model)
    assert now.keys() == before.keys()
    for name, (place, numbers) in before.items():
        assert now[name][0] == place, f"{name} is elsewhere"
        assert torch.equal(now[name][1], numbers), name


@pytest.mark.parametrize("way", WEIGHTS)
@pytest.mark.parametrize("nested", [pytest.param(False, marks=pytest.mark.slow), True])
def test_noise_written_into_weights_is_sampled(way: Callable[..., Any], nested: bool) -> None:
    model: nn.Module = NoisyWeight(way)
    if nested:
        model = nn.Sequential(nn.Linear(6, 6), model, nn.Tanh())
    model.eval()
    before = numbers_of(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(sampled whole|each has its own draws).*")
        predictor = regtorch.MCPredictor(model, samples=SAMPLES, transform=None)
        out, again = predictor(X), predictor(X)
    assert_as_before(model, before)
    assert torch.equal(out.std, again.std)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    attributes, samples = [m.attribute.clone() for m in model.modules() if isinstance(m, Base)], []
    model.train()
    with torch.no_grad():
        for _ in range(SAMPLES):
            samples.append(model(X))
            model.load_state_dict(state)
            for part in model.modules():
                if isinstance(part, Base):
                    part.attribute.copy_(attributes[0])
    loop = torch.stack(samples)
    error = ((loop.var(0) + out.std**2) / SAMPLES).sqrt()
    assert ((out.mean - loop.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(out.std, loop.std(0), rtol=0.2, atol=1e-6)


class Keeping(Base):
    """Draws in training mode, and lets `act` write down something in every pass."""

    def __init__(self, act: Callable[[Any, Tensor], Any]) -> None:
        super().__init__(act)
        self.history: deque[float] = deque([0.0, 1.0], maxlen=3)
        self.nested = {"a": [deque([1.0])], "b": defaultdict(list)}
        self.pair = ([1.0], torch.zeros(20))
        self.meter = Meter()
        self.space = SimpleNamespace(count=0, last=torch.zeros(20), inner=SimpleNamespace(seen=[1]))
        self.bytes, self.objects = bytearray(4), np.array([None, "text"], dtype=object)
        self.numpy_generator, self.python_generator = np.random.default_rng(0), random.Random(0)
        self.numpy_state, self.torch_generator = np.random.RandomState(0), torch.Generator().manual_seed(0)
        self.hidden = (Base(act),)  # not registered
        self.slots = Slots()
        self.output = OrderedDict(a=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        with torch.no_grad():
            self.act(self, h.mean(0))
        return self.rest(F.dropout(h, 0.5, self.training))


@dataclass
class Meter:
    count: int = 0
    values: list[float] = field(default_factory=lambda: [1.0])


class Slots:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


def count_up(m: Keeping, h: Tensor) -> None:
    m.meter.count += 1
    m.meter.values.append(1.0)


def count_in_a_namespace(m: Keeping, h: Tensor) -> None:
    m.space.count += 1
    m.space.last.add_(h)
    m.space.inner.seen.append(2)
    m.space.other = 1


def count_in_slots(m: Keeping, h: Tensor) -> None:
    m.slots.count += 1


def draw_numbers(m: Keeping, h: Tensor) -> None:
    m.numpy_generator.random()
    m.python_generator.random()
    m.numpy_state.rand()
    torch.rand(2, generator=m.torch_generator)


def exchange_memory(m: Keeping, h: Tensor) -> None:
    m.table.data = m.table + h
    m.frozen.data = m.frozen + h


def fill_a_deque(m: Keeping, h: Tensor) -> None:
    m.history.append(2.0)
    m.nested["a"][0].appendleft(3.0)
    m.nested["b"]["new"].append(1)


def fill_an_array(m: Keeping, h: Tensor) -> None:
    m.array[:] += h.numpy()
    m.bytes[0] += 1
    m.objects[0] = "new"


def in_a_tuple(m: Keeping, h: Tensor) -> None:
    m.pair[0].append(2.0)
    m.pair[1].add_(h)


def in_a_module_that_is_not_registered(m: Keeping, h: Tensor) -> None:
    m.hidden[0].first.weight.data.add_(1)
    m.hidden[0].table.add_(h)
    m.hidden[0].extra = 1


def only_in_training(m: Keeping, h: Tensor) -> None:
    if m.training:
        m.frozen.data.mul_(0.9).add_(h)
        m.large.data[3, 5:25] += h


def only_in_evaluation(m: Keeping, h: Tensor) -> None:
    if not m.training:
        m.frozen.mul_(0.9).add_(h)
        m.large.add_(1)


def fail_at_last(m: Keeping, h: Tensor) -> None:
    m.frozen.add_(h)
    m.large.data.add_(1)
    m.history.append(1.0)
    m.space.count += 1
    if not passes_left or not passes_left.pop():
        raise RuntimeError("on purpose")


passes_left: list[bool] = []

WAYS: list[Callable[[Any, Tensor], Any]] = [
    lambda m, h: m.table.mul_(0.9).add_(h),
    lambda m, h: m.table.data.mul_(0.9).add_(h),
    lambda m, h: m.large[0, :20].copy_(h),
    lambda m, h: m.large.data[1, :20].copy_(h),
    lambda m, h: m.frozen.add_(h),
    lambda m, h: m.frozen.data.add_(h),
    lambda m, h: m.first.weight.data.add_(1e-3),
    lambda m, h: m.first.weight.detach().numpy().__iadd__(1e-3),
    lambda m, h: m.plain.__iadd__(h),
    lambda m, h: m.plain.numpy().__iadd__(h.numpy()),
    lambda m, h: m.register_buffer("later", h),
    lambda m, h: m.output.update(b=2),
    count_up, count_in_a_namespace, count_in_slots, draw_numbers, exchange_memory, fill_a_deque, fill_an_array, in_a_tuple,
    in_a_module_that_is_not_registered, only_in_training, only_in_evaluation,
]  # fmt: skip


def picture(value: Any, depth: int = 6) -> Any:
    """All that is in a value, as text and numbers; tensors with their memory."""
    if isinstance(value, Tensor):
        return id(value), value.data_ptr(), value.tolist()
    if isinstance(value, (np.ndarray, bytearray)):
        return list(value)
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return repr(value.bit_generator.state if isinstance(value, np.random.Generator) else value.get_state())
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, dict):
        return {key: picture(part, depth - 1) for key, part in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [picture(part, depth - 1) for part in value]
    if isinstance(value, Slots):
        return value.count
    if isinstance(value, nn.Module) or (hasattr(value, "__dict__") and not callable(value)):
        return {key: picture(part, depth - 1) for key, part in vars(value).items()} if depth else None
    return value


@pytest.mark.parametrize("nested", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_writes_down_is_as_before(way: Callable[[Any, Tensor], Any], nested: bool) -> None:
    model: nn.Module = Keeping(way)
    if nested:
        model = nn.Sequential(nn.Linear(6, 6), model, nn.Tanh())
    before = picture(model.eval())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(sampled whole|not sampled).*")
        predictor = regtorch.MCPredictor(model, samples=3, transform=None)
        for _ in range(2):
            predictor(X)
            assert picture(model) == before
        regtorch.mc.sampled_modules(model, X)
    assert picture(model) == before


@pytest.mark.parametrize("after", range(0, 20, 2))
def test_it_is_as_before_after_an_exception(after: int) -> None:
    model = Keeping(fail_at_last).eval()
    before = picture(model)
    passes_left[:] = [True] * after
    predictor = regtorch.MCPredictor(model, samples=50, transform=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="on purpose"):
            predictor(X)
    assert picture(model) == before
