"""Checks of every registered component."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from regtorch import available, create
from regtorch.errors import SettingError


def check_round_trip(kind: str, component: nn.Module, name: str) -> None:
    """The component is listed under its name, and `create` builds an equal one from `to_config`."""
    node = component.to_config()
    assert node["name"] == name
    assert name in available(kind)
    again = create(kind, **node)
    assert type(again) is type(component)
    assert again.to_config() == node


def check_where_is_kept(kind: str, component: nn.Module) -> None:
    """`where` in a node is part of the node that `to_config` returns."""
    node = {**component.to_config(), "where": "head.*"}
    assert create(kind, **node).to_config() == node


def check_copies(component: nn.Module, w: torch.Tensor) -> None:
    """Pickled and deep-copied components compute the same; the state_dict is empty."""
    expected = component(w)
    for twin in (copy.deepcopy(component), pickle.loads(pickle.dumps(component))):
        assert torch.equal(twin(w), expected)
        assert twin.to_config() == component.to_config()
    assert component.state_dict() == {}


def check_repr(component: nn.Module) -> None:
    """The repr names the class and every setting's value."""
    text = repr(component)
    assert text.startswith(type(component).__name__)
    for key, value in component.to_config().items():
        if isinstance(value, (int, float, str)) and key != "name":
            assert f"{key}={value}" in text


def check_bad(kind: str, name: str, settings: Mapping[str, Any], bad: Mapping[str, Any]) -> None:
    """Each bad value raises an error of one line that names the key and the value."""
    for key, value in bad.items():
        with pytest.raises(SettingError) as caught:
            create(kind, name, **{**settings, key: value})
        assert f"{key}={value}" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="no_such_setting=1"):
        create(kind, name, **settings, no_such_setting=1)
