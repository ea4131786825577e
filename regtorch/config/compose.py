"""Compose the configuration before Hydra does, so that a mistake prints one clear line and creates no run folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regtorch.conf
from regtorch.config.command_line import parser_message, unreadable
from regtorch.config.keys import check_required
from regtorch.config.mistyped import key_for, options_for, strength_of
from regtorch.config.option_lists import combines, is_group, option_names, refuse_lists_in_recipes, without_lists
from regtorch.config.plugin_options import plugin_nodes
from regtorch.config.python_only import python_only
from regtorch.config.trust import check_names_only
from regtorch.errors import SettingError, as_one_line
from regtorch.registry import near

if TYPE_CHECKING:
    from hydra.errors import OverrideParseException
    from omegaconf import DictConfig

_CONF = Path(regtorch.conf.__file__).parent

#: place in the configuration -> the group of its options
_GROUP_OF = {
    "bias_regularizer": "regularizer", "activity_regularizer": "regularizer", "bias_constraint": "constraint",
    "input_dropout": "dropout", "head_initializer": "initializer", "penalty_schedule": "schedule",
    "dropout_schedule": "schedule",
}  # fmt: skip

_PROBABILITY_WORDS = {"p", "rate", "prob", "probability"}


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration of these overrides, as plain containers.

    Raises:
        SettingError: Hydra refuses the overrides; the message is one line.
    """
    return compose_unresolved(overrides)[0]


def node_of(overrides: Sequence[str], place: str) -> Mapping[str, Any]:
    """Compose these overrides and return one node of the configuration."""
    node: Mapping[str, Any] = compose(overrides)[place]
    return node


def check_given_once(overrides: Sequence[str]) -> None:
    """Refuse a group that is given twice, because the later option would replace the earlier one.

    Raises:
        SettingError: a group whose options can be combined is given twice.

    Example:
        >>> check_given_once(["regularizer=l1", "regularizer=l2"])
        Traceback (most recent call last):
        regtorch.errors.SettingError: regularizer=l2 is not allowed after regularizer=l1: both are regularizer=[l1,l2]
    """
    chosen: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if (before := chosen.setdefault(key, value)) != value and combines(key):
            both = ",".join([before.strip("[]"), value.strip("[]")])
            raise SettingError(f"{override} is not allowed after {key}={before}: both are {key}=[{both}]")


def without_option_lists(overrides: Sequence[str]) -> list[str]:
    """Expand lists of options, such as ``callbacks=[early_stopping,ema]``, into equivalent overrides."""
    return without_lists(overrides, node_of)


def compose_unresolved(overrides: Sequence[str]) -> tuple[dict[str, Any], DictConfig]:
    """Compose the configuration, and return it both resolved and with its interpolations (``${seed}``) unresolved.

    Raises:
        SettingError: Hydra refuses the overrides; the message is one line.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    kinds: tuple[type[Exception], ...] = (*unreadable(), OmegaConfBaseException, KeyError, TypeError, AttributeError)
    check_names_only(overrides)
    plugin_nodes()
    overrides = without_option_lists(overrides)
    with initialize_config_module("regtorch.conf", version_base="1.3"):
        try:
            written = hydra_compose("train", list(overrides), return_hydra_config=True)
            refuse_lists_in_recipes(written.hydra.runtime.choices, overrides)
            with open_dict(written):
                del written["hydra"]
            config: dict[str, Any] = OmegaConf.to_container(written, resolve=True)  # type: ignore[assignment]
            check_required(config)
            return config, written
        except SettingError:
            raise
        except kinds as error:
            wrong: Exception = error
        except Exception as error:  # such as a failed assertion inside Hydra
            raise SettingError(f"{' '.join(overrides)} cannot be read ({as_one_line(error)})") from error
    raise SettingError(one_line(wrong, overrides)) from wrong


def points(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield sets of overrides that cover every value of a sweep: the first values, then each other value in turn.

    Raises:
        SettingError: Hydra cannot parse an override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except unreadable() as error:
        raise SettingError(one_line(error, overrides)) from error
    choices = []
    for text, override in zip(overrides, parsed, strict=True):
        values = override.is_sweep_override() and override.is_discrete_sweep()
        key = override.get_key_element()
        choices.append(
            [f"{key}={value}" for value in islice(override.sweep_string_iterator(), 1000)] if values else [text]
        )
    first = [choice[0] for choice in choices]
    yield first
    for index, choice in enumerate(choices):
        for other in choice[1:]:
            yield [*first[:index], other, *first[index + 1 :]]


def one_line(error: Exception, overrides: Sequence[str]) -> str:
    """Return Hydra's error as one line that names the key, the value and a valid alternative."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import InterpolationResolutionError

    text = str(error)
    if isinstance(error, InterpolationResolutionError) and error.full_key:
        return f"{error.full_key}: {parser_message(text)}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(error, overrides)
    study = next((o for o in overrides if o.startswith("study=")), None)
    if study and "study" in text:
        return f"{study} is not allowed here: run a study with scripts/compare.py {study} (regtorch-compare {study})"
    missing = re.search(r"Could not (?:override|delete from config|append to config)[^']*'([^']+)'", text)
    if missing:
        return _no_such_key(missing.group(1).split("=")[0].rstrip("."), overrides)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if "Config group override" in text and is_group(key) and options_for(key, value or "null"):
            return f"{override}: there is no such option; write {options_for(key, value or 'null')}"
        if "Config group override" in text and is_group(key) and re.match(r"(?!['\"a-zA-Z])|(true|false|null)$", value):
            return f"{override}: there is no such option{near(value, option_names(key))}"
        if f"'{override}'" in text and ("Ambiguous value" in text or "requires --multirun" in text):
            known = is_group(key) or "." in key or key in compose([])
            if not known and (meant := key_for(key, value)):
                return f"{override}: there is no such key; write -m {meant}"
            return (
                f"{override}: several values are a grid of runs, which needs -m; a list as one value is written [...]"
            )
    return parser_message(text)


def _no_such_option(error: Any, overrides: Sequence[str]) -> str:
    """Describe an option that does not exist, with a suggestion."""
    group, _, option = error.missing_cfg_file.rpartition("/")
    options = [name for name in error.options or () if name != "__init__"]
    given = next((o for o in overrides if "/".join(_group_and_value(o)) == error.missing_cfg_file), f"{group}={option}")
    key, _, option = given.lstrip("+").partition("=")
    meant = options_for(key, option)
    return f"{given}: there is no such option{f'; write {meant}' if meant else near(option, options)}"


def _no_such_key(key: str, overrides: Sequence[str]) -> str:
    """Describe a key that does not exist, with a suggestion."""
    given = next((o for o in overrides if o.lstrip("+~").split("=")[0] == key), key)
    if reason := python_only(key):
        return f"{given}: there is no such key: {reason}"
    if given.startswith("+"):
        return f"{given} is not allowed: {key} already exists; remove the +: {given[1:]}"
    if key == "schedule":
        value = given.partition("=")[2]
        return f"{given} is ambiguous: write schedule@penalty_schedule={value} or schedule@dropout_schedule={value}"
    chosen = [o for o in overrides if "." not in o.split("=")[0] and o is not given]
    return f"{given}: there is no such key{suggest_key(key, chosen, given.partition('=')[2])}"


def _group_and_value(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+").partition("=")
    return key.partition("@")[0], value.strip("'\"")


def _unreadable(error: OverrideParseException) -> str:
    """Describe an argument that is not an override, with a suggestion."""
    override = error.override
    if "=" in override:
        return f"{override} cannot be read: it must be KEY=VALUE ({parser_message(str(error).splitlines()[0])})"
    if is_group(override):
        return f"{override} is not a setting: it must be {override}=OPTION, one of {', '.join(option_names(override))}"
    meant = key_for(override)
    return f"{override} is not a setting: it must be KEY=VALUE{f', as in {meant}' if '=' in meant else ''}"


def suggest_key(key: str, chosen: Sequence[str], value: str = "") -> str:
    """Suggest an existing key for an unknown one, given the chosen options and its value."""
    parent, _, last = key.rpartition(".")
    node: Any = compose(chosen)
    for part in parent.split(".") if parent else []:
        node = node.get(part) if isinstance(node, dict) else None
    has_its_own = isinstance(node, dict) and node.get("name") != "none" and "drop_prob" not in node
    if last in _PROBABILITY_WORDS and not (parent and has_its_own):
        place = f"{parent or 'dropout'}."
        return f"; write {place}drop_prob (probability to drop a unit) or {place}keep_prob (to keep it), because {last} is ambiguous"
    if not isinstance(node, dict):
        meant = key_for(last, value)
        return f"; write {meant}" if meant else near(parent.partition(".")[0], compose(chosen))
    if not parent:
        meant = key_for(key, value)
        return f"; write {meant}" if meant else near(key, [str(k) for k in node])
    keys = [str(k) for k in node if k != "name"]
    if strength := strength_of(parent, keys, last):
        return f"; write {strength}{f'={value}' if value else ''}"
    group = _GROUP_OF.get(parent, parent)
    options = sorted(p.stem for p in (_CONF / group).glob("*.yaml") if f"\n{last}:" in p.read_text(encoding="utf-8"))
    if options and "name" in node and last not in node and not (has_its_own and last in ("drop_prob", "keep_prob")):
        key_of_place = parent if group == parent else f"{group}@{parent}"
        has = f" (it has: {', '.join(keys)})" if keys else ""
        return f" in {parent}={node['name']}{has}; take {' or '.join(f'{key_of_place}={option}' for option in options)}"
    meant = key_for(last, value, within=parent)
    if meant.startswith(f"{parent}=") or (meant and meant.partition("=")[0].rpartition(".")[2] in keys):
        return f"; write {meant}"
    return near(last, keys)
