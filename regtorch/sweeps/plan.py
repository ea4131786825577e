"""The plan of a sweep: its points or its search, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regtorch.config.command_line import check_readable, value_of
from regtorch.config.compose import compose_unresolved
from regtorch.config.data_path import path_in, sweep_started_in
from regtorch.config.search_space import SearchPlan, search_plan
from regtorch.config.trust import check_folder_files, check_folder_overrides, check_names_only
from regtorch.errors import DataError, SettingError
from regtorch.registry import near
from regtorch.settings import COUNT_FROM_TWO, NON_NEGATIVE, Range, one_of
from regtorch.study.leaderboard import ORDERS
from regtorch.sweeps.grid import as_text, grid_points, is_swept
from regtorch.sweeps.launcher import check_launcher
from regtorch.sweeps.successive_halving import rungs
from regtorch.system.quoting import describes_run, is_for_hydra, quoted
from regtorch.system.untrusted import check_fields, load_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: keys that configure the sweep -> their allowed values
_OWN = {
    "sweep.resume": Range("a sweep's folder", lambda v: bool(v)),
    "sweep.by": one_of(*ORDERS),
    "sweep.halving": Range("an integer >= 2; 1/N of the points is kept", COUNT_FROM_TWO.holds),
    "sweep.retry_failed": one_of("true", "false"),
}

_TRIALS = "hparams_search.trials="  # may be increased when a search is resumed

#: fields of ``sweep.json`` that a resumed sweep reads
SWEEP_FIELDS: dict[str, Range] = {
    "overrides": Range("a list of strings", lambda v: isinstance(v, list) and all(isinstance(o, str) for o in v)),
    "seconds": NON_NEGATIVE,
    "status": Range("a string", lambda v: isinstance(v, str)),
    "started_in": Range("a folder", lambda v: isinstance(v, str)),
    "folder": Range("a folder", lambda v: isinstance(v, str)),
}

#: keys whose values are files, possibly relative to the folder where the sweep was started -> a prefix of the value
_FILES = {"data.path": "", "ckpt_path": "", "hparams_search.storage": "sqlite:///"}

#: Hydra's settings that a sweep controls itself -> the reason
_FIXED_BY_SWEEP = {
    "hydra.sweep.subdir": "a point's folder is named by its number",
    "hydra.mode": "-m selects a sweep",
}


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        folder: the sweep's folder; each point has a subfolder named by its number.
        overrides: the overrides that the user typed.
        fixed: the overrides that all points share, usable from the current working directory.
        points: number of a point -> its swept keys and their values; a search adds its trials.
        by: the value that orders the leaderboard.
        epochs: epochs of a complete training.
        halving: 1/halving of the points is kept at each rung; None: all points run to the end.
        search: the search; None for a grid.
        retry_failed: whether failed points are run again.
        places: folders that relative paths refer to, such as where the sweep was started; if empty, the current folder.
        begun: the folder where the sweep was started, and the sweep's folder at that time.
    """

    folder: Path
    overrides: tuple[str, ...]
    fixed: tuple[str, ...]
    points: dict[int, Mapping[str, str]]
    by: str
    epochs: int
    halving: int | None = None
    search: SearchPlan | None = None
    retry_failed: bool = False
    places: tuple[Path, ...] = ()
    begun: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of points when the sweep is complete."""
        return len(self.points) if self.search is None else max(self.search.trials, len(self.points))

    def choices(self, number: int) -> dict[str, str]:
        """Return the choices of one point, without the quotes and escapes of a command line."""
        return {key: as_text(key, value) for key, value in self.points[number].items()}

    def overrides_of(self, number: int) -> tuple[str, ...]:
        """Return the overrides of one point of a grid."""
        return (*self.fixed, *(self.held_here(f"{key}={value}") for key, value in self.points[number].items()))

    def held_here(self, override: str) -> str:
        """Return an override, usable from the current working directory."""
        return _held_here(override, self.places)


def plan(overrides: Sequence[str]) -> Plan:
    """Make the plan of the sweep that a command line describes.

    Raises:
        RegtorchError: ``sweep.resume`` names no sweep, or a sweep over another grid; or a key of the sweep is wrong.
    """
    check_readable(overrides)
    given = {
        key: value_of(f"{key}={value}") if value[:1] in ("'", '"') else value
        for key, _, value in (override.lstrip("+").partition("=") for override in overrides)
    }
    for key in _FIXED_BY_SWEEP.keys() & given.keys():
        raise SettingError(f"{key}={given[key]} is not allowed with -m: {_FIXED_BY_SWEEP[key]}")
    own = _own_keys(given)
    retry_failed = own.pop("sweep.retry_failed", "false") == "true"
    if retry_failed and "sweep.resume" not in own:
        raise SettingError("sweep.retry_failed=true is allowed only for a resumed sweep: give sweep.resume=FOLDER too")
    typed = [o for o in overrides if not o.lstrip("+").startswith(("sweep.", "hydra.sweep.dir="))]
    if "sweep.resume" in own:
        if "hydra.sweep.dir" in given:
            raise SettingError(
                f"hydra.sweep.dir={given['hydra.sweep.dir']} is not allowed with sweep.resume, which names the folder"
            )
        typed, own = _resumed(typed, own)
        check_readable(typed)
        folder = Path(own["sweep.resume"])
    elif "hydra.sweep.dir" in given:
        folder = _new_folder(given["hydra.sweep.dir"], typed)
    else:
        folder = Path("multirun", datetime.now().strftime("%Y-%m-%d/%H-%M-%S-%f"))
    begun = _begun(folder)
    places = sweep_started_in(folder, begun) if "sweep.resume" in own else []
    check_names_only(typed)
    check_launcher(typed)
    swept = [o for o in typed if is_swept(o)]
    fixed = [_held_here(o, places) for o in typed if o not in swept]
    keys = [o.lstrip("+~").partition("=")[0] for o in typed]
    _check_swept(swept, keys)
    config, written = compose_unresolved([o for o in fixed if describes_run(o)])
    fixed += _path_of_data(config, swept, places)
    epochs: int = config["trainer"]["max_epochs"]
    halving = own.get("sweep.halving")
    searched: SearchPlan | None = None
    if "hparams_search" in config:
        if halving is not None:
            raise SettingError("sweep.halving is allowed only for grids: a search prunes with hparams_search.pruner")
        searched = search_plan(config["hparams_search"], swept, keys, _storage_text(written))
    if halving is not None or searched is not None:
        _check_comparable(config["data"], retry_failed)
    points: dict[int, Mapping[str, str]] = {} if searched is not None else dict(enumerate(grid_points(swept)))
    if halving is not None:
        _check_halving(halving, swept, keys, config["trainer"], len(points))
    without_mc = config["mc"]["name"] == "none" and not any(
        o.lstrip("+").startswith(("mc=", "experiment=")) for o in swept
    )
    if own.get("sweep.by", "").startswith("test_mc.") and without_mc:
        raise SettingError(f"sweep.by={own['sweep.by']} is not allowed with mc=none, which measures no test_mc")
    by = own.get("sweep.by", "val.accuracy" if searched is None else searched.objectives[0])
    where = (folder.absolute(), tuple(typed), tuple(fixed))
    return Plan(*where, points, by, epochs, halving, searched, retry_failed, tuple(places), begun)


def _begun(folder: Path) -> dict[str, str]:
    """Return where a sweep was started, and its folder at that time; empty if an older version did not record them."""
    if not (folder / "sweep.json").exists():
        return {"started_in": str(Path.cwd()), "folder": str(folder.absolute())}
    kept = check_fields(load_json(folder / "sweep.json"), SWEEP_FIELDS)
    return {key: kept[key] for key in ("started_in", "folder") if key in kept}


def _held_here(override: str, places: Sequence[Path]) -> str:
    """Return an override for the current folder: a file relative to one of these places gets a path that works here."""
    key = override.lstrip("+").partition("=")[0]
    if not places or key not in _FILES or "${" in override or is_swept(override):
        return override
    value, scheme = value_of(override), _FILES[key]
    path = value.removeprefix(scheme)
    found = path_in(places, path) if value.startswith(scheme) else path
    return override if found == path else f"{key}={quoted(f'{scheme}{found}')}"


def _path_of_data(config: Mapping[str, Any], swept: Sequence[str], places: Sequence[Path]) -> list[str]:
    """Return an override for the ``data.path`` of an experiment or a default that is valid only from another folder."""
    if any(o.lstrip("+").startswith(("data=", "data.path=", "experiment=")) for o in swept):
        return []
    found = path_in(places, path := config["data"].get("path"))
    return [] if found == path else [f"data.path={quoted(str(found))}"]


def _storage_text(written: DictConfig) -> str | None:
    """Return the URL of a search's storage as written, without values from the environment such as a password."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.to_container(written.hparams_search, resolve=False)
    storage = node.get("storage") if isinstance(node, Mapping) else None
    return str(storage) if storage is not None else None


def _own_keys(given: Mapping[str, str]) -> dict[str, Any]:
    """Check and return the keys that configure the sweep."""
    own: dict[str, Any] = {}
    for key, value in given.items():
        if key.startswith("sweep."):
            if key not in _OWN:
                raise SettingError(f"{key}={value}: there is no such key{near(key, _OWN)}")
            own[key] = int(value) if key == "sweep.halving" and value.isdecimal() else value
            _OWN[key].check(key, own[key])
    return own


def _resumed(typed: list[str], own: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the overrides and own keys of the sweep to resume; overrides typed in addition must be the same."""
    resumed = own["sweep.resume"]
    before, kept = _earlier(Path(resumed))
    more = [o for o in typed if o.startswith(_TRIALS)]
    if typed == more:  # if the user typed the same overrides, they are trusted
        try:
            check_folder_overrides(before, f"sweep.resume={resumed}")
        except DataError as error:
            raise DataError(f"{error}; if it is yours, give the sweep's overrides too") from error
    rest = [o for o in before if not o.startswith(_TRIALS)]
    if more and [o for o in typed if o not in more] in ([], rest):
        typed = before = [*rest, *more]  # the search gets more trials
    if typed and typed != before:
        raise SettingError(
            f"sweep.resume={resumed} is a sweep over {' '.join(before)}: give no other overrides, or exactly these"
        )
    if own.get("sweep.halving", kept.get("sweep.halving")) != kept.get("sweep.halving"):
        began = kept.get("sweep.halving")
        raise SettingError(
            f"sweep.halving={own['sweep.halving']} is not allowed: {resumed} was started {f'with {began}' if began else 'without it'}"
        )
    if "sweep.halving" in kept and own.get("sweep.by", kept["sweep.by"]) != kept["sweep.by"]:
        raise SettingError(
            f"sweep.by={own['sweep.by']} is not allowed: halving in {resumed} compares points by {kept['sweep.by']}"
        )
    return before, {**kept, **own}


def _check_swept(swept: Sequence[str], keys: Sequence[str]) -> None:
    """Refuse overrides that cannot be swept over."""
    for override in swept:
        key = override.lstrip("+").partition("=")[0]
        if is_for_hydra(override):
            raise SettingError(f"{override} is not allowed: a sweep has one launcher; name one")
        if key == "hparams_search":
            raise SettingError(f"{override} is not allowed: a sweep has one search; name one")
        if keys.count(key) > 1:
            raise SettingError(
                f"{override} is not allowed: {key} is given {keys.count(key)} times; give all its values at once"
            )


def _check_comparable(data: Mapping[str, Any], retry_failed: bool) -> None:
    """Refuse settings that conflict with a search or with halving. Both compare points by their validation results."""
    if data.get("validation_fraction", 1) == 0:
        raise SettingError(
            "data.validation_fraction=0 (given, or an experiment's) is not allowed here: points are compared by their "
            "validation results; write data.validation_fraction=0.1"
        )
    if retry_failed:
        raise SettingError(
            "sweep.retry_failed=true is allowed only for grids without halving: a search and halving have used the failures "
            "in their decisions"
        )


def _check_halving(
    halving: int, swept: Sequence[str], keys: Sequence[str], trainer: Mapping[str, Any], points: int
) -> None:
    """Refuse settings that conflict with halving, which sets the epochs of each point."""
    for override in swept:
        key = override.lstrip("+").partition("=")[0]
        if key == "trainer.max_epochs" or (key in ("experiment", "trainer") and "trainer.max_epochs" not in keys):
            raise SettingError(
                f"{override} is not allowed with sweep.halving, which sets the epochs of each point itself"
                f"{'' if key == 'trainer.max_epochs' else '; write trainer.max_epochs=NUMBER for all of them'}"
            )
    if trainer.get("check_val_every_n_epoch", 1) != 1:
        raise SettingError(
            "trainer.check_val_every_n_epoch is not allowed with sweep.halving, which needs the validation of every epoch"
        )
    if not rungs(points, trainer["max_epochs"], halving):
        raise SettingError(
            f"sweep.halving={halving} is not allowed: it prunes none of {points} points in {trainer['max_epochs']} epochs; it "
            f"needs at least {halving} points and 2 epochs"
        )


def _new_folder(name: str, typed: list[str]) -> Path:
    """Return the folder of a new sweep. Refuse a folder of another sweep, whose points would be counted as its own."""
    if not name or "${" in name:
        raise SettingError(f"hydra.sweep.dir={name} is not allowed: it must be the plain name of a folder")
    folder = Path(name)
    if not (folder / "sweep.json").exists():
        if any(folder.glob("[0-9]*/results.json")):
            raise SettingError(
                f"hydra.sweep.dir={name} is not allowed: it has runs but no sweep.json; name another folder"
            )
    elif (before := _earlier(folder)[0]) != typed:
        raise SettingError(
            f"hydra.sweep.dir={name} is not allowed: it has the sweep over {' '.join(before)}; to resume that: "
            f"sweep.resume={name}; for another sweep, name another folder"
        )
    return folder


def _earlier(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Read the overrides and own keys of an earlier sweep."""
    for path in (folder, *folder.glob("[0-9]*")):
        check_folder_files(path, f"sweep.resume={path}")
    try:
        kept = check_fields(load_json(folder / "sweep.json"), SWEEP_FIELDS, required=("overrides",))
    except DataError as error:
        raise DataError(
            f"sweep.resume={folder}: there is no complete sweep.json in it ({error}); is it a sweep's folder?"
        ) from error
    overrides: list[str] = kept["overrides"]
    own = {f"sweep.{key}": kept[key] for key in ("by", "halving") if kept.get(key) is not None}
    for key, value in own.items():
        if not _OWN[key].holds(value):
            raise DataError(f"sweep.resume={folder}: its sweep.json is damaged ({key}={value})")
    return overrides, own
