"""Where a rule is bound, and what it may be bound to."""

from __future__ import annotations

from torch import nn

from regtorch.arguments import described
from regtorch.errors import SettingError
from regtorch.rule import Rule, Where


def place_of(rule: Rule, given: Rule, where: Where | None) -> Where:
    """Where a rule is bound: the binding's place comes before its own, but one of several keeps its own.

    Args:
        rule: the rule, one of the parts of `given`.
        given: the rule that was given, which may stand for several.
        where: the binding's place.
    """
    order = (where, rule.where) if rule is given else (rule.where, where, given.where)
    return next((place for place in order if place is not None), "kernel")


def check_model(model: object) -> None:
    """Refuse what is not a module.

    Raises:
        SettingError: names the type that was given.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"{described(model)} has no parameters to bind a rule to: give the model itself")
