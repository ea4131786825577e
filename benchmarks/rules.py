"""The time that a penalty and a constraint add to a training step: ``python benchmarks/rules.py``.

The network is 784-300-100-10 at batch size 32. Budgets: L1+L2 at most 10 %, max-norm at most 5 %. The usual one-liner
is measured for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from side_by_side import milliseconds
from torch import Tensor, nn

import regtorch

STEPS = 50


def trainer(
    make_penalty: Callable[[nn.Module], Callable[[], Tensor]] | None, constrained: bool, optimizer: str
) -> Callable[[], None]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    x, y = torch.randn(32, 784), torch.randint(10, (32,))
    step = regtorch.create("optimizer", optimizer, params=model.parameters())
    if constrained:
        regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=1.0)).attach(step)
    penalty = None if make_penalty is None else make_penalty(model)

    def run() -> None:
        for _ in range(STEPS):
            step.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            (loss if penalty is None else loss + penalty()).backward()
            step.step()

    return run


def usual(model: nn.Module) -> Callable[[], Tensor]:
    kernels = [w for w in model.parameters() if w.ndim > 1]
    return lambda: sum(1e-5 * w.abs().sum() + 1e-4 * w.pow(2).sum() for w in kernels)


def fused(model: nn.Module) -> Callable[[], Tensor]:
    return regtorch.WeightPenalty(model, regtorch.L1L2(l1=1e-5, l2=1e-4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, per step")
    for optimizer in ("sgd", "adam"):
        runs = [(None, False), (usual, False), (fused, False), (None, True)]
        plain, *others = milliseconds(args.repeats, *(trainer(*run, optimizer) for run in runs))
        print(f"{optimizer:6} plain step {1000 * plain / STEPS:7.0f} us")
        for name, taken in zip(("the usual L1+L2", "L1+L2", "max-norm"), others, strict=True):
            print(f"{optimizer:6} {name:16} {100 * (taken / plain - 1):+6.1f} %")


if __name__ == "__main__":
    main()
