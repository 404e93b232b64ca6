"""Serves one origin of the stand-in hub: logs each request, lets it suffer its fault, and sends the reply."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qs

from sandbox.hub.faults import Fault, Faults
from sandbox.hub.faults import Origin as OriginName
from sandbox.hub.log import LoggedRequest, RequestLog
from sandbox.hub.replies import FilePart, HubRequest, Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

_CHUNK_BYTES = 1024**2
_NO_FAULT = Fault()


class _Cycle(Protocol):
    """What uvicorn's request cycle, whose bound method `send` is, offers to those who must break a connection."""

    transport: asyncio.Transport
    disconnected: bool


class _Broken(Exception):
    """The connection was broken on purpose, or the client went away."""


class OriginApp:
    """The ASGI application of one origin.

    Args:
        name: `hub` or `cdn`.
        handle: Returns the reply to a request; it may neither block nor hash.
        faults: The faults in force.
        log: Where requests are noted.
    """

    def __init__(self, name: OriginName, handle: Callable[[HubRequest], Reply], faults: Faults, log: RequestLog) -> None:
        self._name = name
        self._handle = handle
        self._faults = faults
        self._log = log

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Serve one request."""
        request = _request(scope)
        entry = LoggedRequest(
            origin=self._name,
            method=request.method,
            path=request.path,
            query=scope["query_string"].decode(),
            range=request.headers.get("range"),
            authorized="authorization" in request.headers,
        )
        self._log.append(entry)
        fault = self._faults.take(self._name, request.method, request.path) or _NO_FAULT
        if fault.ignore_range:
            request = replace(request, headers={name: value for name, value in request.headers.items() if name != "range"})
        reply = Reply(status=fault.status, body=fault.body) if fault.status is not None else self._handle(request)
        try:
            await asyncio.sleep(fault.delay_seconds)
            await _Sender(send, entry, fault, head_only=request.method == "HEAD").send(reply)
        except _Broken:
            # Whatever was not sent stays unsent; the transport is closed already.
            return


class _Sender:
    def __init__(self, send: Callable[[Message], Awaitable[None]], entry: LoggedRequest, fault: Fault, *, head_only: bool) -> None:
        self._send = send
        self._cycle: _Cycle = send.__self__  # type: ignore[attr-defined]
        self._entry = entry
        self._fault = fault
        self._head_only = head_only

    async def send(self, reply: Reply) -> None:
        if self._fault.reset_after_bytes == 0:
            self._reset()
        self._entry.status = reply.status
        headers = {**reply.headers, "content-length": str(reply.length), **self._fault.headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": raw})
        if not self._head_only:
            started = time.monotonic()
            async for chunk in _chunks(reply.body, self._pieces()):
                await self._send_chunk(self._flipped(chunk, reply.body), started)
            await self._suffer(at_end=True)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _pieces(self) -> int:
        """Return how many bytes to read at once: few where the speed is limited, so that it is even."""
        rate = self._fault.bytes_per_second
        return _CHUNK_BYTES if rate is None else max(1, min(_CHUNK_BYTES, int(rate / 20)))

    def _flipped(self, chunk: bytes, body: bytes | FilePart) -> bytes:
        if self._fault.flip_byte_at is None:
            return chunk
        start = body.start if isinstance(body, FilePart) else 0
        place = self._fault.flip_byte_at - start - self._entry.bytes_sent
        if not 0 <= place < len(chunk):
            return chunk
        return chunk[:place] + bytes([chunk[place] ^ 0xFF]) + chunk[place + 1 :]

    async def _send_chunk(self, chunk: bytes, started: float) -> None:
        fault, sent = self._fault, self._entry.bytes_sent
        limits = (fault.reset_after_bytes, fault.truncate_after_bytes, fault.stall_after_bytes)
        limit = min((value for value in limits if value is not None), default=None)
        if limit is not None:
            chunk = chunk[: max(0, limit - sent)]
        if chunk:
            # Counted before it goes: who has received it must find it in the log.
            self._entry.bytes_sent += len(chunk)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if self._cycle.disconnected:
            raise _Broken
        await self._suffer(at_end=False)
        if fault.bytes_per_second is not None:
            await asyncio.sleep(max(0.0, self._entry.bytes_sent / fault.bytes_per_second - (time.monotonic() - started)))

    async def _suffer(self, *, at_end: bool) -> None:
        """Break off where the fault says so; at the end also where it names more bytes than there are."""
        fault, sent = self._fault, self._entry.bytes_sent

        def reached(limit: int | None) -> bool:
            return limit is not None and (at_end or sent >= limit)

        if reached(fault.stall_after_bytes):
            while not self._cycle.disconnected:
                await asyncio.sleep(0.02)
            raise _Broken
        if reached(fault.truncate_after_bytes):
            self._cycle.transport.close()
            raise _Broken
        if reached(fault.reset_after_bytes):
            self._reset()

    def _reset(self) -> None:
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        connection = self._cycle.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._cycle.transport.abort()
        raise _Broken


def _request(scope: Scope) -> HubRequest:
    raw_path: bytes = scope["raw_path"]
    return HubRequest(
        method=scope["method"],
        raw_path=raw_path.decode("ascii").partition("?")[0],
        query=parse_qs(scope["query_string"].decode(), keep_blank_values=True),
        headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
    )


async def _chunks(body: bytes | FilePart, size: int) -> AsyncIterator[bytes]:
    if not isinstance(body, FilePart):
        for start in range(0, len(body), size):
            yield body[start : start + size]
        return
    file = await asyncio.to_thread(_open, body.path, body.start)
    try:
        left = body.length
        while left > 0:
            # In a thread: a cold disk must not stop the other connections.
            chunk = await asyncio.to_thread(file.read, min(size, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    finally:
        file.close()


def _open(path: Path, start: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(start)
    return file
