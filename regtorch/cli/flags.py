"""Command-line flags of ``regtorch-train``: Hydra's flags, which work as in Hydra or are refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regtorch.errors import SettingError
from regtorch.system.quoting import quoted

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
#: flags that choose the command; at most one may be given
_COMMANDS = ("--run", "--multirun", "--cfg", "--info", "--shell-completion", "--hydra-help")
_REFUSED = {
    "--experimental-rerun": "it would execute the content of its file; to train a run again: rerun=FOLDER",
    "--config-path": "the main configuration is fixed; to add your own recipes and options: --config-dir=FOLDER",
    "--config-name": "the main configuration is fixed; to use your own recipe: --config-dir=FOLDER experiment=NAME",
}


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Args:
        overrides: KEY=VALUE, in order; ``--config-dir`` is converted to the equivalent Hydra override.
        command: the flag that chooses the command; ``--run`` by default.
        for_hydra: flags to pass on to Hydra.
    """

    overrides: tuple[str, ...]
    command: str
    for_hydra: tuple[str, ...]

    @property
    def needs_overrides(self) -> bool:
        """Whether the command uses the configuration."""
        return self.command not in ("--hydra-help", "--shell-completion")


def parsed(arguments: Sequence[str]) -> CommandLine:
    """Parse a command line.

    Raises:
        SettingError: an unknown flag, a flag without its value, or two flags that exclude each other.

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
        raise SettingError(f"{other} is not for -m: a sweep takes only KEY=VALUE; give one of the two flags")
    if len(commands) > 1:
        raise SettingError(f"{' and '.join(commands)} exclude each other; give one of them")
    command = commands[0] if commands else "--run"
    for flag in ("--package", "--resolve"):
        if flag in given and command != "--cfg":
            raise SettingError(f"{flag} is not allowed without --cfg, which prints the configuration")
    if (folder := given.get("--config-dir")) is not None:
        overrides = [_search_path(folder, overrides), *(o for o in overrides if not _is_search_path(o))]
    passed_on = ("--cfg", "--info", "--package", "--resolve", "--shell-completion", "--hydra-help")
    for_hydra = [word for flag in passed_on if flag in given for word in (flag, given[flag]) if word is not None]
    return CommandLine(tuple(overrides), command, tuple(for_hydra))


def _is_search_path(override: str) -> bool:
    return override.lstrip("+").startswith("hydra.searchpath=")


def _search_path(folder: str, overrides: Sequence[str]) -> str:
    """Convert ``--config-dir`` to the equivalent Hydra override, which sweeps and their processes take too."""
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
    from regtorch.config.mistyped import key_for

    word, equals, value = argument.lstrip("-").partition("=")
    if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
        argument, value = f"{argument} {following[0]}", following[0]
    if close := difflib.get_close_matches(argument.partition("=")[0], (*_ALONE, *_WITH_VALUE), n=1, cutoff=0.8):
        return f"{argument}: there is no such flag; did you mean {close[0]}?"
    if sweeps and not equals:  # the suggestion shows KEY=VALUE
        argument = f"{argument} is not for -m"
    meant = key_for(word.replace("-", "_"), value)
    as_in = f", as in {meant}" if meant else " without dashes; --help lists them"
    return f"{argument}: there is no such flag; settings are KEY=VALUE{as_in}"
