"""Flags of ``regtorch-train``: Hydra's own, which mean what Hydra says or are refused; and words that are no override."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regtorch.errors import SettingError
from regtorch.overrides import quoted

_SHORT = {
    "-h": "--help", "-c": "--cfg", "-p": "--package", "-r": "--run", "-m": "--multirun", "-i": "--info",
    "-sc": "--shell-completion", "-cp": "--config-path", "-cn": "--config-name", "-cd": "--config-dir",
}  # fmt: skip
_ALONE = ("--help", "--version", "--hydra-help", "--shell-completion", "--run", "--multirun", "--resolve")
_WITH_VALUE = ("--cfg", "--package", "--info", "--config-path", "--config-name", "--config-dir", "--experimental-rerun")
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
#: flags that say what is to be done; one at a time
_COMMANDS = ("--run", "--multirun", "--cfg", "--info", "--shell-completion", "--hydra-help")
_REFUSED = {
    "--experimental-rerun": "it would run whatever its file holds; rerun=FOLDER trains a run once more",
    "--config-path": "the configuration is regtorch's own; --config-dir=FOLDER adds recipes and options of yours",
    "--config-name": "the configuration is regtorch's own; --config-dir=FOLDER experiment=NAME takes a recipe of yours",
}


@dataclass(frozen=True)
class CommandLine:
    """What was typed, in order.

    Args:
        overrides: KEY=VALUE; ``--config-dir`` is among them, as the setting of Hydra's that it stands for.
        command: the flag that says what to do; ``--run`` without one.
        for_hydra: flags to hand on to Hydra.
    """

    overrides: tuple[str, ...]
    command: str
    for_hydra: tuple[str, ...]

    @property
    def needs_overrides(self) -> bool:
        """Whether the configuration matters for what is asked."""
        return self.command not in ("--hydra-help", "--shell-completion")


def parsed(arguments: Sequence[str]) -> CommandLine:
    """Read a command line.

    Raises:
        SettingError: a flag that there is not, one without its value, or two that exclude each other.

    Example:
        >>> parsed(["-m", "seed=1,2"])
        CommandLine(overrides=('seed=1,2',), command='--multirun', for_hydra=())
        >>> parsed(["--cfg", "hydra", "-p", "hydra.run"]).for_hydra
        ('--cfg', 'hydra', '--package', 'hydra.run')
        >>> parsed(["--epochs", "5"])
        Traceback (most recent call last):
        regtorch.errors.SettingError: --epochs 5: there is no such flag; settings are KEY=VALUE, as in trainer.max_epochs=5
    """
    overrides: list[str] = []
    given: dict[str, str | None] = {}
    rest = iter(enumerate(arguments))
    for index, argument in rest:
        if not argument.startswith("-") or argument == "-":
            overrides.append(argument)
            continue
        written, equals, value = argument.partition("=")
        flag = _SHORT.get(written, written)
        if flag not in (*_ALONE, *_WITH_VALUE):
            sweeps = any(other in ("-m", "--multirun") for other in arguments)
            raise SettingError(_no_such_flag(argument, arguments[index + 1 :], sweeps))
        if flag in given:
            raise SettingError(f"{argument} is given twice; give it once")
        if flag in _ALONE:
            if equals:
                raise SettingError(f"{argument} is not allowed: {written} takes no value")
            given[flag] = None
        else:
            given[flag] = value if equals else _value_of(flag, arguments, index, rest)
    return _checked(overrides, given)


def _value_of(flag: str, arguments: Sequence[str], index: int, rest: Iterator[tuple[int, str]]) -> str:
    following = arguments[index + 1] if index + 1 < len(arguments) else None
    if flag == "--info" and following not in _CHOICES["--info"]:
        return "all"
    if following is None or following.startswith("-") or (flag not in ("--config-dir",) and "=" in following):
        one_of = f", one of {', '.join(_CHOICES[flag])}" if flag in _CHOICES else ""
        raise SettingError(f"{flag} needs a value{one_of}")
    next(rest)
    return following


def _checked(overrides: list[str], given: dict[str, str | None]) -> CommandLine:
    for flag, value in given.items():
        if flag in _CHOICES and value not in _CHOICES[flag]:
            raise SettingError(f"{flag} {value} is not allowed: it must be one of {', '.join(_CHOICES[flag])}")
        if flag in _REFUSED and (flag, value) not in (("--config-name", "train"), ("--config-name", "train.yaml")):
            raise SettingError(f"{flag} {value} is not allowed: {_REFUSED[flag]}")
    commands = [flag for flag in given if flag in _COMMANDS]
    if len(commands) > 1 and "--multirun" in commands:
        other = next(flag for flag in commands if flag != "--multirun")
        raise SettingError(f"{other} is not for -m: a sweep is described by KEY=VALUE alone; give one of the two flags")
    if len(commands) > 1:
        raise SettingError(f"{' and '.join(commands)} exclude each other; give one of them")
    command = commands[0] if commands else "--run"
    for flag in ("--package", "--resolve"):
        if flag in given and command != "--cfg":
            raise SettingError(f"{flag} is not allowed without --cfg, which prints the configuration")
    if (folder := given.get("--config-dir")) is not None:
        overrides = [_search_path(folder, overrides), *(o for o in overrides if not _is_search_path(o))]
    handed_on = ("--cfg", "--info", "--package", "--resolve", "--shell-completion", "--hydra-help")
    for_hydra = [word for flag in handed_on if flag in given for word in (flag, given[flag]) if word is not None]
    return CommandLine(tuple(overrides), command, tuple(for_hydra))


def _is_search_path(override: str) -> bool:
    return override.lstrip("+").startswith("hydra.searchpath=")


def _search_path(folder: str, overrides: Sequence[str]) -> str:
    """``--config-dir`` as the setting of Hydra's that also a sweep and its processes take."""
    path = Path(folder)
    if not folder or not path.is_dir():
        raise SettingError(
            f"--config-dir {folder} is not allowed: it must be a folder, with experiment/NAME.yaml in it"
        )
    found = [quoted(f"file://{path.absolute()}")]
    for override in filter(_is_search_path, overrides):
        found += [part for part in [override.partition("=")[2].strip().removeprefix("[").removesuffix("]")] if part]
    return f"hydra.searchpath=[{','.join(found)}]"


def _no_such_flag(argument: str, following: Sequence[str], sweeps: bool) -> str:
    from regtorch.cli.mistyped import key_for

    word, equals, value = argument.lstrip("-").partition("=")
    if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
        argument, value = f"{argument} {following[0]}", following[0]
    if close := difflib.get_close_matches(argument.partition("=")[0], (*_ALONE, *_WITH_VALUE), n=1, cutoff=0.8):
        return f"{argument}: there is no such flag; did you mean {close[0]}?"
    if sweeps and not equals:  # KEY=VALUE follows
        argument = f"{argument} is not for -m"
    meant = key_for(word.replace("-", "_"), value)
    as_in = f", as in {meant}" if meant else " without dashes; --help lists them"
    return f"{argument}: there is no such flag; settings are KEY=VALUE{as_in}"
