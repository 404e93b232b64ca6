"""The lock of a release: held while a run changes a model in an environment, with a heartbeat beside it.

Prefect's concurrency slots are no such thing: they are let go while a run is suspended, and leak when its server restarts.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from blocks.errors import PipelineError, RegistryUnreachable
from blocks.registry import Lock, Registry
from flows.errors import ReleaseUnderWay
from flows.record.tasks import take_lock
from flows.runtime.tasks import call

#: Seconds between signs of life; the registry gives a holder up after six of them.
HEARTBEAT_SECONDS = 10.0

#: Seconds before each attempt to give the lock back: a database that restarts is waited for, so that a dead lock refuses nobody.
FREEING_PAUSES = (0.0, 1.0, 4.0)


#: What stands in the place of a model where the whole of a flow's work is locked; no model has such a name.
_WHOLE = "(slipway)"


@asynccontextmanager
async def alone(registry: Registry, work: str, run_id: str) -> AsyncIterator[str | None]:
    """Have this run be the only one at the work; the id of the run that is at it already, or none.

    Not a concurrency limit of Prefect's: over a restart of its server the slot of a run that goes on may be lost, and every later run is
    cancelled then without a word. This goes stale a minute after the last sign of life.
    """
    other: str | None = None
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(locked(registry, _WHOLE, work, run_id))
        except ReleaseUnderWay as exc:
            other = str(exc.facts["run_id"])
        yield other


@asynccontextmanager
async def locked(registry: Registry, model: str, environment: str, run_id: str) -> AsyncIterator[Lock]:
    """Hold the model in the environment for this run; what it writes meanwhile carries the lock's number.

    Raises:
        ReleaseUnderWay: Another run holds it.
    """
    lock = await call(take_lock, registry, model, environment, run_id)
    ended = threading.Event()
    # A thread of its own: the flow's event loop and its threads may all be busy for long.
    # A daemon, so that it ends with the process: a lock must not outlive whom it is for.
    heart = threading.Thread(target=_beat, args=(registry, lock, ended), name=f"lock of {model} in {environment}", daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        ended.set()
        await asyncio.to_thread(_free, registry, lock, heart)


def _beat(registry: Registry, lock: Lock, ended: threading.Event) -> None:
    held = True
    while held and not ended.wait(HEARTBEAT_SECONDS):
        with suppress(PipelineError), registry.client() as client:  # the next beat may get through
            # Once it is not held, another run has taken over: there is nothing to keep, and the registry refuses our writes.
            held = client.locks.keep(lock)


def _free(registry: Registry, lock: Lock, heart: threading.Thread) -> None:
    # No beat may come after the lock was given back.
    heart.join()
    for pause_seconds in FREEING_PAUSES:
        time.sleep(pause_seconds)
        try:
            with registry.client() as client:
                client.locks.free(lock)
            return
        except RegistryUnreachable:
            continue
        except PipelineError:
            return
    # It goes stale by itself.
