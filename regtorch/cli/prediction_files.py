"""Where predictions are written: found out before anything is sampled, and there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regtorch.errors import SettingError
from regtorch.files import replaced

#: formats of the table
FORMATS = ("csv", "parquet")
Write = Callable[[Path], None]


@dataclass(frozen=True)
class PredictionFiles:
    """The table and the picture of one prediction in a folder.

    Args:
        folder: that holds them.
        format: of the table.
        key: how the command line named the folder.
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
        """The picture's file."""
        return self.folder / "predictions.png"

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Make the folder and see that files can be made in it; if the block raises, what was made is removed.

        Raises:
            SettingError: the folder cannot be made or written to, or a folder has the name of a file.
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
            advice = "" if self.key.startswith("out=") else "; out=FOLDER writes elsewhere"
            raise SettingError(
                f"{self.key} is not allowed: no file can be made there ({os.strerror(error.errno or 0)}){advice}"
            ) from error
        for path in (*self._tables(), self.picture):
            if path.is_dir():
                raise SettingError(f"{self.key} is not allowed: {path} is a folder, and a file of that name is written")

    def remove(self) -> list[Path]:
        """Remove the files of earlier predictions; gives back those that were there."""
        there = [path for path in (*self._tables(), self.picture) if path.is_file()]
        for path in there:
            path.unlink(missing_ok=True)
        return there

    def _tables(self) -> list[Path]:
        return [self.folder / f"predictions.{kind}" for kind in FORMATS]

    def write(self, table: Write, picture: Write | None) -> list[Path]:
        """Write both, or the table alone, and remove files of earlier predictions, which would mislead.

        Returns:
            What was written.
        """
        written = [self.table] if picture is None else [self.table, self.picture]
        try:
            with replaced(self.table) as temporary:
                table(temporary)
                if picture is not None:
                    with replaced(self.picture) as other:
                        picture(other)
        except OSError as error:  # it names a temporary file
            raise OSError(error.errno, error.strerror, str(self.folder)) from error
        for path in {*self._tables(), self.picture} - set(written):
            path.unlink(missing_ok=True)
        return written
