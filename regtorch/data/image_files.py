"""Image files as rows of pixels, decoded when they are fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg"}
#: approximate limits of a digest: number of files whose sizes are used, and bytes that are read
_DIGEST_FILES, _DIGEST_BYTES = 50_000, 2**26


def modes() -> dict[int, str]:
    """Number of channels -> mode of Pillow.

    Example:
        >>> modes()[3]
        'RGB'
    """
    return {1: "L", 3: "RGB", 4: "RGBA"}


class ImageFiles:
    """Image files as rows (channels, height, width) of uint8. Indexing selects files, and `np.asarray` decodes them.

    Args:
        files: one file per row.
        size: (height, width) that images are scaled to.
        mode: mode of Pillow: ``RGB``, ``L`` (gray) or ``RGBA``.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], size: Sequence[int], mode: str = "RGB") -> None:
        self.files = np.array(files, dtype=object)
        self.size = tuple(size)
        self.mode = mode

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels, height, width)."""
        channels = next(number for number, mode in modes().items() if mode == self.mode)
        return (len(self.files), channels, *self.size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> ImageFiles:
        return ImageFiles(self.files[rows], self.size, self.mode)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        pixels = np.stack([self._decode(file) for file in self.files])
        return pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)

    def digest(self) -> bytes:
        """Return a digest of all names, and of the sizes and contents of as many files as can be read quickly."""
        names = [f"{file.parent.name}/{file.name}" for file in self.files]
        total = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape"))
        some = self.files[:: max(1, -(-len(names) // _DIGEST_FILES))]
        sizes = [_size(file) for file in some]
        total.update(repr(sizes).encode())
        for file in some[:: max(1, -(-sum(sizes) // _DIGEST_BYTES))]:
            with suppress(OSError):  # reported when the row is fetched
                total.update(file.read_bytes())
        return total.digest()

    def _decode(self, file: Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(file) as image:
                if image.mode[0] in "IF":  # a conversion would clip the pixels at 255
                    raise ValueError(f"its pixels have more than 8 bits, mode {image.mode}")
                return np.asarray(image.convert(self.mode).resize(self.size[::-1], Image.Resampling.BILINEAR))
        except Exception as error:  # decoders raise many types for a damaged file
            raise DataError(f"{file} cannot be read as an image ({error}): repair or remove it") from error


def find_images(path: Path, error: Callable[[str], DataError]) -> list[Path]:
    """Return an image file itself, or the image files in a folder and its direct subfolders, sorted by name.

    Args:
        path: a file or a folder.
        error: makes the error about it.

    Raises:
        DataError: there is no image.
    """
    kinds = ", ".join(sorted(SUFFIXES))
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise error(f"is not an image of a supported type ({kinds})")
        return [path]
    if not path.is_dir():
        raise error("there is no such file or folder")
    try:
        directly = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
        below = [file for file in path.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file()]
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}") from problem
    if not directly and not below:
        raise error(
            f"there are no images ({kinds}) in it or in the folders below; a folder with train/<class>/ and test/<class>/ is "
            "data=image_folder data.path=FOLDER"
        )
    return sorted(directly) + sorted(below)


def check_size(files: Sequence[Path], size: Sequence[int], error: Callable[[str], DataError]) -> None:
    """Refuse images of another size than (height, width), for a network whose training did not scale images.

    Raises:
        DataError: an image has another size; the message names the first one.
    """
    from PIL import Image

    for file in files:
        try:
            with Image.open(file) as image:
                found = image.size[::-1]
        except Exception as problem:  # decoders raise many types for a damaged file
            raise DataError(f"{file} cannot be read as an image ({problem}): repair or remove it") from problem
        if found != tuple(size):
            raise error(
                f"{file.name} has {found[0]} x {found[1]} pixels, but the network was trained on {size[0]} x {size[1]} "
                "without scaling: resize it first"
            )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
