"""The memory that each setting of a run needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from regtorch.models.sizes import check_image
from regtorch.system.memory import Demand

_NUMBER = 4  # bytes of a float32


def demands(
    config: Mapping[str, Any], shape: Sequence[int], classes: int, rows: int, *, training: bool = True
) -> Iterator[Demand]:
    """Lower bounds of the memory that settings need for weights, gradients and activations.

    Args:
        config: a checked configuration as plain containers.
        shape: shape of one row.
        classes: number of classes.
        rows: number of training rows.
        training: whether gradients are computed.

    Example:
        >>> mlp = {"name": "mlp", "hidden": [10**12]}
        >>> next(demands({"model": mlp, "data": {}}, (20,), 4, 60)).words()
        'model.hidden=[1000000000000] needs memory for 24,000,000,000,000 weights for rows of shape (20,), at least 192 TB'
    """
    model = config["model"]
    key, widths, weights, outputs = "", 0, 0, math.prod(shape)
    if model["name"] == "mlp":
        sizes = [math.prod(shape), *model["hidden"]]
        key, widths, weights = "hidden", sizes[-1], sum(a * b for a, b in pairwise(sizes))
        outputs = sum(sizes)
    elif model["name"] == "cnn":
        key, widths, weights, outputs = _convolutional(model, shape)
    copies = 2 if training else 1  # the gradients are as large
    if key:
        total = weights + widths * classes
        yield Demand(
            f"model.{key}", model[key], f"{total:,} weights for rows of shape {tuple(shape)}", total * copies * _NUMBER
        )
    if training and (batch := min(config["data"].get("batch_size", 1), rows)):
        numbers = batch * outputs
        yield Demand("data.batch_size", config["data"].get("batch_size"), f"{numbers:,} activations", numbers * _NUMBER)


def _convolutional(model: Mapping[str, Any], shape: Sequence[int]) -> tuple[str, int, int, int]:
    """The key of the largest setting, the width before the head, the number of weights up to there, and of activations."""
    height, width = check_image(shape, model["channels"], model["pooling"])
    channels = [shape[0], *model["channels"]]
    kernels = [a * b * model["kernel_size"] ** 2 for a, b in pairwise(channels)]
    outputs = math.prod(shape)
    for index, maps in enumerate(model["channels"]):
        halvings = index if model["pooling"] != "none" else 0
        outputs += maps * (shape[1] >> halvings) * (shape[2] >> halvings)
    dense = [channels[-1] * (1 if model["global_pooling"] else height * width), *model["head"]]
    of_head = sum(a * b for a, b in pairwise(dense))
    widest = {
        "channels": max(channels),
        "head": max(model["head"], default=0),
        "kernel_size": model["kernel_size"] ** 2,
    }
    key = max(widest, key=widest.__getitem__)
    return key, dense[-1], sum(kernels) + of_head, outputs + sum(model["head"])


def rows_demand(data: Mapping[str, Any]) -> Demand | None:
    """The memory that synthetic data needs; None for other data."""
    if data.get("name") != "synthetic":
        return None
    numbers = math.prod(data["row_shape"])
    of_rows, of_classes = data["rows"] * numbers, data["classes"] * numbers
    key = "classes" if of_classes > of_rows else "rows" if data["rows"] >= numbers else "row_shape"
    # the random numbers, the rows made of them, and the splits
    return Demand(f"data.{key}", data[key], f"{of_rows + of_classes:,} numbers", (3 * of_rows + of_classes) * _NUMBER)
