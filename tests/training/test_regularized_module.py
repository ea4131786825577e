"""The penalty is added once per step, and the hook runs once per real step, in all training loops."""

from __future__ import annotations

import copy
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import regtorch
from regtorch.errors import SettingError
from regtorch.training import RegularizedModule

ROWS, BATCH = 22, 4  # six batches, the last one shorter


def batches(dtype: torch.dtype = torch.float64) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(ROWS, 3, generator=generator, dtype=dtype),
        torch.randn(ROWS, 2, generator=generator, dtype=dtype),
    )
    return DataLoader(TensorDataset(x, y), batch_size=BATCH)


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


class Regression(RegularizedModule):
    """Least squares with L1L2 and max-norm; records each call of the hook."""

    def __init__(self, model: nn.Module | None = None) -> None:
        model = model or network()
        penalty = regtorch.WeightPenalty(model, regtorch.L1L2(l1=0.01, l2=0.1))
        super().__init__(model, [penalty], [regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5))])
        self.steps: list[int] = []
        self.lr = 0.1

    def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return (self.model(x) - y).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def on_after_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.steps.append(self.trainer.global_step)
        super().on_after_optimizer_step(optimizer)


def fit(module: RegularizedModule, dtype: torch.dtype = torch.float64, **settings: Any) -> None:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(max_epochs=2, accelerator="cpu", **quiet, **settings).fit(module, batches(dtype))


def by_hand(accumulate: int = 1, clip: float | None = None) -> nn.Module:
    """The same training without Lightning: one loss for each window."""
    model = network()
    penalty = regtorch.WeightPenalty(model, regtorch.L1L2(l1=0.01, l2=0.1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5)).attach(optimizer)
    for _ in range(2):
        every = list(batches())
        for start in range(0, len(every), accumulate):
            window = every[start : start + accumulate]
            optimizer.zero_grad()
            loss = torch.stack([(model(x) - y).square().mean() for x, y in window]).mean() + penalty()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
    return model


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def norms(module: nn.Module) -> Tensor:
    return torch.cat([w.norm(dim=1) for w in module.parameters() if w.ndim > 1])


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 12), (4, 4), (6, 2), (100, 2)])
def test_accumulation_adds_the_penalty_once_and_hooks_once_per_real_step(accumulate: int, steps: int) -> None:
    module = Regression()
    fit(module, accumulate_grad_batches=accumulate)
    assert len(module.steps) == steps
    assert_same(module.model, by_hand(accumulate))


def test_gradient_clipping_equals_that_of_the_hand_written_loop() -> None:
    module = Regression()
    fit(module, gradient_clip_val=0.05)
    assert_same(module.model, by_hand(clip=0.05))


def test_every_unit_is_in_the_ball_after_training_and_inside_ones_are_untouched() -> None:
    module = Regression(network(torch.float32))
    fit(module, torch.float32)
    assert norms(module).max() <= 0.5 + 1e-6
    inside = Regression(network(torch.float32))
    inside.constraints[0].constraint.max_value = 1e6
    free = Regression(network(torch.float32))
    free.constraints = []
    for other in (inside, free):
        fit(other, torch.float32)
    for a, b in zip(inside.parameters(), free.parameters(), strict=True):
        assert torch.equal(a, b)


class TwoOptimizers(Regression):
    """Manual optimization, which Lightning requires for two optimizers; the second one steps every other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.held: list[int] = []

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.model[0].parameters(), lr=0.1),
            torch.optim.Adam(self.model[2].parameters(), lr=0.1),
        ]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers()
        first.zero_grad()
        second.zero_grad()
        self.manual_backward(self.data_loss(batch, batch_idx) + self.penalty())
        first.step()
        if batch_idx % 2 == 0:
            second.step()

    def on_after_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        before = copy.deepcopy(self.model.state_dict())
        super().on_after_optimizer_step(optimizer)
        changed = {name for name, w in self.model.state_dict().items() if not torch.equal(w, before[name])}
        self.held.append(self.trainer.optimizers.index(optimizer))
        assert changed <= {f"{self.held[-1] * 2}.weight"}  # only parameters of this optimizer


def test_two_optimizers_under_manual_optimization_hook_once_per_step_each() -> None:
    module = TwoOptimizers()
    fit(module)
    assert (module.held.count(0), module.held.count(1)) == (12, 6)
    assert norms(module).max() <= 0.5 + 1e-6


def test_lbfgs_hooks_once_per_step() -> None:
    module = Regression()
    module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters(), max_iter=4)
    fit(module)
    assert len(module.steps) == 12
    assert norms(module).max() <= 0.5 + 1e-6


def test_lbfgs_with_accumulation_is_refused() -> None:
    module = Regression()
    module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters(), max_iter=4)
    with pytest.raises(SettingError, match="accumulate_grad_batches=2 is not allowed with LBFGS"):
        fit(module, accumulate_grad_batches=2)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_grad_scaler_skips_runs_no_hook_and_changes_nothing(fused: bool) -> None:
    class Overflowing(Regression):
        def data_loss(self, batch: Any, batch_idx: int) -> Tensor:
            self.before = copy.deepcopy(self.model.state_dict())
            return super().data_loss(batch, batch_idx) * (float("inf") if batch_idx == 2 else 1.0)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, fused=fused)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            same = all(torch.equal(w, self.before[name]) for name, w in self.model.state_dict().items())
            assert same == (batch_idx == 2)

    module = Overflowing(network(torch.float32))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    fit(module, torch.float32, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
    assert len(module.steps) == 10  # of twelve batches, one in each epoch is skipped


def test_the_hook_is_removed_after_training_and_added_for_the_next() -> None:
    module = Regression()
    fit(module)
    optimizer = module.trainer.optimizers[0]
    count = len(module.steps)
    optimizer.step()
    assert len(module.steps) == count
    fit(module)
    assert len(module.steps) == 2 * count


def test_a_subclass_that_overrides_lightnings_hooks_keeps_the_constraint() -> None:
    class Forgetful(Regression):
        def configure_callbacks(self) -> list[lightning.Callback]:
            return [lightning.callbacks.EarlyStopping("nothing", strict=False)]

        def on_fit_start(self) -> None: ...
        def on_train_start(self) -> None: ...
        def setup(self, stage: str) -> None: ...

    module = Forgetful()
    fit(module)
    assert len(module.steps) == 12
    assert norms(module).max() <= 0.5 + 1e-6


def test_a_fit_that_raised_leaves_no_hook() -> None:
    module = Regression()
    kept = torch.optim.SGD(module.parameters(), lr=0.1)
    module.configure_optimizers = lambda: kept
    loss, module.data_loss = module.data_loss, None
    with pytest.raises(TypeError):
        fit(module)
    module.data_loss = loss
    fit(module)
    assert len(module.steps) == 12


def test_bf16_mixed_keeps_the_penalty_in_float32() -> None:
    seen = []

    class Spying(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            seen.append(self.penalty())
            return super().training_step(batch, batch_idx)

    module = Spying(network(torch.float32))
    fit(module, torch.float32, precision="bf16-mixed")
    assert {penalty.dtype for penalty in seen} == {torch.float32}
