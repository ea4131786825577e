"""The private hook of Python's queues that is called if an item cannot be sent."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import Any


def call_if_sending_fails(action: Callable[[Exception, Any], None]) -> None:
    """Call ``action(error, item)`` if a queue of this process cannot send an item; by default Python prints and continues."""
    Queue._on_queue_feeder_error = staticmethod(action)  # type: ignore[attr-defined]
