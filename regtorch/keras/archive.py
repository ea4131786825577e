"""The zip archive of a ``.keras`` file: read as untrusted input, and written back atomically."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
import zlib
from copy import copy
from pathlib import Path, PurePosixPath
from typing import Any

from regtorch.errors import KerasFileError
from regtorch.keras.messages import MESSAGE_LENGTH, shown
from regtorch.printable import escaped, printable, shortened
from regtorch.system.files import replaced

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

#: limit for a configuration; the largest published ones have a few megabytes
_CONFIG_BYTES = 16 * 2**20
#: Keras stores without compression, and weights of a network never compress by more than this factor
_EXPANSION = 100
_SMALL = 2**20

#: bytes that are read of a file that is not an archive; they are enough to recognize its kind
_READ_OF_OTHERS = 64 * 2**20

_HDF5 = b"\x89HDF\r\n\x1a\n"

#: first bytes of files that are not archives, and the advice for them
_OTHERS = (
    (
        b"version https://git-lfs.github.com",
        "is a Git LFS pointer, not the file itself: run 'git lfs pull' where it was cloned",
    ),
    (b"<", "is a web page or XML, not a .keras file: download the file itself"),
    (b"{", "is JSON, not a .keras file: the configuration of a model without its weights?"),
    (b"\x80", "is a pickle, not a .keras file: pickles are never loaded here"),
)


def checked_path(path: Any, what: str = "path") -> Path:
    """Check that an argument is the path of a file, and return it.

    Args:
        path: a string or a path object.
        what: the argument's name.

    Raises:
        KerasFileError: it is of another type, or empty.
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        kind = "the content of a file" if isinstance(path, (bytes, bytearray, memoryview)) else f"{type(path).__name__}"
        raise KerasFileError(f"{what}={shown(path, 40)} is not allowed: it must be the path of a file, not {kind}")
    if not path:
        raise KerasFileError(f"{what}='' is not allowed: it must be the path of a file")
    return Path(path)


def _advice_on_folder(path: Path) -> str:
    """The advice for a folder, depending on its content."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        names = set()
    if {CONFIG, WEIGHTS} <= names:
        return (
            "is a folder with the members of a .keras file of Keras 3: zip them, e.g. with 'python -m zipfile -c model.keras "
            f"{CONFIG} {METADATA} {WEIGHTS}' in that folder"
        )
    kind = " (a SavedModel)" if "saved_model.pb" in names else ""
    return f"is a folder{kind}, not a .keras file: load the model in Keras and save it with model.save('model.keras')"


def _advice_on_hdf5(path: Path, content: bytes) -> str:
    """How to convert the model in an HDF5 file to a ``.keras`` file. Keras decides by the file extension."""
    if b"model_config" not in content:
        return (
            "is an HDF5 file of weights only (as save_weights writes it), not a .keras file: build the model in Keras, load "
            "the weights and save it with model.save('model.keras')"
        )
    rename = "" if path.suffix.lower() in (".h5", ".hdf5") else "rename it to model.h5, "
    return (
        f"is an HDF5 file (a legacy .h5 model), not a .keras file: {rename}load it in Keras 3 with load_model and save it "
        "with model.save('model.keras')"
    )


class Archive:
    """The members of a ``.keras`` file. Only three of them are read, into memory; nothing is extracted to disk.

    Args:
        path: the file.

    Raises:
        KerasFileError: it is not an archive, or it is damaged or malicious; one line names the file and the member.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked_path(path)
        self.name = shortened(escaped(str(path)), 300)
        self._content = self._read_file()  # read only once, so that the checked bytes are those that are used later
        if self._content.startswith(_HDF5):
            raise self.error(_advice_on_hdf5(self.path, self._content))
        try:
            with self._opened() as archive:
                self._members = self._checked(archive.infolist())
        except KerasFileError:
            raise
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            start = self._content.lstrip()
            known = next((what for magic, what in _OTHERS if start.startswith(magic)), None)
            raise self.error(known or f"is not a complete zip archive, as .keras files are: {error}") from error
        for name in (CONFIG, WEIGHTS):
            if name not in self._members:
                raise self.error(self._advice_on_members(name))

    def error(self, message: str) -> KerasFileError:
        """The error to raise about the file.

        Args:
            message: starts with a verb or a colon, as the file's name is put before it unless it is there already.
        """
        text = printable(message.removeprefix(self.name), MESSAGE_LENGTH)
        return KerasFileError(f"{self.name}{text}" if text.startswith(":") else f"{self.name} {text}")

    def _read_file(self) -> bytes:
        """The content of a regular file. Other kinds are refused: a pipe would block, and a device has no end."""
        try:
            status = self.path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise self.error(_advice_on_folder(self.path))
            if not stat.S_ISREG(status.st_mode):
                raise self.error("is not a regular file, but a pipe, a socket or a device")
            with self.path.open("rb") as file:
                size = -1 if zipfile.is_zipfile(file) else _READ_OF_OTHERS
                file.seek(0)
                return file.read(size)
        except KerasFileError:
            raise
        except FileNotFoundError as error:
            raise self.error(": there is no such file") from error
        except MemoryError as error:
            raise self.error(f"has {status.st_size:,} bytes, which do not fit into memory") from error
        except (OSError, ValueError) as error:
            raise self.error(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _advice_on_members(self, missing: str) -> str:
        """The advice for an archive that lacks a member at its top level."""
        names = [name.replace("\\", "/") for name in self._members]
        folder = next((name.removesuffix(CONFIG) for name in names if name.endswith(f"/{CONFIG}")), None)
        if folder is not None:
            return (
                f"has its members in the folder {shown(folder, 60)} of the archive: zip the files in that folder, not the "
                "folder itself"
            )
        if any(name.endswith("data.pkl") for name in names):
            return "is a file of torch.save, not a .keras file: load it with torch.load(..., weights_only=True)"
        if names and all(name.endswith(".npy") for name in names):
            return "is a NumPy archive (.npz), not a .keras file"
        if missing == WEIGHTS and WEIGHTS.replace(".h5", ".npz") in names:
            return (
                "keeps its weights in model.weights.npz: load it in Keras 3 and save it with model.save('model.keras')"
            )
        return f": the member {missing} is missing; is it a .keras file of Keras 3?"

    def _opened(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self._content))

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name, path = info.filename, PurePosixPath(info.filename.replace("\\", "/"))
            if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise self.error(f": the member {shown(name)} would leave the archive")
            if name in members:
                raise self.error(f": the member {shown(name)} is in the archive twice")
            if info.flag_bits & 1:
                raise self.error(f": the member {shown(name)} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.error(f": the member {shown(name)} is compressed in a way that Keras does not use")
            if info.file_size > max(_SMALL, _EXPANSION * info.compress_size):
                raise self.error(
                    f": the member {shown(name)} unpacks from {info.compress_size:,} bytes to {info.file_size:,}, "
                    "like a zip bomb"
                )
            members[name] = info
        unpacked, packed = (
            sum(sizes) for sizes in zip((0, 0), *((i.file_size, i.compress_size) for i in infos), strict=True)
        )
        if unpacked > max(_SMALL, _EXPANSION * packed):
            raise self.error(f": {packed:,} bytes unpack to {unpacked:,}, like a zip bomb")
        return members

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return a member's bytes, after a test of its checksum.

        Raises:
            KerasFileError: it is larger than `limit` or than its header states, or damaged.
        """
        info = self._members[name]
        if limit is not None and info.file_size > limit:
            raise self.error(f": the member {name} has {info.file_size:,} bytes, more than {limit:,}")
        try:
            with self._opened() as archive, archive.open(info) as member:
                content = member.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise self.error(f": the member {name} is damaged: {error}") from error
        if len(content) != info.file_size:
            raise self.error(f": the member {name} is truncated")
        return content

    def config(self) -> Any:
        """Return the content of ``config.json``."""
        content = self.read(CONFIG, _CONFIG_BYTES)
        try:
            return json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.error(f": the member {CONFIG} is not JSON: {error}") from error

    def keras_version(self) -> str:
        """Return the version of Keras that the file names as its writer; empty if it names none."""
        try:
            metadata = json.loads(self.read(METADATA, _SMALL)) if METADATA in self._members else {}
        except (ValueError, RecursionError) as error:
            raise self.error(f": the member {METADATA} is not JSON: {error}") from error
        return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""

    def save_as(self, path: str | os.PathLike[str], weights: bytes) -> None:
        """Write the archive with other weights, atomically. All other members are copied unchanged."""
        with replaced(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, info in self._members.items():
                content = weights if name == WEIGHTS else self.read(name)
                archive.writestr(
                    copy(info), content, compress_type=info.compress_type
                )  # a copy, as writestr changes the info
