"""Fashion-MNIST, from the IDX files of torchvision or Debian."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits
from regtorch.registry import register

HOME = Path("data")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DOWNLOAD = (
    "`apt-get install dataset-fashion-mnist`, or `pip install torchvision` and "
    """`python -c "import torchvision; torchvision.datasets.FashionMNIST('data', download=True)"`, downloads the files"""
)


@register("data", "fashion_mnist")
@dataclass(kw_only=True, eq=False)
class FashionMNIST(ArrayDataSet):
    """70,000 gray images of clothes, 28 x 28, pixels from 0 to 1; the last 10,000 are the test part.

    Args:
        path: folder with the four IDX files (gzipped or not), or one that contains ``FashionMNIST/raw``; None searches
            torchvision's ``data/FashionMNIST/raw``, then Debian's ``/usr/share/datasets/fashion-mnist``.
        validation_fraction: None takes the first 5,000 training images; a fraction is drawn with `split_seed`.
        standardize: ``none``, ``train`` or ``all``: with one mean and standard deviation for all pixels.
        batch_size, workers, split_seed: as in `DataSet`.

    Raises:
        DataError: the files are missing (one line names the download command) or damaged.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747.
    """

    path: str | None = None
    validation_fraction: float | None = None

    def read(self) -> Splits:
        """Read all images, as uint8. The first twelfth is the validation part unless a fraction is given."""
        folder = self._folder()
        train, test = self._images(folder, "train"), self._images(folder, "t10k")
        if self.validation_fraction is not None:
            return Splits(train, None, test, CLASSES)
        first = len(train) // 12
        return Splits(train.take(slice(first, None)), train.take(slice(first)), test, CLASSES)

    def _folder(self) -> Path:
        given = Path(self.path).expanduser() if self.path is not None else HOME
        if self.path is not None and not given.exists():
            raise self.error(f"there is no such folder: {DOWNLOAD}")
        folders = [given / "FashionMNIST/raw", *([given] if self.path is not None else [DEBIAN])]
        for folder in folders:
            if any(folder.glob("train-images-idx3-ubyte*")):
                return folder
        raise self.error(f"there is no train-images-idx3-ubyte(.gz) in {' or '.join(map(str, folders))}: {DOWNLOAD}")

    def _images(self, folder: Path, part: str) -> Split:
        x = self._idx(folder / f"{part}-images-idx3-ubyte", 3)
        y = self._idx(folder / f"{part}-labels-idx1-ubyte", 1)
        return Split(x[:, None], y.astype(np.int64))

    def _idx(self, path: Path, ndim: int) -> Any:
        """Read the uint8 array of an IDX file: 0, 0, 8 (uint8), ndim, the sizes as big-endian uint32, the bytes."""
        zipped = path.with_name(path.name + ".gz")
        if not path.exists() and not zipped.exists():
            raise self.error(f"{path}(.gz) is missing: {DOWNLOAD}")
        try:
            content = path.read_bytes() if path.exists() else gzip.decompress(zipped.read_bytes())
            if content[:4] != bytes([0, 0, 8, ndim]):
                raise ValueError(f"it does not have the header of an IDX file of bytes in {ndim} dimensions")
            sizes = np.frombuffer(content, ">u4", ndim, offset=4).astype(int)
            return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(sizes).copy()
        except Exception as error:  # gzip and numpy raise many types for a damaged file
            raise self.error(f"{path}(.gz) is damaged, {error}: {DOWNLOAD}") from error
