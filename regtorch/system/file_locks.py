"""Locks on open files; they are released when the process that took them ends."""

from __future__ import annotations

import os
import sys
import time

#: whether a file that is open and locked can be renamed and removed
RENAMES_OPEN_FILES = sys.platform != "win32"

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return False if another process holds the lock."""
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def lock(descriptor: int) -> None:
        """Lock an open file; wait until no other process holds the lock."""
        while not try_lock(descriptor):
            time.sleep(0.1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return False if another process holds the lock."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(descriptor: int) -> None:
        """Lock an open file; wait until no other process holds the lock."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
