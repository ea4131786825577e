"""Reading JSON and YAML of untrusted origin: bounded in size, nesting and what it unfolds to; nothing in it is evaluated."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.settings import Range

#: a run's largest text file, with many overrides and advice, has some 100 kB
_MOST_BYTES = 16 * 2**20
_MOST_BYTES_OF_YAML = 2**20
_MOST_DEPTH = 64
_MOST_ITEMS = 1_000_000
_MOST_YAML_EVENTS = 100_000
#: a larger whole number is no count, seed or size
_MOST_NUMBER = 2**64


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is missing, not a regular file, too large, nested too deeply, or no JSON; the text is the reason
            alone, for a message that names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "results.json"
        ...     _ = path.write_text("[" * 100_000)
        ...     load_json(path)
        Traceback (most recent call last):
        regtorch.errors.DataError: it is nested too deeply
    """
    text = read_text(path, _MOST_BYTES)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise DataError("it is nested too deeply") from error
    except ValueError as error:
        raise DataError(f"no JSON: {error}") from error
    check_bounded(value)
    return value


def load_yaml(path: Path) -> Any:
    """What a YAML file of plain data holds, read as OmegaConf reads it; interpolations stay as they are written.

    Raises:
        DataError: as `load_json`; also for an alias, which no file of ours has: few of them can stand for any number of items.
    """
    from omegaconf import OmegaConf

    text = read_text(path, _MOST_BYTES_OF_YAML)
    try:
        _check_events(text)
        node = OmegaConf.create(text)
        return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    except DataError:
        raise
    except Exception as error:  # of YAML's and OmegaConf's own kinds
        raise DataError(f"no YAML of plain data: {type(error).__name__}") from error


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a regular file of bounded size.

    Raises:
        DataError: as `load_json`.
    """
    try:
        # a pipe would be waited for, and a device read until memory ends
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataError("it is no regular file")
            if status.st_size > most_bytes:
                raise DataError(f"it has {status.st_size:,} bytes, more than the {most_bytes:,} that it may have")
            return file.read(most_bytes + 1).decode("utf-8")
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError("it is no text in UTF-8") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(error)) from error  # a null byte in the path


def check_bounded(value: Any, most_items: int = _MOST_ITEMS, most_depth: int = _MOST_DEPTH) -> None:
    """Refuse containers that unfold to very many items or levels: the same list may stand in many places.

    Raises:
        DataError: they do.

    Example:
        >>> nested = [1]
        >>> for _ in range(60):
        ...     nested = [nested, nested]
        >>> check_bounded(nested)
        Traceback (most recent call last):
        regtorch.errors.DataError: it unfolds to more than 1,000,000 items
    """
    left = most_items
    pending: list[Iterator[Any]] = [iter((value,))]
    while pending:
        for item in pending[-1]:
            left -= 1
            if left < 0:
                raise DataError(f"it unfolds to more than {most_items:,} items")
            if isinstance(item, int) and not -_MOST_NUMBER <= item <= _MOST_NUMBER:
                raise DataError("it holds a number with too many digits")
            if isinstance(item, (Mapping, list, tuple)):
                if len(pending) > most_depth:
                    raise DataError("it is nested too deeply")
                pending.append(iter(item.values() if isinstance(item, Mapping) else item))
                break
        else:
            pending.pop()


def check_fields(value: Any, fields: Mapping[str, Range], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a file says of itself, with each known entry checked for its type and range; others are left as they are.

    Args:
        value: as it was read.
        fields: entry -> what it may be.
        required: entries that must be there.

    Raises:
        DataError: it is no mapping, an entry is missing or is not what it may be; the text names the entry.

    Example:
        >>> from regtorch.settings import COUNT
        >>> check_fields({"classes": 10**9, "shape": [-20]}, {"classes": COUNT})["shape"]
        [-20]
        >>> check_fields({"classes": "many"}, {"classes": COUNT})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.DataError: classes=many: it must be a whole number...
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DataError("it must be a mapping with names as keys")
    for key in required:
        if key not in value:
            raise DataError(f"{key} is missing")
    for key, allowed in fields.items():
        if key in value and not allowed.holds(value[key]):
            raise DataError(f"{key}={value[key]}: it must be {allowed.words}")
    return dict(value)


def _check_events(text: str) -> None:
    """Refuse what would unfold, before anything is built."""
    import yaml

    depth = 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        if count > _MOST_YAML_EVENTS:
            raise DataError(f"it has more than {_MOST_YAML_EVENTS:,} entries")
        if isinstance(event, yaml.AliasEvent):
            raise DataError("it has an alias, which no file of a run has")
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
            if depth > _MOST_DEPTH:
                raise DataError("it is nested too deeply")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and "${" in event.value and not _is_shallow(event.value):
            raise DataError("it has interpolations within interpolations")


def _is_shallow(text: str) -> bool:
    """Whether interpolations in a text are few and not within each other: reading others takes very long."""
    parts = text.split("${")
    return len(text) <= 10_000 and len(parts) <= 100 and all("}" in part for part in parts[1:-1])
