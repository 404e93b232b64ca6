"""A queue of keys to reconcile: each key is worked on once at a time, later with a delay, again with back-off when it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from sandbox.kubernetes.meta.errors import ApiError

FIRST_RETRY_SECONDS = 0.005
LAST_RETRY_SECONDS = 1000.0
"""Kubernetes doubles from 5 ms to 1,000 s."""


class WorkQueue:
    """Keys waiting for one reconciler; adding a key that waits already changes nothing.

    Args:
        reconcile: Works on one key; returns after how many seconds it wants to see the key again, or None.
        retry_seconds: The wait before a key that failed is tried again, at first and at most; it doubles with each failure.
    """

    def __init__(
        self,
        reconcile: Callable[[str], Awaitable[float | None]],
        *,
        retry_seconds: tuple[float, float] = (FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS),
    ) -> None:
        self._reconcile = reconcile
        self._retry_seconds = retry_seconds
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}

    def add(self, key: str) -> None:
        """Have the key reconciled soon."""
        self._waiting[key] = None
        self._wake.set()

    def add_after(self, key: str, delay_seconds: float) -> None:
        """Have the key reconciled after a delay; the sooner of two delays counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + delay_seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(delay_seconds, self._due, key)

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        try:
            while True:
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                key = next(iter(self._waiting))
                # Before the work: a change that comes meanwhile puts it in again.
                del self._waiting[key]
                await self._work(key)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _work(self, key: str) -> None:
        try:
            again_seconds = await self._reconcile(key)
        except (ApiError, httpx.HTTPError, OSError):
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            first, most = self._retry_seconds
            self.add_after(key, min(first * 2 ** min(failures, 64), most))
            return
        self._failures.pop(key, None)
        if again_seconds is not None:
            self.add_after(key, again_seconds)
