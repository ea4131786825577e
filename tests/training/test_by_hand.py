"""A run with Lightning and a hand-written loop in plain torch have the same bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regtorch import create
from regtorch.config.compose import compose
from regtorch.data.base import Split
from regtorch.runs.data import dataset
from regtorch.training.build import make_model, make_module
from regtorch.training.data_module import DataModule
from regtorch.training.trainer import make_trainer

EPOCHS = 3
SEED = 7
SETTINGS = [
    f"trainer.max_epochs={EPOCHS}",
    *("trainer=cpu", "trainer.precision=32-true", f"seed={SEED}", "logger.csv=false", "logger.tensorboard=false"),
    *("regularizer=l1_l2", "regularizer.l1=1e-4", "regularizer.l2=1e-3", "constraint=max_norm"),
    "constraint.max_value=0.8",
]
DROPOUTS = {
    "standard": ["dropout=standard", "dropout.drop_prob=0.3"],
    "alpha": ["dropout=alpha", "activation=selu", "initializer=lecun_normal"],
}


def by_lightning(config: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    lightning.seed_everything(SEED, verbose=False)
    batches = DataModule(dataset(config), SEED)
    module = make_module(config, batches.splits.shape, len(batches.splits.classes))
    trainer = make_trainer(config, folder, batches.splits.val is not None)
    trainer.fit(module, datamodule=batches)
    return module.model.state_dict()


def batches_of(split: Split, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Return the batches of all epochs, in the order given by the seed and the epoch's number."""
    batches = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(len(split))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batches.append((torch.from_numpy(split.x[rows]), torch.from_numpy(split.y[rows])))
    return batches


def by_hand(config: dict[str, Any], projected: bool = True) -> dict[str, Tensor]:
    """Train without Lightning; of regtorch, only the model and the two formulas are used."""
    splits = dataset(config).load()
    torch.manual_seed(SEED)
    model = make_model(config, splits.shape, len(splits.classes)).train()
    kernels = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    penalty, max_norm = (
        create("regularizer", "l1_l2", l1=1e-4, l2=1e-3),
        create("constraint", "max_norm", max_value=0.8),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for step, (x, y) in enumerate(batches_of(splits.train, config["data"]["batch_size"]), start=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y) + penalty.total(kernels)
        loss.backward()
        optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1 - 0.999**step)  # Keras' epsilon, as in a run
        optimizer.step()
        if projected:
            with torch.no_grad():
                for w in kernels:
                    w.copy_(max_norm(w))
    return model.state_dict()


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_the_same_bits_after_three_epochs(dropout: str, tmp_path: Path) -> None:
    config = compose([*SETTINGS, *DROPOUTS[dropout]])
    ours, theirs = by_lightning(config, tmp_path), by_hand(config)
    assert ours.keys() == theirs.keys()
    assert {name: torch.equal(w, theirs[name]) for name, w in ours.items()} == dict.fromkeys(ours, True)


def test_the_constraint_and_the_dropout_have_an_effect(tmp_path: Path) -> None:
    config = compose([*SETTINGS, *DROPOUTS["standard"]])
    trained = by_hand(config)
    for other in (by_hand(config, projected=False), by_hand({**config, "dropout": {"name": "none"}})):
        assert not all(torch.equal(w, other[name]) for name, w in trained.items())


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_a_checkpoint_has_the_same_bits(dropout: str, tmp_path: Path) -> None:
    config = compose([*SETTINGS, *DROPOUTS[dropout]])
    trained = by_lightning(config, tmp_path)
    content = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(content[f"model.{name}"], w) for name, w in trained.items())
