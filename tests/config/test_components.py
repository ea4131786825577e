"""The components of a configuration: settings of plugins with any names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor

import regtorch
from regtorch.config.components import check_node
from regtorch.errors import SettingError
from regtorch.registry import components


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(components._registered)

    @regtorch.register("regularizer", "oddly_named")
    class OddlyNamed(regtorch.Regularizer):
        ranges = ((0, 1),)  # the plugin's own, of another meaning

        def __init__(self, prefix: str = "", ranges: int = 0, strength: float = 1.0) -> None:
            super().__init__()
            self.prefix, self.strength = prefix, strength

        def forward(self, w: Tensor) -> Tensor:
            return w.sum()

    yield
    components._registered.clear()
    components._registered.update(before)


def test_settings_may_have_the_names_of_our_arguments() -> None:
    check_node("regularizer", "regularizer", {"name": "oddly_named", "prefix": "a", "ranges": 2})


def test_their_values_are_checked_by_name() -> None:
    with pytest.raises(SettingError, match=r"regularizer\.strength=-1 is not allowed"):
        check_node("regularizer", "regularizer", {"name": "oddly_named", "prefix": "a", "strength": -1})
