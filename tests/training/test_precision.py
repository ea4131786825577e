"""Mixed and half precision: losses are scaled, skipped steps do not count, and penalties and bounds use float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from regtorch.config.compose import compose
from regtorch.errors import SettingError
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.training.build import make_module
from regtorch.training.callbacks import make_callbacks
from regtorch.training.classifier import Classifier
from regtorch.training.data_module import DataModule
from regtorch.training.processes import World
from regtorch.training.trainer import hardware

LARGEST_FLOAT16 = 65504
PRECISIONS = {
    "32-true": torch.float32,
    "bf16-mixed": torch.float32,
    "16-mixed": torch.float32,
    "bf16-true": torch.float32,
    "64-true": torch.float64,
}


def module_of(*overrides: str, **nodes: Any) -> tuple[Classifier, dict[str, Any]]:
    config = {**compose(["trainer=cpu", "model.hidden=[16]", "trainer.max_epochs=1", *overrides]), **nodes}
    lightning.seed_everything(0, verbose=False)
    return make_module(config, (1, 8, 8), 10), config


def fit(module: Classifier, config: dict[str, Any], batches: int, *callbacks: lightning.Callback) -> lightning.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    settings = {**hardware(config["trainer"], World()), **quiet, "callbacks": list(callbacks)}
    trainer = lightning.Trainer(**settings, limit_train_batches=batches, limit_val_batches=0)
    trainer.fit(module, datamodule=DataModule(dataset(config), 0))
    return trainer


class Scaling(lightning.Callback):
    """Records the dtype of the logits, and the gradients before and after unscaling."""

    def __init__(self) -> None:
        self.logits: list[torch.dtype] = []
        self.scaled, self.unscaled = Tensor(), Tensor()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.model.head.register_forward_hook(lambda layer, x, out: self.logits.append(out.dtype))

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.scaled = pl_module.model.head.weight.grad.clone()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.unscaled = pl_module.model.head.weight.grad.clone()


def test_float16_on_the_cpu_is_float16_with_a_scaled_loss() -> None:
    module, config = module_of("trainer.precision=16-mixed", "optimizer=sgd")
    seen = Scaling()
    trainer = fit(module, config, 1, seen)
    scaler = trainer.precision_plugin.scaler
    assert isinstance(scaler, torch.amp.GradScaler)
    assert scaler.is_enabled()
    assert seen.logits == [torch.float16]
    assert seen.unscaled.abs().max() > 0
    torch.testing.assert_close(seen.scaled, seen.unscaled * scaler.get_scale(), rtol=1e-6, atol=0)
    assert scaler.get_scale() > 1000


class Overflowing(lightning.Callback):
    """Makes the gradients of some batches infinite, and records the changes of each batch."""

    def __init__(self, broken: set[int]) -> None:
        self.broken, self.batch = broken, -1
        self.before: dict[str, Any] = {}
        self.changed: list[set[str]] = []

    def state(self, trainer: Any, module: Any) -> dict[str, Any]:
        return {
            "weights": [w.detach().clone() for w in module.model.parameters()],
            "penalty": [penalty.factor for penalty in module.penalties],
            "dropout": [m.drop_prob for m in module.model.modules() if hasattr(m, "drop_prob")],
            "lr": [group["lr"] for group in trainer.optimizers[0].param_groups],
        }

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batch, self.before = batch_idx, self.state(trainer, pl_module)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self.batch in self.broken:
            pl_module.model.head.bias.grad[0] = float("inf")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        after = self.state(trainer, pl_module)
        same = {
            name: all(
                torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(self.before[name], of, strict=True)
            )
            for name, of in after.items()
        }
        self.changed.append({name for name, unchanged in same.items() if not unchanged})


OPTIMIZERS: dict[str, Callable[..., Optimizer] | None] = {
    "ours": None,
    "fused SGD": lambda parameters: SGD(parameters, lr=0.01, fused=True),
    "unfused SGD": lambda parameters: SGD(parameters, lr=0.01, foreach=False),
    "fused Adam": lambda parameters: Adam(parameters, fused=True),
    "foreach Adam": lambda parameters: Adam(parameters, foreach=True),
}
#: constraints that change the weights again when applied again, so that a surplus application is detected
CONSTRAINTS = [
    {"name": "soft_threshold", "strength": 0.1},
    {"name": "min_max_norm", "min_value": 0.01, "max_value": 0.1, "rate": 0.5},
    {"name": "max_norm", "max_value": 0.2},  # all units are outside before the first step
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda node: node["name"])
def test_a_skipped_step_changes_no_weight_and_advances_no_schedule(optimizer: str, constraint: dict[str, Any]) -> None:
    schedules = ["schedule@penalty_schedule=cosine", "schedule@dropout_schedule=cosine", "scheduler=one_cycle"]
    rules = ["regularizer=l1_l2", "dropout=standard"]
    module, config = module_of("trainer.precision=16-mixed", *rules, *schedules, constraint=constraint)
    module.make_optimizer = OPTIMIZERS[optimizer] or module.make_optimizer
    seen = Overflowing(broken={0, 3, 4})
    fit(module, config, 7, seen)
    everything = {"weights", "penalty", "dropout", "lr"}
    assert seen.changed == [set() if batch in seen.broken else everything for batch in range(7)]
    assert module._scheduled["penalty"][0].steps_taken == 4


def test_a_skipped_step_is_not_averaged(tmp_path: Path) -> None:
    module, config = module_of("trainer.precision=16-mixed", "callbacks=ema", "callbacks.ema_decay=0.5")
    seen = Overflowing(broken={0, 3, 4})
    taken: list[Tensor] = []

    class Taken(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx not in seen.broken:
                taken.append(pl_module.model.head.weight.detach().clone())

    averaging = [c for c in make_callbacks(config["callbacks"], tmp_path, False) if isinstance(c, WeightAveraging)]
    fit(module, config, 7, seen, Taken(), *averaging)
    average = taken[0]
    for weight in taken[1:]:
        average = 0.5 * average + 0.5 * weight
    assert len(taken) == 4
    torch.testing.assert_close(module.model.head.weight.detach(), average)


class Bound(lightning.Callback):
    """Records the largest norm of a unit's stored weights after each step, computed in float32."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        kernels = [w for w in pl_module.model.parameters() if w.ndim > 1]
        assert {w.dtype for w in kernels} == {torch.bfloat16}
        self.norms.append(max(torch.linalg.vector_norm(w.float(), dim=1).max().item() for w in kernels))


@pytest.mark.parametrize("max_value", [0.3, 0.7, 1.0])
def test_max_norm_holds_for_bfloat16_weights_after_each_step(max_value: float) -> None:
    settings = ["constraint=max_norm", f"constraint.max_value={max_value}", "optimizer.lr=0.05"]
    module, config = module_of("trainer.precision=bf16-true", *settings)
    seen = Bound()
    fit(module, config, 30, seen)
    assert len(seen.norms) == 30
    assert max(seen.norms) <= max_value * (1 + 1e-6)
    assert max(seen.norms) > max_value * 0.98  # the constraint is active


@pytest.mark.parametrize("precision", PRECISIONS)
def test_penalty_loss_and_their_gradient_are_in_float32_or_wider(precision: str) -> None:
    module, config = module_of(
        f"trainer.precision={precision}", "regularizer=l1_l2", "regularizer.l2=0.3", "optimizer=sgd"
    )
    regularized, seen = module.regularized, []

    def noting(data_loss: Tensor, batch_idx: int, penalty: Tensor) -> Tensor:
        kernels = [w for w in module.model.parameters() if w.ndim > 1]
        expected = sum(1e-5 * w.double().abs().sum() + 0.3 * w.double().square().sum() for w in kernels).item()
        seen.append((data_loss.dtype, penalty.dtype, penalty.item() / expected))
        gradients = torch.autograd.grad(penalty, kernels, retain_graph=True)
        for gradient, w in zip(gradients, kernels, strict=True):  # rounded to the weight's dtype only at the end
            exact = 1e-5 * w.double().sign() + 0.6 * w.double()
            torch.testing.assert_close(
                gradient, exact.to(w.dtype), rtol=2**-8 if w.dtype == torch.bfloat16 else 1e-6, atol=0
            )
        return regularized(data_loss, batch_idx, penalty)

    module.regularized = noting
    fit(module, config, 3)
    assert len(seen) == 3
    for data_loss, penalty, ratio in seen:
        assert data_loss == penalty == PRECISIONS[precision]
        assert ratio == pytest.approx(1, abs=1e-6)


#: ten rules and their strength settings; each is tested with strengths that give sums of 1e5, 1e7 and 1e9
STRONG: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("regularizer", {"name": "l1"}, ("l1",)),
    ("regularizer", {"name": "l2"}, ("l2",)),
    ("regularizer", {"name": "l1_l2"}, ("l1", "l2")),
    ("regularizer", {"name": "squared_l1"}, ("factor",)),
    ("regularizer", {"name": "group_lasso"}, ("strength",)),
    ("regularizer", {"name": "spectral"}, ("strength",)),
    ("regularizer", {"name": "orthogonal"}, ("strength",)),
    ("regularizer", {"name": "orthogonal", "mode": "columns"}, ("strength",)),
    ("bias_regularizer", {"name": "l2"}, ("l2",)),
    ("bias_regularizer", {"name": "squared_l1"}, ("factor",)),
]
TOTALS = (1e5, 1e7, 1e9)


def strong_module(place: str, node: dict[str, Any], precision: str) -> tuple[Classifier, dict[str, Any]]:
    module, config = module_of(f"trainer.precision={precision}", "optimizer=sgd", "optimizer.lr=1e-12", **{place: node})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for w in module.model.parameters():
            w.copy_(0.1 * torch.randn(w.shape, generator=generator))
    return module, config


class Gradients(lightning.Callback):
    """Records the gradients of the first step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.values = [w.grad.clone() for w in pl_module.model.parameters()]


@pytest.mark.parametrize("precision", ["16-mixed", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("total", TOTALS, ids="{:.0e}".format)
@pytest.mark.parametrize(("place", "node", "strengths"), STRONG, ids=[f"{place}-{n['name']}" for place, n, _ in STRONG])
def test_a_strong_penalty_and_its_gradient_stay_finite(
    place: str, node: dict[str, Any], strengths: tuple[str, ...], total: float, precision: str
) -> None:
    weak, _ = strong_module(place, {**node, **dict.fromkeys(strengths, 1.0)}, precision)
    node = {**node, **dict.fromkeys(strengths, total / weak.penalty().item())}
    (module, config), (exact, _) = (strong_module(place, node, precision) for _ in range(2))
    exact.penalty().backward()
    seen = Gradients()
    trainer = fit(module, config, 1, seen)
    assert trainer.global_step == 1
    assert LARGEST_FLOAT16 < module.epoch_values["penalty"] < float("inf")
    assert module.epoch_values["penalty"] == pytest.approx(total, rel=1e-5)
    for gradient, w in zip(seen.values, exact.model.parameters(), strict=True):
        assert gradient.isfinite().all()
        if w.grad is not None:  # the data's part is negligible
            torch.testing.assert_close(gradient, w.grad, rtol=1e-4, atol=20.0)
    if precision == "16-mixed":
        assert trainer.precision_plugin.scaler.get_scale() >= 2.0**16  # no step was skipped


def test_float16_is_refused_with_sharded_weights() -> None:
    config = compose(["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=16-mixed"])
    with pytest.raises(SettingError, match="precision=16-mixed is not allowed with") as raised:
        validate_run(config)
    assert "\n" not in str(raised.value)
