"""The schema of a configuration: complete, and equal to the packaged files and to Lightning's signature."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import regtorch.conf
import yaml

from regtorch.config.compose import compose
from regtorch.config.schema import PASSED_TO_LIGHTNING, PLACES, SET_BY_REGTORCH, Run, nodes, ranges, required

CONF = Path(regtorch.conf.__file__).parent


def test_the_trainers_keys_are_those_of_lightning() -> None:
    ours = {*PASSED_TO_LIGHTNING, *SET_BY_REGTORCH, *(field.name for field in fields(nodes()["trainer"]))}
    assert ours == set(inspect.signature(lightning.Trainer).parameters)


def test_the_default_configuration_has_every_required_key_and_no_unknown_one() -> None:
    config = compose([])
    known = {*PLACES, *(field.name for field in fields(Run))}
    assert {*PLACES, *required(Run)} - {"head_initializer"} <= config.keys() <= known
    for place, schema in nodes().items():
        keys = {*(field.name for field in fields(schema)), *(PASSED_TO_LIGHTNING if place == "trainer" else ())}
        assert set(required(schema)) <= config[place].keys() <= keys


@pytest.mark.parametrize("place", nodes())
def test_every_option_of_a_node_is_in_range(place: str) -> None:
    for path in (CONF / place).glob("*.yaml"):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in node.items():
            if (allowed := ranges().get(f"{place}.{key}")) and not str(value).startswith("${"):
                allowed.check(f"{path.name}: {key}", value)


def test_defaults_are_in_range() -> None:
    for place, schema in nodes().items():
        for field in fields(schema):
            if field.name not in required(schema):
                ranges()[f"{place}.{field.name}"].check(field.name, field.default)
