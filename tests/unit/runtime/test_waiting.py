"""Waiting in a task ends when nobody waits for the task any longer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from blocks.errors import PipelineError, RegistryRejected, RegistryUnreachable
from flows.runtime.tasks import call, looks
from tests.support.waiting import HANGS_SECONDS


def test_a_task_that_waits_ends_when_its_run_is_told_to() -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(PipelineError, match="told to end"):
            for _ in looks(60, lambda seconds: begun.set() or ended.wait(0.01)):  # type: ignore[func-returns-value]
                pass
        ended.set()

    async def told_to_end() -> None:
        waiting = asyncio.ensure_future(call(wait))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(told_to_end())

    assert ended.wait(HANGS_SECONDS)


def test_what_the_run_asks_is_asked_again_while_the_world_may_answer_otherwise() -> None:
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        if len(asked) < 2:
            raise RegistryUnreachable("The registry did not answer.")
        return "an answer"

    assert asyncio.run(call(ask, "who")) == "an answer"
    assert asked == ["who", "who"]


def test_what_can_never_be_is_asked_once() -> None:
    asked: list[str] = []

    def ask() -> None:
        asked.append("once")
        raise RegistryRejected("The registry refuses.")

    with pytest.raises(RegistryRejected):
        asyncio.run(call(ask))
    assert asked == ["once"]
