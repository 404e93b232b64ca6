"""Waiting for something outside: looking again at growing intervals until a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator

#: First and longest pause between two looks, in seconds.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0


def looks(limit_seconds: float) -> Iterator[float]:
    """Yield the seconds waited so far, at growing intervals; one last time after the limit, then end."""
    begin, pause = time.monotonic(), FIRST_PAUSE
    while True:
        waited = time.monotonic() - begin
        yield waited
        if waited > limit_seconds:
            return
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
