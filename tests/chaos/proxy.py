"""A proxy that changes no byte: it is in front of one server of a lane, shows each request to the trap, and can be gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from sandbox.serving import LoopThread
from tests.chaos.trap import Request, Trap

#: Opens a connection to the server behind the proxy.
Opener = Callable[[], "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]"]


#: How an answer begins that asks to come again: nothing was done.
BUSY = b"HTTP/1.1 503 "


class Reader(ABC):
    """Finds the requests in what a client sends on one connection."""

    @abstractmethod
    def split(self, data: bytes) -> list[tuple[bytes, Request | None]]:
        """The data in pieces; a piece that begins a request comes with it. Bytes that are not clear yet are kept back."""


class Proxy:
    """One proxy; its address stays the same while it is gone and after.

    Args:
        loop: The loop to serve on.
        trap: Sees the requests.
        reader: Makes a reader for each connection.
        connect: Opens a connection to the server.
        tls: What the proxy shows to its clients; plain TCP without.
    """

    def __init__(
        self, loop: LoopThread, trap: Trap, reader: Callable[[], Reader], connect: Callable[[], object], tls: ssl.SSLContext | None = None
    ) -> None:
        self._loop = loop
        self._trap = trap
        self._reader = reader
        self._connect = connect
        self._tls = tls
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.come()

    def come(self) -> None:
        """Take connections (again)."""
        self._loop.run(self._listen())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    def go(self) -> None:
        """Be gone: every connection is reset, and new ones are refused."""
        self._loop.run(self._leave())

    async def _leave(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    def close(self) -> None:
        """End it. Safe to call twice."""
        self.go()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await self._connect()  # type: ignore[misc]
        except OSError:
            to_client.transport.abort()
            return
        self._open |= {to_client, to_server}
        connection = _Connection(self._trap, self._reader(), client, to_client, server, to_server)
        try:
            await connection.run()
        finally:
            self._open -= {to_client, to_server}
            for writer in (to_client, to_server):
                writer.transport.abort() if connection.cut else writer.close()


class _Connection:
    def __init__(
        self,
        trap: Trap,
        reader: Reader,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self.cut = False
        self._trap = trap
        self._reader = reader
        self._client = client
        self._to_client = to_client
        self._server = server
        self._to_server = to_server
        self._springs_on_answer = False
        self._asked: Request | None = None

    async def run(self) -> None:
        """Pass on until either side ends the connection."""
        tasks = {asyncio.create_task(self._up()), asyncio.create_task(self._down())}
        _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _up(self) -> None:
        async for data in _chunks(self._client):
            for piece, request in self._reader.split(data):
                moment = await self._trap.passing(request) if request is not None else None
                self._asked = request or self._asked
                if moment == "before" and not await self._trap.spring():
                    self.cut = True
                    return
                self._springs_on_answer = self._springs_on_answer or moment == "after"
                self._to_server.write(piece)
            await self._to_server.drain()

    async def _down(self) -> None:
        async for data in _chunks(self._server):
            asked, self._asked = self._asked, None
            if asked is not None and asked.writes and data.startswith(BUSY):
                self._trap.turned_away(asked)
            elif self._springs_on_answer:
                self._springs_on_answer = False
                if not await self._trap.spring():
                    self.cut = True
                    return
            self._to_client.write(data)
            await self._to_client.drain()


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with contextlib.suppress(OSError):
        while data := await stream.read(65536):
            yield data
