"""Small models saved by Keras 3.15.1 (TensorFlow 2.21, CPU) and what Keras computes with them.

``tests/reference/keras_models.zip`` holds, for each case of its ``index.json``:

- ``NAME.keras``: after three training steps, from random biases, gammas, slopes and moving statistics.
- ``NAME.npz``, all in Keras' layout: ``x`` (``x0``, ...), ``y``, ``predicted`` by ``model.predict``, ``losses`` (their
  sum), ``trajectory``: ten full-batch losses under SGD with every noise off, ``predicted_after`` those steps. Where the
  case is of an optimizer: ``opt_trajectory``, five losses with the saved optimizer going on.

``refused/`` holds files that cannot be read. ``k2_*`` were saved by Keras 2 (tf_keras 2.21), ``k3_8_*`` by Keras 3.8.0.
``opt_trajectory`` of a legacy optimizer is that of the reloaded model, as its state is not in the file. ``stand_in/`` holds
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
from regtorch.keras.port import in_keras

ARCHIVE = Path(__file__).parent.parent / "reference" / "keras_models.zip"


@cache
def cases() -> dict[str, dict[str, Any]]:
    """Name -> what the index says of it."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {case["name"]: case for case in json.loads(archive.read("index.json"))["cases"]}


def unpack(member: str, folder: Path) -> Path:
    """One member as a file of its own."""
    path = folder / Path(member).name
    with zipfile.ZipFile(ARCHIVE) as archive:
        path.write_bytes(archive.read(member))
    return path


def port_of(name: str, folder: Path) -> KerasPort:
    """A case's model, loaded."""
    return from_keras(unpack(f"{name}.keras", folder))


def arrays_of(name: str) -> dict[str, np.ndarray]:
    """A case's arrays."""
    with zipfile.ZipFile(ARCHIVE) as archive, np.load(io.BytesIO(archive.read(f"{name}.npz"))) as arrays:
        return dict(arrays)


def several(arrays: dict[str, np.ndarray], key: str) -> list[np.ndarray]:
    """``key``, or ``key0``, ``key1``, ..."""
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
    """What Keras minimises: the data losses of all outputs and the penalty."""
    output = port.model(*inputs)
    outputs = [output] if isinstance(output, Tensor) else output
    kinds = case["loss"] if isinstance(case["loss"], list) else [case["loss"]] * len(outputs)
    weights = case.get("loss_weights") or [1.0] * len(outputs)
    losses = [
        weight * _data_loss(kind, in_keras(out, layout), target, final)
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
    """Switch every dropout and noise off for good."""
    for module in port.model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if hasattr(module, "std") and hasattr(module, "shared"):
            module.std = 0.0
