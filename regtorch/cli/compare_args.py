"""Arguments of ``regtorch-compare``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regtorch.conf
from regtorch.config.command_line import check_paths
from regtorch.errors import DataError, SettingError
from regtorch.registry import near
from regtorch.settings import SEED, Range
from regtorch.study.metrics import Metric, metrics_named

_CONF = Path(regtorch.conf.__file__).parent
_OWN_KEYS = ("experiment", "seeds", "study", "out", "metrics")
_MOST_SEEDS = 10_000
_USUAL_SEEDS = 5

_NUMBER_OF_SEEDS = Range(
    f"an integer from 1 to {_MOST_SEEDS} (seeds 1 to this) or a list of different seeds, such as [3,7]",
    lambda v: isinstance(v, int) and 1 <= v <= _MOST_SEEDS,
)


@dataclass(frozen=True)
class Request:
    """Recipes to train over several seeds, or folders of finished runs."""

    experiments: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    metrics: tuple[Metric, ...] | None = None
    out: Path | None = None
    name: str = field(default="")  # of a study in conf/study


def parse(arguments: Sequence[str]) -> Request:
    """Parse a command line of folders and KEY=VALUE.

    Raises:
        RegtorchError: the first error.

    Example:
        >>> request = parse(["experiment=digits_standard,digits_custom", "seeds=3", "trainer.max_epochs=5"])
        >>> request.experiments, request.seeds, request.overrides
        (('digits_standard', 'digits_custom'), (1, 2, 3), ('trainer.max_epochs=5',))
    """
    given, overrides, folders = _sorted(arguments)
    metrics = tuple(metrics_named(_list_of("metrics", given["metrics"]))) if "metrics" in given else None
    out = _out(given["out"]) if "out" in given else None
    trained = [f"{key}={given[key]}" for key in ("experiment", "study", "seeds") if key in given] + overrides
    if folders:
        if trained:
            raise SettingError(
                f"{trained[0]} is not allowed: {folders[0]} is a folder; give folders of finished runs, or what to train"
            )
        return Request(folders=tuple(folders), metrics=metrics, out=out)
    check_paths(overrides)
    for override in overrides:
        _check_override(override)
    study = _study_of(given, trained)
    seeds = _seeds(_seed_text(given["seeds"]) if "seeds" in given else study["seeds"])
    experiments = tuple(study["experiments"])
    for name in experiments:
        if name not in options("experiment"):
            raise SettingError(f"experiment={name}: there is no such experiment{near(name, options('experiment'))}")
        if experiments.count(name) > 1:
            raise SettingError(f"experiment={name} is not allowed {experiments.count(name)} times: name it once")
    return Request(experiments, seeds, tuple(overrides), (), metrics, out, given.get("study", ""))


def _sorted(arguments: Sequence[str]) -> tuple[dict[str, str], list[str], list[Path]]:
    """Sort the arguments into own keys, overrides of the runs, and folders."""
    given: dict[str, str] = {}
    overrides, folders = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if _is_folder(argument):
            folders.append(Path(argument))
        elif argument.startswith("-"):
            raise SettingError(
                f"{argument}: there is no such flag; write --help or KEY=VALUE, or name folders of finished runs"
            )
        elif not equals or "/" in key:
            raise DataError(f"{argument}: there is no such folder; name folders of finished runs, or write KEY=VALUE")
        elif key not in _OWN_KEYS:
            overrides.append(argument)
        elif key in given:
            raise SettingError(f"{key}={value} is not allowed: {key}={given[key]} is given too; give one of them")
        else:
            given[key] = value
    return given, overrides, folders


def _study_of(given: Mapping[str, str], trained: Sequence[str]) -> Mapping[str, Any]:
    """The experiments and seeds to train, of a named study or of the command line."""
    if "study" in given and "experiment" in given:
        raise SettingError(
            f"study={given['study']} and experiment={given['experiment']} are both given: give one of them"
        )
    if "study" in given:
        return _study(given["study"])
    if "experiment" in given:
        return {"experiments": _list_of("experiment", given["experiment"]), "seeds": _USUAL_SEEDS}
    raise SettingError(
        f"{trained[0] + ': ' if trained else ''}there is nothing to compare: give experiment=NAME,NAME seeds=5, "
        "study=NAME, or folders of finished runs"
    )


def _is_folder(argument: str) -> bool:
    try:
        return Path(argument).is_dir()
    except OSError:  # longer than a file name may be
        return False


def _check_override(override: str) -> None:
    """Refuse keys that a study sets itself."""
    key = override.lstrip("+~").partition("=")[0]
    instead = {
        "seed": "write seeds=[3,7], or seeds=5 for seeds 1 to 5",
        "resume": "a study trains each of its runs from the start",
        "hydra": "write out=FOLDER for the study's folder",
    }
    if key.split(".")[0] in instead:
        raise SettingError(f"{override} is not allowed in a study: {instead[key.split('.')[0]]}")


def _list_of(key: str, text: str) -> list[str]:
    parts = [part.strip() for part in re.sub(r"^\[(.*)\]$", r"\1", text.strip()).split(",")]
    if not all(parts):
        raise SettingError(f"{key}={text} is not allowed: it must be a name, or several names separated by commas")
    return parts


def _seed_text(text: str) -> Any:
    """Parse seeds: ``5`` is a number of seeds; ``[3,7]``, ``3,7`` and ``[5]`` are lists of seeds."""
    listed = text.startswith("[") or "," in text
    try:
        return [int(part) for part in text.strip("[]").split(",")] if listed else int(text)
    except ValueError:
        with suppress(ValueError):
            return float(text)
        return text


def _seeds(given: Any) -> tuple[int, ...]:
    if isinstance(given, list):
        if not given or len(set(map(str, given))) < len(given):
            raise SettingError(f"seeds={given} is not allowed: it must be {_NUMBER_OF_SEEDS.words}")
        for seed in given:
            SEED.check("seeds", seed)
        return tuple(given)
    _NUMBER_OF_SEEDS.check("seeds", given)
    return tuple(range(1, given + 1))


def _out(text: str) -> Path:
    out = Path(text)
    if not text or (out.exists() and not out.is_dir()):
        raise SettingError(f"out={text} is not allowed: it must be a folder, or the name of a new one")
    return out


def options(group: str) -> list[str]:
    """Return the options of a config group."""
    return sorted(path.stem for path in (_CONF / group).glob("*.yaml"))


def _study(name: str) -> dict[str, Any]:
    """Read a study's file."""
    if name not in options("study"):
        raise SettingError(f"study={name}: there is no such study{near(name, options('study'))}")
    import yaml

    study = yaml.safe_load((_CONF / "study" / f"{name}.yaml").read_text(encoding="utf-8"))
    if (
        not isinstance(study, dict)
        or set(study) != {"experiments", "seeds"}
        or not isinstance(study["experiments"], list)
    ):
        raise SettingError(f"study={name}: its file must hold experiments (a list) and seeds, and nothing else")
    return study
