"""Image files in folders named by their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from regtorch.data.base import DataSet, Split, Splits
from regtorch.data.image_files import SUFFIXES, ImageFiles
from regtorch.data.memory import check_memory
from regtorch.registry import register


@register("data", "image_folder")
@dataclass(kw_only=True, eq=False)
class ImageFolder(DataSet):
    """``path/train/<class>/*.png``, ``path/test/<class>/*.png``, and ``path/val/...`` if there is a validation part.

    Pixels from 0 to 1, RGB. Files are decoded each time they are fetched, so memory does not grow with their number.

    Args:
        path: the folder.
        image_size: [height, width] that images are scaled to, in pixels.
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: a folder is missing or has no images, or a fetched image cannot be decoded.
    """

    path: str | None = None
    image_size: Sequence[int] = field(default_factory=lambda: [64, 64])

    def read(self) -> Splits:
        """List the files, without decoding them."""
        decoded = 3 * self.image_size[0] * self.image_size[1]
        sized_by = f"data.batch_size={self.batch_size} images of data.image_size={list(self.image_size)}"
        check_memory(6 * decoded * self.batch_size, self.error, sized_by)
        if self.path is None:
            raise self.error(
                "data.path is not given: it must be a folder with train/<class>/*.png and test/<class>/*.png"
            )
        root = Path(self.path).expanduser()
        for folder in (root, root / "train", root / "test"):
            if not folder.is_dir():
                raise self.error(
                    f"there is no folder {folder}: images must be in train/<class>/ and test/<class>/ below data.path"
                )
        classes = tuple(sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir()))
        if len(classes) < 2:
            raise self.error(
                f"{root / 'train'} has {len(classes)} folders: it must have one for each class, at least two"
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
