"""The arrays of a ``.keras`` file: an HDF5 file in memory, of which only plain arrays are read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from regtorch.errors import KerasFileError
from regtorch.keras.archive import WEIGHTS

T = TypeVar("T")

#: how h5py gives bfloat16, which NumPy does not have
_BFLOAT16 = np.dtype("V2")

#: what h5py raises for damaged files
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)


class WeightFile:
    """Arrays by the path of the layer that owns them, e.g. ``layers/dense_1``.

    Links to other files, arrays kept in other files, virtual arrays and arrays that say they are larger than what
    the file holds of them are refused, so that nothing outside is read and no more memory is taken than the file has.

    Args:
        content: the bytes of ``model.weights.h5``.
        path: of the archive, for messages.

    Raises:
        KerasFileError: it is no HDF5 file.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self._path = path
        self._content = content
        self._claimed: set[tuple[str, int]] = set()
        self._claimed_bytes = 0
        try:
            self._file = h5py.File(io.BytesIO(content), "r")
        except _DAMAGE as error:
            raise self._error(f"it is no whole HDF5 file: {error}") from error

    def _error(self, message: str) -> KerasFileError:
        return KerasFileError(f"{self._path}: the member {WEIGHTS} is damaged: {' '.join(str(message).split())}")

    def close(self) -> None:
        """Let go of the memory."""
        self._file.close()
        self._file, self._content = None, b""

    def count(self, owner: str) -> int:
        """How many arrays a layer owns; 0 where it is not there at all."""
        group = self._group(owner)
        try:
            return 0 if group is None else len(group)
        except _DAMAGE as error:
            raise self._error(f"{owner}: {error}") from error

    def check(self, owner: str, index: int, shape: tuple[int, ...], floating: bool = True) -> None:
        """Whether an array is there and has this shape; reads nothing of it.

        Args:
            owner: the layer's path.
            index: which of its arrays.
            shape: what it must have.
            floating: whether it must hold floating-point numbers.

        Raises:
            KerasFileError: it is missing, damaged, of another shape or type, or not stored in the file itself; or all
                arrays that were asked for are together larger than the file, which can name one array many times.
        """
        found, dtype = self._of_dataset(owner, index, lambda dataset: (dataset.shape, dataset.dtype))
        if found != shape:
            raise self._error(f"{owner}/vars/{index} has the shape {found}, the configuration asks for {shape}")
        if floating and dtype.kind != "f" and dtype != _BFLOAT16:
            raise self._error(f"{owner}/vars/{index} holds {dtype}: it must be floating-point numbers")
        if (owner, index) not in self._claimed:  # a shared layer asks again
            self._claimed.add((owner, index))
            self._claimed_bytes += prod(shape) * dtype.itemsize
        if self._claimed_bytes > len(self._content):
            raise self._error(f"its arrays up to {owner}/vars/{index} are together larger than the file")

    def read(self, owner: str, index: int) -> np.ndarray:
        """One array of a layer, as float32 (float64 where it is stored so), or as the integers it holds.

        Raises:
            KerasFileError: it is missing, damaged, or not stored in the file itself.
        """
        return self._of_dataset(owner, index, lambda dataset: _numbers(np.asarray(dataset[()])))

    def _of_dataset(self, owner: str, index: int, get: Callable[[Any], T]) -> T:
        try:
            return get(self._dataset(owner, index))
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}/vars/{index}: {error}") from error

    def with_arrays(self, arrays: Mapping[tuple[str, int], np.ndarray]) -> bytes:
        """The file's bytes with other numbers in these arrays, by owner and index; all else stays as it is."""
        copy = io.BytesIO(self._content)
        with h5py.File(copy, "r+") as file:
            for (owner, index), array in arrays.items():
                dataset = file[f"{self._found(owner)}/vars/{index}"]
                if dataset.dtype.kind == "V":  # bfloat16, which NumPy does not have
                    dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, _bfloat16(array), mtype=dataset.id.get_type())
                else:
                    dataset[()] = array.astype(dataset.dtype)
        return copy.getvalue()

    def _found(self, owner: str) -> str:
        """Where a layer's arrays are; Keras 2.12 and 2.13 called the folder differently."""
        older = owner.replace("layers/", "_layer_checkpoint_dependencies/")
        return owner if owner in self._file or older not in self._file else older

    def _group(self, owner: str) -> Any:
        group: Any = self._file
        for part in (*self._found(owner).split("/"), "vars"):
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self._error(f"{owner} is a link to somewhere else")
            group = group[part]
            if not isinstance(group, h5py.Group):
                raise self._error(f"{owner} is no group of arrays")
        return group

    def _dataset(self, owner: str, index: int) -> Any:
        name, group = f"{owner}/vars/{index}", self._group(owner)
        link = None if group is None else group.get(str(index), getlink=True)
        if link is None:
            raise self._error(f"{name} is missing")
        dataset = group[str(index)] if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise self._error(f"{name} is no array that lies in the file itself")
        if dataset.dtype.kind not in "fiub" and dataset.dtype != _BFLOAT16:
            raise self._error(f"{name} holds {dataset.dtype}, no numbers")
        if prod(dataset.shape) * dataset.dtype.itemsize > len(self._content) or dataset.chunks:
            raise self._error(f"{name} says that it holds {dataset.shape} numbers, more than the file has of it")
        return dataset


def _numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype == _BFLOAT16:
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _bfloat16(array: np.ndarray) -> np.ndarray:
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to the nearest, ties to even
    return rounded.astype(np.uint16).view("V2")
