"""Output files of predictions: checked before sampling starts, and written atomically."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regtorch.errors import SettingError
from regtorch.system.files import replaced

#: formats of the table
FORMATS = ("csv", "parquet")
Write = Callable[[Path], None]


@dataclass(frozen=True)
class PredictionFiles:
    """The table and the figure of one prediction in a folder.

    Args:
        folder: the folder for both.
        format: the table's format.
        key: the override that names the folder, for messages.
    """

    folder: Path
    format: str
    key: str

    @property
    def table(self) -> Path:
        """The table's file."""
        return self.folder / f"predictions.{self.format}"

    @property
    def picture(self) -> Path:
        """The figure's file."""
        return self.folder / "predictions.png"

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Create the folder and check that it is writable; if the block raises, remove created empty folders.

        Raises:
            SettingError: the folder cannot be created or written, or a folder has the name of an output file.
        """
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self._try()
            yield
        except BaseException:
            for path in missing:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            raise

    def _try(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise SettingError(f"{self.key} is not allowed: it must be a folder, or the name of a new one")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            advice = "" if self.key.startswith("out=") else "; to write elsewhere: out=FOLDER"
            raise SettingError(
                f"{self.key} is not allowed: no file can be created there ({os.strerror(error.errno or 0)}){advice}"
            ) from error
        for path in (*self._tables(), self.picture):
            if path.is_dir():
                raise SettingError(f"{self.key} is not allowed: {path} is a folder, but must be a file")

    def remove(self) -> list[Path]:
        """Remove the files of earlier predictions, and return their paths."""
        existing = [path for path in (*self._tables(), self.picture) if path.is_file()]
        for path in existing:
            path.unlink(missing_ok=True)
        return existing

    def _tables(self) -> list[Path]:
        return [self.folder / f"predictions.{kind}" for kind in FORMATS]

    def write(self, table: Write, picture: Write | None) -> list[Path]:
        """Write the table, and the figure if there is one, and remove files of earlier predictions.

        Returns:
            The paths of the written files.
        """
        written = [self.table] if picture is None else [self.table, self.picture]
        try:
            with replaced(self.table) as temporary:
                table(temporary)
                if picture is not None:
                    with replaced(self.picture) as other:
                        picture(other)
        except OSError as error:  # the original error names a temporary file
            raise OSError(error.errno, error.strerror, str(self.folder)) from error
        for path in {*self._tables(), self.picture} - set(written):
            path.unlink(missing_ok=True)
        return written
