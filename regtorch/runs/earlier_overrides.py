"""The overrides of an earlier run, which ``resume=`` and ``rerun=`` use again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regtorch.config.command_line import value_of
from regtorch.config.data_path import moved_path, path_of_run
from regtorch.config.trust import check_folder_files, check_folder_overrides
from regtorch.errors import DataError
from regtorch.runs.resume import has_overrides
from regtorch.study.results_file import read_results
from regtorch.system.quoting import quoted
from regtorch.system.untrusted import load_yaml


def earlier_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the run that ``resume=<folder>`` or ``rerun=<folder>`` names, without those given again.

    Raises:
        DataError: the folder of ``rerun`` does not contain them.
    """

    def key(override: str) -> str:
        return override.lstrip("+~").partition("=")[0]

    # the last one wins in Hydra too, and a plus sign makes no difference
    named = next((override.lstrip("+") for override in reversed(overrides) if key(override) in ("resume", "rerun")), "")
    if not named or named.endswith("=null"):
        return []
    kind, folder = key(named), Path(value_of(named))
    if kind == "resume" and not has_overrides(folder):  # check_resume refuses it later
        return []
    if kind == "rerun" and not (value_of(named) and folder.is_dir()):
        raise DataError(f"{named}: there is no such folder; it must be that of a run, such as rerun=outputs/a")

    def place(override: str) -> str:
        return key(override).rpartition("@")[2]

    # a permission given once, such as data.changed, is not inherited
    given = {key(override) for override in overrides} | {"ckpt_path", "resume", "data.changed"}
    chosen = {
        place(override) for override in overrides if "." not in key(override)
    }  # settings of a replaced option no longer apply
    started = _stored_overrides(folder, named)
    check_folder_overrides(started, named)
    if kind == "resume":
        check_folder_files(folder, named)
    earlier = [o for o in started if key(o) not in given and not ("." in key(o) and place(o).split(".")[0] in chosen)]
    here = None if {"data", "data.path", "experiment"} & given else moved_path(folder)
    if here is not None:  # the run was started in another working directory
        earlier = [*(o for o in earlier if key(o) != "data.path"), f"data.path={quoted(here)}"]
    if kind == "resume" and not (folder / "checkpoints" / "last.ckpt").is_file():  # use its initial checkpoint again
        initial = {key(override): value_of(override) for override in started}
        if "resume" in initial:
            initial["ckpt_path"] = str(Path(initial["resume"]) / "checkpoints" / "last.ckpt")
        if "ckpt_path" in initial:
            earlier.append(f"ckpt_path={quoted(str(path_of_run(folder, initial['ckpt_path'])))}")
    return earlier


def _stored_overrides(folder: Path, named: str) -> list[str]:
    """Read the overrides that a run's folder has stored.

    Raises:
        DataError: there are none, or they are not a list of strings.
    """
    kept = folder / ".hydra" / "overrides.yaml"
    try:
        started: Any = load_yaml(kept) if kept.is_file() else read_results(folder)["overrides"]
    except (DataError, KeyError) as error:
        why = f" ({error})" if kept.is_file() else ""
        raise DataError(
            f"{named}: there is no complete .hydra/overrides.yaml or results.json with the run's overrides{why}"
        ) from error
    if not isinstance(started, list) or not all(isinstance(override, str) for override in started):
        raise DataError(f"{named}: .hydra/overrides.yaml is damaged: it must be a list of KEY=VALUE")
    return list(started)
