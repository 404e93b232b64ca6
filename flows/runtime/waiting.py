"""Waiting for something outside: looking again when it changes, and every few seconds anyway, until a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from blocks.errors import PipelineError

#: Longest time between two looks, in seconds: not everything that matters changes the object that is watched.
LONGEST_PAUSE = 3.0

#: Set when nobody waits for the task any longer: its process was told to end, and would otherwise stay until the task is done.
ABANDONED: ContextVar[threading.Event | None] = ContextVar("abandoned", default=None)


def looks(limit_seconds: float, wait: Callable[[float], None], pause_seconds: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield the seconds waited so far, again and again; one last time after the limit, then end.

    Args:
        limit_seconds: How long to go on.
        wait: Waits until there may be something new to see, as many seconds as it is given at most.
        pause_seconds: Longest time between two looks.

    Raises:
        PipelineError: The task was abandoned.
    """
    begin, abandoned = time.monotonic(), ABANDONED.get()
    while True:
        if abandoned is not None and abandoned.is_set():
            raise PipelineError("The run was told to end while it waited.")
        waited = time.monotonic() - begin
        yield waited
        if waited > limit_seconds:
            return
        wait(pause_seconds)
