"""Arguments of ``regtorch-predict``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regtorch.config.devices import check_devices
from regtorch.data.further_rows import MADE_BY
from regtorch.data.image_files import SUFFIXES
from regtorch.errors import DataError, SettingError
from regtorch.registry import available, near
from regtorch.settings import COUNT, POSITIVE, SEED, Range, one_of
from regtorch.system.quoting import unquoted

_RANGES = {
    "split": one_of("train", "val", "test"),
    "samples": COUNT,
    "seed": SEED,
    "tolerance": Range("a finite number > 0, or null", lambda v: v is None or POSITIVE.holds(v)),
    "masks": one_of("shared", "independent"),
    "checkpoint": one_of("best", "last"),
    "format": one_of("csv", "parquet"),
    "accelerator": one_of("auto", "cpu", "gpu"),
    "devices": COUNT,
}
#: file types that other tools store rows in, and that cannot be read here
_OTHER_FILES = {
    *(".npy", ".csv", ".txt", ".tsv", ".json", ".parquet", ".xlsx", ".mat", ".pt", ".pth", ".pkl", ".pickle", ".h5"),
    *(".hdf5", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
}


@dataclass(frozen=True)
class PredictRequest:
    """The data, rows and settings of a prediction.

    `checkpoint` is None for the one that the run was evaluated on, `out` None for the run's folder.
    """

    run: Path
    data: tuple[str, ...] = ()  # overrides of the run's data
    file: Path | None = None  # a .npz file, an image or a folder of images, instead of a part of the data
    split: str = "test"
    samples: int = 100
    seed: int = 0
    tolerance: float | None = None
    masks: str = "shared"
    checkpoint: str | None = None
    out: Path | None = None
    format: str = "csv"
    accelerator: str = "auto"
    devices: int = 1

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of the `MCPredictor`."""
        return {name: getattr(self, name) for name in ("samples", "seed", "tolerance", "masks")}


def parse(arguments: Sequence[str]) -> PredictRequest:
    """Parse a command line of KEY=VALUE.

    Raises:
        RegtorchError: the first error.

    Example:
        >>> request = parse(["run=outputs/a", "samples=50", "data=arrays", "data.path=my.npz"])
        >>> request.samples, request.data
        (50, ('data=arrays', 'data.path=my.npz'))
    """
    given = _own_keys(arguments)
    settings = {key: _value(given[key]) for key in given if key in _RANGES}
    for key, value in settings.items():
        if not _RANGES[key].holds(value):  # the message shows the value as typed
            raise SettingError(f"{key}={given[key]} is not allowed: it must be {_RANGES[key].words}")
    if not given.get("run"):
        raise SettingError(f"run={given.get('run', '')} is not allowed: it must be a run folder that train.py wrote")
    data = tuple(f"{key}={value}" for key, value in given.items() if key.split(".")[0] == "data")
    file = None
    named = given.get("data", "")
    if Path(named).suffix.lower() in _OTHER_FILES and not Path(named).is_dir():
        raise SettingError(
            f"data={named} is not allowed: it must be a data set's name, a .npz file, an image "
            f"({', '.join(sorted(SUFFIXES))}) or a folder of images; for other rows, {MADE_BY}"
        )
    if _is_file(named):
        file = Path(named)
        data = tuple(override for override in data if override.startswith("data."))  # they locate the run's data
        if "split" in given:
            raise SettingError(f"split={given['split']} is not allowed with data={file}, whose rows are all predicted")
    check_devices({"accelerator": "auto", "devices": 1, **settings}, prefix="")
    if settings.get("format") == "parquet":
        _check_parquet()
    out = Path(given["out"]) if given.get("out") else None
    return PredictRequest(Path(given["run"]), data, file, out=out, **settings)


def _own_keys(arguments: Sequence[str]) -> dict[str, str]:
    """Key -> value as typed; each key once."""
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("-"):
            raise SettingError(f"{argument}: there is no such flag; write --help, or KEY=VALUE")
        if not equals:
            raise SettingError(f"{argument} is not allowed: write KEY=VALUE; for a run's folder, run={argument}")
        if key not in (*_RANGES, "run", "out", "data") and not key.startswith("data."):
            raise SettingError(
                f"{argument}: there is no such key{near(key, [*_RANGES, 'run', 'out', 'data', 'data.path'])}"
            )
        if key in given:
            raise SettingError(f"{argument} is not allowed: {key}={given[key]} is given too; give one of them")
        given[key] = unquoted(value) if key in ("run", "out") else value
    return given


def _is_file(named: str) -> bool:
    """Whether ``data=`` names a file or a folder of rows, not a data set."""
    if Path(named).suffix.lower() in {".npz", *SUFFIXES} or "/" in named:
        return True
    return named not in available("data") and named != "" and Path(named).is_dir()


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return None if text == "null" else text


def _check_parquet() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DataError("format=parquet needs pyarrow: pip install 'regtorch[parquet]', or take format=csv") from error
