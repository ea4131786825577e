"""Results on GPUs equal those on the CPU, in all ways of training. Run with ``pytest -m gpu``."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import regtorch
from regtorch import WeightConstraint, WeightPenalty, create
from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.runs.validate import validate_run
from regtorch.testing.ranks import on_two_ranks
from regtorch.training.run import run
from tests.constraints.test_constraints import CASES as CONSTRAINT_CASES
from tests.regularizers.test_regularizers import CASES as REGULARIZER_CASES

pytestmark = pytest.mark.gpu

DEVICE, BACKEND = "cuda", "nccl"
REGULARIZERS = [{"name": case.name, **case.settings} for case in REGULARIZER_CASES]
CONSTRAINTS = [{"name": case.name, **case.settings} for case in CONSTRAINT_CASES]


def named(node: dict[str, Any]) -> str:
    return str(node["name"])


def on_two_gpus(test: Callable[..., None]) -> Callable[..., None]:
    test.gpus = 2  # type: ignore[attr-defined]
    return test


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 4, 7), nn.Tanh(), nn.Linear(7, 3)]
    return nn.Sequential(*layers).to(dtype)


def inputs(rows: int = 8, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def steps(
    model: nn.Module, x: Tensor, regularizer: dict[str, Any], constraint: dict[str, Any], forward: Any = None
) -> list[float]:
    """The losses of three steps of a plain loop, including the penalty."""
    penalty = WeightPenalty(model, create("regularizer", **regularizer))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    WeightConstraint(model, create("constraint", **constraint)).attach(optimizer)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        data_loss = (forward or model)(x).square().mean()
        total = data_loss + penalty()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses


def assert_same(one: nn.Module, other: nn.Module, tolerance: float = 1e-9) -> None:
    for (name, w), expected in zip(one.named_parameters(), other.parameters(), strict=True):
        full = w.full_tensor() if hasattr(w, "full_tensor") else w
        torch.testing.assert_close(full.detach().cpu(), expected.detach().cpu(), rtol=0, atol=tolerance, msg=name)


# --- rules ---


@pytest.mark.parametrize("node", REGULARIZERS, ids=named)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_penalty_and_its_gradient_equal_those_on_the_cpu(node: dict[str, Any], dtype: torch.dtype) -> None:
    here, there = network(dtype), network(dtype).to(DEVICE)
    values = []
    for model in (here, there):
        device = next(model.parameters()).device
        penalty = WeightPenalty(model, create("regularizer", **node))
        if penalty.of_activities and dtype in (torch.float16, torch.bfloat16):
            pytest.skip("the activities themselves are rounded differently")
        if penalty.of_activities:
            model(inputs(dtype=dtype).to(device))
        value = penalty()
        value.backward()
        assert value.device.type == device.type
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        values.append(value.item())
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert values[1] == pytest.approx(values[0], rel=tolerance)
    rounding = {torch.bfloat16: 2**-7, torch.float16: 2**-9}.get(dtype, tolerance)
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=rounding, atol=rounding * 1e-2)


@pytest.mark.parametrize("node", CONSTRAINTS, ids=named)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_constraint_equals_that_on_the_cpu(node: dict[str, Any], dtype: torch.dtype) -> None:
    here, there = network(dtype), network(dtype).to(DEVICE)
    for model in (here, there):
        WeightConstraint(model, create("constraint", **node)).project(step_size=0.5)
    rounding = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-9}[dtype]
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(other.detach().cpu(), one.detach(), rtol=rounding, atol=rounding * 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_max_norm_holds_for_stored_weights(dtype: torch.dtype) -> None:
    layer = nn.Linear(300, 100, device=DEVICE, dtype=dtype)
    nn.init.normal_(layer.weight)
    WeightConstraint(layer, regtorch.MaxNorm(0.7)).project()
    norms = torch.linalg.vector_norm(layer.weight.detach().double(), dim=1)
    assert norms.max() <= 0.7 * (1 + 1e-6)
    assert norms.min() > 0.7 * 0.98


@pytest.mark.parametrize("node", REGULARIZERS, ids=named)
def test_training_equals_that_on_the_cpu(node: dict[str, Any]) -> None:
    here, there = network(), network().to(DEVICE)
    constraint = {"name": "max_norm", "max_value": 0.4}
    expected = steps(here, inputs(), node, constraint)
    assert steps(there, inputs().to(DEVICE), node, constraint) == pytest.approx(expected, rel=1e-9)
    assert_same(there, here)


def test_a_compiled_model_trains_as_it_does_uncompiled() -> None:
    plain, model = network(torch.float32).to(DEVICE), network(torch.float32).to(DEVICE)
    rules = {"name": "l1_l2", "l1": 0.01, "l2": 0.02}, {"name": "max_norm", "max_value": 0.4}
    x = inputs(dtype=torch.float32).to(DEVICE)
    expected = steps(plain, x, *rules)
    assert steps(model, x, *rules, torch.compile(model, fullgraph=True)) == pytest.approx(expected, rel=1e-3)
    assert_same(model, plain, 1e-3)


# --- dropouts ---

DROPOUTS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("standard", {"drop_prob": 0.3}, (1000, 400)),
    ("alpha", {"drop_prob": 0.3}, (1000, 400)),
    ("feature_alpha", {"drop_prob": 0.3}, (1000, 400, 1)),
    ("gaussian", {"drop_prob": 0.3}, (1000, 400)),
    ("gaussian_noise", {"std": 0.3}, (1000, 400)),
    ("exact_count", {"drop_prob": 0.3}, (1000, 400)),
    ("spatial1d", {"drop_prob": 0.3}, (1000, 400, 1)),
    ("spatial2d", {"drop_prob": 0.3}, (1000, 400, 1, 1)),
    ("spatial3d", {"drop_prob": 0.3}, (1000, 400, 1, 1, 1)),
    ("drop_block2d", {"drop_prob": 0.3, "block_size": 1}, (1000, 4, 10, 10)),
    ("drop_path", {"drop_prob": 0.3}, (400_000, 1)),
]


@pytest.mark.parametrize(("name", "settings", "shape"), DROPOUTS, ids=[name for name, _, _ in DROPOUTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_noise_of_a_dropout_is_distributed_as_on_the_cpu(
    name: str, settings: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Compare the frequency of each value and the first two moments of 400,000 draws."""
    drop = create("dropout", name, **settings)
    torch.manual_seed(0)
    here, there = (drop(torch.ones(shape, device=device, dtype=dtype)).double().cpu() for device in ("cpu", DEVICE))
    for moment in (lambda x: x.mean(), lambda x: x.std(), lambda x: (x == x.min()).double().mean()):
        expected, deviation = moment(here).item(), here.std().item() or 1.0
        assert moment(there).item() == pytest.approx(expected, abs=8 * deviation / math.sqrt(here.numel()) + 1e-12)
    drop.eval()
    x = torch.randn(shape, device=DEVICE).to(dtype)
    assert torch.equal(drop(x), x)


def test_dropouts_draw_new_noise_and_repeat_after_the_same_seed() -> None:
    drop, x = regtorch.Dropout(drop_prob=0.5), torch.ones(1000, device=DEVICE)
    torch.manual_seed(1)
    first, second = drop(x), drop(x)
    torch.manual_seed(1)
    assert torch.equal(drop(x), first)
    assert not torch.equal(first, second)


# --- MC prediction ---


@pytest.mark.parametrize("masks", ["shared", "independent"])
def test_moments_of_mc_prediction_equal_those_on_the_cpu_within_sampling_error(masks: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 32), nn.ReLU(), regtorch.Dropout(drop_prob=0.5), nn.Linear(32, 3)]
    model = nn.Sequential(*layers).eval()
    x = torch.randn(5, 6)
    samples = 4000
    here = regtorch.MCPredictor(model, samples=samples, seed=0, masks=masks)(x)
    model = copy.deepcopy(model).to(DEVICE)
    predictor = regtorch.MCPredictor(model, samples=samples, seed=1, masks=masks)
    there = predictor(x.to(DEVICE))
    assert there.mean.device.type == DEVICE
    error = here.std / math.sqrt(samples)
    assert ((there.mean.cpu() - here.mean).abs() <= 6 * math.sqrt(2) * error + 1e-6).all()
    torch.testing.assert_close(there.std.cpu(), here.std, rtol=0.1, atol=1e-3)
    torch.testing.assert_close(there.predictive_entropy.cpu(), here.predictive_entropy, rtol=0.05, atol=5e-3)
    again = predictor(x.to(DEVICE))
    assert torch.equal(again.mean, there.mean)


# --- runs ---

QUICK = ["trainer=gpu", "trainer.devices=1", "trainer.max_epochs=8", "logger.tensorboard=false", "mc.samples=20"]
RULES = [
    "regularizer=l1_l2",
    "constraint=max_norm",
    "constraint.max_value=1.0",
    "dropout=standard",
    "dropout.drop_prob=0.2",
]


def trained(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    config = compose([*QUICK, *RULES, *overrides])
    validate_run(config)
    return run(config, dataset(config), folder)


def check_run(folder: Path, results: dict[str, Any]) -> None:
    assert results["status"] == "completed"
    assert results["test"]["accuracy"] > 0.9
    assert results["test_mc"]["accuracy"] > 0.9
    content = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    kernels = [w for w in content["state_dict"].values() if w.ndim > 1]
    assert all(torch.linalg.vector_norm(w.float(), dim=1).max() <= 1.0 + 1e-5 for w in kernels)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_a_run_in_each_precision(precision: str, tmp_path: Path) -> None:
    check_run(tmp_path, trained(tmp_path, f"trainer.precision={precision}"))


def test_a_compiled_run(tmp_path: Path) -> None:
    check_run(tmp_path, trained(tmp_path, "compile=true"))


def test_a_run_on_the_gpu_equals_one_on_the_cpu(tmp_path: Path) -> None:
    """In float64 and without dropout, which draws different numbers on a GPU."""
    exact = ["trainer.precision=64-true", "dropout=none", "trainer.max_epochs=3"]
    folders = {device: tmp_path / device for device in ("cpu", "gpu")}
    for device, folder in folders.items():
        folder.mkdir()
        config = compose([*QUICK, *RULES[:3], *exact, f"trainer={device}"])
        run(config, dataset(config), folder)
    here, there = (json.loads((folder / "results.json").read_text()) for folder in folders.values())
    for part in ("train", "train_eval", "val", "test"):
        assert there[part] == pytest.approx(here[part], rel=0, abs=1e-6)


def test_float16_scales_the_loss_and_skips_steps_that_overflow() -> None:
    torch.manual_seed(0)
    model = network(torch.float32).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    constraint = WeightConstraint(model, create("constraint", "soft_threshold", strength=0.1))
    constraint.attach(optimizer)
    penalty = WeightPenalty(model, regtorch.L2(1e5))  # its sum does not fit float16
    scaler = torch.amp.GradScaler(DEVICE)
    x = inputs(dtype=torch.float32).to(DEVICE)
    for broken in (True, False):
        before = [w.detach().clone() for w in model.parameters()]
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.float16):
            y = model(x)
            assert y.dtype == torch.float16
            total = y.float().square().mean() + penalty()
        assert total.item() > torch.finfo(torch.float16).max
        scaler.scale(total * float("inf") if broken else total).backward()
        scaler.unscale_(optimizer)
        assert broken or all(w.grad.isfinite().all() for w in model.parameters())
        scaler.step(optimizer)
        scaler.update()
        same = all(torch.equal(w, old) for w, old in zip(model.parameters(), before, strict=True))
        assert same == broken


# --- two GPUs ---


def check_parallel(rank: int) -> None:
    rows = slice(4 * rank, 4 * rank + 4)
    for node in [node for node in REGULARIZERS if node["name"] != "activity"]:
        for constraint in CONSTRAINTS:
            alone = network()
            expected = steps(alone, inputs(), node, constraint)
            model = network().to(DEVICE)
            wrapped = DistributedDataParallel(model, device_ids=[rank] if DEVICE == "cuda" else None)
            losses = torch.tensor(steps(model, inputs()[rows].to(DEVICE), node, constraint, wrapped), device=DEVICE)
            dist.all_reduce(losses)
            torch.testing.assert_close(losses.cpu() / 2, torch.tensor(expected), rtol=1e-6, atol=0, msg=f"{node}")
            assert_same(model, alone)


def check_sharded(rank: int) -> None:
    rows = slice(4 * rank, 4 * rank + 4)
    mesh = init_device_mesh(DEVICE, (2,))
    for node in [node for node in REGULARIZERS if node["name"] != "activity"]:
        for constraint in CONSTRAINTS:
            alone = network()
            expected = steps(alone, inputs(), node, constraint)
            model = network().to(DEVICE)
            fully_shard(model[3], mesh=mesh)
            fully_shard(model, mesh=mesh)
            losses = torch.tensor(steps(model, inputs()[rows].to(DEVICE), node, constraint), device=DEVICE)
            dist.all_reduce(losses)
            torch.testing.assert_close(losses.cpu() / 2, torch.tensor(expected), rtol=1e-6, atol=0, msg=f"{node}")
            assert_same(model, alone)


@on_two_gpus
def test_data_parallel_training_equals_that_of_one_process() -> None:
    on_two_ranks(check_parallel, backend=BACKEND)


@on_two_gpus
def test_fully_sharded_training_equals_that_of_one_process() -> None:
    on_two_ranks(check_sharded, backend=BACKEND)


@on_two_gpus
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_on_two_gpus(trainer: str, precision: str, tmp_path: Path) -> None:
    if (trainer, precision) == ("fsdp", "16-mixed"):
        pytest.skip("float16 is refused with sharded weights")
    two = [f"trainer={trainer}", "trainer.devices=2", "trainer.max_epochs=8", "data.batch_size=16"]
    check_run(tmp_path, trained(tmp_path, *two, f"trainer.precision={precision}"))


@on_two_gpus
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_a_run_on_two_gpus_equals_one_on_the_cpu(trainer: str, tmp_path: Path) -> None:
    exact = [*RULES[:3], "trainer.precision=64-true", "logger.tensorboard=false", "trainer.max_epochs=3"]
    settings = {
        "one": ["trainer=cpu", "data.batch_size=32"],
        "two": [f"trainer={trainer}", "trainer.devices=2", "data.batch_size=16"],
    }
    measured = {}
    for name, overrides in settings.items():
        (tmp_path / name).mkdir()
        config = compose([*overrides, *exact])
        measured[name] = run(config, dataset(config), tmp_path / name)
    for part in ("train", "train_eval", "val", "test"):
        assert measured["two"][part] == pytest.approx(measured["one"][part], rel=0, abs=1e-6)
