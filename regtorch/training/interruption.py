"""SIGTERM and Ctrl-C: a training ends after its current step, and all processes end after the same step.

Signals are handled before torch is imported, so this module imports torch inside functions.
"""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from regtorch.system.forks import closed_in_children

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SECONDS_TO_STOP = 20.0  # time for a step to end after SIGTERM; schedulers often kill after 30 s
_SECONDS_AFTER_INTERRUPTS = 5.0  # time for a step to end after the second Ctrl-C


class Interrupted(SystemExit):
    """A signal stopped the run; the process exits with 128 + the signal's number: 143 or 130."""

    def __init__(self, signum: int, where: str = "") -> None:
        super().__init__(128 + signum)
        self.signum, self.where = signum, where

    def __str__(self) -> str:
        return f"stopped from outside ({signal.Signals(self.signum).name}){self.where}"


class Interruption:
    """Handles signals during a run.

    During training, a signal is only recorded (`signum`), so that the training can end when all its state is consistent.
    At any other time, and for a second signal, it raises `Interrupted` at once.

    Python runs a signal handler between two instructions of the main thread. That never happens while the thread waits
    inside torch for a lost process or a blocked file system. So a second thread listens for SIGTERM too, and ends the
    process if it has not ended in time; likewise after the second Ctrl-C.

    Args:
        seconds_to_stop: time limit after SIGTERM.
        on_timeout: called before the second thread ends the process, with the signal's number and the time limit in
            seconds; returns the exit status. None: no second thread.
    """

    def __init__(
        self, seconds_to_stop: float = SECONDS_TO_STOP, on_timeout: Callable[[int, float], int] | None = None
    ) -> None:
        self.signum: int | None = None
        #: whether signals are deferred to the end of a step
        self.deferred = False
        self.seconds_to_stop, self.on_timeout = seconds_to_stop, on_timeout

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        again, self.signum = self.signum is not None, signum
        if again or not self.deferred:
            raise Interrupted(signum)

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle the signals in the block, and restore the earlier handlers afterwards."""
        if threading.current_thread() is not threading.main_thread():  # Python handles signals only in the main thread
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.install()
        try:
            with self._listening():
                yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def install(self) -> None:
        """Install the handlers; Lightning replaces them with its own when a fit starts."""
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Let a thread listen for signals in the block: Python writes their numbers into a pipe as they arrive."""
        if self.on_timeout is None or os.name != "posix":
            yield
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        with closed_in_children(read), closed_in_children(write):
            before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            listener = threading.Thread(target=self._listen, args=(read,), daemon=True)
            listener.start()
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                os.close(write)
                listener.join()
                os.close(read)

    def _listen(self, pipe: int) -> None:
        last, end, interrupts = 0, float("inf"), 0
        selector = selectors.DefaultSelector()
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(None if end == float("inf") else max(0.0, end - time.monotonic())):
                break
            if not (numbers := os.read(pipe, 1)):
                selector.close()
                return  # the block has ended
            signum = numbers[0]
            interrupts += signum == signal.SIGINT
            if signum == signal.SIGTERM or (signum == signal.SIGINT and interrupts > 1):
                last = signum
                end = min(end, time.monotonic() + self._limit(signum))
        status = 128 + last
        try:
            assert self.on_timeout is not None
            status = self.on_timeout(last, self._limit(last))
        finally:
            os._exit(status)

    def _limit(self, signum: int) -> float:
        return self.seconds_to_stop if signum == signal.SIGTERM else _SECONDS_AFTER_INTERRUPTS


def _reset_wakeup_fd() -> None:
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_wakeup_fd)


class Agreement:
    """Lets all processes of a training perform an action after the same step, although only one knows that it is due.

    The process that knows after step n writes "after step n + 1" to the process group's store, and each process reads the
    store after every step. By then no process can be further than in the middle of step n + 1, because that step needs the
    gradients of the writing process. So no collective operation is added to a step.

    Args:
        name: a name for this training, unique in the store.
        ranks: the number of processes; a single process needs no store.
    """

    def __init__(self, name: str, ranks: int) -> None:
        self.name = name
        self.store: Any = None
        if ranks > 1:
            from torch.distributed import TCPStore  # type: ignore[attr-defined]

            self.store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        self.proposals = 0
        self.due: dict[int, int] = {}  # step -> action

    def propose(self, step: int, what: int) -> None:
        """Propose the action `what`, a positive integer, after a step; the largest one wins."""
        if self.store is None:
            self.due[step] = max(what, self.due.get(step, 0))
        else:
            number = self.store.add(f"{self.name}/proposals", 1)
            self.store.set(f"{self.name}/{number}", f"{step + 1} {what}")

    def after(self, step: int) -> int:
        """Return the action that is due after this step; 0: none."""
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
