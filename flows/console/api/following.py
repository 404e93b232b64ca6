"""A run's progress as server-sent events: each time that something of it changed, and a sign of life in between."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from blocks.errors import PipelineError
from flows.console.access.caller import Caller
from flows.console.access.who import SignedIn, known
from flows.console.api.inputs import RunId
from flows.console.edge.limits import Streams
from flows.console.edge.problems import ProblemError, not_found
from flows.console.reads.release import ReleaseView
from flows.console.reads.site import Reads, reads

router = APIRouter(tags=["reads"])

#: Seconds between two looks at the run, and the most that one stream lasts: then the browser opens another.
PAUSE_SECONDS, LONGEST_SECONDS = 2.0, 600.0

_VIEW = TypeAdapter(ReleaseView)


async def watched(
    request: Request, run: RunId, caller: SignedIn, read: Annotated[Reads, Depends(reads)]
) -> AsyncIterator[tuple[Reads, ReleaseView]]:
    """The run as it is when somebody begins to follow it: what is wrong is told before the stream begins.

    Raises:
        ProblemError: There is none that the caller may see, or they follow too many.
    """
    streams: Streams = request.app.state.streams
    with streams.one(caller.name):
        found = await run_in_threadpool(read.release, caller.sees, run)
        if found is None:
            raise not_found("run")
        yield read, found


@router.get("/releases/{run}/events", response_class=EventSourceResponse, summary="Follow a run, as server-sent events.")
async def follow(
    request: Request, run: RunId, caller: SignedIn, begun: Annotated[tuple[Reads, ReleaseView], Depends(watched)]
) -> AsyncIterator[ServerSentEvent]:
    """An event `release` holds what `GET /releases/{run}` answers; `end` comes when the run has ended. An `id` names what was told last."""
    async for event in _told(request, run, caller, *begun):
        yield event


async def _told(request: Request, run: str, caller: Caller, read: Reads, view: ReleaseView) -> AsyncIterator[ServerSentEvent]:
    told = request.headers.get("Last-Event-ID", "")
    loop = asyncio.get_running_loop()
    until = loop.time() + LONGEST_SECONDS
    while True:
        text = _VIEW.dump_json(view).decode()
        tag = hashlib.sha256(text.encode()).hexdigest()[:32]
        if tag != told:
            told = tag
            yield ServerSentEvent(event="release", id=tag, raw_data=text)
        if view.run.final:
            yield ServerSentEvent(event="end", id=tag, raw_data=view.run.state)
            return
        if loop.time() > until:
            return
        await asyncio.sleep(PAUSE_SECONDS)
        try:
            # Who has signed out, or may not see it any longer, is told nothing more.
            now = await run_in_threadpool(known, request)
            found = await run_in_threadpool(read.release, now.sees, run) if now.name == caller.name else None
        except ProblemError:
            return
        except PipelineError:
            yield ServerSentEvent(comment="the run cannot be asked for now")
            continue
        if found is None:
            return
        view = found
