"""Recognize the format of a file that is not a .npz file, from its first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_HEAD = 512

#: first bytes, name of the format, and how to read it
_BY_HEAD: tuple[tuple[bytes, str, str], ...] = (
    (b"\x93NUMPY", "a .npy file (one array)", "load it with numpy.load"),
    (b"version https://git-lfs", "a Git LFS pointer without the data itself", "fetch it with git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, or .mat of MATLAB 7.3)", "read it with h5py"),
    (b"MATLAB 5.0", "a MATLAB file (.mat)", "read it with scipy.io.loadmat"),
    (b"PAR1", "a Parquet file", "read it with pandas.read_parquet"),
    (b"ARROW1", "an Arrow file", "read it with pyarrow"),
    (b"\x1f\x8b", "a gzip file (.gz)", "decompress it"),
    (b"\xfd7zXZ", "an xz file", "decompress it"),
    (b"BZh", "a bzip2 file", "decompress it"),
    (b"Rar!", "a RAR archive", "extract it"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "extract it"),
    (b"\x89PNG", "an image (.png)", "images in folders by class are data=image_folder"),
    (b"\xff\xd8\xff", "an image (.jpg)", "images in folders by class are data=image_folder"),
    (b"SQLite format 3", "an SQLite database", "read it with pandas.read_sql"),
)

#: a member of a zip archive, name of the format, and how to read it
_BY_MEMBER: tuple[tuple[str, str, str], ...] = (
    ("data.pkl", "a PyTorch file (.pt, .pth)", "load it with torch.load and take each tensor's .numpy()"),
    ("model.weights.h5", "a Keras model (.keras)", "load it with regtorch.from_keras; here it must be data"),
    ("[Content_Types].xml", "an Office file (.xlsx)", "read it with pandas.read_excel"),
)


def is_zip(path: Path) -> bool:
    """Whether a file starts like a zip archive, as .npz files do."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def format_of(path: Path) -> tuple[str, str]:
    """Return the name of the format of a file that is not a zip archive, and how to read it."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "an empty file", "write it again"
    for start, name, remedy in _BY_HEAD:
        if head.startswith(start):
            return name, remedy
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle (.pkl), which is never loaded, as it could run code", "save its arrays"
    if _is_text(head):
        kind = path.suffix.lower() if path.suffix.lower() in (".csv", ".tsv", ".txt", ".json") else ".csv, .txt"
        return f"a text file ({kind})", "read it with pandas.read_csv or numpy.loadtxt"
    return "of an unknown format, or damaged", "copy or write it again"


def format_of_archive(members: Sequence[str]) -> tuple[str, str] | None:
    """Return the name of the format of a zip archive with these members, and how to read it; None if it is unknown."""
    for member, name, remedy in _BY_MEMBER:
        if any(found.rpartition("/")[2] == member for found in members):
            return name, remedy
    return None


def _is_text(head: bytes) -> bool:
    for cut in range(4):  # the last character may be incomplete
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return all(character.isprintable() or character in "\r\n\t\ufeff" for character in text)
    return False
