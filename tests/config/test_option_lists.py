"""Several options of one group are combined, in any order, or refused."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from regtorch.config.compose import check_given_once, compose, without_option_lists
from regtorch.config.option_lists import _groups_of_a_run, combines, option_names
from regtorch.errors import SettingError

CONF = Path(__file__).parents[2] / "conf"
GROUPS = sorted(
    path.name
    for path in CONF.iterdir()
    if path.is_dir() and path.name not in ("study", "schedule") and any(path.glob("*.yaml"))
)


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return node["rules"] if node["name"] == "several" else [node]


@pytest.mark.parametrize("group", GROUPS)
def test_in_every_group_two_options_combine_or_are_refused(group: str) -> None:
    """No option switches another one off: the settings of each are kept when both are given."""
    names = [name for name in option_names(group) if name not in ("none", "default", "several", "custom")][:3]
    for first, second in permutations(names, 2):
        if not combines(group):
            with pytest.raises(SettingError, match=f"is not allowed: only one {group} can be active at a time"):
                compose([f"{group}=[{first},{second}]"])
            continue
        both = compose([f"{group}=[{first},{second}]"])
        if "name" in both[group]:
            assert [node["name"] for node in nodes(both[group])] == [first, second]
            continue
        default = compose([f"{group}=default"])[group]
        for option in (first, second):
            alone = compose([f"{group}={option}"])[group]
            assert {key: both[group][key] for key in alone if alone[key] != default[key]} == {
                key: value for key, value in alone.items() if value != default[key]
            }


@pytest.mark.parametrize(
    ("overrides", "place", "wanted"),
    [
        (["callbacks=[default,ema]"], "callbacks", {"ema_decay": 0.999, "patience": None}),
        (["callbacks=[ema,early_stopping]", "callbacks.patience=2"], "callbacks", {"ema_decay": 0.999, "patience": 2}),
        (["experiment=fashion_140_early_stopping", "callbacks=[ema,early_stopping]"], "callbacks", {"ema_decay": 0.999, "patience": 2}),
        (["logger=[csv]"], "logger", {"csv": True, "tensorboard": False}),
        (
            ["regularizer=[l2,orthogonal]", "regularizer.l2=0.5", "regularizer.where=kernel:hidden*"],
            "regularizer",
            {"rules": [
                {"name": "l2", "l2": 0.5, "where": "kernel:hidden*"},
                {"name": "orthogonal", "strength": 0.01, "mode": "rows", "where": "kernel:hidden*"},
            ]},
        ),
        (["regularizer@bias_regularizer=[none,l1]"], "bias_regularizer", {"rules": [{"name": "l1", "l1": 0.01}]}),
        (["augmentation=[flip,crop]"], "augmentation", {"rules": [{"name": "flip", "flip_prob": 0.5}, {"name": "crop", "padding": 4}]}),
    ],
)  # fmt: skip
def test_a_list_sets_all_keys_of_its_options(overrides: list[str], place: str, wanted: dict[str, Any]) -> None:
    node = compose(overrides)[place]
    assert {key: node[key] for key in wanted} == wanted
    assert compose(without_option_lists(overrides)) == compose(overrides)


@pytest.mark.parametrize("key", _groups_of_a_run())
@pytest.mark.parametrize("written", ["+{}={}", "++{}={}", "+{}=[{}]", "+{}='{}'"])
def test_a_plus_before_any_group_of_a_run_is_one_line(key: str, written: str) -> None:
    override = written.format(key, option_names(key)[0])
    with pytest.raises(SettingError) as error:
        compose([override])
    without = override.lstrip("+")
    said = f"{override} is not allowed: {key} already has an option; remove the +: {without}"
    assert str(error.value) == said


@pytest.mark.parametrize("key", ["seed", "trainer.max_epochs", "optimizer.lr", "data.batch_size"])
def test_a_plus_before_any_key_that_is_there_is_one_line(key: str) -> None:
    with pytest.raises(
        SettingError, match=rf"^\+{key}=3 is not allowed: {key} already exists; remove the \+: {key}=3$"
    ):
        compose([f"+{key}=3"])


def test_a_plus_before_a_list_changes_nothing() -> None:
    assert compose(["+callbacks=[ema,early_stopping]"]) == compose(["callbacks=[ema,early_stopping]"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["regularizer=[]"], "regularizer=[] is not allowed: it must name an option; for none of them write regularizer=none"),
        (["regularizer=[l1,l3]"], "regularizer=[l1,l3]: there is no such option as l3; did you mean l2 or l1?"),
        (["regularizer=[l2,l2]"], "regularizer=[l2,l2] is not allowed: l2 is given twice"),
        (["regularizer=[l1,l1_l2]", "regularizer.l1=1"], "regularizer.l1=1 is not allowed with regularizer=[l1,l1_l2]: several"),
        (["regularizer=[l1,l2]", "regularizer.foo=1"], "regularizer.foo=1 is not allowed with regularizer=[l1,l2]: none of them"),
        (["regularizer=[l1,l2]", "regularizer.l1=1,2"], "regularizer.l1=1,2: several values are a grid"),
        (["dropout=[alpha,standard]"], "only one dropout can be active at a time; take dropout=alpha or dropout=standard"),
        (["model=[300,100]"], "model takes the name of an option; write model.hidden=[300,100]"),
        (["hydra/launcher=[basic,joblib]"], "hydra/launcher takes one option"),
        (["callbacks=[ema]", "callbacks=early_stopping"], "callbacks is given twice"),
    ],
)  # fmt: skip
def test_options_that_do_not_combine_are_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        compose(overrides)
    assert message in str(caught.value)


def test_a_group_that_combines_is_given_once() -> None:
    check_given_once(["seed=1", "seed=2", "trainer=cpu", "trainer=gpu", "callbacks=ema", "callbacks=ema"])
    with pytest.raises(SettingError, match=r"both are callbacks=\[ema,early_stopping\]"):
        check_given_once(["callbacks=ema", "callbacks=early_stopping"])


def test_a_user_recipe_cannot_switch_an_option_off(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\ndefaults:\n  - override /callbacks: [early_stopping, ema]\n"
    (tmp_path / "experiment/mine.yaml").write_text(recipe)
    with pytest.raises(SettingError, match=r"/callbacks: \[...\] in the defaults of a recipe is not allowed"):
        compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"])


def test_no_packaged_recipe_has_a_list() -> None:
    for path in CONF.rglob("*.yaml"):
        for choice in yaml.safe_load(path.read_text()).get("defaults", ()):
            assert not (isinstance(choice, dict) and any(isinstance(value, list) for value in choice.values())), path
