"""Mutations of real ``.keras`` files: of the archive's bytes, of the configuration, of the weight file."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from typing import Any

from tests.keras.reference import ARCHIVE

_JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../etc/passwd",
    [],
    {},
    [[]],
    "a" * 1000,
    [1, 2, 3, 4, 5, 6, 7],
    {"class_name": "__lambda__", "config": "x"},
    {"module": "os", "class_name": "system", "config": {"command": "touch pwned"}},
]


def real_files() -> list[bytes]:
    """All ``.keras`` files of the reference."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith(".keras")]


def members_of(content: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with these members and valid checksums."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One mutation of an archive."""
    kind = rng.choice(["bytes", "config", "config", "config", "weights", "members"])
    if kind == "bytes":
        return _with_changed_bytes(content, rng, rng.choice([1, 2, 8, 64]), cut=0.3)
    members = members_of(content)
    if kind == "config":
        config = json.loads(members["config.json"])
        members["config.json"] = json.dumps(_with_changed_values(config, rng)).encode()
    elif kind == "weights":
        weights = members["model.weights.h5"]
        members["model.weights.h5"] = _with_changed_bytes(weights, rng, rng.choice([1, 2, 8, 32]), cut=0.2)
    else:
        name = rng.choice(list(members))
        match rng.randrange(4):
            case 0:
                del members[name]
            case 1:
                members[f"../{name}"] = members.pop(name)
            case 2:
                members[name] = members[name][: rng.randrange(len(members[name]) + 1)]
            case 3:
                members[name] = rng.randbytes(rng.randrange(2000))
    return archive_of(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def _with_changed_bytes(content: bytes, rng: random.Random, times: int, cut: float) -> bytes:
    changed = bytearray(content)
    for _ in range(times):
        near_the_start = rng.random() < 0.7  # where the metadata of an HDF5 file is
        place = rng.randrange(min(len(changed), 8000) if near_the_start else len(changed))
        changed[place] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < cut else changed)


def _places(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, entry in entries:
        yield from _places(entry, (*place, key))


def _at(node: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        node = node[key]
    return node


def _with_changed_values(config: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(config))[1:]
        *around, key = rng.choice(places)
        node = _at(config, tuple(around))
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4 | 5:
                node[key] = copy.deepcopy(rng.choice(_JUNK))
            case 6:
                del node[key]
            case 7 | 8 if type(node[key]) in (int, float):
                node[key] = node[key] * rng.choice([0, -1, 2, 7, 1000])
            case _:
                node[key] = json.loads(json.dumps(_at(config, rng.choice(places))))
    return config
