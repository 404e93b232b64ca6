"""What is known for a few seconds, and what is not known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

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


class Fresh(Generic[Value]):
    """A value that is read anew when it is older than so many seconds: many who look at the same time cost one reading.

    An error is nobody's but the reader's: the next one asks again.

    Args:
        read: Reads it.
        seconds: How old it may be.
        clock: Seconds that only go forward; for tests.
    """

    def __init__(self, read: Callable[[], Value], seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, Value] | None = None

    def get(self) -> Value:
        """The value; whoever comes while it is read waits for that reading."""
        with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= self._seconds:
                value = self._read()
                self._kept = self._clock(), value
            return self._kept[1]
