"""The communication that each rule adds to a training step on two processes: ``python benchmarks/communication.py``.

The table shows the collectives, and the bytes that each process receives, of 784-300-100-10 under ``fully_shard`` and
under DistributedDataParallel, minus those of the same step without the rule. Budget: one reduction of a number per rule,
or one gather for the rules that need complete matrices; nothing under DistributedDataParallel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import regtorch

REGULARIZERS = ("l1", "l2", "l1_l2", "squared_l1", "group_lasso", "orthogonal", "spectral")
CONSTRAINTS = ("max_norm", "min_max_norm", "unit_norm", "non_neg", "soft_threshold")
RULES: list[tuple[str, dict[str, Any]]] = [
    *(("regularizer", {"name": name}) for name in REGULARIZERS),
    *(("constraint", {"name": name}) for name in CONSTRAINTS),
    ("constraint", {"name": "max_norm", "where": "all"}),
    ("constraint", {"name": "max_norm", "dims": 0}),
]


class Collectives(TorchDispatchMode):
    """Counts the collectives that run inside, and the bytes of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if DTensor in types:
            return NotImplemented  # its local tensors are dispatched again
        result = operation(*args, **(kwargs or {}))
        is_auxiliary = any(word in operation.__name__ for word in ("wait", "wrap"))
        if operation.namespace in ("c10d", "_c10d_functional") and not is_auxiliary:
            self.count += 1
            self.bytes += sum(t.numel() * t.element_size() for t in tree_leaves(result) if isinstance(t, Tensor))
        return result


def network(parallel: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    if parallel == "DDP":
        return DistributedDataParallel(model)
    for layer in (model[0], model[2], model[4]):
        fully_shard(layer)
    return fully_shard(model)


def collectives_of_step(parallel: str, kind: str | None, node: dict[str, Any]) -> Collectives:
    """Return the collectives of the second step, as the first one includes setup."""
    model = network(parallel)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = None if kind is None else regtorch.create(kind, **node)
    penalty = regtorch.WeightPenalty(model, rule) if kind == "regularizer" else None
    if kind == "constraint":
        regtorch.WeightConstraint(model, rule).attach(optimizer)
    x, y = torch.randn(32, 784), torch.randint(10, (32,))
    for _ in range(2):
        optimizer.zero_grad()
        with Collectives() as seen:
            loss = nn.functional.cross_entropy(model(x), y)
            (loss if penalty is None else loss + penalty()).backward()
            optimizer.step()
    return seen


def measure(rank: int, folder: str) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    dist.init_process_group("gloo", rank=rank, world_size=2, store=dist.FileStore(f"{folder}/store", 2))
    plain = {parallel: collectives_of_step(parallel, None, {}) for parallel in ("FSDP", "DDP")}
    if rank == 0:
        print(f"torch {torch.__version__}, two processes, added to a step")
        print(f"{'':36}{'FSDP':>20}{'DDP':>20}")
    for kind, node in RULES:
        cells = []
        for parallel, without in plain.items():
            seen = collectives_of_step(parallel, kind, node)
            cells.append(f"{seen.count - without.count} ({seen.bytes - without.bytes:,} bytes)")
        shown = ", ".join(str(value) if key == "name" else f"{key}={value}" for key, value in node.items())
        if rank == 0:
            print(f"{kind:12}{shown:24}{cells[0]:>20}{cells[1]:>20}")
    dist.destroy_process_group()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measure, args=(str(Path(folder).resolve()),), nprocs=2)


if __name__ == "__main__":
    main()
