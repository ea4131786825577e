"""Dropout in training on the CPU, compared with torch's: ``python benchmarks/dropout.py [--rows 10000]``.

Prints the median time of a forward pass, and of forward and backward, and the speed-up of regtorch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from side_by_side import milliseconds
from torch import Tensor, nn

import regtorch

UNITS = 784
PAIRS = [
    (nn.Dropout(0.2), regtorch.Dropout(drop_prob=0.2)),
    (nn.AlphaDropout(0.2), regtorch.AlphaDropout(drop_prob=0.2)),
]


def forward_run(module: nn.Module, x: Tensor) -> Callable[[], object]:
    return lambda: module(x)


def forward_backward_run(module: nn.Module, x: Tensor, grad: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(module(x), x, grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    print(f"({args.rows}, {UNITS}), torch {torch.__version__}, {torch.get_num_threads()} threads, milliseconds")
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(args.rows, UNITS, dtype=dtype, requires_grad=True)
        grad = torch.randn_like(x)
        for theirs, ours in PAIRS:
            pairs = {
                "forward": [forward_run(m, x) for m in (theirs, ours)],
                "forward and backward": [forward_backward_run(m, x, grad) for m in (theirs, ours)],
            }
            for what, runs in pairs.items():
                torchs, regtorchs = milliseconds(args.repeats, *runs)
                name = f"{type(theirs).__name__} {str(dtype).removeprefix('torch.')} {what}"
                print(f"{name:45} torch {torchs:8.2f}  regtorch {regtorchs:8.2f}  {torchs / regtorchs:5.1f} x faster")


if __name__ == "__main__":
    main()
