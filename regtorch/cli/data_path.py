"""Paths of a run that was started in another folder, such as its ``data.path``, which may be relative to that one."""

from __future__ import annotations

import os
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
    if not isinstance(path, str) or not path or Path(os.path.expanduser(path)).is_absolute():  # noqa: PTH111, no such user is no error
        return path
    for started in _started_in(folder):
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


def _started_in(folder: Path) -> list[Path]:
    """Folders that the run was, or would now be, started in."""
    kept = _kept(folder, "hydra.yaml")
    inner = kept.get("hydra", kept)
    runtime = inner.get("runtime") if isinstance(inner, dict) else None
    paths = [str(runtime.get(key)) for key in ("cwd", "output_dir")] if isinstance(runtime, dict) else [""]
    if not all(Path(path).is_absolute() for path in paths):
        return []
    there, then = paths
    moved = os.path.normpath(folder.absolute() / os.path.relpath(there, then))
    return [Path(there), Path(moved)]


def _kept(folder: Path, name: str) -> dict[str, Any]:
    """A file of a run's configuration; empty if it cannot be read."""
    try:
        content = load_yaml(folder / ".hydra" / name)
    except (DataError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
