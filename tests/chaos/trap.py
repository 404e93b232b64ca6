"""What the proxies of a lane do with each write that goes by: note it, or stop the world at one of them."""

from __future__ import annotations

import asyncio
import threading
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
    """A request that went by.

    Attributes:
        task: The task in which it was made; empty between tasks.
        step: The step in which it was made; the task where that made it itself.
        what: Which.
        writes: Whether it changes something outside of the process.
        number: The how-manieth of its kind, from 1.
    """

    task: str
    step: str
    what: str
    writes: bool
    number: int


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A task or a step that began.

    Attributes:
        task: The task; that of a step which begins in one, and empty for a step between tasks.
        step: The step; the task's own name where the task itself began.
    """

    task: str
    step: str


@dataclass(kw_only=True)
class Snare:
    """Where the trap springs.

    Attributes:
        what: The request; None is any.
        number: The how-manieth of them, from 1; those of the task alone, if one is named.
        moment: Before the other side gets it, or after it has answered and before the answer is heard.
        task: Only while this task, or this step, runs.
        spring: What happens then; called in a thread, and the request waits for it.
        lets_go: Whether the request (or its answer) goes on afterwards; otherwise its connection ends.
    """

    what: str | None
    number: int
    moment: Moment
    spring: Callable[[], None]
    task: str | None = None
    lets_go: bool = False

    def means(self, request: Noted) -> bool:
        """Whether the request is one of those that are counted."""
        return self.what in (None, request.what) and self.task in (None, request.task, request.step)


@dataclass
class Trap:
    """Sees the requests of one leg at a time.

    Attributes:
        seen: All of them, and the beginnings of tasks and steps, the oldest first.
        sprung: Whether the snare was reached.
    """

    seen: list[Noted | Begun] = field(default_factory=list)
    sprung: bool = False
    _task: str = ""
    _step: str = ""
    _snare: Snare | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, snare: Snare | None) -> None:
        """Forget what was seen, and wait for this."""
        with self._lock:
            self._task, self._step, self.seen, self.sprung, self._snare = "", "", [], False, snare

    @property
    def noted(self) -> list[Noted]:
        """The requests, the oldest first."""
        return [each for each in self.seen if isinstance(each, Noted)]

    def heard(self, boundary: str, task: str) -> None:
        """A task began or ended, or a step of it, or one between tasks.

        What comes after a step's end is its task's again. After an end between tasks it still counts as that one's, until something begins.
        """
        moment, _, name = boundary.partition(" ")
        with self._lock:
            if moment == "begin":
                self._task, self._step = task, name
                self.seen.append(Begun(task=task, step=name))
            elif task:
                self._step = task

    async def passing(self, request: Request) -> Moment | None:
        """Note a request that is about to be passed on; at which of its moments the trap springs, if at all."""
        # What the leg says of its tasks comes by another way, which may be slower by a moment.
        await asyncio.sleep(0.003)
        with self._lock:
            number = 1 + sum(each.what == request.what for each in self.noted)
            this = Noted(task=self._task, step=self._step, what=request.what, writes=request.writes, number=number)
            self.seen.append(this)
            snare = self._snare
            if snare is None or self.sprung or not snare.means(this) or sum(map(snare.means, self.noted)) != snare.number:
                return None
            self.sprung = True
            return snare.moment

    def turned_away(self, request: Request) -> None:
        """Forget the newest of these: the server was busy and did nothing (Prefect on SQLite says 503), and it is asked again."""
        with self._lock:
            last = next((each for each in reversed(self.noted) if each.what == request.what), None)
            if last is not None:
                self.seen.remove(last)

    async def spring(self) -> bool:
        """Do what the snare is for; whether the request goes on."""
        assert self._snare is not None
        await asyncio.to_thread(self._snare.spring)
        return self._snare.lets_go
