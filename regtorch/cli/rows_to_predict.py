"""The rows that ``regtorch-predict`` predicts, scaled like the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.cli.predict_args import PredictRequest
from regtorch.config.command_line import check_paths
from regtorch.config.components import check_node
from regtorch.config.compose import compose
from regtorch.config.resources import check_workers
from regtorch.data.base import DataSet
from regtorch.data.further_rows import FurtherRows, NetworkInput
from regtorch.data.image_files import ImageFiles
from regtorch.data.splits import Split
from regtorch.data.stored_type import check_one_scale
from regtorch.errors import DataError, SettingError
from regtorch.runs import finished_run
from regtorch.runs.checkpoint_header import read_description
from regtorch.runs.data import dataset


@dataclass(frozen=True)
class RowsToPredict:
    """Rows for a network, with their origin.

    Args:
        split: the preprocessed rows; their labels may be unknown.
        network: the network's input.
        error: makes an error about the rows.
        as_stored: undoes the preprocessing, for figures.
        workers: DataLoader workers.
        files: the file of each row, for rows that are files.
    """

    split: Split
    network: NetworkInput
    error: Callable[[str], DataError]
    as_stored: Callable[[np.ndarray], np.ndarray]
    workers: int = 0
    files: tuple[str, ...] | None = None


def rows_to_predict(request: PredictRequest, config: Mapping[str, Any], checkpoint: Path) -> RowsToPredict:
    """Load the part of a data set, or the rows of the file, that a request names.

    Args:
        request: the arguments.
        config: the run's configuration.
        checkpoint: the run's checkpoint, which describes the network's input.

    Raises:
        RegtorchError: there are no such rows, or they do not match the training rows.
    """
    try:
        network = NetworkInput.of_checkpoint(read_description(checkpoint))
    except DataError as error:
        raise DataError(f"run={request.run}: {checkpoint}: {error}") from error
    node = data_node(config, request.data)
    if request.file is not None:
        return _of_file(request, request.file, node, network, checkpoint)
    if network is not None and "standardize" in node:
        typed = any(override.startswith("data.standardize=") for override in request.data)
        if typed and node["standardize"] != config["data"].get("standardize", "none"):
            raise SettingError(
                f"data.standardize={node['standardize']} is not allowed: rows are standardized as in training "
                f"(data.standardize={config['data'].get('standardize', 'none')}, with the same mean and deviation)"
            )
        node = {**node, "standardize": "none"}
    data = _checked(node, request, checkpoint)
    parts = data.load().parts
    if request.split not in parts:
        raise SettingError(f"split={request.split}: this data has no such part; it has: {', '.join(parts)}")
    split, workers = parts[request.split], data.workers
    if network is None or network.preprocessing is None:
        return RowsToPredict(split, NetworkInput.of(data), data.error, data.as_stored, workers)
    if (own := data.preprocessing()) is not None:
        network.check_kind(f"x_{request.split}", np.dtype(own.dtype), data.error)
        if own.values is not None and network.preprocessing.values is not None:
            check_one_scale({"the training data": network.preprocessing.values, "x_train": own.values}, data.error)
    known = network.preprocessing
    return RowsToPredict(known.applied(split), network, data.error, known.undone, workers)


def _checked(node: Mapping[str, Any], request: PredictRequest, checkpoint: Path) -> DataSet:
    check_workers(node)
    data: DataSet = dataset({"data": dict(node)})
    data.check()
    finished_run.check_fits(request.run, checkpoint, data)
    return data


def _of_file(
    request: PredictRequest, file: Path, node: Mapping[str, Any], network: NetworkInput | None, checkpoint: Path
) -> RowsToPredict:
    if network is not None and network.preprocessing is not None:
        like: DataSet | NetworkInput = network
        undone = network.preprocessing.undone
    else:  # a run of an older version, or data with a plugin's own preprocessing
        like = data = _checked(node, request, checkpoint)
        network, undone = NetworkInput.of(data), data.as_stored
    rows = FurtherRows(path=str(file), layout=network.layout)
    split = rows.like(like)
    files = None
    if isinstance(split.x, ImageFiles):
        root = file if file.is_dir() else file.parent
        files = tuple(str(found.relative_to(root)) for found in split.x.files)
    workers = node.get("workers", 0)
    return RowsToPredict(split, network, rows.error, undone, workers if isinstance(workers, int) else 0, files)


def data_node(config: Mapping[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return the node ``data`` of a run with the given overrides, composed as in train.py."""
    node: dict[str, Any] = config["data"]
    if not overrides:
        return node
    another = any(override.startswith("data=") for override in overrides)
    path = next((override for override in overrides if override.startswith("data.path=")), None)
    if path and not another and "path" not in node:
        raise SettingError(
            f"{path} is not allowed: the run's data, {node['name']}, has no path; to predict the rows of a file: data=FILE.npz"
        )
    check_paths(overrides)
    composed = compose(overrides if another else [f"data={node['name']}", *overrides])["data"]
    given = {override.partition("=")[0].split(".")[1] for override in overrides if override.startswith("data.")}
    node = composed if another else {**node, **{key: composed[key] for key in given}}
    check_node("data", "data", node)
    return node
