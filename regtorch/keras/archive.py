"""The zip archive that a ``.keras`` file is: read with suspicion, written back whole."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from copy import copy
from pathlib import Path, PurePosixPath
from typing import Any

from regtorch.errors import KerasFileError
from regtorch.files import replaced

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

#: a configuration is text; the largest published ones have a few megabytes
_CONFIG_BYTES = 16 * 2**20
#: Keras stores without compression; what shrinks further than this is no network's weights
_EXPANSION = 100
_SMALL = 2**20

_HDF5 = b"\x89HDF\r\n\x1a\n"


class Archive:
    """The members of a ``.keras`` file. Only three of them are read, into memory; nothing is unpacked.

    Args:
        path: the file.

    Raises:
        KerasFileError: it is no archive, damaged, or built to do harm; one line names the file and the member.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise KerasFileError(f"{path}: there is no such file")
        if self.path.is_dir():
            raise KerasFileError(
                f"{path} is a folder (a SavedModel?), not a .keras file: load it in Keras and save it with "
                "model.save('model.keras')"
            )
        try:
            self._content = self.path.read_bytes()  # once, so that what was checked is what is read, now and later
        except OSError as error:
            raise KerasFileError(f"{path} cannot be read: {error.strerror or error}") from error
        if self._content.startswith(_HDF5):
            raise KerasFileError(
                f"{path} is an HDF5 file (a legacy .h5 model, or weights alone), not a .keras file: load it in "
                "Keras 3 and save it with model.save('model.keras')"
            )
        try:
            with self._opened() as archive:
                self._members = self._checked(archive.infolist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise KerasFileError(f"{path} is no whole zip archive, as .keras files are: {error}") from error
        for name in (CONFIG, WEIGHTS):
            if name not in self._members:
                raise KerasFileError(f"{path}: the member {name} is missing; is it a .keras file of Keras 3?")

    def _opened(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self._content))

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name, path = info.filename, PurePosixPath(info.filename.replace("\\", "/"))
            if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise KerasFileError(f"{self.path}: the member {name!r} would leave the archive")
            if name in members:
                raise KerasFileError(f"{self.path}: the member {name!r} is there twice")
            if info.flag_bits & 1:
                raise KerasFileError(f"{self.path}: the member {name!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise KerasFileError(f"{self.path}: the member {name!r} is compressed in a way that Keras does not use")
            if info.file_size > max(_SMALL, _EXPANSION * info.compress_size):
                raise KerasFileError(
                    f"{self.path}: the member {name!r} says that {info.compress_size:,} bytes unpack to "
                    f"{info.file_size:,}, as a zip bomb does"
                )
            members[name] = info
        unpacked, packed = (
            sum(sizes) for sizes in zip((0, 0), *((i.file_size, i.compress_size) for i in infos), strict=True)
        )
        if unpacked > max(_SMALL, _EXPANSION * packed):
            raise KerasFileError(f"{self.path}: {packed:,} bytes unpack to {unpacked:,}, as a zip bomb does")
        return members

    def read(self, name: str, limit: int | None = None) -> bytes:
        """A member's bytes, checked against its checksum.

        Raises:
            KerasFileError: it is larger than `limit` or than it says, or damaged.
        """
        info = self._members[name]
        if limit is not None and info.file_size > limit:
            raise KerasFileError(f"{self.path}: the member {name} has {info.file_size:,} bytes, more than {limit:,}")
        try:
            with self._opened() as archive, archive.open(info) as member:
                content = member.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise KerasFileError(f"{self.path}: the member {name} is damaged: {error}") from error
        if len(content) != info.file_size:
            raise KerasFileError(f"{self.path}: the member {name} is cut short")
        return content

    def config(self) -> Any:
        """The content of ``config.json``."""
        content = self.read(CONFIG, _CONFIG_BYTES)
        try:
            return json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise KerasFileError(f"{self.path}: the member {CONFIG} is no JSON: {error}") from error

    def keras_version(self) -> str:
        """The version that the file says wrote it; empty where it does not say."""
        try:
            metadata = json.loads(self.read(METADATA, _SMALL)) if METADATA in self._members else {}
        except (ValueError, RecursionError) as error:
            raise KerasFileError(f"{self.path}: the member {METADATA} is no JSON: {error}") from error
        return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""

    def save_as(self, path: str | os.PathLike[str], weights: bytes) -> None:
        """Write the archive with other weights: every other member as it is, under a temporary name that is renamed."""
        with replaced(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, info in self._members.items():
                content = weights if name == WEIGHTS else self.read(name)
                archive.writestr(copy(info), content, compress_type=info.compress_type)  # it notes where it put it
