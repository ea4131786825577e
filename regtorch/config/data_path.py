"""Paths of a run that was started in another working directory, such as a relative ``data.path``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.system.untrusted import load_yaml


def path_of_run(folder: Path, path: object) -> object:
    """Return a path of a run's configuration, usable from the current working directory.

    A relative path is looked up in the folder where the run was started, then at the same position relative to the run's
    folder (both may have been moved together). A path that exists in neither is returned unchanged.

    Args:
        folder: the run's folder.
        path: the path in the run's configuration.
    """
    return path_in(_started_in(folder), path)


def path_in(places: Sequence[Path], path: object) -> object:
    """Return a path, usable from the current working directory, that is relative to the first of these folders that has it."""
    if not isinstance(path, str) or not path or Path(os.path.expanduser(path)).is_absolute():  # noqa: PTH111, no such user is no error
        return path
    for started in places:
        if os.path.exists(started / path):  # noqa: PTH110, a name that cannot be is no error
            return path if started == Path.cwd() else str(started / path)
    return path


def moved_path(folder: Path) -> str | None:
    """Return a run's ``data.path`` from the current working directory; None if the configured path is still valid."""
    config = _kept(folder, "config.yaml")
    node = config.get("data")
    path = node.get("path") if isinstance(node, dict) else None
    here = path_of_run(folder, path)
    return None if here == path else str(here)


def sweep_started_in(folder: Path, begun: Mapping[str, str]) -> list[Path]:
    """Return the working directory of a sweep, and where it would be if it was moved along with the sweep's folder.

    Args:
        folder: the sweep's folder.
        begun: ``started_in``, and its ``folder`` at that time; without them they are those of its first run.
    """
    if "started_in" in begun and "folder" in begun:
        return _moved_together(begun["started_in"], begun["folder"], folder)
    points = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    return next((found for path in points if (found := _started_in(path))), [])


def _started_in(folder: Path) -> list[Path]:
    """Return the working directory of the run, and where it would be if it was moved along with the run's folder."""
    kept = _kept(folder, "hydra.yaml")
    inner = kept.get("hydra", kept)
    runtime = inner.get("runtime") if isinstance(inner, dict) else None
    there, then = (str(runtime.get(key)) if isinstance(runtime, dict) else "" for key in ("cwd", "output_dir"))
    return _moved_together(there, then, folder)


def _moved_together(there: str, then: str, folder: Path) -> list[Path]:
    if not all(Path(path).is_absolute() for path in (there, then)):
        return []
    moved = os.path.normpath(folder.absolute() / os.path.relpath(there, then))
    return [Path(there), Path(moved)]


def _kept(folder: Path, name: str) -> dict[str, Any]:
    """Read a file of a run's configuration; empty if it cannot be read."""
    try:
        content = load_yaml(folder / ".hydra" / name)
    except (DataError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
