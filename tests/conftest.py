"""For all tests: one thread a process, no time limits, and with several workers each file's tests on one of them.

The models are small, and processes that share cores slow each other's threads down greatly.
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
    """What a file's tests have in common, such as a trained run, is then made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)
