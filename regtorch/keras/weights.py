"""The arrays of a ``.keras`` file: an HDF5 file in memory, of which only plain arrays are read."""

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
from regtorch.keras.wording import counted, shortened, shown

T = TypeVar("T")

#: an array: the path of the layer that owns it, and its number there (of layers that save arrays by name: its name)
Place = tuple[str, int | str]

#: how h5py gives bfloat16, which NumPy does not have
_BFLOAT16 = np.dtype("V2")

#: what Keras 2.12 and 2.13 call the folder of a model's layers
_OLDER = "_layer_checkpoint_dependencies"

#: more arrays or sublayers than one layer has
_MOST = 10_000

#: what h5py raises for damaged files
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)


class WeightFile:
    """Arrays by the path of the layer that owns them, e.g. ``layers/dense_1``.

    Links to other files, arrays kept in other files, virtual arrays and arrays that say they are larger than what
    the file holds of them are refused, so that nothing outside is read and no more memory is taken than the file has.

    Args:
        content: the bytes of ``model.weights.h5``.
        name: of the archive, for messages.

    Raises:
        KerasFileError: it is no HDF5 file.
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
            raise self._error(f"it is no whole HDF5 file: {error}") from error
        self._windows = any("\\" in name for name in self._top)
        self._older = any(name.startswith(_OLDER) for name in self._top)

    def _error(self, message: str) -> KerasFileError:
        return KerasFileError(f"{self._name}: the member {WEIGHTS} is damaged: {shortened(message)}")

    def close(self) -> None:
        """Let go of the memory."""
        self._file.close()
        self._file, self._content = None, b""

    def count(self, owner: str) -> int:
        """How many arrays a layer owns; 0 where it is not there at all."""
        try:
            group = self._group(owner)
            return 0 if group is None else len(group)
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}: {error}") from error

    def arrays(self, owner: str) -> dict[str, Place]:
        """All arrays of a layer and of its sublayers: ``{"0": ..., "cell/0": ...}``, each with its owner and its name there.

        The states of seed generators are left out: they are no weights.

        Raises:
            KerasFileError: the file is damaged there, or one layer has very many arrays.
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
        """The paths of a layer and of all its sublayers, below that of the layer."""
        left: list[tuple[str, ...]] = [()]
        seen: set[int] = set()
        while left:
            below = left.pop()
            yield below
            group = self._opened((*place, *below))
            address = None if group is None else h5py.h5o.get_info(group.id).addr
            if address in seen or len(seen) > _MOST:
                raise self._error(f"{'/'.join((*place, *below))} is one of its own sublayers, or there are very many")
            if address is not None:
                seen.add(address)
            names = [name for name in self._children((*place, *below)) if name != "vars"]
            left.extend((*below, name) for name in reversed(names))

    def shape(self, owner: str, index: int | str) -> tuple[int, ...]:
        """The shape of an array; reads nothing of it."""
        return self._of_dataset(owner, index, lambda dataset: tuple(dataset.shape))

    def check(self, owner: str, index: int | str, shape: tuple[int, ...], floating: bool = True) -> None:
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

    def read(self, owner: str, index: int | str) -> np.ndarray:
        """One array of a layer, as float32 (float64 where it is stored so), or as the integers it holds.

        Raises:
            KerasFileError: it is missing, damaged, or not stored in the file itself.
        """
        return self._of_dataset(owner, index, lambda dataset: _numbers(np.asarray(dataset[()])))

    def _of_dataset(self, owner: str, index: int | str, get: Callable[[Any], T]) -> T:
        try:
            return get(self._dataset(owner, index))
        except KerasFileError:
            raise
        except _DAMAGE as error:
            raise self._error(f"{owner}/vars/{index}: {error}") from error

    def with_arrays(self, arrays: Mapping[Place, np.ndarray]) -> bytes:
        """The file's bytes with other numbers in these arrays, by owner and index; all else stays as it is."""
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
        """The group that holds a layer's arrays; None where there is none."""
        return self._opened((*self._place(owner), "vars"))

    def _opened(self, parts: tuple[str, ...]) -> Any:
        """The group at a path. On Windows, Keras 2 joined its parts by backslashes, which makes one name of them."""
        group: Any = self._file
        while parts:
            lengths = range(len(parts), 0, -1) if self._windows else (1,)
            names = (("\\".join(parts[:length]), length) for length in lengths)
            name, used = next((one for one in names if group.get(one[0], getlink=True) is not None), ("", 0))
            if not used:
                return None
            path = f"{group.name}/{name}".lstrip("/").removesuffix("/vars")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise self._error(f"{path} is a link to somewhere else")
            group, parts = group[name], parts[used:]
            if not isinstance(group, h5py.Group):
                raise self._error(f"{path} is no group of arrays")
        return group

    def _children(self, parts: tuple[str, ...]) -> list[str]:
        """The names directly below a path."""
        group, joined = self._opened(parts), "\\".join((*parts, ""))
        names = dict.fromkeys([] if group is None else map(str, group))
        names |= dict.fromkeys(n.removeprefix(joined).split("\\")[0] for n in self._top if n.startswith(joined))
        return list(names)

    def _place(self, owner: str) -> tuple[str, ...]:
        """Where a layer's arrays are in this file."""
        if not self._older:
            return tuple(owner.split("/"))
        if owner not in self._places:
            self._places[owner] = self._older_place(owner)
        return self._places[owner]

    def _older_place(self, owner: str) -> tuple[str, ...]:
        """Keras 2.12 and 2.13 called the folder differently, and counted each layer with weights twice."""
        found: tuple[str, ...] = ()
        parts = owner.split("/")
        while parts:
            name, *parts = parts
            if name == "layers" and parts and _OLDER in self._children(found):
                wanted, *parts = parts
                found = (*found, _OLDER, self._older_name((*found, _OLDER), wanted))
            else:
                found = (*found, name)
        return found

    def _older_name(self, folder: tuple[str, ...], wanted: str) -> str:
        """The group of the layer that later versions call `wanted`, e.g. ``dense_1`` for the second Dense."""
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
            raise self._error(f"{name} is no array that lies in the file itself")
        if dataset.dtype.kind not in "fiub" and dataset.dtype != _BFLOAT16:
            raise self._error(f"{name} holds {dataset.dtype}, no numbers")
        if prod(dataset.shape) * dataset.dtype.itemsize > len(self._content) or dataset.chunks:
            raise self._error(f"{name} says that it holds {shown(dataset.shape)} numbers, more than the file has of it")
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
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to the nearest, ties to even
    return rounded.astype(np.uint16).view("V2")
