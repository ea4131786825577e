"""The metadata in a checkpoint: type and range of each entry are checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regtorch.errors import DataError
from regtorch.settings import ANY_NUMBER, COUNT, COUNT_OR_ZERO, NON_NEGATIVE, SEED, Range
from regtorch.system.untrusted import check_bounded, check_fields

_NODE = Range(
    "a node with a name",
    lambda v: isinstance(v, Mapping) and isinstance(v.get("name"), str) and all(isinstance(key, str) for key in v),
)
_NUMBERS = Range(
    "a mapping of names to finite numbers",
    lambda v: isinstance(v, Mapping) and all(isinstance(k, str) and ANY_NUMBER.holds(n) for k, n in v.items()),
)
_SHAPE = Range(
    "a list of one to four integers >= 1",
    lambda v: isinstance(v, (list, tuple)) and 1 <= len(v) <= 4 and all(map(COUNT.holds, v)),
)

FIELDS: dict[str, Range] = {
    **dict.fromkeys(("model", "activation", "dropout", "input_dropout", "optimizer", "data"), _NODE),
    "shape": _SHAPE,
    "classes": COUNT,
    "seed": SEED,
    **dict.fromkeys(("epochs", "batches", "batches_seen"), COUNT_OR_ZERO),
    "seconds": NON_NEGATIVE,
    "epoch_values": Range("a mapping of names to values", lambda v: isinstance(v, Mapping)),
    "plateau": Range("a mapping, or null", lambda v: v is None or isinstance(v, Mapping)),
    "steps_taken": _NUMBERS,
    "factors": _NUMBERS,
    "ranks": Range("a list of mappings", lambda v: isinstance(v, list) and all(isinstance(r, Mapping) for r in v)),
}
#: the checkpoint's other entries, written by Lightning
_OTHERS: dict[str, Range] = {
    "state_dict": Range("a mapping of names to tensors", lambda v: isinstance(v, Mapping)),
    "global_step": COUNT_OR_ZERO,
    "callbacks": Range("a mapping", lambda v: isinstance(v, Mapping)),
    "DataModule": Range(
        "a mapping of epochs and batches to integers >= 0",
        lambda v: (
            isinstance(v, Mapping) and set(v) == {"epochs", "batches"} and all(map(COUNT_OR_ZERO.holds, v.values()))
        ),
    ),
}


def checked_content(content: Any, named: str) -> dict[str, Any]:
    """Check a checkpoint's metadata and return its content.

    Args:
        content: plain containers, with tensors or stand-ins for them.
        named: the file's name for messages.

    Raises:
        DataError: it is not a checkpoint of a regtorch run, or an entry is invalid; the message names the file and the entry.

    Example:
        >>> checked_content({"state_dict": {}, "regtorch": {"epochs": "many"}}, "last.ckpt")
        Traceback (most recent call last):
        regtorch.errors.DataError: last.ckpt is damaged: regtorch.epochs=many: it must be an integer >= 0
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataError(f"{named} is not a checkpoint of a regtorch run")
    described = content.get("regtorch", {})
    if not isinstance(described, Mapping):
        raise DataError(f"{named} is not a checkpoint of a regtorch run")
    try:
        check_bounded(content)
        check_fields(content, _OTHERS)
    except DataError as error:
        raise DataError(f"{named} is damaged: {error}") from error
    try:
        check_fields(described, FIELDS)
    except DataError as error:
        raise DataError(f"{named} is damaged: regtorch.{error}") from error
    return content
