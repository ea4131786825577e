"""Image files in folders named by their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.data.base import DataSet, Split, Splits
from regtorch.errors import DataError
from regtorch.registry import register

SUFFIXES = {".png", ".jpg", ".jpeg"}


class ImageFiles:
    """Image files as rows (3, height, width) of uint8: indexing picks files, and `np.asarray` decodes them.

    Args:
        files: one a row.
        size: (height, width) that images are scaled to.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], size: Sequence[int]) -> None:
        self.files = np.array(files, dtype=object)
        self.size = tuple(size)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, 3, height, width)."""
        return (len(self.files), 3, *self.size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> ImageFiles:
        return ImageFiles(self.files[rows], self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.moveaxis(np.stack([self._decode(file) for file in self.files]), -1, 1)

    def _decode(self, file: Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB").resize(self.size[::-1], Image.Resampling.BILINEAR))
        except Exception as error:  # whatever a damaged file makes the decoders raise
            raise DataError(f"{file} cannot be read as an image ({error}): repair or remove it") from error


@register("data", "image_folder")
@dataclass(kw_only=True, eq=False)
class ImageFolder(DataSet):
    """``path/train/<class>/*.png``, ``path/test/<class>/*.png``, and ``path/val/...`` if there is a validation part.

    Pixels from 0 to 1, RGB. Files are decoded whenever they are fetched, so memory does not grow with their number.

    Args:
        path: the folder.
        image_size: [height, width] that images are scaled to, in pixels.
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: a folder is missing or has no images; or an image, when it is fetched, cannot be decoded.
    """

    path: str | None = None
    image_size: Sequence[int] = field(default_factory=lambda: [64, 64])

    def read(self) -> Splits:
        """The files' names; nothing is decoded yet."""
        if self.path is None:
            raise self.error(
                "data.path is not given: it must be a folder with train/<class>/*.png and test/<class>/*.png"
            )
        root = Path(self.path).expanduser()
        for folder in (root, root / "train", root / "test"):
            if not folder.is_dir():
                raise self.error(
                    f"there is no folder {folder}: images belong into train/<class>/ and test/<class>/ below data.path"
                )
        classes = tuple(sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir()))
        if len(classes) < 2:
            raise self.error(
                f"{root / 'train'} has {len(classes)} folders: it must have one for each class, two at least"
            )
        val = self._files(root / "val", classes) if (root / "val").is_dir() else None
        return Splits(self._files(root / "train", classes), val, self._files(root / "test", classes), classes)

    def _files(self, folder: Path, classes: Sequence[str]) -> Split:
        files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES)
        for file in files:
            if file.parent.name not in classes:
                raise self.error(f"{file.parent} is a class that train/ does not have; it has {', '.join(classes)}")
        number = {name: index for index, name in enumerate(classes)}
        return Split(
            ImageFiles(files, self.image_size), np.array([number[file.parent.name] for file in files], np.int64)
        )
