"""The time of the stand-in: the machine's, unless whoever runs it has another, as replays of recordings have."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime


def _machine() -> datetime:
    return datetime.now(UTC)


#: What tells the time in this context and in the tasks that begin in it.
CLOCK: ContextVar[Callable[[], datetime]] = ContextVar("CLOCK", default=_machine)


def utc_now() -> datetime:
    """The time, aware."""
    return CLOCK.get()()
