"""A setting without effect, or with an unexpected one, is reported in one line; other settings are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from regtorch.config.compose import compose
from regtorch.registry.advice import advise
from regtorch.training.build import make_model
from regtorch.training.no_effect import Facts, without_effect

SHAPES = {"mlp": (20,), "cnn": (1, 8, 8)}
EXPERIMENTS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/experiment").glob("*.yaml"))


def lines(overrides: list[str], *, validated: bool = True, processes: int = 1, rows: int = 640) -> list[str]:
    config = compose(overrides)
    shape = SHAPES[config["model"]["name"]]
    return without_effect(config, Facts(make_model(config, shape, 4), shape, rows, validated, processes))


CNN = ["model=cnn", "model.channels=[4]"]
FOUND = [
    (["callbacks.patience=50"], "callbacks.patience=50 has no effect: training ends after trainer.max_epochs=50"),
    (["callbacks.min_delta=0.1"], "callbacks.min_delta=0.1 has no effect without callbacks.patience"),
    (["trainer.strategy=ddp"], "trainer.strategy=ddp has no effect with one process"),
    (["trainer.strategy=fsdp"], "trainer.strategy=fsdp has no effect with one process"),
    (["trainer.gradient_clip_algorithm=value"], "has no effect without trainer.gradient_clip_val"),
    (["mc.samples=7"], "mc.samples=7 has no effect: the model has no dropout"),
    (["mc.tolerance=0.1"], "mc.tolerance=0.1 has no effect: the model has no dropout"),
    (["model.momentum=0.5"], "model.momentum=0.5 has no effect without batch normalization"),
    (["model.epsilon=0.5"], "model.epsilon=0.5 has no effect without batch normalization"),
    ([*CNN, "model.dropout_at=both"], "model.dropout_at=both has no effect with dropout=none"),
    ([*CNN, "dropout=spatial1d"], "spatial1d at dropout is for maps of 1 dimension, but acts here on maps of 2"),
    ([*CNN, "dropout=spatial3d"], "spatial3d at dropout is for maps of 3 dimensions, but acts here on maps of 2"),
    ([*CNN, "dropout@input_dropout=spatial1d"], "write dropout@input_dropout=spatial2d"),
    (["scheduler=step", "scheduler.every=50"], "scheduler=step has no effect: the learning rate stays the same"),
    (["scheduler=plateau", "scheduler.patience=50"], "scheduler=plateau has no effect"),
    (["scheduler=exponential", "scheduler.decay=1"], "scheduler=exponential has no effect"),
    (
        ["schedule@penalty_schedule=linear_warmup", "penalty_schedule.warmup_fraction=0", "regularizer=l2"],
        "schedule@penalty_schedule=linear_warmup has no effect: its factor is 1 throughout",
    ),
    (
        ["schedule@dropout_schedule=cosine", "dropout_schedule.end=1", "dropout=standard"],
        "schedule@dropout_schedule=cosine has no effect",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"), FOUND, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_setting_without_effect_is_one_line(overrides: list[str], message: str) -> None:
    (line,) = lines(overrides)
    assert message in line


@pytest.mark.parametrize("evaluate", ["best", "last"])
def test_without_a_validation_part_settings_that_need_it_are_reported(evaluate: str) -> None:
    found = lines(
        ["callbacks=[early_stopping,ema]", f"evaluate={evaluate}", "data.validation_fraction=0"], validated=False
    )
    assert "no validation part (data.validation_fraction), so early stopping watches the training loss" in found[0]
    assert len(found) == (2 if evaluate == "best" else 1)
    assert lines([f"evaluate={evaluate}"], validated=True) == []


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["callbacks=[early_stopping,ema]", "callbacks.min_delta=0.1"],
        ["trainer.gradient_clip_val=1", "trainer.gradient_clip_algorithm=value"],
        ["dropout=standard", "mc.samples=7", "mc.tolerance=0.1"],
        ["model.batch_norm=after", "model.momentum=0.5"],
        [*CNN, "dropout=spatial2d", "model.dropout_at=both"],
        *(
            [f"scheduler={name}"]
            for name in ("cosine", "step", "exponential", "plateau", "one_cycle", "linear_warmup", "warmup_cosine")
        ),
        *(
            [
                f"schedule@penalty_schedule={name}",
                "regularizer=l2",
                f"schedule@dropout_schedule={name}",
                "dropout=alpha",
            ]
            for name in ("constant", "cosine", "linear_warmup", "step")
        ),
    ],
    ids=" ".join,
)
def test_a_setting_with_an_effect_is_not_reported(overrides: list[str]) -> None:
    assert lines(overrides) == []


def test_a_strategy_has_an_effect_with_several_processes() -> None:
    assert lines(["trainer=ddp_cpu"], processes=2) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_packaged_recipe_has_such_a_setting(name: str) -> None:
    config = compose([f"experiment={name}"])
    shape = (3, 32, 32) if config["model"]["name"] == "cnn" else (20,)
    facts = Facts(make_model(config, shape, 4), shape, 55_000, config["data"].get("validation_fraction") != 0, 1)
    assert without_effect(config, facts) == []


def test_the_first_command_of_the_readme_has_no_advice() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    command = next(line for line in readme.splitlines() if "scripts/train.py" in line)
    overrides = command.partition("scripts/train.py")[2].split()
    assert len(overrides) > 2
    assert advise(compose(overrides)) == []
    assert lines(overrides) == []
