"""Stands between a run and Prefect's API, and counts what the run asks and tells: HTTP requests, log lines and events."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from sandbox.serving import LoopThread

#: Largest piece that is passed on at once, in bytes.
_PIECE = 1 << 16

_TEXT = 1


@dataclass
class Traffic:
    """What one run asked and told.

    Attributes:
        requests: Method and path of each HTTP request, the opening of a websocket among them.
        log_lines: How many log lines it sent.
        events: The events that it sent, as they were.
    """

    requests: list[str] = field(default_factory=list)
    log_lines: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


class CountingProxy:
    """A proxy in front of an API without TLS; use it as a context manager.

    Args:
        api_url: The API that it passes everything on to.
    """

    def __init__(self, api_url: str) -> None:
        target = urlsplit(api_url)
        self._host, self._port, self._path = target.hostname or "", target.port or 80, target.path
        self.traffic = Traffic()

    def begin(self) -> Traffic:
        """Count anew, into what is returned."""
        self.traffic = Traffic()
        return self.traffic

    @property
    def api_url(self) -> str:
        """Where it stands in for the API."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(self._host, self._port)
        back = asyncio.ensure_future(_copy(to_reader, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._request(reader, to_writer):
                pass
        with suppress(OSError):  # one side may be gone
            to_writer.write_eof()
        await back

    async def _request(self, reader: StreamReader, to: StreamWriter) -> bool:
        """Pass on one request of the connection; whether another one may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.traffic.requests.append(f"{method} {path}")
        if headers.get("upgrade", "").lower() == "websocket":
            # Without an extension the frames are not compressed, and can be read here.
            kept = [line for line in lines if not line.lower().startswith("sec-websocket-extensions")]
            to.write("\r\n".join([first, *kept, "", ""]).encode("latin-1"))
            while True:
                await self._frame(reader, to, path)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        to.write(head + body)
        await to.drain()
        if path.rstrip("/").endswith("/logs") and body:
            self.traffic.log_lines += len(json.loads(body))
        return True

    async def _frame(self, reader: StreamReader, to: StreamWriter, path: str) -> None:
        """Pass on one frame of a websocket (RFC 6455, 5.2); a client masks each."""
        head = await reader.readexactly(2)
        length = head[1] & 0x7F
        more = await reader.readexactly({126: 2, 127: 8}.get(length, 0))
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(int.from_bytes(more) if more else length)
        to.write(head + more + mask + masked)
        await to.drain()
        if head[0] & 0x0F == _TEXT and path.endswith("/events/in"):
            message = json.loads(bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)))
            if "event" in message:  # the first one says who the client is
                self.traffic.events.append(message)

    def __enter__(self) -> Self:
        self._loop = LoopThread("counting proxy")
        self._server = self._loop.run(asyncio.start_server(self._pass, "127.0.0.1", 0))
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.run(self._close())
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        passing = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()
