"""``regtorch-predict``: what a finished run's network predicts, and how sure it is, by Monte Carlo dropout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regtorch.cli import run_folder
from regtorch.cli.composition import compose
from regtorch.cli.exit_status import exit_interrupted, exit_with
from regtorch.cli.predict_request import PredictRequest, parse
from regtorch.cli.prediction_files import PredictionFiles
from regtorch.cli.validation import check_node, dataset
from regtorch.data.base import DataSet, Split
from regtorch.data.further_rows import UNKNOWN, FurtherRows
from regtorch.errors import SettingError
from regtorch.study.prediction_table import table, write_csv, write_parquet

if TYPE_CHECKING:
    from regtorch.training.predict import Predicted

_HELP = """\
Predict by Monte Carlo dropout with a finished run's network: regtorch-predict run=FOLDER [KEY=VALUE ...]

  run          the folder that train.py made
  data         NAME: another data set, with data.path=... and the like as for train.py; FILE.npz: the rows of x in it (and
               their labels y, if it has them), standardised as the run's were. Default: the run's own data;
               data.path=... alone says where that is now
  split        test (the default), val or train
  samples      stochastic forward passes (default 100)
  seed         of the masks (default 0)
  tolerance    a row stops when the standard error of its mean is below this; default: it takes all samples
  masks        shared (the default): a sample is one thinned network for all rows; independent: each row draws anew
  checkpoint   best or last; default: the one that the run was measured on
  out          a folder; default: the run's
  format       csv (the default) or parquet
  accelerator  auto (the default), cpu, gpu
  devices      how many (default 1); any number gives the same file

Writes predictions.csv, one row an example in order: index, label, predicted, confidence, correct, predictive_entropy,
expected_entropy, mutual_information, variation_ratio, samples_used, then mean_<class> and std_<class> of each class; and
predictions.png: the rows it is surest and least sure of, and how far its confidence can be trusted.
"""


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    exit_with(_main)


def _main() -> int:
    if any(flag in sys.argv[1:] for flag in ("-h", "--help")):
        print(_HELP, end="")
        return 0
    request = parse(sys.argv[1:])
    config = run_folder.configuration(request.run)
    run_folder.check_drops(request.run, config)
    checkpoint = run_folder.checkpoint(request.run, config, request.checkpoint)
    data = dataset({"data": data_node(config, request.data)})
    data.check()
    run_folder.check_fits(request.run, checkpoint, data)
    split = rows_to_predict(request, data)
    out = request.out or request.run
    files = PredictionFiles(out, request.format, f"run={out}" if request.out is None else f"out={out}")
    with files.checked():
        if os.environ.get("LOCAL_RANK", "0") == "0":  # once, not on each device's process
            run_folder.warn_if_unfinished(request.run)
        try:
            predicted = _predicted(request, config, data, split, checkpoint)
        except SystemExit as error:  # the answer to a signal
            exit_interrupted(error)
        if predicted is not None or not len(split):
            save(predicted, data, split, request, files)
    return 0


def data_node(config: Mapping[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """The node ``data`` of a run, but for what is given anew, composed as train.py does."""
    node: dict[str, Any] = config["data"]
    if not overrides:
        return node
    another = any(override.startswith("data=") for override in overrides)
    path = next((override for override in overrides if override.startswith("data.path=")), None)
    if path and not another and "path" not in node:
        raise SettingError(
            f"{path} is not allowed: the run's data, {node['name']}, is in no file; data=FILE.npz predicts the rows of one"
        )
    composed = compose(overrides if another else [f"data={node['name']}", *overrides])["data"]
    given = {override.partition("=")[0].split(".")[1] for override in overrides if override.startswith("data.")}
    node = composed if another else {**node, **{key: composed[key] for key in given}}
    check_node("data", "data", node)
    return node


def rows_to_predict(request: PredictRequest, data: DataSet) -> Split:
    """The part of the data, or the rows of the file, that the request names."""
    if request.file is not None:
        return FurtherRows(path=str(request.file), layout=getattr(data, "layout", "auto")).like(data)
    parts = data.load().parts
    if request.split not in parts:
        raise SettingError(f"split={request.split}: this data has no such part; it has: {', '.join(parts)}")
    return parts[request.split]


def _predicted(
    request: PredictRequest, config: Mapping[str, Any], data: DataSet, split: Split, checkpoint: Path
) -> Predicted | None:
    from regtorch.training.predict import predict

    if not len(split):
        return None
    settings = {"accelerator": request.accelerator, "devices": request.devices, **request.sampling}
    error = data.error if request.file is None else FurtherRows(path=str(request.file)).error
    return predict(config, data, split, checkpoint, error=error, **settings)


def save(
    predicted: Predicted | None, data: DataSet, split: Split, request: PredictRequest, files: PredictionFiles
) -> None:
    """Write the table and the picture, and print what they amount to."""
    classes = data.load().classes
    moments = {} if predicted is None else _as_arrays(predicted.sampled)
    labels = split.y if not (split.y == UNKNOWN).all() else None
    columns = table(moments, labels, classes)
    write_table = write_parquet if request.format == "parquet" else write_csv
    picture = None
    measured: dict[str, dict[str, float]] = {}
    if predicted is not None:
        from regtorch.study.prediction_plot import draw_predictions
        from regtorch.training.predict import measure

        samples = f"{'' if request.tolerance is None else 'up to '}{request.samples} samples"
        compared = {"dropout off": predicted.deterministic, f"mean of {samples}": predicted.sampled.mean}
        if labels is not None:
            measured = {name: measure(probabilities, labels) for name, probabilities in compared.items()}
        curves = {name: (compared[name].double().numpy(), values["ece"]) for name, values in measured.items()}

        def picture(path: Path) -> None:
            draw_predictions(moments, labels, classes, lambda rows: pictures(data, split, rows), path, curves)

    written = files.write(lambda path: write_table(columns, path), picture)
    _show(measured, len(split), written)


def _as_arrays(sampled: Any) -> dict[str, np.ndarray | None]:
    values = {field.name: getattr(sampled, field.name) for field in fields(sampled)}
    return {name: None if value is None else value.numpy() for name, value in values.items()}


def pictures(data: DataSet, split: Split, rows: np.ndarray) -> np.ndarray | None:
    """Rows as pictures (rows, height, width) or (rows, height, width, 3) from 0 to 1; None if they are none."""
    if len(split.x.shape) != 4 or split.x.shape[1] not in (1, 3, 4):
        return None
    x = data.as_stored(np.asarray(split.x[rows]))
    low, high = (0, 255) if x.dtype == np.uint8 else (x.min(), x.max())
    shown: np.ndarray = (np.moveaxis(x, 1, -1).astype(np.float32) - low) / max(high - low, 1e-12)
    return shown[..., 0] if shown.shape[-1] == 1 else shown[..., :3]


def _show(measured: Mapping[str, Mapping[str, float]], rows: int, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.width = max(console.width, 80)  # a narrow terminal breaks lines itself, and cuts no number
    if measured:
        shown = Table(box=None, pad_edge=False)
        for column in ("", "accuracy", "nll", "brier", "ece"):
            shown.add_column(column, justify="left" if not column else "right")
        for name, values in measured.items():
            shown.add_row(name, *(f"{values[key]:.4f}" for key in ("accuracy", "nll", "brier", "ece")))
        console.print(shown)
    console.print(f"{rows:,} row{'' if rows == 1 else 's'}", soft_wrap=True)
    for path in written:
        console.print(str(path), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
