"""Files are written atomically."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import stat
from pathlib import Path

import pytest

from regtorch.system.files import BusyError, locked, remove_unfinished, replaced, write_json


def test_a_block_that_raises_does_not_change_the_file(tmp_path: Path) -> None:
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


def test_the_error_of_a_full_disk_names_the_file(tmp_path: Path) -> None:
    for name in (None, "the temporary one"):

        def fail(name: str | None = name) -> None:
            with replaced(tmp_path / "file.txt") as temporary:
                raise OSError(errno.ENOSPC, "No space left on device", name and str(temporary))

        with pytest.raises(OSError, match="No space left") as raised:
            fail()
        assert raised.value.filename == str(tmp_path / "file.txt")


def test_an_error_without_a_number_keeps_its_message(tmp_path: Path) -> None:
    """Libraries also raise OSErrors without a number, for example for image formats."""
    with pytest.raises(OSError, match=r"^no such format$"), replaced(tmp_path / "picture.png"):
        raise OSError("no such format")


def test_the_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_json(tmp_path / "results.json", {})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "results.json")]
    assert modes[0] == modes[1]


def test_invalid_json_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "results.json", {"loss": math.nan})
    assert json.loads((tmp_path / "results.json").read_text()) == {"loss": 1.0}
    assert len(list(tmp_path.iterdir())) == 1


def test_only_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    for name in (".unfinished-abc.last.ckpt", ".hidden", "last.ckpt"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "last.ckpt"]


def test_leftovers_are_removed_when_a_process_first_writes_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-abc.results.json").touch()
    write_json(tmp_path / "other.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_files_that_are_being_written_are_not_leftovers(tmp_path: Path) -> None:
    with replaced(tmp_path / "file.txt") as temporary:
        remove_unfinished(tmp_path)
        temporary.write_text("complete")
    assert (tmp_path / "file.txt").read_text() == "complete"


def test_a_lock_is_held_during_the_block_and_leaves_no_file(tmp_path: Path) -> None:
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
    """A waiting process has the file open that the previous holder removes: two locks on two files must not coexist."""
    from regtorch.system import files

    def removed_first(descriptor: int) -> None:
        if removed:
            (tmp_path / removed.pop()).unlink()

    removed = [".lock"]
    monkeypatch.setattr(files, "lock", removed_first)
    with locked(tmp_path, None):
        assert not removed
        assert (tmp_path / ".lock").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_lock_ends_with_its_process_even_if_a_forked_child_survives(tmp_path: Path) -> None:
    read, write = os.pipe()
    ready, notify = os.pipe()
    if not (pid := os.fork()):
        os.close(write)
        with locked(tmp_path, "busy"):
            if os.fork():
                os.write(notify, b"!")
                signal.pause()
            os.read(read, 1)  # blocks until the test closes its end
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
        for descriptor in (read, write, ready, notify):
            os.close(descriptor)
