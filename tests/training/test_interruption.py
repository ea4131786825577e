"""Signals are deferred to the end of a step, and all processes perform a proposed action after the same step."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
import torch.distributed as dist

from regtorch.testing.ranks import on_two_ranks
from regtorch.training.interruption import Agreement, Interrupted, Interruption


def test_a_signal_ends_the_run_at_once_if_it_is_not_deferred() -> None:
    interruption = Interruption()
    with interruption.handling_signals(), pytest.raises(Interrupted) as raised:
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == 143
    assert str(raised.value) == "stopped from outside (SIGTERM)"


def test_a_signal_is_deferred_and_a_second_one_is_not() -> None:
    interruption = Interruption()
    with interruption.handling_signals():
        interruption.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signum == signal.SIGTERM
        with pytest.raises(Interrupted) as raised:
            os.kill(os.getpid(), signal.SIGINT)
    assert raised.value.code == 130


def test_handlers_are_restored_after_an_error() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    with suppress(ZeroDivisionError), Interruption().handling_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
        raise ZeroDivisionError
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    ("sent", "ends"),
    [([signal.SIGTERM], signal.SIGTERM), ([signal.SIGINT, signal.SIGINT], signal.SIGINT), ([signal.SIGINT], None)],
)
def test_a_thread_ends_a_process_whose_step_does_not_end(
    sent: list[signal.Signals], ends: signal.Signals | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit of the process is replaced by a record; the block simulates a step that ignores the signal."""
    statuses: list[int] = []
    ended = threading.Event()

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    def unheard(signum: int, seconds: float) -> int:
        return 1000 + signum

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr("regtorch.training.interruption._SECONDS_AFTER_INTERRUPTS", 0.01)
    interruption = Interruption(0.01, unheard)
    with suppress(Interrupted), interruption.handling_signals():
        for signum in sent:
            interruption.deferred, interruption.signum = True, None
            os.kill(os.getpid(), signum)
        if ends is not None:
            ended.wait(60)
    assert statuses == ([] if ends is None else [1000 + ends])
    assert signal.set_wakeup_fd(-1) == -1


def test_a_thread_handles_no_signals() -> None:
    before, done = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        interruption = Interruption()
        with interruption.handling_signals():
            interruption.install()
            done.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]


def test_one_process_agrees_with_itself() -> None:
    agreement = Agreement("alone", 1)
    assert agreement.after(1) == 0
    agreement.propose(2, 1)
    agreement.propose(2, 15)
    assert agreement.after(2) == 15
    assert agreement.after(3) == 0


def _agree(rank: int, proposals: dict[int, list[tuple[int, int]]], expected: list[tuple[int, int]]) -> None:
    """Train 40 steps, in each of which both processes wait for each other."""
    agreement = Agreement("regtorch/test", 2)
    done, pause = [], random.Random(rank)
    ones = dist.new_group(timeout=timedelta(seconds=240))
    for step in range(1, 41):
        dist.barrier(ones)
        time.sleep(pause.choice([0, 0, 0.002]))  # one process may be ahead, up to the next barrier
        for at, what in proposals[rank]:
            if at == step:
                agreement.propose(step, what)
        if what := agreement.after(step):
            done.append((step, what))
    everyones: list[list[tuple[int, int]]] = [[], []]
    dist.all_gather_object(everyones, done)
    assert everyones[0] == everyones[1]
    assert [what for _, what in done] == [what for _, what in expected]
    assert all(step in (due, due + 1) for (step, _), (due, _) in zip(done, expected, strict=True)), done


def _agree_in_every_case(rank: int) -> None:
    from torch.distributed import TCPStore

    # like the store of a run's processes
    port = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)] if rank == 0 else []
    numbers = [port[0].port if port else 0]
    dist.broadcast_object_list(numbers)
    os.environ["MASTER_PORT"] = str(numbers[0])
    _agree(
        rank,
        {
            0: [(3, 1), (10, 15), (20, 1), (30, 1), (31, 15)],
            1: [(7, 2), (10, 1), (20, 15), (30, 1)],
        },
        # proposals after the same step are merged, and the largest one wins
        [(4, 1), (8, 2), (11, 15), (21, 15), (31, 1), (32, 15)],
    )


def test_two_processes_agree() -> None:
    on_two_ranks(_agree_in_every_case)
