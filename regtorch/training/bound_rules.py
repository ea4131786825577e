"""The rules of a run with the weights and layers that they are bound to, for its log and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.rule import Rule

_PENALTIES = ("regularizer", "bias_regularizer", "activity_regularizer")
_CONSTRAINTS = ("constraint", "bias_constraint")
_LONGEST = 400  # characters of names in one line of the log


def bound_rules(
    config: Mapping[str, Any], penalties: Sequence[WeightPenalty], constraints: Sequence[WeightConstraint]
) -> list[tuple[str, list[str]]]:
    """Return each rule as written in the configuration, with the names of the weights or layers it is bound to.

    Args:
        config: the run's configuration.
        penalties: bound penalties, in the order of their places in the configuration.
        constraints: bound constraints, in the same order.
    """
    found: list[tuple[str, list[str]]] = []
    for place, penalty in zip(_chosen(config, _PENALTIES), penalties, strict=True):
        found += [(f"{place}={_written(rule)}", names) for rule, names in penalty.bound]
    for place, constraint in zip(_chosen(config, _CONSTRAINTS), constraints, strict=True):
        found += [(f"{place}={_written(rule)}", names) for rule, names in constraint.bound]
    return found


def _chosen(config: Mapping[str, Any], places: Sequence[str]) -> list[str]:
    return [place for place in places if config[place]["name"] != "none"]


def by_weight(rules: Sequence[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Group by weight or layer: name -> its rules.

    Example:
        >>> by_weight([("regularizer=l2 (l2=0.01)", ["0.weight", "2.weight"]), ("constraint=non_neg", ["2.weight"])])
        {'0.weight': ['regularizer=l2 (l2=0.01)'], '2.weight': ['regularizer=l2 (l2=0.01)', 'constraint=non_neg']}
    """
    result: dict[str, list[str]] = {}
    for rule, names in rules:
        for name in names:
            result.setdefault(name, []).append(rule)
    return result


def summary(rule: str, names: Sequence[str]) -> str:
    """Describe a rule in one line for the log, shortened for a model with many layers.

    Example:
        >>> summary("regularizer=l2 (l2=0.01)", ["0.weight", "2.weight"])
        'regularizer=l2 (l2=0.01) on 0.weight, 2.weight'
    """
    shown, length = 0, 0
    for name in names:
        length += len(name) + 2
        if length > _LONGEST:
            break
        shown += 1
    more = f" and {len(names) - shown} more (listed in results.json)" if shown < len(names) else ""
    return f"{rule} on {', '.join(names[:shown]) or 'nothing'}{more}"


def _written(rule: Rule) -> str:
    node = dict(rule.to_config())
    name = str(node.pop("name"))
    node.pop("where", None)
    shown = ", ".join(f"{key}={_short(value)}" for key, value in node.items() if value is not None)
    return f"{name} ({shown})" if shown else name


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(_short(part) if key == "name" else f"{key}={_short(part)}" for key, part in value.items())
    return str(value)
