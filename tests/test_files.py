"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import stat
from pathlib import Path

import pytest

from regtorch.files import BusyError, locked, remove_unfinished, replaced, write_json


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


def test_leftovers_are_removed_where_a_process_first_writes(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-abc.results.json").touch()
    write_json(tmp_path / "other.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    with replaced(tmp_path / "file.txt") as temporary:
        remove_unfinished(tmp_path)
        temporary.write_text("complete")
    assert (tmp_path / "file.txt").read_text() == "complete"


def test_a_lock_is_held_in_the_block_and_leaves_no_file(tmp_path: Path) -> None:
    def take() -> None:
        with locked(tmp_path, "busy"):
            pass

    with locked(tmp_path, "busy"):
        with pytest.raises(BusyError, match="busy"):
            take()
        assert (tmp_path / ".lock").exists()
    take()
    assert not list(tmp_path.iterdir())


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits has the file open that the one before removes: two could hold locks of two files."""
    from regtorch import files

    def removed_first(descriptor: int) -> None:
        if removed:
            (tmp_path / removed.pop()).unlink()

    removed = [".lock"]
    monkeypatch.setattr(files, "lock", removed_first)
    with locked(tmp_path, None):
        assert not removed
        assert (tmp_path / ".lock").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_lock_ends_with_its_process_also_where_a_forked_child_lives_on(tmp_path: Path) -> None:
    read, write = os.pipe()
    ready, said = os.pipe()
    if not (pid := os.fork()):
        os.close(write)
        with locked(tmp_path, "busy"):
            if os.fork():
                os.write(said, b"!")
                signal.pause()
            os.read(read, 1)  # until the test closes its end
            os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(BusyError), locked(tmp_path, "busy"):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with locked(tmp_path, "busy"):
            pass
    finally:
        for descriptor in (read, write, ready, said):
            os.close(descriptor)
