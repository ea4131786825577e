"""Compose the configuration before Hydra does, so that a mistake is one clear line and leaves no run folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regtorch.conf
from regtorch.cli.going_on import says_how_it_was_started
from regtorch.cli.plugin_options import plugin_nodes
from regtorch.cli.trust import check_names_only, check_of_folder
from regtorch.errors import DataError, SettingError
from regtorch.overrides import quoted, typed
from regtorch.registry import near

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CONF = Path(regtorch.conf.__file__).parent

#: flags of Hydra's that print something instead of running
_INFORMATIVE = ("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc")

#: keys whose values are names of files and folders
_PATHS = ("resume", "rerun", "ckpt_path", "data.path", "hydra.run.dir")

_PROBABILITY_WORDS = {"p", "rate", "prob", "probability"}


def overrides_of(arguments: Sequence[str]) -> list[str] | None:
    """The overrides among a command line's arguments; None when it only asks for information."""
    if any(argument.split("=")[0] in _INFORMATIVE for argument in arguments):
        return None
    overrides, rest = [], iter(arguments)
    for argument in rest:
        if argument in (
            "--cfg",
            "-c",
            "--package",
            "-p",
            "--config-dir",
            "-cd",
            "--config-name",
            "-cn",
            "--config-path",
            "-cp",
        ):
            next(rest, None)
        elif not argument.startswith("-"):
            overrides.append(argument)
    return overrides


def check_paths(overrides: Sequence[str]) -> None:
    """Refuse a name of a file or folder that Hydra would read as something else, and say how it is written.

    Raises:
        SettingError: a name with commas, quotes, brackets, `=` and the like that is not quoted for Hydra.

    Example:
        >>> check_paths(["resume='a=1'"])
        >>> check_paths(["resume=a=1"])
        Traceback (most recent call last):
        regtorch.errors.SettingError: resume=a=1 cannot be read: write "resume='a=1'", in both quotes
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for index, override in enumerate(overrides):
        key, _, text = override.lstrip("+").partition("=")
        if key not in _PATHS:
            continue
        if rest := list(takewhile(lambda word: "=" not in word and not word.startswith("~"), overrides[index + 1 :])):
            whole = " ".join([text, *rest])
            raise SettingError(f"{' '.join(rest)} has no =: if it belongs to {key}, write {typed(key, whole)}")
        if not text:
            continue
        try:
            value: Any = parser.parse_override(override).value()
        except HydraException:
            value = ()
        if value is not None and not isinstance(value, str) and str(value) != text:
            raise SettingError(f"{override} cannot be read: write {typed(key, text)}, in both quotes")


def implied_overrides(overrides: Sequence[str]) -> list[str]:
    """Standard dropout, where a probability is given and no dropout was chosen: ``dropout.drop_prob=0.2`` alone works.

    Example:
        >>> implied_overrides(["dropout.keep_prob=0.8"])
        ['dropout=standard']
    """
    keys = {override.lstrip("+~").partition("=")[0] for override in overrides}
    implied = []
    for place, group in (("dropout", "dropout"), ("input_dropout", "dropout@input_dropout")):
        given = {f"{place}.drop_prob", f"{place}.keep_prob"} & keys
        if given and not {group, "experiment"} & keys:
            implied.append(f"{group}=standard")
    return implied


def earlier_overrides(overrides: Sequence[str]) -> list[str]:
    """What the run that ``resume=<folder>`` or ``rerun=<folder>`` names was started with, but for what is given anew.

    Raises:
        DataError: the folder of ``rerun`` does not say.
    """

    def key(override: str) -> str:
        return override.lstrip("+~").partition("=")[0]

    # the last one holds for Hydra too, and a plus before it changes nothing
    named = next((override.lstrip("+") for override in reversed(overrides) if key(override) in ("resume", "rerun")), "")
    if not named or named.endswith("=null"):
        return []
    kind, folder = key(named), Path(value_of(named))
    if kind == "resume" and not says_how_it_was_started(folder):  # it will be refused
        return []
    if kind == "rerun" and not (value_of(named) and folder.is_dir()):
        raise DataError(f"{named}: there is no such folder; it must be that of a run, such as rerun=outputs/a")

    def place(override: str) -> str:
        return key(override).rpartition("@")[2]

    given = {key(override) for override in overrides} | {"ckpt_path", "resume"}
    chosen = {
        place(override) for override in overrides if "." not in key(override)
    }  # what is chosen has other settings
    started = _started_with(folder, named)
    check_of_folder(started, named)
    earlier = [o for o in started if key(o) not in given and not ("." in key(o) and place(o).split(".")[0] in chosen)]
    if kind == "resume" and not (folder / "checkpoints" / "last.ckpt").is_file():  # it begins where that one began
        begun = {key(override): value_of(override) for override in started}
        if "resume" in begun:
            earlier.append(f"ckpt_path={quoted(str(Path(begun['resume']) / 'checkpoints' / 'last.ckpt'))}")
        elif "ckpt_path" in begun:
            earlier.append(f"ckpt_path={quoted(begun['ckpt_path'])}")
    return earlier


def value_of(override: str) -> str:
    """The value of an override as Hydra reads it: without quotes and escapes.

    Example:
        >>> value_of(r"resume='it\\'s'")
        "it's"
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return str(OverridesParser.create().parse_override(override).value())
    except HydraException:  # Hydra itself will say what is wrong
        return override.partition("=")[2]


def _started_with(folder: Path, named: str) -> list[str]:
    import yaml

    try:
        kept = folder / ".hydra" / "overrides.yaml"
        if kept.is_file():
            started: Any = yaml.safe_load(kept.read_text(encoding="utf-8"))
        else:
            started = json.loads((folder / "results.json").read_text(encoding="utf-8"))["overrides"]
        if not isinstance(started, list):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(
            f"{named}: there is no whole .hydra/overrides.yaml or results.json that says how it was run"
        ) from error
    return [str(override) for override in started]


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration that these overrides give, as plain containers.

    Raises:
        SettingError: one line for whatever Hydra finds wrong with them.
    """
    return compose_as_written(overrides)[0]


def compose_as_written(overrides: Sequence[str]) -> tuple[dict[str, Any], DictConfig]:
    """The same, and beside it the configuration before what refers to other keys (``${seed}``) is filled in.

    Raises:
        SettingError: one line for whatever Hydra finds wrong with them.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    check_names_only(overrides)
    plugin_nodes()
    with initialize_config_module("regtorch.conf", version_base="1.3"):
        try:
            written = hydra_compose("train", list(overrides))
            return OmegaConf.to_container(written, resolve=True), written  # type: ignore[return-value]
        except (HydraException, OmegaConfBaseException, ValueError, KeyError, TypeError) as error:
            wrong: Exception = error
    raise SettingError(one_line(wrong, overrides)) from wrong


def check_readable(overrides: Sequence[str]) -> None:
    """Refuse what is no override.

    Raises:
        SettingError: an override that Hydra cannot read.

    Example:
        >>> check_readable(["seed=1,"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.SettingError: seed=1, cannot be read: ...
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException as error:
            raise SettingError(f"{override} cannot be read: it must be KEY=VALUE ({_flat(str(error))})") from error


def points(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Sets of overrides that together use every value of a sweep: the first values, then each other one alone.

    Raises:
        SettingError: an override that Hydra cannot read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
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
    """Hydra's explanation as one line that names the key, the value and what would be right."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import InterpolationResolutionError

    text = str(error)
    if isinstance(error, InterpolationResolutionError) and error.full_key:
        return f"{error.full_key}: {_flat(text)}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = [name for name in error.options or () if name != "__init__"]
        given = next(
            (o for o in overrides if o.split("=")[0].split("@")[0] == group and o.endswith(f"={option}")),
            f"{group}={option}",
        )
        return f"{given}: there is no such option{near(option, options)}"
    study = next((o for o in overrides if o.startswith("study=")), None)
    if study and "study" in text:
        return f"{study}: a study is run by scripts/compare.py {study} (regtorch-compare {study})"
    missing = re.search(r"Could not (?:override|delete from config|append to config)[^']*'([^']+)'", text)
    if missing:
        key = missing.group(1).split("=")[0].rstrip(".")
        given = next((o for o in overrides if o.lstrip("+~").split("=")[0] == key), key)
        if key == "schedule":
            value = given.partition("=")[2]
            return f"{given} does not say of what: write schedule@penalty_schedule={value} or schedule@dropout_schedule={value}"
        chosen = [o for o in overrides if "." not in o.split("=")[0] and o is not given]
        return f"{given}: there is no such key{near_key(key, chosen)}"
    unread = getattr(error, "override", None)
    if "Config group override" in text:
        unread = next((override for override in overrides if override.endswith(("=null", "="))), None)
    return f"{unread}: {_flat(text)}" if unread and unread not in text else _flat(text)


def _flat(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    return "; ".join(line for line in lines if not line.startswith(("full_key", "object_type", "reference_type")))


def near_key(key: str, chosen: Sequence[str]) -> str:
    """What would be right instead of a key that is not there, given the options that were chosen."""
    parent, _, last = key.rpartition(".")
    node: Any = compose(chosen)
    for part in parent.split(".") if parent else []:
        node = node.get(part) if isinstance(node, dict) else None
    has_its_own = isinstance(node, dict) and node.get("name") != "none" and "drop_prob" not in node
    if last in _PROBABILITY_WORDS and not (parent and has_its_own):
        place = f"{parent}." if parent else ""
        return f"; say {place}drop_prob (probability to drop a unit) or {place}keep_prob (to keep it), which {last} leaves open"
    if isinstance(node, dict) and node.get("name") == "none":
        options = sorted(
            p.stem for p in (_CONF / parent).glob("*.yaml") if f"\n{last}:" in p.read_text(encoding="utf-8")
        )
        if options:
            return f" in {parent}=none; take {' or '.join(f'{parent}={option}' for option in options)}"
    return near(last, [str(k) for k in node if k != "name"]) if isinstance(node, dict) else ""
