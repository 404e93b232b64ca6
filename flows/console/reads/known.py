"""What is known for a few seconds, and what is not known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from blocks.errors import PipelineError

Value = TypeVar("Value")

#: Whether somebody may look at a model in an environment.
MaySee = Callable[[str, str], bool]


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """What could not be asked, and why: never taken for nothing."""

    why: str


def everything(model: str, environment: str) -> bool:
    """Lets everything be seen."""
    return True


def _in_a_thread(read: Callable[[], None]) -> None:
    threading.Thread(target=read, name="fresh", daemon=True).start()


class Fresh(Generic[Value]):
    """A value that is read anew when it is older than so many seconds: many who look at the same time cost one reading.

    Whoever finds it old gets it as it is, and it is read anew beside them; only what is twice as old is waited for. So nobody waits while
    people look, and nobody is told what was so long ago. An error is told to who waits; the next one asks again.

    Args:
        read: Reads it.
        seconds: How old it may be before it is read anew.
        clock: Seconds that only go forward; for tests.
        beside: Has something done beside who asks; for tests.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._beside = beside
        self._lock = threading.Lock()
        self._kept: tuple[float, Value] | None = None

    def get(self) -> Value:
        """The value, as it was twice as many seconds ago at the most."""
        kept = self._kept
        age = self._clock() - kept[0] if kept is not None else 0.0
        if kept is not None and age < 2 * self._seconds:
            if age >= self._seconds and not self._lock.locked():
                self._beside(self._renew)
            return kept[1]
        with self._lock:
            return self._renewed()

    def _renew(self) -> None:
        # Whoever waits for it later is told why it cannot be read.
        if self._lock.acquire(blocking=False):
            try:
                with suppress(PipelineError):
                    self._renewed()
            finally:
                self._lock.release()

    def _renewed(self) -> Value:
        if self._kept is None or self._clock() - self._kept[0] >= self._seconds:
            # By when it was asked for: what happened since may not be in it.
            begun = self._clock()
            self._kept = begun, self._read()
        return self._kept[1]
