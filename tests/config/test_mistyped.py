"""Keys of other tools, and values in place of options, are refused with the right key as suggestion."""

from __future__ import annotations

import pytest

from regtorch.config.compose import compose
from regtorch.config.mistyped import _OTHER_NAMES, key_for
from regtorch.config.option_lists import is_group
from regtorch.errors import SettingError
from regtorch.runs.validate import validate_run

WRONG = {
    "lr=0.1": "optimizer.lr=0.1", "epochs=5": "trainer.max_epochs=5", "max_epochs=5": "trainer.max_epochs=5",
    "batch_size=64": "data.batch_size=64", "weight_decay=0.1": "optimizer.weight_decay=0.1",
    "early_stopping=true": "callbacks=early_stopping", "callbacks.early_stopping=true": "callbacks=early_stopping",
    "optimizer.learning_rate=3": "optimizer.lr=3", "training.epochs=5": "trainer.max_epochs=5",
    "model.optimizer.lr=3": "optimizer.lr=3", "model.units=[64]": "model.hidden=[64]", "patience=3": "callbacks.patience=3",
    "gpus=2": "trainer.devices=2", "device=cuda": "trainer.accelerator=cuda", "kernel_regularizer=l2": "regularizer=l2",
    "l2=0.1": "regularizer=l2 regularizer.l2=0.1", "ema=true": "callbacks=ema", "samples=9": "mc.samples=9",
    "validation_split=0.2": "data.validation_fraction=0.2", "optimizer.nesterov=true": "optimizer=nesterov",
    "optimizer.momentum=0.9": "optimizer=momentum", "+lr=0.1": "optimizer.lr=0.1", "~lr": "optimizer.lr",
    "p=0.5": "dropout.drop_prob", "seeds=1,2": "-m seed=1,2", "seed=1,2": "needs -m", "seed=1-5": "-m 'seed=range(1,6)'",
    "seed=1..5": "-m 'seed=range(1,6)'", "seed=range(1,5)": "needs -m",
    "dropout=0.5": "dropout.drop_prob=0.5 or dropout.keep_prob", "dropout=true": "dropout=standard",
    "dropout=false": "dropout=none", "mc=50": "mc.samples=50", "model=128": "model.hidden=[128]",
    "regularizer=0.01": "regularizer=l2 regularizer.l2=0.01", "optimizer=0.001": "optimizer.lr=0.001",
    "dropout@input_dropout=0.2": "input_dropout.drop_prob=0.2", "input_dropout=0.2": "input_dropout.drop_prob=0.2",
    "constraint=2": "constraint=max_norm constraint.max_value=2", "data=/a/b.npz": "data=arrays data.path=/a/b.npz",
    "scheduler=true": "there are", "regularizer": "regularizer=OPTION, one of activity", "foo=1": "there are: activation",
}  # fmt: skip


@pytest.mark.parametrize(("typed", "answer"), WRONG.items())
def test_the_error_names_the_key(typed: str, answer: str) -> None:
    with pytest.raises(SettingError) as caught:
        validate_run(compose([typed]))
    message = str(caught.value)
    assert answer in message
    assert typed.lstrip("+") in message
    assert not {"\n", "Exception", "https://"} & {word for word in ("\n", "Exception", "https://") if word in message}


def test_the_strength_of_another_rule_suggests_the_strength_of_this_one() -> None:
    for option, key in (("l2", "l2"), ("l1", "l1"), ("squared_l1", "factor"), ("orthogonal", "strength")):
        for typed in {"strength", "factor", "lambda"} - {key}:
            with pytest.raises(SettingError, match=rf"write regularizer\.{key}=0\.1"):
                compose([f"regularizer={option}", f"regularizer.{typed}=0.1"])


@pytest.mark.parametrize("key", _OTHER_NAMES)
def test_every_suggested_key_exists(key: str) -> None:
    """A suggestion is never itself a mistake."""
    options = {"optimizer.weight_decay": "optimizer=adam", "model.channels": "model=cnn", "data.path": "data=arrays"}
    options |= {
        "regularizer.l1": "regularizer=l1",
        "regularizer.l2": "regularizer=l2",
        "constraint.max_value": "constraint=max_norm",
    }
    if is_group(key.partition("=")[0]):
        compose([key] if "=" in key else [])
        return
    node = compose([options[key]] if key in options else [])
    for part in key.split("."):
        if key == "hydra.run.dir":
            return
        assert part in node
        node = node[part]


def test_no_suggestion_without_a_similar_key() -> None:
    assert key_for("xyzzy", "3") == ""
