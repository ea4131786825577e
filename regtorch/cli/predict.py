"""``regtorch-predict``: predictions of a finished run's network, with uncertainties if it has dropout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regtorch.cli.help_page import print_requested_help
from regtorch.cli.predict_args import PredictRequest, parse
from regtorch.cli.rows_to_predict import RowsToPredict, rows_to_predict
from regtorch.config.memory_demands import demands, rows_demand
from regtorch.config.resources import check_holds
from regtorch.data.further_rows import UNKNOWN
from regtorch.runs import finished_run
from regtorch.runs.prediction_files import PredictionFiles
from regtorch.study.prediction_table import table, write_csv, write_parquet
from regtorch.system import output
from regtorch.system.exit_status import exit_interrupted, exit_with
from regtorch.system.memory import is_out_of_memory, out_of_memory

if TYPE_CHECKING:
    from regtorch.training.predict import Predicted

_HELP = """\
Predict with a finished run's network, by Monte Carlo dropout if it has dropout: regtorch-predict run=FOLDER [KEY=VALUE ...]

  run          the run folder that train.py wrote
  data         NAME: another data set, with data.path=... etc. as for train.py; FILE.npz: its rows x (or x_test), and
               their labels y (y_test), if it has them; FILE.png, FILE.jpg or FOLDER: an image, or all images in a
               folder and in its subfolders by class. All rows are scaled as in training, and must have the same type.
               Default: the run's data; if that has moved, give data.path=... alone
  split        test (the default), val or train
  samples      stochastic forward passes (default 100); a network without dropout takes one pass and has no samples
  seed         of the masks (default 0)
  tolerance    a row stops when the standard error of its mean is below this; default: it takes all samples
  masks        shared (the default): a sample is one thinned network for all rows; independent: each row has its own masks
  checkpoint   best or last; default: the checkpoint that the run was evaluated on
  out          a folder; default: the run's
  format       csv (the default) or parquet
  accelerator  auto (the default), cpu, gpu
  devices      number of devices (default 1); the result does not depend on it

Writes predictions.csv, one row per example in order: index, label, predicted, confidence, correct, predictive_entropy,
expected_entropy, mutual_information, variation_ratio, samples_used, then mean_<class> and std_<class> of each class, and file
(for images); without dropout, the columns that need samples are empty. Also writes predictions.png: the most and least
certain rows, and a reliability diagram.
"""


def main() -> None:
    """Run the command line. A user error prints one line and exits with 2."""
    exit_with(_main)


def _main() -> int:
    if print_requested_help(sys.argv[1:], lambda: _HELP):
        return 0
    request = parse(sys.argv[1:])
    config = finished_run.configuration(request.run)
    checkpoint = finished_run.checkpoint(request.run, config, request.checkpoint)
    rows = rows_to_predict(request, config, checkpoint)
    shape, classes = rows.network.shape, len(rows.network.classes)
    check_holds(checkpoint, config, shape, classes, f"run={request.run}")
    out = request.out or request.run
    files = PredictionFiles(out, request.format, f"run={out}" if request.out is None else f"out={out}")
    with files.checked():
        if os.environ.get("LOCAL_RANK", "0") == "0":  # warn once, not in each device's process
            finished_run.warn_if_unfinished(request.run)
        try:
            predicted = _predicted(request, config, rows, checkpoint)
        except SystemExit as error:  # raised on a signal
            exit_interrupted(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            network_demands = demands(config, shape, classes, 0, training=False)
            raise out_of_memory(error, [rows_demand(config["data"]), *network_demands]) from error
        if predicted is not None or not len(rows.split):
            save(predicted, rows, request, files)
    return 0


def _predicted(
    request: PredictRequest, config: Mapping[str, Any], rows: RowsToPredict, checkpoint: Path
) -> Predicted | None:
    from regtorch.training.predict import predict

    if not len(rows.split):
        return None
    settings = {"accelerator": request.accelerator, "devices": request.devices, **request.sampling}
    return predict(config, rows.network, rows.split, checkpoint, error=rows.error, workers=rows.workers, **settings)


def save(predicted: Predicted | None, rows: RowsToPredict, request: PredictRequest, files: PredictionFiles) -> None:
    """Write the table and the figure, and print a summary."""
    classes, split = rows.network.classes, rows.split
    moments = {} if predicted is None else predicted.moments
    labels = split.y if not (split.y == UNKNOWN).all() else None
    columns = table(moments, labels, classes, rows.files)
    write_table = write_parquet if request.format == "parquet" else write_csv
    picture = None
    measured: dict[str, dict[str, float]] = {}
    if predicted is not None:
        from regtorch.study.prediction_plot import draw_predictions
        from regtorch.training.predict import measure

        compared = {"dropout off": predicted.deterministic}
        if predicted.sampled is not None:
            samples = f"{'' if request.tolerance is None else 'up to '}{request.samples} samples"
            compared[f"mean of {samples}"] = predicted.sampled.mean
        if labels is not None:
            measured = {name: measure(probabilities, labels) for name, probabilities in compared.items()}
        curves = {name: (compared[name].double().numpy(), values["ece"]) for name, values in measured.items()}

        def picture(path: Path) -> None:
            draw_predictions(moments, labels, classes, lambda shown: pictures(rows, shown), path, curves)

    written = files.write(lambda path: write_table(columns, path), picture)
    note = ": no dropout in the network, so one pass and no samples" if predicted and predicted.sampled is None else ""
    _show(measured, len(split), written, note)


def pictures(rows: RowsToPredict, shown: np.ndarray) -> np.ndarray | None:
    """Return rows as images (rows, height, width) or (rows, height, width, 3) from 0 to 1; None if they are not images."""
    split = rows.split
    if len(split.x.shape) != 4 or split.x.shape[1] not in (1, 3, 4):
        return None
    x = rows.as_stored(np.asarray(split.x[shown]))
    low, high = (0, 255) if x.dtype == np.uint8 else (x.min(), x.max())
    scaled: np.ndarray = (np.moveaxis(x, 1, -1).astype(np.float32) - low) / max(high - low, 1e-12)
    return scaled[..., 0] if scaled.shape[-1] == 1 else scaled[..., :3]


def _show(measured: Mapping[str, Mapping[str, float]], rows: int, written: list[Path], note: str = "") -> None:
    from rich.table import Table

    console = output.console()
    console.width = max(console.width, 80)  # a narrow terminal wraps long lines itself; rich would cut numbers
    if measured:
        shown = Table(box=None, pad_edge=False)
        for column in ("", "accuracy", "nll", "brier", "ece"):
            shown.add_column(column, justify="left" if not column else "right")
        for name, values in measured.items():
            shown.add_row(name, *(f"{values[key]:.4f}" for key in ("accuracy", "nll", "brier", "ece")))
        console.print(shown)
    console.print(f"{rows:,} row{'' if rows == 1 else 's'}{note}", soft_wrap=True)
    for path in written:
        console.print(str(path), soft_wrap=True)


if __name__ == "__main__":
    main()
