"""Compiled training steps: one graph, and the same numbers as eager steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from regtorch import WeightConstraint, WeightPenalty, available, create
from regtorch.models.cnn import CNN
from regtorch.models.mlp import MLP
from regtorch.training import RegularizedModule
from tests.constraints.test_constraints import CASES as CONSTRAINT_CASES
from tests.regularizers.test_regularizers import CASES as REGULARIZER_CASES

Node = dict[str, Any]

SHAPE = (1, 4, 4)
REGULARIZERS: list[Node] = [{"name": "none"}, *({"name": case.name, **case.settings} for case in REGULARIZER_CASES)]
CONSTRAINTS: list[Node] = [{"name": case.name, **case.settings} for case in CONSTRAINT_CASES]
every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda node: node["name"])


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch._dynamo.reset()


def in_one_graph(function: Any, backend: str = "aot_eager") -> Any:
    return torch.compile(function, fullgraph=True, backend=backend)


def network() -> nn.Module:
    """One layer of each kind that penalties treat differently."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.ConvTranspose2d(4, 2, 3, groups=2), nn.Flatten(), nn.Linear(32, 3)
    )


def batch(rows: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, *SHAPE, generator=generator), torch.randint(3, (rows,), generator=generator)


Step = Callable[[Tensor, Tensor], Tensor]


def eager(model: nn.Module, regularizer: Node) -> Step:
    penalty = WeightPenalty(model, create("regularizer", **regularizer))
    return lambda x, y: cross_entropy(model(x), y) + penalty()


def complete_step(model: nn.Module, regularizer: Node) -> Step:
    return in_one_graph(eager(model, regularizer))


def bound_before_the_model_is_compiled(model: nn.Module, regularizer: Node) -> Step:
    penalty = WeightPenalty(model, create("regularizer", **regularizer))
    compiled = in_one_graph(model)
    return lambda x, y: cross_entropy(compiled(x), y) + penalty()


def bound_to_the_compiled_model(model: nn.Module, regularizer: Node) -> Step:
    return eager(in_one_graph(model), regularizer)


def compiled_in_place(model: nn.Module, regularizer: Node) -> Step:
    model.compile(fullgraph=True, backend="aot_eager")
    return eager(model, regularizer)


def penalty_alone(model: nn.Module, regularizer: Node) -> Step:
    penalty = WeightPenalty(model, create("regularizer", **regularizer))
    compiled = in_one_graph(penalty)
    return lambda x, y: cross_entropy(model(x), y) + compiled()


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in model.parameters()]


def check_same_step(compiled: Step, of_compiled: nn.Module, plain: Step, of_plain: nn.Module) -> None:
    for rows in (8, 8, 5):  # the last batch of an epoch may be shorter
        x, y = batch(rows)
        loss, expected = compiled(x, y), plain(x, y)
        torch.testing.assert_close(loss, expected)
        pairs = zip(gradients(loss, of_compiled), gradients(expected, of_plain), strict=True)
        for gradient, wanted in pairs:
            torch.testing.assert_close(gradient, wanted)


@every_regularizer
def test_a_complete_step_is_one_graph(regularizer: Node) -> None:
    one, other = network(), network()
    check_same_step(complete_step(one, regularizer), one, eager(other, regularizer), other)


WAYS = [bound_before_the_model_is_compiled, bound_to_the_compiled_model, compiled_in_place, penalty_alone]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["l1_l2", "activity"])
def test_model_and_penalty_are_compiled_separately(way: Callable[..., Step], name: str) -> None:
    regularizer = next(node for node in REGULARIZERS if node["name"] == name)
    if name == "activity" and way is penalty_alone:
        return  # it needs the outputs of a forward pass, so it cannot be compiled alone
    one, other = network(), network()
    check_same_step(way(one, regularizer), one, eager(other, regularizer), other)
    if way is compiled_in_place:
        assert list(one.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda node: node["name"])
def test_a_projection_is_one_graph(constraint: Node) -> None:
    results = []
    for compiled in (False, True):
        model = network()
        project = WeightConstraint(model, create("constraint", **constraint)).project
        (in_one_graph(project) if compiled else project)(step_size=0.5)
        results.append(model.state_dict())
    for name, w in results[0].items():
        torch.testing.assert_close(results[1][name], w)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda node: node["name"])
def test_the_constraint_follows_a_compiled_optimizer_step(constraint: Node) -> None:
    results = []
    for compiled in (False, True):  # torch itself breaks the graph in every optimizer's step
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        WeightConstraint(model, create("constraint", **constraint)).attach(optimizer)
        step = torch.compile(optimizer.step, backend="aot_eager") if compiled else optimizer.step
        x, y = batch()
        cross_entropy(model(x), y).backward()
        step()
        results.append(model.state_dict())
    for name, w in results[0].items():
        torch.testing.assert_close(results[1][name], w)


# our models in training: dropouts and activations


def models(kind: str, name: str) -> nn.ModuleList:
    parts: Node = {kind: {"name": name}}
    if kind == "dropout":
        parts |= {"batch_norm": "before", "input_batch_norm": True}
        parts |= {} if name in ("drop_connect", "variational") else {"input_dropout": {"name": name}}
    torch.manual_seed(3)
    images = {"dropout_at": "both"} if kind == "dropout" and name != "variational" else {}  # for sequences, not maps
    cnn = CNN(SHAPE, 3, channels=[2], kernel_size=3, head=[3], **parts, **images)
    return nn.ModuleList([MLP(SHAPE, 3, hidden=[4], **parts), cnn]).train()


#: one of each kind is always tested, the others with ``pytest -m slow``
ALWAYS = {
    "dropout": ["standard", "alpha", "spatial2d", "concrete", "consistent", "drop_connect"],
    "activation": ["prelu"],
}
PARTS = [
    pytest.param(kind, name, id=f"{kind}-{name}", marks=() if name in always else pytest.mark.slow)
    for kind, always in ALWAYS.items()
    for name in available(kind)
]


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_our_models_train_in_one_graph(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(networks: nn.ModuleList) -> Step:
        penalty = WeightPenalty(networks, create("regularizer", "l1_l2"))

        def step(x: Tensor, y: Tensor) -> Tensor:
            return cross_entropy(networks[0](x), y) + cross_entropy(networks[1](x), y) + penalty()

        return step

    one, other = models(kind, name), models(kind, name)
    x, y = batch()
    torch.manual_seed(0)
    loss = in_one_graph(step_of(one))(x, y)
    loss.backward()
    # eager dropouts use a faster way to draw; here they draw like compiled ones
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(0)
    expected = step_of(other)(x, y)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for w, plain in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(w.grad, plain.grad)
    for buffer, plain in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(buffer, plain)


# inductor, torch's default backend, generates C++

needs_a_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="inductor needs a C++ compiler"
)


@pytest.mark.slow
@needs_a_compiler
def test_inductor_gives_the_same_step() -> None:
    rules = [{"name": "l1_l2"}, {"name": "activity", "regularizer": {"name": "l1"}}]
    results = []
    for compiled in (False, True):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        step = eager(model, {"name": "several", "rules": rules})
        loss = (torch.compile(step, fullgraph=True) if compiled else step)(*batch())
        results.append([loss, *gradients(loss, model)])
    torch.testing.assert_close(results[1], results[0])


# Lightning


class Classification(RegularizedModule):
    def __init__(self, regularizer: Node) -> None:
        model = network()
        penalty = WeightPenalty(model, create("regularizer", **regularizer))
        super().__init__(model, [penalty], [WeightConstraint(model, create("constraint", "max_norm", max_value=0.5))])

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return cross_entropy(self.model(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: Any, **settings: Any) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    loader = DataLoader(TensorDataset(*batch(22)), batch_size=4)
    lightning.Trainer(max_epochs=2, accelerator="cpu", **quiet, **settings).fit(module, loader)


LOOPS: dict[str, Callable[[], Node]] = {
    "plain": dict,
    "accumulating": lambda: {"accumulate_grad_batches": 4, "gradient_clip_val": 0.1},
    "ema": lambda: {"callbacks": [EMAWeightAveraging(decay=0.7)]},
    "swa": lambda: {"callbacks": [StochasticWeightAveraging(swa_lrs=0.05)]},
}
ACTIVITY = next(node for node in REGULARIZERS if node["name"] == "activity")
#: of single weights, of units, of singular values, several, and of activities
KINDS = ("none", "l1", "group_lasso", "spectral", "several", "activity")
#: one of each kind of rule and loop is always tested, the others with ``pytest -m slow``
SHORT = {("plain", name, False) for name in KINDS}
SHORT |= {("plain", "activity", True), ("accumulating", "activity", False), ("ema", "activity", True)}
SHORT |= {("swa", "activity", False)}
COMBINED = [
    *(("plain", node, False) for node in REGULARIZERS),
    *(("plain", node, True) for node in REGULARIZERS if node["name"] in ("l1_l2", "activity")),
    *((loop, ACTIVITY, in_place) for loop in LOOPS if loop != "plain" for in_place in (False, True)),
]


@pytest.mark.parametrize(
    ("loop", "regularizer", "in_place"),
    [
        pytest.param(
            *(loop, node, in_place),
            marks=() if (loop, node["name"], in_place) in SHORT else pytest.mark.slow,
            id=f"{loop}-{node['name']}-{'model_in_place' if in_place else 'module'}",
        )
        for loop, node, in_place in COMBINED
    ],
)
def test_lightning_trains_a_compiled_module(loop: str, regularizer: Node, in_place: bool) -> None:
    plain, module = Classification(regularizer), Classification(regularizer)
    fit(plain, **LOOPS[loop]())
    if in_place:
        module.model.compile(fullgraph=True, backend="aot_eager")
        fit(module, **LOOPS[loop]())
    else:
        fit(in_one_graph(module), **LOOPS[loop]())  # the complete training_step, including that of the base class
    assert list(module.state_dict()) == list(plain.state_dict())
    assert not any("_orig_mod" in name for name in module.state_dict())
    for name, w in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], w, rtol=1e-4, atol=1e-5)
