"""Combine several options of one group, such as ``callbacks=[early_stopping,ema]``, or refuse them.

Hydra merges the options of a list key by key, so the last option resets the settings of the others. Here a list is
replaced by overrides with the combined effect of all its options before Hydra sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import regtorch.conf
from regtorch.config.mistyped import options_for
from regtorch.config.plugin_options import plugin_nodes
from regtorch.errors import SettingError
from regtorch.registry import near
from regtorch.system.quoting import written

Node = Mapping[str, Any]
#: composes overrides and returns the node at a place of the configuration
NodeOf = Callable[[Sequence[str], str], Node]

_CONF = Path(regtorch.conf.__file__).parent
_SEVERAL = "several"  # the component that applies a list of other components
_DEFAULT = "default"  # the option that the other options of its group modify


def without_lists(overrides: Sequence[str], node_of: NodeOf) -> list[str]:
    """Replace each list of options by overrides with the combined effect of its options.

    Args:
        overrides: overrides of one run.
        node_of: composes a configuration and returns one of its nodes.

    Raises:
        SettingError: the options of a list cannot be combined, or an override adds an option with + to a group that already has one.

    Example:
        >>> from regtorch.config.compose import node_of
        >>> without_lists(["callbacks=[early_stopping,ema]"], node_of)
        ['callbacks=early_stopping', 'callbacks.ema_decay=0.999']
    """
    for override in overrides:
        if override.startswith("+"):
            _refuse_plus(override)
    found = {index: lists for index, override in enumerate(overrides) if (lists := _options(override)) is not None}
    if not found:
        return list(overrides)
    last = {overrides[index].lstrip("+").partition("=")[0]: index for index in found}
    result: list[str] = []
    settings: list[str] = list(overrides)
    for index in found:
        key = overrides[index].lstrip("+").partition("=")[0]
        later = [o.lstrip("+").partition("=")[0] == key for o in overrides[index + 1 :]]
        if last[key] != index or any(later):
            raise SettingError(f"{overrides[index]} is not allowed: {key} is given twice; give it once")
    for index, override in enumerate(overrides):
        if index not in found:
            if settings[index]:
                result.append(override)
            continue
        expanded, taken = _expanded(override, found[index], overrides, node_of)
        for other in taken:
            settings[other] = ""
            if other < index:
                result.remove(overrides[other])
        result += expanded
    return result


def is_group(key: str) -> bool:
    """Whether a key, such as ``dropout@input_dropout``, chooses an option of a group."""
    return "." not in key and bool(_names(_group_and_place(key)[0]))


def option_names(key: str) -> list[str]:
    """Return the options that a key chooses from."""
    return sorted(_names(_group_and_place(key)[0]))


def combines(key: str) -> bool:
    """Whether several options of a group can be combined."""
    return bool(_names(_group_and_place(key)[0]) & {_SEVERAL, _DEFAULT}) and "." not in key


def refuse_lists_in_recipes(choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse a list of options in a recipe's defaults list, where the last option would reset the others.

    Args:
        choices: Hydra's choices, group -> option; groups with a list of options are missing.
        overrides: overrides of the command line, which may delete a group.

    Raises:
        SettingError: several options of one group.
    """
    deleted = {override[1:].partition("=")[0] for override in overrides if override.startswith("~")}
    for key in _groups_of_a_run():
        if key not in choices and key not in deleted:
            group, place = _group_and_place(key)
            remedy = "name one option"
            if _SEVERAL in _names(group):
                remedy = f"name {_SEVERAL}, and the options under {place}.rules"
            elif _DEFAULT in _names(group):
                remedy = f"name one option, and set the keys of the others under {place}"
            raise SettingError(
                f"/{key}: [...] in the defaults of a recipe is not allowed: the last option would reset the others; {remedy}"
            )


@cache
def _groups_of_a_run() -> tuple[str, ...]:
    """Return the keys of ``train.yaml`` that choose an option."""
    import yaml

    defaults = yaml.safe_load((_CONF / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    keys = [key for choice in defaults if isinstance(choice, dict) for key in choice]
    return tuple(key for key in keys if not key.startswith("override "))


def _options(override: str) -> list[str] | None:
    """Return the options of a list; None if the override does not choose a list of options."""
    key, sign, value = override.lstrip("+").partition("=")
    if not sign or not value.startswith("[") or "." in key:
        return None
    if key.startswith("hydra/"):
        raise SettingError(f"{override} is not allowed: {key} takes one option; name it without brackets")
    group = _group_and_place(key)[0]
    if not _names(group):
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed: Any = OverridesParser.create().parse_override(override).value()
    except HydraException:  # composing reports the error
        return None
    if not isinstance(parsed, list):
        return None
    if not parsed:
        none = f"; for none of them write {key}=none" if "none" in _names(group) else ""
        raise SettingError(f"{override} is not allowed: it must name an option{none}{near('', _names(group))}")
    for option in parsed:
        if not isinstance(option, str) and (meant := options_for(key, value)):
            raise SettingError(f"{override} is not allowed: {key} takes the name of an option; write {meant}")
        if str(option) not in _names(group):
            raise SettingError(f"{override}: there is no such option as {option}{near(str(option), _names(group))}")
        if parsed.count(option) > 1:
            raise SettingError(f"{override} is not allowed: {option} is given twice")
    return [str(option) for option in parsed]


def _refuse_plus(override: str) -> None:
    """Refuse ``+callbacks=ema``: a plus adds a group without an option, but every group of a run has an option."""
    key, _, value = override.lstrip("+").partition("=")
    options = [option.strip("'\" ") for option in value.strip("[] ").split(",")]
    lists_several = (
        value.startswith("[") and len(options) > 1
    )  # such a list replaces the chosen option, with or without a plus
    if key in _groups_of_a_run() and not lists_several and _names(_group_and_place(key)[0]).issuperset(options):
        raise SettingError(f"{override} is not allowed: {key} already has an option; remove the +: {key}={value}")


def _given(overrides: Sequence[str], *keys: str) -> list[str]:
    return [override for override in overrides if override.lstrip("+").partition("=")[0] in keys]


def _group_and_place(key: str) -> tuple[str, str]:
    group, sign, place = key.partition("@")
    return group, place if sign else group


@cache
def _names(group: str) -> frozenset[str]:
    """Return the options of a group; empty if there is no such group."""
    files = {path.stem for path in (_CONF / group).glob("*.yaml")} if group else set()
    return frozenset(files | {option for of, option in plugin_nodes() if of == group})


def _expanded(
    override: str, options: Sequence[str], overrides: Sequence[str], node_of: NodeOf
) -> tuple[list[str], list[int]]:
    """Expand a list; return the new overrides, and the indices of the overrides that they include."""
    plus = override[: len(override) - len(override.lstrip("+"))]
    key = override.lstrip("+").partition("=")[0]
    group, place = _group_and_place(key)
    if len(options) == 1:
        return [f"{plus}{key}={options[0]}"], []
    if _SEVERAL in _names(group):
        return _as_rules(override, key, place, options, overrides, node_of)
    if _DEFAULT in _names(group):
        recipe = _given(overrides, "experiment", "hydra.searchpath")  # a recipe's settings precede an option's
        return _as_settings(override, key, place, options, lambda o, of: node_of([*recipe, *o], of)), []
    either = " or ".join(f"{key}={option}" for option in options)
    raise SettingError(f"{override} is not allowed: only one {group} can be active at a time; take {either}")


def _as_rules(
    override: str, key: str, place: str, options: Sequence[str], overrides: Sequence[str], node_of: NodeOf
) -> tuple[list[str], list[int]]:
    """Expand ``regularizer=[l1,l2]`` to the component ``several`` with a rule for each option."""
    rules: list[dict[str, Any]] = []
    for option in options:
        node = dict(node_of([*_given(overrides, "hydra.searchpath"), f"{key}={option}"], place))
        rules += node["rules"] if node["name"] == _SEVERAL else [node] if node["name"] != "none" else []
    taken = []
    for index, other in enumerate(overrides):
        name, _, value = other.lstrip("+").partition("=")
        setting = name.removeprefix(f"{place}.")
        if setting == name or setting.partition("[")[0] == "rules":
            continue
        having = [rule for rule in rules if setting.partition(".")[0] in rule]
        if len(having) != 1 and not (having and setting == "where"):
            which = "several of them have" if having else "none of them has"
            nodes = ", ".join("{" + f"name: {rule['name']}, ..." + "}" for rule in rules)
            raise SettingError(
                f"{other} is not allowed with {override}: {which} that key; write {key}={_SEVERAL} '{place}.rules=[{nodes}]'"
            )
        for rule in having:
            _set(rule, setting, value, other)
        taken.append(index)
    rules = [{name: value for name, value in rule.items() if (name, value) != ("where", None)} for rule in rules]
    return [f"{key}={_SEVERAL}", f"{place}.rules={written(rules)}"], taken


def _set(rule: dict[str, Any], setting: str, value: str, override: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        read = OverridesParser.create().parse_override(f"value={value}")
        parsed: Any = read.value()
    except HydraException as error:
        raise SettingError(f"{override} cannot be read: it must be KEY=VALUE") from error
    if read.is_sweep_override():
        raise SettingError(f"{override}: several values are a grid of runs, which needs -m")
    *parents, last = setting.split(".")
    node: Any = rule
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise SettingError(f"{override}: there is no such key{near(last, node or {})}")
    node[last] = parsed


def _as_settings(override: str, key: str, place: str, options: Sequence[str], node_of: NodeOf) -> list[str]:
    """Expand ``callbacks=[early_stopping,ema]`` to the first option and the others' differences from the default."""
    default = node_of([f"{key}={_DEFAULT}"], place)
    set_by: dict[str, tuple[str, Any]] = {}
    for option in options:
        node = node_of([f"{key}={option}"], place)
        for name, value in node.items():
            if name in default and value == default[name]:
                continue
            by, before = set_by.setdefault(name, (option, value))
            if before != value:
                raise SettingError(
                    f"{override} is not allowed: {place}.{name} is {before} in {by} and {value} in {option}; take one of them"
                )
    first, rest = options[0], [name for name, (by, _) in set_by.items() if by != options[0]]
    added = [f"{'' if name in default else '+'}{place}.{name}={written(set_by[name][1])}" for name in rest]
    return [f"{key}={first}", *added]
