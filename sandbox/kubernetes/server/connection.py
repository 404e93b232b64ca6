"""One HTTP request's connection: what came in, and the ways to answer it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.admission.access import User
from sandbox.kubernetes.admission.requests import Request
from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.admission.tables import as_table, wants_table
from sandbox.kubernetes.server.discovery import AGGREGATED
from sandbox.kubernetes.server.routing import Answer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request that was answered, for tests to look at.

    Attributes:
        method: The HTTP method.
        path: The URL's path.
        query: Its parameters.
        user: The user's name.
        code: The status code of the answer.
    """

    method: str
    path: str
    query: Mapping[str, str]
    user: str
    code: int


class Connection:
    """One request's connection: what came in, and the ways to answer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str], query: Mapping[str, str], log: deque[Exchange]
    ) -> None:
        self.scope = scope
        self.headers = headers
        self.query = query
        self.user = ANONYMOUS
        self.started = False
        self._receive = receive
        self._send = send
        self._log = log

    def request(self) -> Request:
        """The request as the router takes it, its body still to be read."""
        return Request(
            method=self.scope["method"],
            path=self.scope["path"],
            query=self.query,
            content_type=self.headers.get("content-type", "application/json").partition(";")[0].strip(),
            user=self.user,
            agent=self.headers.get("user-agent", ""),
            accept=self.headers.get("accept", ""),
        )

    async def stream(self) -> AsyncIterator[bytes]:
        """The body piece by piece as it comes."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def read(self) -> bytes:
        """The whole body."""
        if self.scope["method"] in ("GET", "HEAD"):
            return b""
        return b"".join([chunk async for chunk in self.stream()])

    async def start(self, code: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin the answer; what follows is its body."""
        self.started = True
        self._log.append(Exchange(method=self.scope["method"], path=self.scope["path"], query=self.query, user=self.user.name, code=code))
        await self._send({"type": "http.response.start", "status": code, "headers": headers})

    async def send_body(self, code: int, content_type: bytes, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
        """Answer with a body that is known as a whole."""
        await self.start(code, [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(more or [])])
        await self._send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else body})

    async def send_json(self, code: int, value: JSON, warnings: list[str] | None = None) -> None:
        """Answer with an object, and with what its client is to be warned of."""
        more = [(b"warning", f'299 - "{_escaped(text)}"'.encode("ascii", "backslashreplace")) for text in warnings or ()]
        # client-go comes again by itself only where it is told when.
        if code == 429:
            more.append((b"retry-after", b"1"))
        content_type = "application/json"
        if value.get("kind") == "APIGroupDiscoveryList":
            content_type += f";{AGGREGATED}"
        await self.send_body(code, content_type.encode(), json.dumps(value, separators=(",", ":")).encode() + b"\n", more)

    async def send_text(self, text: str) -> None:
        """Answer with a text."""
        await self.send_body(200, b"text/plain; charset=utf-8", text.encode())

    async def redirect(self, path: str) -> None:
        """Send the client to another path."""
        await self.send_body(301, b"text/plain", b"", [(b"location", path.encode())])

    async def send_answer(self, request: Request, answer: Answer) -> None:
        """Answer with an object or the events of a watch, as tables if the client asks for them."""
        table = wants_table(request.accept)
        if answer.events is not None:
            await self.start(200, [(b"content-type", b"application/json")])
            await self.send_chunks(_lines(answer.events, table=table))
        else:
            body = answer.body or {}
            await self.send_json(answer.code, as_table(body) if table else body, request.warnings)

    async def send_chunks(self, chunks: AsyncIterator[bytes]) -> None:
        """Send the body piece by piece until it ends or the client goes away."""
        sending = asyncio.ensure_future(self._send_all(chunks))
        # A watch that has nothing to send would not find out that its client is gone.
        leaving = asyncio.ensure_future(self._wait_for_leave())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, chunks: AsyncIterator[bytes]) -> None:
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _wait_for_leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _escaped(text: str) -> str:
    """A text as it may stand between quotes in a header."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


async def _lines(events: AsyncIterator[JSON], *, table: bool) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if table and event["type"] not in ("BOOKMARK", "ERROR"):
                event = {**event, "object": as_table(event["object"])}
            yield json.dumps(event, separators=(",", ":")).encode() + b"\n"
