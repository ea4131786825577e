"""Training through Lightning and regtorch, compared with a plain torch loop: ``python benchmarks/training.py``.

The cases are a digits MLP (64 relu units, batch size 32; budget 1.4 x) and the CIFAR-10 CNN with L2 (batch size 64; budget
1.1 x). Times are per epoch, without validation, checkpoints and log files, which a plain loop does not have.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import lightning.pytorch as lightning
import torch
from side_by_side import milliseconds
from torch import nn

import regtorch
from regtorch.config.compose import compose
from regtorch.runs.data import dataset
from regtorch.training.build import make_module
from regtorch.training.data_module import DataModule
from regtorch.training.quiet import quiet

CNN = "model=cnn model.batch_norm=before model.bias=true dropout=standard regularizer=l2 data=synthetic data.row_shape=[3,32,32]"
CASES = {
    "digits MLP": ([], 10),
    "digits MLP, l1_l2, dropout": (["regularizer=l1_l2", "dropout=standard"], 10),
    "CIFAR-10 CNN, l2": ([*CNN.split(), "data.rows=2500", "data.classes=10", "data.batch_size=64"], 1),
}


def through_regtorch(overrides: list[str], epochs: int) -> Callable[[], None]:
    config = compose(overrides)
    batches = DataModule(dataset(config), 0)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }

    def run() -> None:
        module = make_module(config, batches.splits.shape, len(batches.splits.classes))
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", limit_val_batches=0, **quiet)
        trainer.fit(module, batches.train_dataloader())

    return run


def plain_loop(overrides: list[str], epochs: int) -> Callable[[], None]:
    config = compose(overrides)
    batches = DataModule(dataset(config), 0)
    split, rows = batches.splits.train, config["data"]["batch_size"]
    x, y = torch.tensor(split.x), torch.tensor(split.y)

    def run() -> None:
        model = make_module(config, batches.splits.shape, len(batches.splits.classes)).model
        optimizer = regtorch.create("optimizer", **config["optimizer"], params=model.parameters())
        rule = config["regularizer"]
        kernels = [w for w in model.parameters() if w.ndim > 1] if rule["name"] != "none" else []
        for _ in range(epochs):
            order = torch.randperm(len(y))
            for start in range(0, len(y), rows):
                index = order[start : start + rows]
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x[index]), y[index])
                for w in kernels:
                    loss = loss + rule["l2"] * w.square().sum()
                    if rule.get("l1"):
                        loss = loss + rule["l1"] * w.abs().sum()
                loss.backward()
                optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    quiet()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, milliseconds per epoch")
    for name, (overrides, epochs) in CASES.items():
        plain, ours = milliseconds(args.repeats, plain_loop(overrides, epochs), through_regtorch(overrides, epochs))
        print(f"{name:28} plain loop {plain / epochs:8.1f}  regtorch {ours / epochs:8.1f}  {ours / plain:5.2f} x")


if __name__ == "__main__":
    main()
