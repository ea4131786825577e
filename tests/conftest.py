"""One thread a process: the models are small, and processes that share cores slow each other's threads down greatly."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
