"""What an override may not say, so that a configuration, also one from a stranger's folder, runs no code but ours.

Components are named by their registered names. Hydra itself would make whatever ``_target_`` names, and its own node
``hydra`` holds log handlers and callbacks by import path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.cli.interpolation import runs_resolver
from regtorch.errors import DataError, SettingError
from regtorch.printable import shortened

#: of Hydra's own settings, those that a folder may bring along: which launcher, and how much of everything
_HARMLESS = (
    *("hydra/launcher", "hydra.launcher.n_jobs", "hydra.launcher.partition", "hydra.launcher.timeout_min"),
    *("hydra.launcher.cpus_per_task", "hydra.launcher.gpus_per_node", "hydra.launcher.mem_gb"),
    *("hydra.launcher.nodes", "hydra.launcher.tasks_per_node", "hydra.launcher.array_parallelism"),
    *("hydra.launcher.ray.remote.num_cpus", "hydra.launcher.ray.remote.num_gpus"),
)
#: keys whose values are paths: of checkpoints, which are read without running anything
_CHECKPOINTS = ("ckpt_path", "resume")
#: what is opened for writing in a folder; other files are replaced
_WRITTEN = (".lock", "train.log")
#: of all overrides of a folder together: reading lists and brackets takes long, by the square of their number
_MOST_SIGNS, _MOST_CHARACTERS = 1_000, 200_000


def check_names_only(overrides: Sequence[str]) -> None:
    """Refuse import paths.

    Raises:
        SettingError: an override with ``_target_``.

    Example:
        >>> check_names_only(["regularizer=l2", "model._target_=os.system"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.SettingError: model._target_=os.system is not allowed: components are named by their registered names...
    """
    for override in overrides:
        if "_target_" in override:
            raise SettingError(
                f"{override} is not allowed: components are named by their registered names, as in regularizer=l2"
            )


def check_folder_overrides(overrides: Sequence[str], named: str) -> None:
    """Refuse what a folder of runs says beyond its runs' settings.

    Args:
        overrides: as the folder has kept them.
        named: how the folder is named on the command line.

    Raises:
        DataError: a flag, an import path, a resolver, a setting of Hydra's own that may run something, or what is no override.
    """
    together = "".join(overrides)
    if len(together) > _MOST_CHARACTERS or sum(map(together.count, "[{(,")) > _MOST_SIGNS:
        raise DataError(f"{named}: what is kept there is too long to have been typed: it may come from a stranger")
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, package = key.partition("@")
        hydras = group.partition(".")[0].partition("/")[0] == "hydra" and key not in _HARMLESS
        elsewhere = "hydra" in package or "_global_" in package or ".." in key or ("/" in key and key not in _HARMLESS)
        # an option of a group is a file: one that a path leads to may be the stranger's own
        file = "." not in group and group not in _CHECKPOINTS and any(sign in value for sign in ("/", "\\", "..", "$"))
        odd = hydras or elsewhere or file or "$" in key or override.startswith("-") or "_target_" in override
        # a resolver reads the environment, or decodes: its value would end in files and messages
        if odd or any(map(runs_resolver, _texts(_value(override, named)))):
            raise DataError(
                f"{named}: what is kept there says {shortened(override, 200)}, which no run says: it may come from a stranger"
            )


def check_folder_files(folder: Path, named: str) -> None:
    """Refuse a folder in which what is written to leads to another file, or is none: a link to a file of the user's own.

    Raises:
        DataError: it names the file.
    """
    for name in _WRITTEN:
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise DataError(
                f"{named}: {name} there is no file but a link or the like, and would be written to: remove it"
            )


def _value(override: str, named: str) -> Any:
    """The value of an override as Hydra reads it.

    Raises:
        DataError: it cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_override(override).value()
    except Exception as error:  # of Hydra's and its grammar's own kinds
        raise DataError(
            f"{named}: .hydra/overrides.yaml, results.json or sweep.json there says {shortened(override, 200)}, which cannot "
            "be read: it must be KEY=VALUE"
        ) from error


def _texts(value: Any) -> Iterator[str]:
    """All texts of a value, whatever it is made of."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, (bool, int, float)):
        yield str(vars(value))  # a sweep, or a text in quotes
