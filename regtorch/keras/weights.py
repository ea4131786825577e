"""The arrays of a ``.keras`` file: an HDF5 file in memory, from which only plain arrays are read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, TypeVar

import h5py
import numpy as np

from regtorch.errors import KerasFileError
from regtorch.keras.archive import WEIGHTS
from regtorch.keras.messages import counted, shown
from regtorch.printable import printable

T = TypeVar("T")

#: an array: the path of the layer that owns it, and its index there, or its name for layers that save arrays by name
Place = tuple[str, int | str]

#: h5py's type for bfloat16, which NumPy does not have
_BFLOAT16 = np.dtype("V2")

#: name of the folder with a model's layers in Keras 2.12 and 2.13
_KERAS_2_13_FOLDER = "_layer_checkpoint_dependencies"

#: limit for the arrays and sublayers of one layer
_MOST = 10_000

#: exceptions that h5py raises for damaged files
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)


class WeightFile:
    """Arrays by the path of the layer that owns them, e.g. ``layers/dense_1``.

    Links to other files, arrays stored in other files, virtual arrays, and arrays with a declared size above their
    content are refused. So no other file is read, and no more memory is allocated than the size of the file.

    Args:
        content: the bytes of ``model.weights.h5``.
        name: name of the archive, for messages.

    Raises:
        KerasFileError: it is not an HDF5 file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        self._content = content
        self._claimed: set[Place] = set()
        self._claimed_bytes = 0
        self._places: dict[str, tuple[str, ...]] = {}
        try:
            self._file = h5py.File(io.BytesIO(content), "r")
            self._top = tuple(map(str, self._file))
        except _DAMAGE as error:
            raise self._error(f"it is not a complete HDF5 file: {error}") from error
        self._windows = any("\\" in name for name in self._top)
        self._is_keras_2_13 = any(name.startswith(_KERAS_2_13_FOLDER) for name in self._top)

    def _error(self, message: str) -> KerasFileError:
        return KerasFileError(f"{self._name}: the member {WEIGHTS} is damaged: {printable(message)}")

    def close(self) -> None:
        """Free the memory."""
        self._file.close()
        self._file, self._content = None, b""

    def count(self, owner: str) -> int:
        """Return the number of arrays of a layer; 0 if the file does not have the layer."""
        try:
            group = self._group(owner)
            return 0 if group is None else len(group)
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}: {error}") from error

    def arrays(self, owner: str) -> dict[str, Place]:
        """Return all arrays of a layer and its sublayers: ``{"0": ..., "cell/0": ...}``, each with its place.

        The states of seed generators are left out, as they are not weights.

        Raises:
            KerasFileError: the file is damaged there, or the layer has too many arrays.
        """
        found: dict[str, Place] = {}
        try:
            for below in self._sublayers(self._place(owner)):
                path = "/".join((owner, *below))
                if below[-1:] != ("seed_generator",):
                    names = sorted(map(_as_index, self._group(path) or ()), key=lambda name: (str(type(name)), name))
                    found |= {"/".join((*below, str(name))): (path, name) for name in names}
                if len(found) > _MOST:
                    raise self._error(f"{owner} has more than {_MOST:,} arrays")
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}: {error}") from error
        return found

    def _sublayers(self, place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The paths of a layer and all its sublayers, relative to the layer."""
        left: list[tuple[str, ...]] = [()]
        seen: set[int] = set()
        while left:
            below = left.pop()
            yield below
            group = self._opened((*place, *below))
            address = None if group is None else h5py.h5o.get_info(group.id).addr
            if address in seen or len(seen) > _MOST:
                raise self._error(f"{'/'.join((*place, *below))} is one of its own sublayers, or there are too many")
            if address is not None:
                seen.add(address)
            names = [name for name in self._children((*place, *below)) if name != "vars"]
            left.extend((*below, name) for name in reversed(names))

    def shape(self, owner: str, index: int | str) -> tuple[int, ...]:
        """Return the shape of an array, without reading its content."""
        return self._with_dataset(owner, index, lambda dataset: tuple(dataset.shape))

    def check(self, owner: str, index: int | str, shape: tuple[int, ...], floating: bool = True) -> None:
        """Check that an array exists and has this shape, without reading its content.

        Args:
            owner: path of the layer.
            index: index of the array in the layer.
            shape: the required shape.
            floating: whether it must contain floating-point numbers.

        Raises:
            KerasFileError: it is missing, damaged, of another shape or type, or not stored in the file itself; or all
                checked arrays together are larger than the file, as a file can have many names for one array.
        """
        found, dtype = self._with_dataset(owner, index, lambda dataset: (dataset.shape, dataset.dtype))
        if found != shape:
            raise self._error(f"{owner}/vars/{index} has the shape {found}, but the configuration requires {shape}")
        if floating and dtype.kind != "f" and dtype != _BFLOAT16:
            raise self._error(f"{owner}/vars/{index} contains {dtype}: it must contain floating-point numbers")
        if (owner, index) not in self._claimed:  # a shared layer is checked again
            self._claimed.add((owner, index))
            self._claimed_bytes += prod(shape) * dtype.itemsize
        if self._claimed_bytes > len(self._content):
            raise self._error(f"its arrays up to {owner}/vars/{index} are together larger than the file")

    def read(self, owner: str, index: int | str) -> np.ndarray:
        """Read one array of a layer, as float32 (float64 if it is stored as such), or as integers.

        Raises:
            KerasFileError: it is missing, damaged, or not stored in the file itself.
        """
        return self._with_dataset(owner, index, lambda dataset: _numbers(np.asarray(dataset[()])))

    def _with_dataset(self, owner: str, index: int | str, get: Callable[[Any], T]) -> T:
        try:
            return get(self._dataset(owner, index))
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}/vars/{index}: {error}") from error

    def with_arrays(self, arrays: Mapping[Place, np.ndarray]) -> bytes:
        """Return the bytes of the file with other values in these arrays; everything else is unchanged."""
        copy = io.BytesIO(self._content)
        with h5py.File(copy, "r+") as file:
            for (owner, index), array in arrays.items():
                dataset = file[f"{self._group(owner).name}/{index}"]
                if dataset.dtype.kind == "V":  # bfloat16, which NumPy does not have
                    dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, _bfloat16(array), mtype=dataset.id.get_type())
                else:
                    dataset[()] = array.astype(dataset.dtype)
        return copy.getvalue()

    def _group(self, owner: str) -> Any:
        """The group with a layer's arrays; None if there is none."""
        return self._opened((*self._place(owner), "vars"))

    def _opened(self, parts: tuple[str, ...]) -> Any:
        """The group at a path. On Windows, Keras 2 joined the parts with backslashes, so that they are one name."""
        group: Any = self._file
        while parts:
            lengths = range(len(parts), 0, -1) if self._windows else (1,)
            names = (("\\".join(parts[:length]), length) for length in lengths)
            name, used = next((one for one in names if group.get(one[0], getlink=True) is not None), ("", 0))
            if not used:
                return None
            path = f"{group.name}/{name}".lstrip("/").removesuffix("/vars")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise self._error(f"{path} is a link")
            group, parts = group[name], parts[used:]
            if not isinstance(group, h5py.Group):
                raise self._error(f"{path} is not a group of arrays")
        return group

    def _children(self, parts: tuple[str, ...]) -> list[str]:
        """The names directly below a path."""
        group, joined = self._opened(parts), "\\".join((*parts, ""))
        names = dict.fromkeys([] if group is None else map(str, group))
        names |= dict.fromkeys(n.removeprefix(joined).split("\\")[0] for n in self._top if n.startswith(joined))
        return list(names)

    def _place(self, owner: str) -> tuple[str, ...]:
        """The place of a layer's arrays in this file."""
        if not self._is_keras_2_13:
            return tuple(owner.split("/"))
        if owner not in self._places:
            self._places[owner] = self._keras_2_13_place(owner)
        return self._places[owner]

    def _keras_2_13_place(self, owner: str) -> tuple[str, ...]:
        """The place in Keras 2.12 and 2.13, which named the folder differently and counted each layer with weights twice."""
        found: tuple[str, ...] = ()
        parts = owner.split("/")
        while parts:
            name, *parts = parts
            if name == "layers" and parts and _KERAS_2_13_FOLDER in self._children(found):
                wanted, *parts = parts
                found = (*found, _KERAS_2_13_FOLDER, self._keras_2_13_name((*found, _KERAS_2_13_FOLDER), wanted))
            else:
                found = (*found, name)
        return found

    def _keras_2_13_name(self, folder: tuple[str, ...], wanted: str) -> str:
        """The group of the layer with the name `wanted` in later versions, e.g. ``dense_1`` for the second Dense."""
        base, _, number = wanted.rpartition("_")
        if not number.isdecimal():
            base, number = wanted, "0"
        pattern = re.compile(rf"{re.escape(base)}(?:_(\d{{1,6}}))?")
        matches = {name: match for name in self._children(folder) if (match := pattern.fullmatch(name))}
        numbers = {int(match[1] or 0): name for name, match in matches.items()}
        ordered = sorted(numbers)
        twice = [0]
        for key in ordered:
            twice.append(twice[-1] + (2 if self._holds_arrays((*folder, numbers[key])) else 1))
        if ordered not in (twice[:-1], list(range(len(ordered)))):
            groups = counted([numbers[key] for key in ordered])
            raise self._error(
                f"the groups {groups} in {'/'.join(folder)} are not numbered as Keras 2.13 numbers the layers of a class; "
                "in Keras 2.13, save the model as model.h5: Keras 3 loads that and saves it as .keras"
            )
        return numbers[ordered[int(number)]] if int(number) < len(ordered) else wanted

    def _holds_arrays(self, place: tuple[str, ...]) -> bool:
        return any(len(self._opened((*place, *below, "vars")) or ()) for below in self._sublayers(place))

    def _dataset(self, owner: str, index: int | str) -> Any:
        name, group = f"{owner}/vars/{index}", self._group(owner)
        link = None if group is None else group.get(str(index), getlink=True)
        if link is None:
            raise self._error(f"{name} is missing")
        dataset = group[str(index)] if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise self._error(f"{name} is not an array stored in the file itself")
        if dataset.dtype.kind not in "fiub" and dataset.dtype != _BFLOAT16:
            raise self._error(f"{name} contains {dataset.dtype}, which are not numbers")
        if prod(dataset.shape) * dataset.dtype.itemsize > len(self._content) or dataset.chunks:
            raise self._error(
                f"{name} declares the shape {shown(dataset.shape)}, but the file does not store so many numbers contiguously"
            )
        return dataset


def _as_index(name: Any) -> int | str:
    return int(name) if re.fullmatch("[0-9]{1,9}", str(name)) else str(name)


def _numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype == _BFLOAT16:
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _bfloat16(array: np.ndarray) -> np.ndarray:
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # round to nearest, ties to even
    return rounded.astype(np.uint16).view("V2")
