"""A checkpoint that lacks a part that resuming needs is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from regtorch.errors import DataError
from regtorch.runs.complete_checkpoint import check_complete
from tests.testers.complete import parts


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    """Return a function that removes a part."""

    def take(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return take


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    **{f"no {key}": (without(key), key) for key in parts()},
    **{f"{key} is text": (lambda content, key=key: content.update({key: "text"}), key) for key in parts()},
    **{f"{key} is None": (lambda content, key=key: content.update({key: None}), key) for key in parts()},
    "no optimizer": (lambda content: content.update(optimizer_states=[]), "optimizer_states"),
    "two optimizers": (lambda content: content["optimizer_states"].append({}), "optimizer_states"),
    "an empty optimizer": (lambda content: content.update(optimizer_states=[{}]), "optimizer_states"),
    "steps below 0": (lambda content: content.update(global_step=-5), "global_step=-5"),
    "a truth as steps": (lambda content: content.update(global_step=True), "global_step=True"),
    "other steps": (lambda content: content.update(global_step=5), "global_step=5"),
    "no fit loop": (without("loops", "fit_loop"), "loops"),
    "no progress": (without("loops", "fit_loop", "epoch_progress"), "loops"),
}


def test_a_complete_checkpoint_is_accepted() -> None:
    check_complete("resume=a", parts())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_missing_part_is_refused(damage: str) -> None:
    content = parts()
    change, named = DAMAGES[damage]
    change(content)
    with pytest.raises(DataError) as raised:
        check_complete("resume=a", content)
    assert str(raised.value).startswith("resume=a: its checkpoint is ")
    assert named in str(raised.value)
