"""For every rule, training with any of Lightning's features has the same result as a hand-written loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_avg_fn, update_bn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import regtorch
from regtorch import WeightConstraint, WeightPenalty, available, create
from regtorch.training import RegularizedModule
from tests.constraints.test_constraints import CASES as CONSTRAINT_CASES
from tests.regularizers.test_regularizers import CASES as REGULARIZER_CASES

Node = dict[str, Any]

BATCH = 4
LR = 0.05
REGULARIZERS: list[Node] = [{"name": "none"}, *({"name": case.name, **case.settings} for case in REGULARIZER_CASES)]
CONSTRAINTS: list[Node] = [{"name": case.name, **case.settings} for case in CONSTRAINT_CASES]


def rules(pairs: Any) -> pytest.MarkDecorator:
    """Parametrize a test with pairs of a regularizer and a constraint, given as nodes."""
    return pytest.mark.parametrize(
        ("regularizer", "constraint"), [pytest.param(r, c, id=f"{r['name']}-{c['name']}") for r, c in pairs]
    )


def short_of_every_pair(values: list[str]) -> pytest.MarkDecorator:
    """Parametrize with every pair and a value; by default each rule, each constraint and each value, and many pairs."""
    cases = product(REGULARIZERS, CONSTRAINTS, values)
    step = next(n for n in (5, 7, 11) if all(count % n for count in (len(REGULARIZERS), len(CONSTRAINTS), len(values))))
    return pytest.mark.parametrize(
        ("regularizer", "constraint", "value"),
        [
            pytest.param(r, c, v, id=f"{r['name']}-{c['name']}-{v}", marks=pytest.mark.slow if index % step else ())
            for index, (r, c, v) in enumerate(cases)
        ],
    )


every_rule = rules(zip(REGULARIZERS, cycle(CONSTRAINTS), strict=False))  # there are more regularizers


def test_every_rule_is_tested() -> None:
    assert {node["name"] for node in REGULARIZERS} >= {n for n in available("regularizer") if n in _built_in()}
    assert {node["name"] for node in CONSTRAINTS} >= {n for n in available("constraint") if n in _built_in()}
    assert len(REGULARIZERS) >= len(CONSTRAINTS)


def _built_in() -> set[str]:
    """Return the names of built-in rules; other tests register their own in the same process."""
    kinds = ("regularizer", "constraint")
    own = {(k, n) for k in kinds for n in available(k)}
    return {n for k, n in own if regtorch.registry.component(k, n).module.startswith("regtorch.")}


def data(rows: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return TensorDataset(x, torch.randn(rows, 2, generator=generator, dtype=torch.float64))


def batches(rows: int = 22, size: int = BATCH) -> DataLoader[Any]:
    """Make batches: by default six, the last one shorter, so with windows of four the last window is shorter too."""
    return DataLoader(data(rows), batch_size=size)


def network() -> nn.Sequential:
    """Make a network with such large weights that every constraint is active."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(3.0)
    return model


def momentum(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=LR, momentum=0.9)


class Regression(RegularizedModule):
    """Least squares with a penalty and a constraint; records each call of the hook, and the weights after each batch."""

    def __init__(
        self,
        regularizer: Node,
        constraint: Node,
        optimizer: Callable[[nn.Module], Any] = momentum,
        model: nn.Module | None = None,
    ) -> None:
        model = model or network()
        super().__init__(
            model,
            [WeightPenalty(model, create("regularizer", **regularizer))],
            [WeightConstraint(model, create("constraint", **constraint))],
        )
        self.make_optimizers = optimizer
        self.steps = 0
        self.trained: dict[str, Tensor] = {}

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return (self.model(x) - y).square().mean()

    def configure_optimizers(self) -> Any:
        return self.make_optimizers(self.model)

    def on_after_optimizer_step(self, optimizer: Optimizer) -> None:
        self.steps += 1
        super().on_after_optimizer_step(optimizer)

    def on_train_batch_end(self, *args: Any) -> None:
        self.trained = copy.deepcopy(self.model.state_dict())


def fit(
    module: Any, loader: Any = None, validation: Any = None, epochs: int = 2, resume: Any = None, **settings: Any
) -> Any:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", **quiet, **settings)
    trainer.fit(module, batches() if loader is None else loader, validation, ckpt_path=resume)
    return trainer


class ByHand:
    """The same training in plain torch: each window is one step with the mean of its batches' losses."""

    def __init__(
        self,
        regularizer: Node,
        constraint: Node,
        optimizer: Callable[[nn.Module], Optimizer] = momentum,
        model: nn.Module | None = None,
    ) -> None:
        self.model = model or network()
        self.penalty = WeightPenalty(self.model, create("regularizer", **regularizer))
        self.constraint = WeightConstraint(self.model, create("constraint", **constraint))
        self.optimizer = optimizer(self.model)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        self.penalty.begin_step()  # each batch of a window has the activity penalty of its own outputs
        return (self.model(x) - y).square().mean() + self.penalty()

    def backward(self, window: list[Any], clip: Callable[[Any], Any] | None = None) -> Tensor:
        self.optimizer.zero_grad()
        total = torch.stack([self.loss(x, y) for x, y in window]).mean()
        total.backward()
        if clip is not None:
            before = [w.grad.clone() for w in self.model.parameters()]
            clip(self.model.parameters())
            assert not all(torch.equal(w.grad, g) for w, g in zip(self.model.parameters(), before, strict=True))
        return total

    def step(self, window: list[Any], clip: Callable[[Any], Any] | None = None) -> None:
        self.backward(window, clip)
        self.optimizer.step()
        self.constraint.project(step_size=self.optimizer.param_groups[0]["lr"])

    def windows(self, accumulate: int, loader: DataLoader[Any] | None = None) -> Iterator[list[Any]]:
        """Of one epoch."""
        every = list(loader or batches())
        for start in range(0, len(every), accumulate):
            yield every[start : start + accumulate]

    def train(self, accumulate: int = 1, loader: DataLoader[Any] | None = None, clip: Any = None) -> ByHand:
        for _ in range(2):
            for window in self.windows(accumulate, loader):
                self.step(window, clip)
        return self


def assert_same(one: Any, other: Any) -> None:
    one, other = (m.state_dict() if isinstance(m, nn.Module) else m for m in (one, other))
    assert list(one) == list(other)
    for name, w in one.items():
        torch.testing.assert_close(
            w, other[name], rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


# accumulation and clipping

CLIPPING: dict[str, tuple[Node, Any]] = {
    "none": ({}, None),
    "norm": ({"gradient_clip_val": 0.1}, lambda held: nn.utils.clip_grad_norm_(held, 0.1)),
    "value": (
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        lambda held: nn.utils.clip_grad_value_(held, 0.01),
    ),
}


@short_of_every_pair(["unclipped"])
def test_four_batches_are_one_batch_four_times_as_large(regularizer: Node, constraint: Node, value: str) -> None:
    module = Regression(regularizer, constraint)
    fit(module, batches(rows=32), accumulate_grad_batches=4)
    assert module.steps == 4
    assert_same(module.model, ByHand(regularizer, constraint).train(loader=batches(rows=32, size=16)).model)


@short_of_every_pair(list(CLIPPING))
def test_accumulation_with_a_shorter_last_window_clipping_and_constraint(
    regularizer: Node, constraint: Node, value: str
) -> None:
    settings, clip = CLIPPING[value]
    module = Regression(regularizer, constraint)
    fit(module, accumulate_grad_batches=4, **settings)
    assert module.steps == 4
    assert_same(module.model, ByHand(regularizer, constraint).train(accumulate=4, clip=clip).model)


class Stream(IterableDataset[Any]):
    """An iterable data set without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(data(22))


@pytest.mark.parametrize("clipping", CLIPPING)
@every_rule
def test_the_last_window_of_data_without_a_length(regularizer: Node, constraint: Node, clipping: str) -> None:
    module = Regression(regularizer, constraint)
    settings, clip = CLIPPING[clipping]
    fit(module, DataLoader(Stream(), batch_size=BATCH), accumulate_grad_batches=4, **settings)
    assert module.steps == 4
    assert_same(module.model, ByHand(regularizer, constraint).train(accumulate=4, clip=clip).model)


# mixed precision


@every_rule
def test_a_window_that_the_grad_scaler_skips(regularizer: Node, constraint: Node) -> None:
    broken = 2  # in the first window; the step of the second one is taken

    class Overflowing(Regression):
        def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
            return super().data_loss(batch, batch_idx) * (float("inf") if batch_idx == broken else 1.0)

    module = Overflowing(regularizer, constraint)
    settings, clip = CLIPPING["norm"]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)  # float64 is not cast
    fit(module, plugins=[precision], accumulate_grad_batches=4, **settings)
    assert module.steps == 2

    hand = ByHand(regularizer, constraint)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for _ in range(2):
        for number, window in enumerate(hand.windows(accumulate=4)):
            hand.optimizer.zero_grad()
            losses = [hand.loss(x, y) for x, y in window]
            if number == 0:
                losses[broken] = losses[broken] * float("inf")
            scaler.scale(torch.stack(losses).mean()).backward()
            scaler.unscale_(hand.optimizer)
            clip(hand.model.parameters())
            before = scaler.get_scale()
            scaler.step(hand.optimizer)
            scaler.update()
            if scaler.get_scale() >= before:
                hand.constraint.project(step_size=LR)
    assert_same(module.model, hand.model)
    assert all(w.isfinite().all() for w in module.parameters())


# optimizers


class TwoOptimizers(Regression):
    """Manual optimization, which Lightning requires for two optimizers; the second one steps every other batch."""

    def __init__(self, *given: Any, toggled: bool) -> None:
        super().__init__(*given, optimizer=two_optimizers)
        self.automatic_optimization = False
        self.toggled = toggled

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for number, optimizer in enumerate(self.optimizers()):
            if number == 1 and batch_idx % 2:
                continue
            if self.toggled:
                self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(self.data_loss(batch, batch_idx) + self.penalty())
            optimizer.step()
            if self.toggled:
                self.untoggle_optimizer(optimizer)


def two_optimizers(model: Any) -> list[Optimizer]:
    return [SGD(model[0].parameters(), lr=LR, momentum=0.9), torch.optim.Adam(model[2].parameters(), lr=0.01)]


@pytest.mark.parametrize("toggled", [False, True])
@every_rule
def test_two_optimizers_under_manual_optimization(regularizer: Node, constraint: Node, toggled: bool) -> None:
    module = TwoOptimizers(regularizer, constraint, toggled=toggled)
    fit(module)
    assert module.steps == 12 + 6

    hand = ByHand(regularizer, constraint)
    layers = hand.model[0], hand.model[2]
    optimizers = two_optimizers(hand.model)
    constraints = [WeightConstraint(layer, create("constraint", **constraint)) for layer in layers]
    for _ in range(2):
        for batch_idx, (x, y) in enumerate(batches()):
            for number, optimizer in enumerate(optimizers):
                if number == 1 and batch_idx % 2:
                    continue
                layers[1 - number].requires_grad_(not toggled)
                optimizer.zero_grad()
                hand.loss(x, y).backward()
                optimizer.step()
                constraints[number].project(step_size=optimizer.param_groups[0]["lr"])
                hand.model.requires_grad_(True)
    assert_same(module.model, hand.model)


def lbfgs(model: nn.Module) -> Optimizer:
    return torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)


@pytest.mark.parametrize("clipping", CLIPPING)
@every_rule
def test_lbfgs(regularizer: Node, constraint: Node, clipping: str) -> None:
    settings, clip = CLIPPING[clipping]
    module = Regression(regularizer, constraint, lbfgs)
    fit(module, **settings)
    assert module.steps == 12

    hand = ByHand(regularizer, constraint, lbfgs)
    for _ in range(2):
        for window in hand.windows(accumulate=1):
            hand.optimizer.step(lambda window=window: hand.backward(window, clip))
            hand.constraint.project(step_size=0.1)
    assert_same(module.model, hand.model)


@every_rule
def test_an_optimizer_that_replaces_another(regularizer: Node, constraint: Node) -> None:
    class Exchange(lightning.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.optimizers = [torch.optim.Adam(pl_module.model.parameters(), lr=0.02)]

    module = Regression(regularizer, constraint)
    fit(module, callbacks=[Exchange()])
    assert module.steps == 12

    hand = ByHand(regularizer, constraint)
    for epoch in range(2):
        if epoch == 1:
            hand.optimizer = torch.optim.Adam(hand.model.parameters(), lr=0.02)
        for window in hand.windows(accumulate=1):
            hand.step(window)
    assert_same(module.model, hand.model)


class Centralised(SGD):
    """A user's optimizer that changes the gradients and calls the step of its base class."""

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            closure()
        for w in self.param_groups[0]["params"]:
            w.grad -= w.grad.mean()
        return super().step()


@every_rule
def test_a_step_that_calls_its_base_class_is_one_step(regularizer: Node, constraint: Node) -> None:
    def centralised(model: nn.Module) -> Optimizer:
        SGD(model.parameters(), lr=LR)  # torch wraps the base class's step when it is instantiated
        return Centralised(model.parameters(), lr=LR)

    module = Regression(regularizer, constraint, centralised)
    fit(module)
    assert module.steps == 12
    hand = ByHand(regularizer, constraint, centralised)
    attached = ByHand(regularizer, constraint, centralised)
    attached.constraint.attach(attached.optimizer)
    for loop in (hand, attached):
        for _ in range(2):
            for window in loop.windows(accumulate=1):
                loop.backward(window)
                loop.optimizer.step()
                if loop is hand:
                    loop.constraint.project(step_size=LR)
    assert_same(module.model, hand.model)
    assert_same(attached.model, hand.model)


@every_rule
def test_a_batch_without_a_loss_is_no_step(regularizer: Node, constraint: Node) -> None:
    class Choosy(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            return None if batch_idx % 2 else super().training_step(batch, batch_idx)

    module = Choosy(regularizer, constraint)
    fit(module)
    assert module.steps == 6
    hand = ByHand(regularizer, constraint)
    for _ in range(2):
        for number, window in enumerate(hand.windows(accumulate=1)):
            if number % 2 == 0:
                hand.step(window)
    assert_same(module.model, hand.model)


# averaged weights


class Validated(Regression):
    """Records the validated weights and their penalty."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.validated: list[dict[str, Tensor]] = []
        self.penalties_then: list[float] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.data_loss(batch, batch_idx)
        if batch_idx == 0:
            self.validated.append(copy.deepcopy(self.model.state_dict()))
            self.penalties_then.append(self.penalty().item())


AVERAGES: dict[str, tuple[Callable[[], lightning.Callback], Any]] = {
    "mean": (WeightAveraging, None),
    "exponential": (lambda: EMAWeightAveraging(decay=0.7), get_ema_avg_fn(0.7)),
}


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("average", AVERAGES)
@every_rule
def test_averages_of_the_constrained_weights(
    regularizer: Node, constraint: Node, average: str, accumulate: int
) -> None:
    callback, of_weights = AVERAGES[average]
    module = Validated(regularizer, constraint)
    fit(
        module,
        validation=batches(),
        callbacks=[callback()],
        accumulate_grad_batches=accumulate,
        num_sanity_val_steps=0,
    )

    hand = ByHand(regularizer, constraint)
    averaged = AveragedModel(hand.model, avg_fn=of_weights, use_buffers=True)
    for epoch in range(2):
        for window in hand.windows(accumulate):
            hand.step(window)
            averaged.update_parameters(hand.model)
        assert_same(module.validated[epoch], averaged.module)
        of_average = WeightPenalty(averaged.module, create("regularizer", **regularizer))
        x, _ = next(iter(batches()))
        averaged.module(x)
        assert module.penalties_then[epoch] == pytest.approx(of_average().item(), rel=1e-10)
    assert_same(module.trained, hand.model)  # the trained weights were restored after validation
    assert_same(module.model, averaged.module)


def by_epochs(model: nn.Module) -> dict[str, Any]:
    optimizer = momentum(model)
    return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)}


def with_batch_norm() -> nn.Sequential:
    model = network()
    torch.manual_seed(2)
    return nn.Sequential(model[0], nn.BatchNorm1d(5, dtype=torch.float64), *model[1:])


@pytest.mark.parametrize("batch_norm", [False, True])
@every_rule
def test_stochastic_weight_averaging_replaces_the_module_s_schedule(
    regularizer: Node, constraint: Node, batch_norm: bool
) -> None:
    make = with_batch_norm if batch_norm else network
    module = Regression(regularizer, constraint, by_epochs, make())
    swa = StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=2, annealing_epochs=2, annealing_strategy="linear")
    trainer = fit(module, epochs=4, callbacks=[swa])
    assert module.steps == 24  # and none in the pass for batch normalization
    assert isinstance(trainer.lr_scheduler_configs[0].scheduler, SWALR)

    hand = ByHand(regularizer, constraint, model=make())
    averaged = AveragedModel(hand.model)
    scheduler: Any = torch.optim.lr_scheduler.StepLR(hand.optimizer, 1, gamma=0.5)
    for epoch in range(4):
        if epoch == 1:
            hand.optimizer.param_groups[0]["initial_lr"] = 0.02
            scheduler = SWALR(hand.optimizer, swa_lr=0.02, anneal_epochs=2, anneal_strategy="linear")
        if epoch >= 1:
            averaged.update_parameters(hand.model)  # Lightning averages the weights at the start of each epoch
        for window in hand.windows(accumulate=1):
            hand.step(window)
        scheduler.step()
    if batch_norm:
        update_bn(batches(), averaged)
    assert_same(module.model, averaged.module)


INSIDE: dict[str, tuple[Node, Callable[[Tensor], Tensor]]] = {
    "max_norm": ({"max_value": 1.0}, lambda w: w.norm(dim=1) <= 1 + 1e-6),
    "min_max_norm": ({"max_value": 1.0}, lambda w: w.norm(dim=1) <= 1 + 1e-6),
    "non_neg": ({}, lambda w: w >= 0),
    "several": (dict(CONSTRAINTS[-1]), lambda w: (w >= 0) & (w.norm(dim=1, keepdim=True) <= 1 + 1e-6)),
}


@pytest.mark.parametrize("name", INSIDE)
def test_averages_stay_in_convex_sets(name: str) -> None:
    settings, inside = INSIDE[name]
    module = Regression({"name": "l2"}, {**settings, "name": name})
    fit(module, callbacks=[WeightAveraging()])
    assert all(inside(module.model[layer].weight).all() for layer in (0, 2))


def test_averages_of_units_of_norm_one_are_shorter_until_they_are_projected() -> None:
    module = Regression({"name": "l2"}, {"name": "unit_norm"})
    fit(module, callbacks=[WeightAveraging()])
    norms = module.model[0].weight.norm(dim=1)
    assert (norms < 1 - 1e-4).any()
    assert (norms <= 1).all()
    module.constraints[0].project()
    torch.testing.assert_close(
        module.model[0].weight.norm(dim=1), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda node: node["name"])
def test_a_copy_with_the_average_has_its_own_penalty(regularizer: Node) -> None:
    module = Regression(regularizer, {"name": "none"})
    x, _ = next(iter(batches()))
    module(x)
    before = module.penalty()
    averaged = AveragedModel(module)
    for copied in (averaged.module, AveragedModel(module.model).module):  # with its rules, and without
        for w in copied.parameters():
            nn.init.constant_(w, 7.0)
        copied(x)
    assert module.penalty().item() == before.item()
    of_copy = averaged.module.penalty()
    assert regularizer["name"] in ("none", "orthogonal") or of_copy > before
    for w in module.parameters():
        nn.init.constant_(w, 7.0)
    module.penalties[0].begin_step()  # otherwise the forward pass above would count too
    module(x)
    assert module.penalty().item() == of_copy.item()


def test_a_fit_with_averages_is_resumed_from_its_checkpoint(tmp_path: Any) -> None:
    regularizer, constraint = REGULARIZERS[-1], CONSTRAINTS[-1]
    complete = Regression(regularizer, constraint)
    fit(complete, epochs=4, callbacks=[EMAWeightAveraging(decay=0.7)])
    first, second = Regression(regularizer, constraint), Regression(regularizer, constraint)

    class AtTheEndOfTheSecondEpoch(lightning.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    fit(first, epochs=4, callbacks=[EMAWeightAveraging(decay=0.7), AtTheEndOfTheSecondEpoch()])
    fit(second, epochs=4, callbacks=[EMAWeightAveraging(decay=0.7)], resume=tmp_path / "half.ckpt")
    assert second.steps == 12
    assert_same(second.trained, complete.trained)
    assert_same(second.model, complete.model)
