"""Small models saved by Keras 3.15.1 (TensorFlow 2.21, CPU), with results that Keras computed with them.

``tests/reference/keras_models.zip`` holds, for each case of its ``index.json``:

- ``NAME.keras``: the model after three training steps, from random biases, gammas, slopes and moving statistics.
- ``NAME.npz``, all in Keras' layout: ``x`` (``x0``, ...), ``y``, ``predicted`` by ``model.predict``, ``losses`` (their
  sum), ``trajectory``: ten full-batch losses under SGD without noise, ``predicted_after``: predictions after those steps.
  Cases for an optimizer have ``opt_trajectory``: five losses after training resumed with the saved optimizer.

``refused/`` contains files that are refused. ``k2_*`` were saved by Keras 2 (tf_keras 2.21), ``k3_8_*`` by Keras 3.8.0.
``opt_trajectory`` of a legacy optimizer comes from the reloaded model, as its state is not in the file. ``stand_in/`` contains
models with a layer that needs a stand-in, each with ``x`` and ``predicted``.
"""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from regtorch.keras import KerasPort, from_keras
from regtorch.keras.port import in_keras_layout

ARCHIVE = Path(__file__).parent.parent / "reference" / "keras_models.zip"


@cache
def cases() -> dict[str, dict[str, Any]]:
    """Name -> entry in the index, for each case."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {case["name"]: case for case in json.loads(archive.read("index.json"))["cases"]}


def unpack(member: str, folder: Path) -> Path:
    """Extract one member to a folder."""
    path = folder / Path(member).name
    with zipfile.ZipFile(ARCHIVE) as archive:
        path.write_bytes(archive.read(member))
    return path


def port_of(name: str, folder: Path) -> KerasPort:
    """Load the model of a case."""
    return from_keras(unpack(f"{name}.keras", folder))


def arrays_of(name: str) -> dict[str, np.ndarray]:
    """The arrays of a case."""
    with zipfile.ZipFile(ARCHIVE) as archive, np.load(io.BytesIO(archive.read(f"{name}.npz"))) as arrays:
        return dict(arrays)


def several(arrays: dict[str, np.ndarray], key: str) -> list[np.ndarray]:
    """The array ``key``, or the arrays ``key0``, ``key1``, ..."""
    return [arrays[key]] if key in arrays else [arrays[f"{key}{i}"] for i in range(9) if f"{key}{i}" in arrays]


def inputs_of(port: KerasPort, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The inputs, images in NCHW."""
    first = any(layer.settings.get("data_format") == "channels_first" for layer in port._plan.graph.layers)
    return [np.moveaxis(x, -1, 1) if x.ndim > 3 and not first else x for x in several(arrays, "x")]


def listed(predicted: Any) -> list[np.ndarray]:
    """Predictions of one or several outputs as a list."""
    if isinstance(predicted, dict):
        return list(predicted.values())
    return predicted if isinstance(predicted, list) else [predicted]


def loss_of(case: dict[str, Any], port: KerasPort, inputs: list[Tensor], targets: list[np.ndarray]) -> Tensor:
    """The loss that Keras minimizes: the data losses of all outputs and the penalty."""
    output = port.model(*inputs)
    outputs = [output] if isinstance(output, Tensor) else output
    kinds = case["loss"] if isinstance(case["loss"], list) else [case["loss"]] * len(outputs)
    weights = case.get("loss_weights") or [1.0] * len(outputs)
    losses = [
        weight * _data_loss(kind, in_keras_layout(out, layout), target, final)
        for weight, kind, out, target, final, layout in zip(
            weights, kinds, outputs, targets, port._final, port._results, strict=True
        )
    ]
    return torch.stack(losses).sum() + port.penalty()


def _data_loss(kind: str, output: Tensor, target: np.ndarray, final: str) -> Tensor:
    if kind.startswith("sparse"):
        labels, rows = torch.from_numpy(target).long().reshape(-1), output.reshape(-1, output.shape[-1])
        if kind == "sparse_from_logits" or final == "softmax":
            return functional.cross_entropy(rows, labels)
        return functional.nll_loss((rows / rows.sum(1, keepdim=True)).clamp(1e-7, 1 - 1e-7).log(), labels)
    wanted = torch.from_numpy(target).to(output).reshape(output.shape)
    if kind == "binary" and final == "sigmoid":
        return functional.binary_cross_entropy_with_logits(output, wanted)
    if kind == "binary":
        return functional.binary_cross_entropy(output.clamp(1e-7, 1 - 1e-7), wanted)
    output = output.softmax(-1) if final == "softmax" else output.sigmoid() if final == "sigmoid" else output
    return functional.mse_loss(output, wanted)


def silence(port: KerasPort) -> None:
    """Permanently disable every dropout and noise."""
    for module in port.model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if hasattr(module, "std") and hasattr(module, "shared"):
            module.std = 0.0
