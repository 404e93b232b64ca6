"""What the proxies of a lane do with each write that goes by: note it, or stop the world at one of them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Moment = Literal["before", "after"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a leg.

    Attributes:
        what: Which, in words without ids, for example `helm PATCH deployments`.
        writes: Whether it changes something outside of the process.
    """

    what: str
    writes: bool


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A request in the order in which they came: how many of its kind came before it, and in which task."""

    task: str
    what: str
    writes: bool
    number: int


@dataclass(kw_only=True)
class Snare:
    """Where the trap springs.

    Attributes:
        what: The request; None is any request of the task.
        number: The how-manieth of them, from 1.
        moment: Before the other side gets it, or after it has answered and before the answer is heard.
        task: Only while this task runs.
        spring: What happens then; called in a thread, and the request waits for it.
        lets_go: Whether the request (or its answer) goes on afterwards; otherwise its connection ends.
    """

    what: str | None
    number: int
    moment: Moment
    spring: Callable[[], None]
    task: str | None = None
    lets_go: bool = False


@dataclass
class Trap:
    """Sees the requests of one leg at a time.

    Attributes:
        noted: All of them, the oldest first.
        sprung: Whether the snare was reached.
    """

    task: str = ""
    noted: list[Noted] = field(default_factory=list)
    sprung: bool = False
    _snare: Snare | None = None
    _seen: Counter[str] = field(default_factory=Counter)
    _in_task: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, snare: Snare | None) -> None:
        """Forget what was seen, and wait for this."""
        with self._lock:
            self.task, self.noted, self.sprung, self._snare = "", [], False, snare
            self._seen.clear()
            self._in_task.clear()

    def heard(self, boundary: str) -> None:
        """A task began or ended."""
        moment, _, task = boundary.partition(" ")
        with self._lock:
            if moment == "begin":
                self.task = task

    async def passing(self, request: Request) -> Moment | None:
        """Note a request that is about to be passed on; at which of its moments the trap springs, if at all."""
        # What the leg says of its tasks comes by another way, which may be slower by a moment.
        await asyncio.sleep(0.003)
        with self._lock:
            self._seen[request.what] += 1
            self._in_task[self.task] += 1
            number = self._seen[request.what]
            self.noted.append(Noted(task=self.task, what=request.what, writes=request.writes, number=number))
            snare = self._snare
            if snare is None or self.sprung or (snare.task is not None and snare.task != self.task):
                return None
            count = number if snare.what == request.what else self._in_task[self.task] if snare.what is None else 0
            if count != snare.number:
                return None
            self.sprung = True
            return snare.moment

    def turned_away(self, request: Request) -> None:
        """Forget the newest of these: the server was busy and did nothing (Prefect on SQLite says 503), and it is asked again."""
        with self._lock:
            last = next((place for place, each in reversed(list(enumerate(self.noted))) if each.what == request.what), None)
            if last is not None:
                self._in_task[self.noted.pop(last).task] -= 1
                self._seen[request.what] -= 1

    async def spring(self) -> bool:
        """Do what the snare is for; whether the request goes on."""
        assert self._snare is not None
        await asyncio.to_thread(self._snare.spring)
        return self._snare.lets_go
