"""For all tests: one thread a process, and no time limits.

The models are small, and processes that share cores slow each other's threads down greatly.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
