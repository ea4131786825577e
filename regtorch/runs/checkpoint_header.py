"""Read a checkpoint's metadata without importing torch and without executing anything in the file."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.training.checkpoint_metadata import checked_content


class _Anything:
    """Placeholder for every object that is not plain data."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, value: Any) -> None: ...
    def extend(self, values: Any) -> None: ...
    def add(self, value: Any) -> None: ...


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles plain containers. Every other global becomes a placeholder, so no code of the file runs."""

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Anything

    def persistent_load(self, pid: Any) -> Any:
        return None


def read_description(path: Path) -> Mapping[str, Any]:
    """Read the configuration nodes of the model in a checkpoint (``checkpoint["regtorch"]``).

    Raises:
        DataError: the file is not a checkpoint, is damaged, or is not from a regtorch run.
    """
    described: Mapping[str, Any] = read_plain_content(path)["regtorch"]
    return described


def read_plain_content(path: Path) -> Mapping[str, Any]:
    """Read all plain data of a checkpoint.

    Raises:
        DataError: as in `read_description`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return _content(path.absolute(), str(path), status.st_mtime_ns, status.st_size)


#: limit for data.pkl in the archive; a network with 100,000 weight tensors needs 20 MB
_MOST_BYTES = 64 * 2**20


@lru_cache(maxsize=4)  # several checks read the same checkpoint
def _content(path: Path, named: str, changed: int, size: int) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch does not compress: an archive that declares more bytes than the file has is a decompression bomb
            if sum(member.file_size for member in members) > size or any(member.compress_type for member in members):
                raise zipfile.BadZipFile("decompression bomb")
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(damaged)
            member = next(member for member in members if member.filename.endswith("/data.pkl"))
            if member.file_size > _MOST_BYTES:
                raise zipfile.BadZipFile("its description is too large")
            content = _PlainUnpickler(io.BytesIO(archive.read(member))).load()
    except OSError as error:
        raise DataError(f"{named} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise DataError(f"{named} cannot be read as a checkpoint ({type(error).__name__}); is it complete?") from error
    if not isinstance(content, dict) or not isinstance(content.get("regtorch"), Mapping):
        raise DataError(f"{named} is not a checkpoint of a regtorch run")
    return checked_content(content, named)
