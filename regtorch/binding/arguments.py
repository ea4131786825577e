"""Arguments of bindings: the place of a rule and the model."""

from __future__ import annotations

from torch import nn

from regtorch.errors import SettingError
from regtorch.rule import Rule, Where
from regtorch.tensor_ops.arguments import described


def resolve_where(rule: Rule, given: Rule, where: Where | None) -> Where:
    """The place where a rule is bound. The binding's `where` has priority, except over the parts of a composite rule.

    Args:
        rule: the rule, one of the parts of `given`.
        given: the rule passed to the binding, which may consist of several.
        where: the binding's `where`.
    """
    order = (where, rule.where) if rule is given else (rule.where, where, given.where)
    return next((place for place in order if place is not None), "kernel")


def check_model(model: object) -> None:
    """Raise an error unless the model is a module.

    Raises:
        SettingError: it is not; the message names its type.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"{described(model)} has no parameters to bind a rule to: pass the model itself")
