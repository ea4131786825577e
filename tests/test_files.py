"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path

import pytest

from regtorch.files import remove_unfinished, replaced, write_json


def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail(error: type[BaseException]) -> None:
        with replaced(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "before"
            raise error

    for error in (OSError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            fail(error)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_is_said_of_the_file(tmp_path: Path) -> None:
    for name in (None, "the temporary one"):

        def fail(name: str | None = name) -> None:
            with replaced(tmp_path / "file.txt") as temporary:
                raise OSError(errno.ENOSPC, "No space left on device", name and str(temporary))

        with pytest.raises(OSError, match="No space left") as raised:
            fail()
        assert raised.value.filename == str(tmp_path / "file.txt")


def test_an_error_of_words_keeps_them(tmp_path: Path) -> None:
    """Libraries raise an OSError without a number, too, such as for a picture's format."""
    with pytest.raises(OSError, match=r"^no such format$"), replaced(tmp_path / "picture.png"):
        raise OSError("no such format")


def test_it_is_on_the_disk_before_it_takes_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file.txt", []
    path.write_text("before")
    fsync = os.fsync

    def looked_at(descriptor: int) -> None:
        seen.append((path.read_text(), Path(f"/proc/self/fd/{descriptor}").readlink().read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", looked_at)
    with replaced(path) as temporary:
        temporary.write_text("after")
    assert seen[0] == ("before", "after")
    assert path.read_text() == "after"


def test_others_may_read_it_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_json(tmp_path / "results.json", {})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "results.json")]
    assert modes[0] == modes[1]


def test_json_that_would_be_none_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "results.json", {"loss": math.nan})
    assert json.loads((tmp_path / "results.json").read_text()) == {"loss": 1.0}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".unfinished-abc.last.ckpt", ".hidden", "last.ckpt"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "last.ckpt"]
