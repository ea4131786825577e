"""Sharded parameters on two ranks: all rules and initializers treat them like full ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

import regtorch
from regtorch import available, create
from regtorch.testing.ranks import on_two_ranks

TORCH = tuple(map(int, torch.__version__.split(".")[:2]))


class Quartic(regtorch.Regularizer):
    """A user's rule."""

    def forward(self, w: Tensor) -> Tensor:
        return 0.1 * w.pow(4).sum()


class MeanSquare(regtorch.Regularizer):
    """The mean of shards of different sizes is not the mean of their means."""

    def forward(self, w: Tensor) -> Tensor:
        return w.square().mean()


class Median(regtorch.Regularizer):
    """This operation is not supported on shards."""

    by_unit = True

    def forward(self, w: Tensor) -> Tensor:
        return w.flatten(1).median(dim=1).values.square().sum() if w.ndim > 1 else w.median()


class Largest(regtorch.Regularizer):
    """Fails on a rank with an empty shard; torch's own gradient is wrong on shards."""

    def forward(self, w: Tensor) -> Tensor:
        return w.abs().amax()


class Composed(regtorch.Regularizer):
    """A rule that calls a built-in one."""

    def forward(self, w: Tensor) -> Tensor:
        return regtorch.functional.l1(w, l1=0.1) * 2 + w.square().sum()


class Box(regtorch.Constraint):
    def forward(self, w: Tensor) -> Tensor:
        return w.clamp(-0.2, 0.3)


class Sorted(regtorch.Constraint):
    """Needs unsplit units and operations that are not supported on shards."""

    by_unit = True

    def forward(self, w: Tensor) -> Tensor:
        return w.flatten(1).cumsum(1).roll(1, 1).reshape(w.shape) if w.ndim > 1 else w.flip(0)


REGULARIZERS = [
    {"name": "l1", "l1": 0.01},
    {"name": "l2", "l2": 0.02},
    {"name": "l1_l2", "l1": 0.01, "l2": 0.02},
    {"name": "squared_l1", "factor": 0.01},
    {"name": "group_lasso", "strength": 0.1},
    {"name": "concrete", "weight_regularizer": 0.02},
    {"name": "orthogonal", "strength": 0.1},
    {"name": "orthogonal", "strength": 0.1, "mode": "columns"},
    {"name": "spectral", "strength": 0.1},
    {"name": "several", "rules": [{"name": "l1", "l1": 0.1, "where": "bias"}, {"name": "group_lasso"}]},
    {"name": "several", "rules": [{"name": "several", "rules": [{"name": "l1"}, {"name": "spectral"}]}]},
]
USERS_REGULARIZERS = [Quartic, MeanSquare, Median, Largest, Composed]
CONSTRAINTS = [
    {"name": "none"},
    {"name": "max_norm", "max_value": 0.4},
    {"name": "max_norm", "max_value": 0.4, "dims": 0},
    {"name": "max_norm", "max_value": 0.4, "dims": -1},
    {"name": "min_max_norm", "min_value": 0.3, "max_value": 0.4},
    {"name": "min_max_norm", "min_value": 0.3, "max_value": 0.4, "rate": 0.5},
    {"name": "unit_norm"},
    {"name": "non_neg"},
    {"name": "soft_threshold", "strength": 0.1},
    {"name": "several", "rules": [{"name": "non_neg"}, {"name": "max_norm", "max_value": 0.4}]},
    {"name": "several", "rules": [{"name": "several", "rules": [{"name": "soft_threshold"}, {"name": "max_norm"}]}]},
]


def with_others(
    kind: str, nodes: list[dict[str, Any]], besides: set[str] | frozenset[str] = frozenset()
) -> list[dict[str, Any]]:
    """Add all other components of a kind, with their default settings."""
    names = {node["name"] for node in nodes} | besides
    return [*nodes, *({"name": name} for name in available(kind) if name not in names and "." not in name)]


def uneven_model(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Shapes that two ranks cannot split evenly, some that they can, and one with an empty shard."""
    torch.manual_seed(0)
    layers = {
        "linear": nn.Linear(5, 7),
        "conv": nn.Conv2d(3, 5, 3),
        "even": nn.Linear(6, 4),
        "transposed": nn.ConvTranspose2d(3, 5, 3),
        "grouped": nn.ConvTranspose2d(6, 4, 3, groups=2),
        "one_unit": nn.Linear(4, 1),
    }
    return nn.ModuleDict(layers).to(dtype)


def cut(w: Tensor, mesh: DeviceMesh, wanted: Sequence[Placement]) -> DTensor:
    """Make a DTensor from a tensor that all ranks have, without communication."""
    return distribute_tensor(w.detach(), mesh, wanted, src_data_rank=None)


def brief_placements() -> list[tuple[DeviceMesh, list[Placement]]]:
    """One of a flat mesh, and one of a mesh with two dimensions."""
    flat = init_device_mesh("cpu", (2,))
    inner = init_device_mesh("cpu", (1, 2), mesh_dim_names=("outer", "inner"))
    return [(flat, [Shard(0)]), (inner, [Shard(0), Shard(1)])]


def placements() -> Iterator[tuple[DeviceMesh, list[Placement]]]:
    flat = init_device_mesh("cpu", (2,))
    for placement in (Shard(0), Shard(1), Replicate()):
        yield flat, [placement]
    outer, inner = (init_device_mesh("cpu", shape, mesh_dim_names=("outer", "inner")) for shape in ((2, 1), (1, 2)))
    yield outer, [Shard(0), Shard(1)]
    yield inner, [Shard(0), Shard(1)]
    yield inner, [Shard(0), Shard(0)]
    yield inner, [Replicate(), Shard(0)]


def split(model: nn.Module, mesh: DeviceMesh, wanted: list[Placement]) -> nn.Module:
    """A copy whose parameters are DTensors; a vector is split along its only dimension."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        for name, w in list(module.named_parameters(recurse=False)):
            fitting = [Shard(0) if isinstance(p, Shard) and p.dim >= w.ndim else p for p in wanted]
            setattr(module, name, nn.Parameter(cut(w, mesh, fitting)))
    return twin


def check_same_on_all_ranks(value: Tensor, what: str) -> None:
    both = [torch.empty_like(value) for _ in range(2)]
    dist.all_gather(both, value.detach())
    assert torch.equal(*both), what


Places = Callable[[], Iterable[tuple[DeviceMesh, list[Placement]]]]


def check_penalties(rank: int, places: Places) -> None:
    nodes = with_others("regularizer", REGULARIZERS, {"none", "activity"})
    rules = [create("regularizer", **node) for node in nodes] + [rule() for rule in USERS_REGULARIZERS]
    full = uneven_model()
    for mesh, wanted in places():
        model = split(full, mesh, wanted)
        for rule in rules:
            what = f"{rule} {wanted} {tuple(mesh.shape)}"
            expected = regtorch.WeightPenalty(full, rule, where="all")()
            expected.backward()
            value = regtorch.WeightPenalty(model, rule, where="all")()
            (2 * value).backward()
            assert type(value) is Tensor, what
            assert value.shape == (), what
            check_same_on_all_ranks(value, what)
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12, msg=what)
            for (name, w), alone in zip(model.named_parameters(), full.parameters(), strict=True):
                assert w.grad.placements == w.placements, what
                local = cut(2 * alone.grad, mesh, w.placements).to_local()
                torch.testing.assert_close(w.grad.to_local(), local, rtol=1e-9, atol=1e-12, msg=f"{what} {name}")
            model.zero_grad()
            full.zero_grad()
            with torch.no_grad():
                assert type(regtorch.WeightPenalty(model, rule, where="all")()) is Tensor


def check_constraints(rank: int, places: Places) -> None:
    rules = [create("constraint", **node) for node in with_others("constraint", CONSTRAINTS)] + [Box(), Sorted()]
    for mesh, wanted in places():
        for rule in rules:
            for dtype in (torch.float64, torch.bfloat16):
                full = uneven_model(dtype)
                model = split(full, mesh, wanted)
                for bound in (full, model):
                    regtorch.WeightConstraint(bound, rule, where="all").project(step_size=0.5)
                exact = dtype == torch.float64
                for (name, w), alone in zip(model.named_parameters(), full.parameters(), strict=True):
                    what = f"{rule} {wanted} {tuple(mesh.shape)} {dtype} {name}"
                    expected = cut(alone, mesh, w.placements).to_local()
                    shard = w.detach().to_local()
                    tolerance = {"rtol": 1e-9, "atol": 1e-12} if exact else {"rtol": 2**-7, "atol": 1e-6}
                    torch.testing.assert_close(shard, expected, **tolerance, msg=what)
                if isinstance(rule, regtorch.MaxNorm):
                    dims = (1, 2, 3) if rule.dims is None else rule.dims
                    norms = torch.linalg.vector_norm(model["conv"].weight.detach().full_tensor().float(), dim=dims)
                    assert norms.max() <= 0.4 * (1 + 1e-6)
                if not isinstance(rule, (Box, Sorted)):
                    w = model["conv"].weight.detach()
                    before = w.to_local().clone()
                    once = rule(w)
                    assert isinstance(once, DTensor)
                    assert (once.placements, once.shape) == (w.placements, w.shape)
                    assert torch.equal(w.to_local(), before)


def check_initializers(rank: int, places: Places) -> None:
    meshes = list(places())
    for name in available("initializer"):
        fill = create("initializer", name)
        for shape in ((7, 5), (5, 3, 3, 3), (1, 4), (3,)):
            if len(shape) < 2 and name in ("identity", "orthogonal"):
                continue
            for mesh, wanted in meshes:
                for dtype in (torch.float32, torch.bfloat16):
                    fitting = [Shard(0) if isinstance(p, Shard) and p.dim >= len(shape) else p for p in wanted]
                    w = cut(torch.zeros(shape, dtype=dtype), mesh, fitting)
                    what = f"{name} {shape} {wanted} {dtype}"
                    torch.manual_seed(3)
                    expected, then = fill(torch.empty(shape, dtype=dtype)), torch.rand(2)
                    torch.manual_seed(3)
                    assert fill(w) is w
                    assert torch.equal(w.full_tensor(), expected), what
                    assert torch.equal(torch.rand(2), then), f"{what}: later draws"
                    own = torch.Generator().manual_seed(rank)
                    fill(w, generator=own)
                    expected = fill(torch.empty(shape, dtype=dtype), generator=torch.Generator().manual_seed(0))
                    assert torch.equal(w.full_tensor(), expected), f"{what}: seeded differently"
    torch.manual_seed(rank)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(rank))
    create("initializer", "he_normal")(cut(torch.zeros(7, 5), init_device_mesh("cpu", (2,)), [Shard(0)]))
    assert rank == 0 or torch.equal(torch.rand(2), expected), "the random state of other ranks must not change"


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def fully_sharded(model: nn.Sequential, **settings: Any) -> nn.Sequential:
    fully_shard(model[2], **settings)
    return fully_shard(model, **settings)


RULES = [
    {"name": "l1_l2", "l1": 0.01, "l2": 0.02},
    {"name": "squared_l1", "factor": 0.01},
    {"name": "group_lasso", "strength": 0.1},
    {"name": "concrete", "weight_regularizer": 0.02},
    {"name": "orthogonal", "strength": 0.1},
    {"name": "spectral", "strength": 0.1},
]


def train(model: nn.Module, x: Tensor, rule: nn.Module, constraint: nn.Module, early: bool) -> list[Tensor]:
    """Three steps; the penalty is computed before the forward pass and after it, when parameters may be full."""
    penalty = regtorch.WeightPenalty(model, rule, where="all")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    regtorch.WeightConstraint(model, constraint, where="all").attach(optimizer)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        value = penalty() if early else None
        loss = model(x).square().mean()
        value = penalty() if value is None else value
        (loss + value).backward()
        optimizer.step()
        values.append(value.detach())
    return values


def check_training(rank: int) -> None:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for node in RULES:
        for early in (False, True):
            full, sharded = network(), fully_sharded(network())
            rule, constraint = create("regularizer", **node), regtorch.MaxNorm(0.5)
            expected = train(full, x, rule, constraint, early)
            values = train(sharded, x[4 * rank : 4 * rank + 4], rule, constraint, early)
            for value, alone in zip(values, expected, strict=True):
                assert type(value) is Tensor
                torch.testing.assert_close(value, alone, rtol=1e-9, atol=0, msg=f"{node}")
            for w, alone in zip(sharded.parameters(), full.parameters(), strict=True):
                assert w.full_tensor().allclose(alone, rtol=1e-9, atol=1e-12), node
                assert w.grad.full_tensor().allclose(alone.grad, rtol=1e-9, atol=1e-12), node


def check_mixed_precision(rank: int) -> None:
    """The penalty is that of the float32 parameters, also while bfloat16 copies replace them."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = fully_sharded(network(torch.float32), mp_policy=policy)
    penalty = regtorch.WeightPenalty(model, regtorch.L2(0.1))
    model(torch.ones(4, 6)).sum()
    assert model[0].weight.dtype == torch.bfloat16
    value = penalty()
    value.backward()
    alone = network(torch.float32)
    expected = regtorch.WeightPenalty(alone, regtorch.L2(0.1))()
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    model.reshard()
    torch.testing.assert_close(model[0].weight.grad.full_tensor(), alone[0].weight.grad, rtol=1e-6, atol=0)


def check_projection_of_full_copies(rank: int) -> None:
    """After an evaluation the root keeps full parameters; the projection applies to the sharded ones."""
    model = fully_sharded(network())
    rule = regtorch.WeightConstraint(model, regtorch.MaxNorm(0.1))
    with torch.no_grad():
        model(torch.ones(4, 6, dtype=torch.float64))
        rule.project()
        alone = network()
        regtorch.WeightConstraint(alone, regtorch.MaxNorm(0.1)).project()
        torch.testing.assert_close(model(torch.ones(4, 6).double()), alone(torch.ones(4, 6).double()))
        model.reshard()
        torch.testing.assert_close(model[0].weight.full_tensor(), alone[0].weight)


def collectives(action: Callable[[], object]) -> list[str]:
    with CommDebugMode() as seen:
        action()
    return [operation.__name__ for operation, count in seen.get_comm_counts().items() for _ in range(count)]


def check_communication(rank: int) -> None:
    sharded, parallel = fully_sharded(network()), DistributedDataParallel(network())
    for node in [*REGULARIZERS[:8], {"name": "l2", "where": "all"}]:
        rule = create("regularizer", **node)
        gathers = node["name"] in ("orthogonal", "spectral")
        for model, expected in ((sharded, ["all_gather_into_tensor" if gathers else "all_reduce"]), (parallel, [])):
            penalty = regtorch.WeightPenalty(model, rule)
            assert collectives(lambda p=penalty: p().backward()) == expected, node
    assert collectives(regtorch.WeightPenalty(sharded, Quartic())) == ["all_gather_into_tensor"]
    assert collectives(regtorch.WeightConstraint(sharded, Box()).project) == ["all_gather_into_tensor"]
    both = regtorch.SeveralRegularizers([regtorch.L1(), regtorch.L2()])
    assert len(collectives(regtorch.WeightPenalty(sharded, both))) == 2  # one per rule
    for node in CONSTRAINTS:
        for model in (sharded, parallel):
            whole_units = node.get("dims") != 0
            expected = ["all_reduce"] if model is sharded and not whole_units else []
            rule = regtorch.WeightConstraint(model, create("constraint", **node))
            assert collectives(rule.project) == expected, node
    vectors = regtorch.WeightConstraint(sharded, regtorch.MaxNorm(0.1), where="bias")
    assert collectives(vectors.project) == ["all_reduce"]  # each is one unit, split in two


def in_turn(rank: int, *checks: Callable[[int], None]) -> None:
    """Run several checks on the same two ranks, as starting them is slow."""
    for check in checks:
        check(rank)


@pytest.mark.skipif(TORCH < (2, 12), reason="group lasso of sharded weights raises an error in gloo before torch 2.12")
@pytest.mark.parametrize("places", [brief_placements, pytest.param(placements, marks=pytest.mark.slow)])
def test_rules_and_initializers_treat_shards_like_full_parameters(places: Places) -> None:
    on_two_ranks(
        in_turn, *(partial(check, places=places) for check in (check_penalties, check_constraints, check_initializers))
    )


@pytest.mark.skipif(TORCH < (2, 14), reason="torch's counting of collectives fails on modules, at least in 2.9 to 2.12")
def test_fully_sharded_training_equals_one_process_and_needs_one_collective_per_rule() -> None:
    checks = (check_training, check_mixed_precision, check_projection_of_full_copies, check_communication)
    on_two_ranks(in_turn, *checks)
