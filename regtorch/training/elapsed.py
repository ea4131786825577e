"""How long a run takes, over all its parts."""

from __future__ import annotations

import time


class Elapsed:
    """Seconds since it was made, and those of the parts before.

    Example:
        >>> elapsed = Elapsed()
        >>> elapsed.before = 100.0
        >>> 100.0 <= elapsed() < 200.0
        True
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        #: of the run's earlier parts, as the checkpoint says that it goes on from
        self.before = 0.0

    def __call__(self) -> float:
        """The seconds, to the millisecond."""
        return round(self.before + time.perf_counter() - self._began, 3)
