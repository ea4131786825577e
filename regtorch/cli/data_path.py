"""Paths of a run that was started in another folder, such as its ``data.path``, which may be relative to that one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.untrusted import load_yaml


def path_of_run(folder: Path, path: object) -> object:
    """A path of a run's configuration as it holds in the current folder.

    A relative one is looked for where the run was started, then at the same place relative to the run's own folder (both may
    have been moved together). What is in neither place stays as it is.

    Args:
        folder: of the run.
        path: as the run's configuration has it.
    """
    return path_in(_started_in(folder), path)


def path_in(places: Sequence[Path], path: object) -> object:
    """A path as it holds in the current folder, if it is relative to the first of some folders that has it."""
    if not isinstance(path, str) or not path or Path(os.path.expanduser(path)).is_absolute():  # noqa: PTH111, no such user is no error
        return path
    for started in places:
        if os.path.exists(started / path):  # noqa: PTH110, a name that cannot be is no error
            return path if started == Path.cwd() else str(started / path)
    return path


def moved_path(folder: Path) -> str | None:
    """A run's ``data.path`` in the current folder, if it is another than its configuration has; None if it holds as it is."""
    config = _kept(folder, "config.yaml")
    node = config.get("data")
    path = node.get("path") if isinstance(node, dict) else None
    here = path_of_run(folder, path)
    return None if here == path else str(here)


def sweep_started_in(folder: Path, begun: Mapping[str, str]) -> list[Path]:
    """Folders that a sweep was, or would now be, started in.

    Args:
        folder: of the sweep.
        begun: ``started_in``, and its ``folder`` at that time; without them its first run says it.
    """
    if "started_in" in begun and "folder" in begun:
        return _moved_together(begun["started_in"], begun["folder"], folder)
    points = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    return next((found for path in points if (found := _started_in(path))), [])


def _started_in(folder: Path) -> list[Path]:
    """Folders that the run was, or would now be, started in."""
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
    """A file of a run's configuration; empty if it cannot be read."""
    try:
        content = load_yaml(folder / ".hydra" / name)
    except (DataError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
