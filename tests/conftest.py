"""For all tests: one thread per process, no time limits, tiers, and all tests of a file on the same pytest worker.

The models are small, and processes that share cores slow down each other's threads.
"""

import gc
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a background job; tests send it to commands that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Fixtures that the tests of a file share, such as a trained run, are then created once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


#: names of a test file that starts processes or runs commands
STARTING_PROCESSES = {"subprocess", "on_two_ranks", "running", "ended", "swept", "refusal", "answered", "after_torch"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a file that starts processes as ``integration``, and all others as ``unit``."""
    for item in items:
        names = vars(item.module) if isinstance(item, pytest.Function) else {}
        item.add_marker("unit" if STARTING_PROCESSES.isdisjoint(names) else "integration")


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what the imports and the collection left, thousands of tests and all of torch."""
    gc.collect()
    gc.freeze()
