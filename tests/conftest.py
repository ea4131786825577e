"""For all tests: one thread per process, no time limits, and all tests of a file on the same pytest worker.

The models are small, and processes that share cores slow down each other's threads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Fixtures that the tests of a file share, such as a trained run, are then created once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)
