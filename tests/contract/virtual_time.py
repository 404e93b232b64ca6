"""A loop whose time jumps to the next thing that is due: minutes of a recording take milliseconds, and the order of things is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sandbox.kubernetes.meta.clock import CLOCK

T = TypeVar("T")

#: When every replay begins, by its own clock.
EPOCH = datetime(2026, 11, 30, 12, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """No sockets and no processes: nothing outside of it is waited for."""

    def __init__(self) -> None:
        self._virtual_seconds = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the replay began."""
        return self._virtual_seconds

    def jump(self, seconds: float) -> None:
        """Nothing is due for so long: let that time have passed."""
        self._virtual_seconds += seconds


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        if not ready and timeout:
            self._loop.jump(timeout)
        return ready


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in a time of its own that begins at `EPOCH`."""
    loop = VirtualLoop()
    before = CLOCK.set(lambda: EPOCH + timedelta(seconds=loop.time()))
    try:
        return loop.run_until_complete(work)
    finally:
        CLOCK.reset(before)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
