"""Overrides that are refused, so that a configuration, even from an untrusted folder, cannot run foreign code.

Components are named by their registered names. Hydra would instantiate any import path in ``_target_``, and its node
``hydra`` contains log handlers and callbacks by import path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.config.interpolation import runs_resolver
from regtorch.errors import DataError, SettingError
from regtorch.printable import shortened

#: Hydra's settings that an untrusted folder may contain: the launcher and its resources
_HARMLESS = (
    *("hydra/launcher", "hydra.launcher.n_jobs", "hydra.launcher.partition", "hydra.launcher.timeout_min"),
    *("hydra.launcher.cpus_per_task", "hydra.launcher.gpus_per_node", "hydra.launcher.mem_gb"),
    *("hydra.launcher.nodes", "hydra.launcher.tasks_per_node", "hydra.launcher.array_parallelism"),
    *("hydra.launcher.ray.remote.num_cpus", "hydra.launcher.ray.remote.num_gpus"),
)
#: keys whose values are paths of checkpoints, which are read without executing their content
_CHECKPOINTS = ("ckpt_path", "resume")
#: files that are opened for writing in a folder; other files are replaced
_WRITTEN = (".lock", "train.log")
#: for all overrides of a folder together, because parsing time grows with the square of the number of brackets
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
    """Refuse overrides stored in an untrusted folder that are more than settings of a run.

    Args:
        overrides: the overrides stored in the folder.
        named: the override that names the folder, for messages.

    Raises:
        DataError: a flag, an import path, a resolver, a Hydra setting that may run code, or an invalid override.
    """
    together = "".join(overrides)
    if len(together) > _MOST_CHARACTERS or sum(map(together.count, "[{(,")) > _MOST_SIGNS:
        raise DataError(f"{named}: the overrides stored there are too long; the folder may be untrusted")
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, package = key.partition("@")
        hydras = group.partition(".")[0].partition("/")[0] == "hydra" and key not in _HARMLESS
        elsewhere = "hydra" in package or "_global_" in package or ".." in key or ("/" in key and key not in _HARMLESS)
        # an option of a group is a file: a path could lead to a file of the untrusted folder
        file = "." not in group and group not in _CHECKPOINTS and any(sign in value for sign in ("/", "\\", "..", "$"))
        odd = hydras or elsewhere or file or "$" in key or override.startswith("-") or "_target_" in override
        # a resolver reads the environment or decodes text: its value would end up in files and messages
        if odd or any(map(runs_resolver, _texts(_value(override, named)))):
            raise DataError(
                f"{named}: the override {shortened(override, 200)} stored there is not allowed; the folder may be untrusted"
            )


def check_folder_files(folder: Path, named: str) -> None:
    """Refuse a folder in which a file to be written is a link, which may lead to one of the user's own files.

    Raises:
        DataError: names the file.
    """
    for name in _WRITTEN:
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise DataError(
                f"{named}: {name} there is a link or not a regular file, and would be written to: remove it"
            )


def _value(override: str, named: str) -> Any:
    """Parse the value of an override as Hydra does.

    Raises:
        DataError: it cannot be parsed.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        return OverridesParser.create().parse_override(override).value()
    except Exception as error:  # Hydra and its grammar raise various exceptions
        raise DataError(
            f"{named}: .hydra/overrides.yaml, results.json or sweep.json there has {shortened(override, 200)}, which cannot "
            "be read: it must be KEY=VALUE"
        ) from error


def _texts(value: Any) -> Iterator[str]:
    """Yield all strings in a value, at any depth."""
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
        yield str(vars(value))  # a sweep, or a quoted string
