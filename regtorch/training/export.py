"""Write a trained network for programs without regtorch, with metadata for its preprocessing and its outputs."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.data.further_rows import NetworkInput
from regtorch.data.preprocessing import Preprocessing
from regtorch.plain_torch import plain

#: converts the outputs to probabilities
OUTPUT_TRANSFORM = "softmax"


class Preprocess(nn.Module):
    """Converts stored rows in float32 to a network's input, as `Preprocessing` does.

    The mean is stored as a sum of two float32 numbers, so that a mean that is much larger than the deviation loses no digits.

    Args:
        preprocessing: the preprocessing of the training rows.

    Example:
        >>> scaled = Preprocess(Preprocessing("float32", np.array([2.0]), np.array([4.0])))
        >>> scaled(torch.tensor([[6.0]]))
        tensor([[1.]])
    """

    mean: Tensor | None
    rest: Tensor | None
    std: Tensor | None

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.layout = preprocessing.layout
        self.divisor = 255 if preprocessing.pixels else 1
        mean, std = preprocessing.mean, preprocessing.std
        for name in ("mean", "rest", "std"):
            self.register_buffer(name, None)
        if mean is not None and std is not None:
            mean, std = mean / self.divisor, std / self.divisor
            self.mean = torch.from_numpy(mean.astype(np.float32))
            self.rest = torch.from_numpy((mean - mean.astype(np.float32)).astype(np.float32))
            self.std = torch.from_numpy(std.astype(np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Convert stored rows (batch, ...) to the network's input (batch, ...)."""
        if self.layout == "nhwc":
            x = x.permute(0, 3, 1, 2)
        elif self.layout == "nhw":
            x = x.unsqueeze(1)
        if self.divisor != 1:
            x = x / self.divisor
        if self.mean is None or self.rest is None or self.std is None:
            return x
        return ((x - self.mean) - self.rest) / self.std


def export(model: nn.Module, network: NetworkInput, out: Path, *, preprocess: bool) -> None:
    """Write the network in the format given by the file's suffix: ``.pt``, ``.pt2`` or ``.onnx``.

    Args:
        model: the trained model; returns logits.
        network: the network's input.
        out: the file.
        preprocess: whether the exported network takes stored rows and scales them itself (not for ``.pt``, which has
            only weights).

    Raises:
        ImportError: ``.onnx`` needs packages that are not installed.
    """
    bare = plain(model)
    known = network.preprocessing
    inside = preprocess and known is not None and known.changes and out.suffix != ".pt"
    rows = torch.zeros(2, *_input_shape(network, inside=inside))
    exported: nn.Module = bare
    if inside:
        assert known is not None
        exported = nn.Sequential(OrderedDict(preprocess=Preprocess(known), network=bare)).eval()
    about = metadata(network, inside=inside)
    any_size = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if out.suffix == ".pt":
            weights: Any = bare.state_dict()
            weights._metadata["regtorch"] = about  # `load_state_dict` ignores this key
            torch.save(weights, out)
        elif out.suffix == ".pt2":
            program = torch.export.export(exported, (rows,), dynamic_shapes=(any_size,))
            torch.export.save(program, out, extra_files={"metadata.json": json.dumps(about, indent=1)})
        else:
            _export_onnx(exported, rows, any_size, about, out)


def _export_onnx(model: nn.Module, rows: Tensor, any_size: Any, about: dict[str, str], out: Path) -> None:
    program = torch.onnx.export(
        model,
        (rows,),
        dynamo=True,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes=(any_size,),
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(about)
    program.save(out, external_data=False)


def _input_shape(network: NetworkInput, *, inside: bool) -> tuple[int, ...]:
    """The shape of a row that a file takes: as it is stored, or the network's."""
    known = network.preprocessing
    if not inside or known is None or known.layout == "nchw":
        return network.shape
    channels, *sizes = network.shape
    return (*sizes, channels) if known.layout == "nhwc" else tuple(sizes)


def metadata(network: NetworkInput, *, inside: bool) -> dict[str, str]:
    """Return the metadata of a file, which describes its inputs and outputs, as strings; lists are JSON.

    Args:
        network: the network's input.
        inside: whether the exported network scales its rows itself.

    Example:
        >>> about = metadata(NetworkInput((2,), ("cat", "dog"), Preprocessing("uint8")), inside=True)
        >>> about["class_names"], about["output_transform"], about["preprocessing"]
        ('["cat", "dog"]', 'softmax', 'included: x / 255')
        >>> metadata(NetworkInput((3, 8, 9), ("cat",), Preprocessing("uint8", layout="nhwc")), inside=True)["input_shape"]
        '["batch", 8, 9, 3]'
    """
    known = network.preprocessing
    about = {
        "class_names": json.dumps(list(network.classes)),
        "output_transform": OUTPUT_TRANSFORM,
        "input_shape": json.dumps(["batch", *_input_shape(network, inside=inside)]),
    }
    if known is None:
        return {**about, "preprocessing": "unknown: rows go in as the run's data set prepares them"}
    if len(network.shape) == 3:
        about |= {"input_layout": known.layout if inside else "nchw", "stored_layout": known.layout}
    formula = "x / 255" if known.pixels else "x"
    if known.mean is not None and known.std is not None:
        formula = "(x - mean) / std"
        about["mean"], about["std"] = (json.dumps(values.tolist()) for values in (known.mean, known.std))
    if known.layout != "nchw":
        formula += f", {known.layout} to nchw"
    description = "none" if not known.changes else f"{'included' if inside else 'not included'}: {formula}"
    return {**about, "preprocessing": description, "stored_type": known.dtype}
