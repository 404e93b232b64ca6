"""Waiting in a task ends when nobody waits for the task any longer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from blocks.errors import PipelineError
from flows.runtime.tasks import looks, run


def test_a_task_that_waits_ends_when_its_run_is_told_to() -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(PipelineError, match="told to end"):
            for _ in looks(60, lambda seconds: begun.set() or ended.wait(0.01)):  # type: ignore[func-returns-value]
                pass
        ended.set()

    class Waits:
        __call__ = staticmethod(wait)  # stands for the task: its engine needs a Prefect server

    async def told_to_end() -> None:
        waiting = asyncio.ensure_future(run(Waits()))  # type: ignore[arg-type]
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(told_to_end())

    assert ended.wait(10)
