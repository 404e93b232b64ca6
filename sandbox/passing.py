"""An answer on its way from an engine to a caller, or to nobody: passed on as it comes, and counted once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import httpx
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.answers import Answer
from sandbox.router_metrics import Outcome, Series

#: What is passed on of an answer's headers.
_KEPT = ("content-type", "content-length", "retry-after")


class Passing:
    """A request to an engine, from its beginning to its end.

    Args:
        series: Where it is counted.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        self._began = time.monotonic()
        self._stack = AsyncExitStack()
        self._read: Answer | None = None
        self._counted = False

    async def send(self, sending: AbstractAsyncContextManager[httpx.Response]) -> httpx.Response:
        """Send it, and return the answer as far as its headers.

        Raises:
            httpx.TransportError: There was none.
        """
        try:
            return await self._stack.enter_async_context(sending)
        except httpx.TransportError:
            await self.end("error")
            raise
        except BaseException:
            await self.end("aborted")  # whoever asked went away
            raise

    async def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """The answer's pieces as they come."""
        streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
        self._read = read = Answer(streamed, lambda at: self._series.first_token(at - self._began), self._series.between_tokens)
        try:
            async for chunk in answer.aiter_raw():
                read.read(chunk, time.monotonic())
                yield chunk
        except httpx.TransportError:
            await self.end("error")
            raise
        read.end()
        await self.end("error" if answer.status_code >= 500 or read.failed else "refused" if answer.status_code >= 400 else "ok")

    async def end(self, outcome: Outcome) -> None:
        """It is over: the first that is said of it counts."""
        if not self._counted:
            self._counted = True
            read = self._read
            self._series.ended(
                outcome,
                seconds=time.monotonic() - self._began,
                finish_reason=read.finish_reason if read else None,
                output_tokens=read.output_tokens if read else None,
            )
        await self._stack.aclose()


class PassedOn(StreamingResponse):
    """The answer to the caller. It is aborted if the caller goes away before it has ended."""

    def __init__(self, passing: Passing, answer: httpx.Response) -> None:
        kept = {name: value for name, value in answer.headers.items() if name in _KEPT}
        super().__init__(passing.pieces(answer), status_code=answer.status_code, headers=kept)
        self._passing = passing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._passing.end("aborted")
