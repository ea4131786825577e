"""Reading of untrusted JSON and YAML: size, nesting and expansion are limited, and nothing is evaluated."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.settings import Range

#: the largest text files of a run, with many overrides and advice, have about 100 kB
_MOST_BYTES = 16 * 2**20
_MOST_BYTES_OF_YAML = 2**20
_MOST_DEPTH = 64
_MOST_ITEMS = 1_000_000
_MOST_YAML_EVENTS = 100_000
#: counts, seeds and sizes are not larger
_MOST_NUMBER = 2**64


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it is missing, not a regular file, too large, nested too deeply, or not JSON; the text is only the
            reason, to be used in a message that names the file.

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
        raise DataError(f"not JSON: {error}") from error
    check_bounded(value)
    return value


def load_yaml(path: Path) -> Any:
    """Read a YAML file of plain data as OmegaConf does; interpolations are not resolved.

    Raises:
        DataError: as in `load_json`; also for aliases, a few of which could expand to any number of items.
    """
    from omegaconf import OmegaConf

    text = read_text(path, _MOST_BYTES_OF_YAML)
    try:
        _check_events(text)
        node = OmegaConf.create(text)
        return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    except DataError:
        raise
    except Exception as error:  # YAML and OmegaConf have their own exceptions
        raise DataError(f"not YAML of plain data: {type(error).__name__}") from error


def read_text(path: Path, most_bytes: int) -> str:
    """Read a regular file of limited size as text.

    Raises:
        DataError: as in `load_json`.
    """
    try:
        # a pipe would block, and a device could fill the memory
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataError("it is not a regular file")
            if status.st_size > most_bytes:
                raise DataError(f"it has {status.st_size:,} bytes, more than the allowed {most_bytes:,}")
            return file.read(most_bytes + 1).decode("utf-8")
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError("it is not UTF-8 text") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(error)) from error  # a null byte in the path


def check_bounded(value: Any, most_items: int = _MOST_ITEMS, most_depth: int = _MOST_DEPTH) -> None:
    """Raise if containers expand to too many items or levels, as one list may be contained many times.

    Raises:
        DataError: they do.

    Example:
        >>> nested = [1]
        >>> for _ in range(60):
        ...     nested = [nested, nested]
        >>> check_bounded(nested)
        Traceback (most recent call last):
        regtorch.errors.DataError: it expands to more than 1,000,000 items
    """
    left = most_items
    pending: list[Iterator[Any]] = [iter((value,))]
    while pending:
        for item in pending[-1]:
            left -= 1
            if left < 0:
                raise DataError(f"it expands to more than {most_items:,} items")
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
    """Check type and range of each known entry of a mapping from a file; other entries are not checked.

    Args:
        value: the content of the file.
        fields: entry -> its allowed values.
        required: entries that must be present.

    Raises:
        DataError: it is not a mapping, or an entry is missing or invalid; the text names the entry.

    Example:
        >>> from regtorch.settings import COUNT
        >>> check_fields({"classes": 10**9, "shape": [-20]}, {"classes": COUNT})["shape"]
        [-20]
        >>> check_fields({"classes": "many"}, {"classes": COUNT})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.DataError: classes=many: it must be an integer...
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
    """Raise for text that would expand, before anything is built."""
    import yaml

    depth = 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        if count > _MOST_YAML_EVENTS:
            raise DataError(f"it has more than {_MOST_YAML_EVENTS:,} entries")
        if isinstance(event, yaml.AliasEvent):
            raise DataError("it has an alias, which is not allowed in a run folder")
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
            if depth > _MOST_DEPTH:
                raise DataError("it is nested too deeply")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and "${" in event.value and not _is_shallow(event.value):
            raise DataError("it has interpolations within interpolations")


def _is_shallow(text: str) -> bool:
    """Whether a text has few interpolations and no nested ones; OmegaConf takes very long to read others."""
    parts = text.split("${")
    return len(text) <= 10_000 and len(parts) <= 100 and all("}" in part for part in parts[1:-1])
