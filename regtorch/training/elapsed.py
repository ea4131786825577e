"""Duration of a run, including the time before it was resumed."""

from __future__ import annotations

import time


class Elapsed:
    """Counts the seconds since its creation, plus those before the run was resumed.

    Example:
        >>> elapsed = Elapsed()
        >>> elapsed.before = 100.0
        >>> 100.0 <= elapsed() < 200.0
        True
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        #: seconds before the run was resumed, from its checkpoint
        self.before = 0.0

    def __call__(self) -> float:
        """Return the seconds, rounded to milliseconds."""
        return round(self.before + time.perf_counter() - self._began, 3)
