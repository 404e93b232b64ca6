"""How much one may ask: rates by address and by name, and the size of a request. Bounded in memory, whoever asks."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from flows.console.edge.problems import ProblemError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

#: Most bytes of a request's body; the longest that there is, a reason of 2,000 characters, takes a tenth.
LARGEST_BODY = 64 << 10

#: Most names whose rates are remembered at a time; the one that asked longest ago is forgotten, at a hundred bytes each.
MOST_NAMES = 10_000


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something may be done.

    Attributes:
        per_second: In the long run.
        burst: At once.
    """

    per_second: float
    burst: int


class Buckets:
    """A bucket of tokens for each name, filled at a rate.

    Args:
        rate: How fast, and how many it holds.
        clock: Seconds that only grow.
        most: How many names are remembered.
    """

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic, most: int = MOST_NAMES) -> None:
        self._rate, self._clock, self._most = rate, clock, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str, count: float = 1.0) -> float:
        """Take from the bucket; zero if there was enough, else the seconds until there is, and nothing is taken."""
        with self._lock:
            now = self._clock()
            level, at = self._levels.pop(name, (float(self._rate.burst), now))
            level = min(self._rate.burst, level + (now - at) * self._rate.per_second)
            enough = level >= count
            self._levels[name] = (level - count if enough else level, now)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
            return 0.0 if enough else (count - level) / self._rate.per_second

    def require(self, name: str, what: str) -> None:
        """Take one.

        Raises:
            ProblemError: There is none now (429).
        """
        wait = self.take(name)
        if wait:
            raise ProblemError(429, "too-many-requests", f"Too many {what}; try again later.", {"Retry-After": str(math.ceil(wait))})

    def __len__(self) -> int:
        return len(self._levels)


class Streams:
    """How many streams are open, of one caller and in all: each is a look at Prefect every two seconds.

    Args:
        each: How many one caller may have.
        all_of_them: How many there may be.
    """

    def __init__(self, *, each: int = 8, all_of_them: int = 200) -> None:
        self._each, self._all = each, all_of_them
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """One more, until the end of the block of code.

        Raises:
            ProblemError: That would be too many (429).
        """
        if self._open[name] >= self._each or self._open.total() >= self._all:
            raise ProblemError(429, "too-many-requests", "Too many streams are open: close one.", {"Retry-After": "10"})
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            self._open += Counter()  # forgets who has none


class Limits:
    """The rates of one process. With more replicas behind one address each has its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # A page asks for a handful of files; twenty people may share one address.
        self.addresses = Buckets(Rate(per_second=100, burst=400), clock=clock)
        self.callers = Buckets(Rate(per_second=20, burst=100), clock=clock)
        self.writes = Buckets(Rate(per_second=0.5, burst=20), clock=clock)
        # Sign-ins that are begun, and credentials that are nobody's: guessing is hopeless anyway, and need not cost anything.
        self.sign_ins = Buckets(Rate(per_second=0.5, burst=30), clock=clock)


def bounded(scope: Scope, receive: Receive) -> Receive:
    """The request's body, which ends in an error where it is too long.

    Raises:
        ProblemError: It says itself that it is (413).
    """
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not told.isdigit() or int(told[:20]) > LARGEST_BODY:
        raise _too_large()
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LARGEST_BODY:
            raise _too_large()
        return message

    return counted


def _too_large() -> ProblemError:
    return ProblemError(413, "content-too-large", f"A request's body may have {LARGEST_BODY:,} bytes.")
