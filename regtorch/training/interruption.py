"""SIGTERM and Ctrl-C: a training ends after the step that it is in, on all its processes after the same one.

Signals are taken before torch is imported, so this module imports it where it needs it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """A run that was stopped from outside; ends the process with 128 + the signal's number: 143 and 130."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"stopped from outside ({signal.Signals(self.signum).name})"


class Interruption:
    """Takes the signals while a run runs.

    While it trains, a signal is only noted (`signum`), for the training to end where all its state is whole; at any
    other time, and the second time, it raises `Interrupted` at once.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        #: whether signals wait for the end of a step
        self.waits = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        again, self.signum = self.signum is not None, signum
        if again or not self.waits:
            raise Interrupted(signum)

    @contextmanager
    def taking_signals(self) -> Iterator[None]:
        """Handle the signals in the block; afterwards they are handled as before."""
        if threading.current_thread() is not threading.main_thread():  # only there Python lets signals be handled
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.take()
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def take(self) -> None:
        """Handle the signals from now on; Lightning puts its own handlers before ours when a fit begins."""
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self)


class Agreement:
    """What all processes of a training do after the same step, though only one of them found out that it is due.

    The one that finds out after step n says in the process group's store "after step n + 1"; each looks there after every
    step. None can be further than in the middle of step n + 1 by then, as it needs this process's gradients. So no
    collective operation is added to a step.

    Args:
        name: of this training, different from that of others in the same store.
        ranks: the number of processes; one needs no store.
    """

    def __init__(self, name: str, ranks: int) -> None:
        self.name = name
        self.store: Any = None
        if ranks > 1:
            from torch.distributed import TCPStore  # type: ignore[attr-defined]

            self.store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        self.proposals = 0
        self.due: dict[int, int] = {}  # step -> what

    def propose(self, step: int, what: int) -> None:
        """Say, after a step, that `what` is to be done; a number, as small ones are what the store counts in."""
        if self.store is None:
            self.due[step] = max(what, self.due.get(step, 0))
        else:
            number = self.store.add(f"{self.name}/proposals", 1)
            self.store.set(f"{self.name}/{number}", f"{step + 1} {what}")

    def after(self, step: int) -> int:
        """What is to be done after this step; 0: nothing."""
        if self.store is not None:
            known = self.store.add(f"{self.name}/proposals", 0)
            while self.proposals < known:
                self.proposals += 1
                due, what = map(int, self.store.get(f"{self.name}/{self.proposals}").split())
                due = max(due, step)
                self.due[due] = max(what, self.due.get(due, 0))
        return self.due.pop(step, 0)


def is_distributed() -> bool:
    """Whether this process trains together with others."""
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()
