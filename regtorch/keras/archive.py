"""The zip archive that a ``.keras`` file is: read with suspicion, written back whole."""

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
from regtorch.files import replaced
from regtorch.keras.wording import MESSAGE, shortened, shown

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

#: a configuration is text; the largest published ones have a few megabytes
_CONFIG_BYTES = 16 * 2**20
#: Keras stores without compression; what shrinks further than this is no network's weights
_EXPANSION = 100
_SMALL = 2**20

#: bytes that show what a file is that is no archive
_ENOUGH = 64 * 2**20

_HDF5 = b"\x89HDF\r\n\x1a\n"

#: how files that are no archives begin, and what to do with them
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
    """A path that may name a file.

    Args:
        path: a string or a path object.
        what: the argument's name.

    Raises:
        KerasFileError: it is something else, or empty.
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
    """What a folder is, by what is in it."""
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
    """How the model in an HDF5 file becomes a ``.keras`` file; Keras goes by the ending of the name."""
    if b"model_config" not in content:
        return (
            "is an HDF5 file of weights alone (as save_weights writes it), not a .keras file: build the model in Keras, load "
            "the weights and save it with model.save('model.keras')"
        )
    rename = "" if path.suffix.lower() in (".h5", ".hdf5") else "rename it to model.h5, "
    return (
        f"is an HDF5 file (a legacy .h5 model), not a .keras file: {rename}load it in Keras 3 with load_model and save it "
        "with model.save('model.keras')"
    )


class Archive:
    """The members of a ``.keras`` file. Only three of them are read, into memory; nothing is unpacked.

    Args:
        path: the file.

    Raises:
        KerasFileError: it is no archive, damaged, or built to do harm; one line names the file and the member.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked_path(path)
        self.name = shortened(str(path), 300)
        self._content = self._read_file()  # once, so that what was checked is what is read, now and later
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
            raise self.error(known or f"is no whole zip archive, as .keras files are: {error}") from error
        for name in (CONFIG, WEIGHTS):
            if name not in self._members:
                raise self.error(self._advice_on_members(name))

    def error(self, message: str) -> KerasFileError:
        """The error to raise about the file.

        Args:
            message: what its name stands before, beginning with a verb or a colon; or one that names the file already.
        """
        said = message.removeprefix(self.name)
        return KerasFileError(self.name + shortened(said if said[:1] in (":", " ") else f" {said}", MESSAGE))

    def _read_file(self) -> bytes:
        """The content of a regular file: a pipe would block, and a device has no end."""
        try:
            status = self.path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise self.error(_advice_on_folder(self.path))
            if not stat.S_ISREG(status.st_mode):
                raise self.error("is no regular file, but a pipe, a socket or a device")
            with self.path.open("rb") as file:
                size = -1 if zipfile.is_zipfile(file) else _ENOUGH
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
        """What an archive without its members at the top is."""
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
                raise self.error(f": the member {shown(name)} is there twice")
            if info.flag_bits & 1:
                raise self.error(f": the member {shown(name)} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self.error(f": the member {shown(name)} is compressed in a way that Keras does not use")
            if info.file_size > max(_SMALL, _EXPANSION * info.compress_size):
                raise self.error(
                    f": the member {shown(name)} says that {info.compress_size:,} bytes unpack to "
                    f"{info.file_size:,}, as a zip bomb does"
                )
            members[name] = info
        unpacked, packed = (
            sum(sizes) for sizes in zip((0, 0), *((i.file_size, i.compress_size) for i in infos), strict=True)
        )
        if unpacked > max(_SMALL, _EXPANSION * packed):
            raise self.error(f": {packed:,} bytes unpack to {unpacked:,}, as a zip bomb does")
        return members

    def read(self, name: str, limit: int | None = None) -> bytes:
        """A member's bytes, checked against its checksum.

        Raises:
            KerasFileError: it is larger than `limit` or than it says, or damaged.
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
            raise self.error(f": the member {name} is cut short")
        return content

    def config(self) -> Any:
        """The content of ``config.json``."""
        content = self.read(CONFIG, _CONFIG_BYTES)
        try:
            return json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.error(f": the member {CONFIG} is no JSON: {error}") from error

    def keras_version(self) -> str:
        """The version that the file says wrote it; empty where it does not say."""
        try:
            metadata = json.loads(self.read(METADATA, _SMALL)) if METADATA in self._members else {}
        except (ValueError, RecursionError) as error:
            raise self.error(f": the member {METADATA} is no JSON: {error}") from error
        return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""

    def save_as(self, path: str | os.PathLike[str], weights: bytes) -> None:
        """Write the archive with other weights: every other member as it is, under a temporary name that is renamed."""
        with replaced(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, info in self._members.items():
                content = weights if name == WEIGHTS else self.read(name)
                archive.writestr(copy(info), content, compress_type=info.compress_type)  # it notes where it put it
