"""CIFAR-10, from torchvision's folder (the "python version")."""

from __future__ import annotations

import io
import pickle
from _codecs import encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regtorch.data.base import ArrayDataSet, Split, Splits
from regtorch.registry import register

FOLDER = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DOWNLOAD = (
    "`pip install torchvision` and "
    """`python -c "import torchvision; torchvision.datasets.CIFAR10('data', download=True)"` download the files"""
)

_reconstruct: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): encode,
}


class ArrayUnpickler(pickle.Unpickler):
    """Loads only numpy arrays in plain containers, so that an untrusted file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a function that is needed to rebuild an array.

        Raises:
            UnpicklingError: the file requests anything else.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which is not allowed in a file of images")
        return _ALLOWED[module, name]


@register("data", "cifar10")
@dataclass(kw_only=True, eq=False)
class CIFAR10(ArrayDataSet):
    """60,000 color images of 10 classes, 32 x 32, pixels from 0 to 1; 10,000 of them are the test part.

    Args:
        path: the folder ``cifar-10-batches-py``, or the folder that contains it.
        standardize: ``none``, ``train`` or ``all``: with the mean and standard deviation of each color channel.
        batch_size, workers, validation_fraction, split_seed: as in `DataSet`.

    Raises:
        DataError: the files are missing (one line names the download command), damaged, or contain other objects than arrays.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    path: str = "data"

    def read(self) -> Splits:
        """Read all images, as uint8."""
        folder = Path(self.path).expanduser()
        folder = folder if folder.name == FOLDER else folder / FOLDER
        if not folder.is_dir():
            raise self.error(f"the folder {folder} does not exist: {DOWNLOAD}")
        batches = [self._batch(folder / f"data_batch_{number}") for number in range(1, 6)]
        x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return Splits(Split(x, y), None, Split(*self._batch(folder / "test_batch")), CLASSES)

    def _batch(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if not path.exists():
            raise self.error(f"{path} is missing: {DOWNLOAD}")
        try:
            batch = ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
            data, labels = batch["data"], np.asarray(batch["labels"])
            if data.dtype != np.uint8 or labels.dtype.kind != "i" or labels.ndim != 1:
                raise ValueError("it does not contain uint8 images with integers as labels")
            return data.reshape(-1, 3, 32, 32), labels.astype(np.int64)
        except Exception as error:  # pickle and numpy raise many types for a damaged file
            raise self.error(f"{path} cannot be read, {error}: {DOWNLOAD}") from error
