"""The load generator: a closed loop of requests whose times are taken at the socket.

h11 on asyncio, because it had to be faster than what it measures: on one core it made 8,000 requests a second against a server that answers
at once (aiohttp the same, httpx 600). `make bench-verify` repeats the comparison with `wrk`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import h11

from blocks.endpoint import protocol
from blocks.errors import EndpointRejected
from blocks.facts import Load, Sample
from blocks.strict_json import loads

#: After so many bad answers the loop ends: more of them tell nothing new.
ENOUGH_BAD = 5


@dataclass(frozen=True, kw_only=True)
class _Target:
    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str
    headers: tuple[tuple[str, str], ...]


async def measure(
    url: str,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None,
    bodies: Sequence[Mapping[str, Any]],
    *,
    concurrency: int,
    timeout_seconds: float,
    budget_seconds: float,
) -> Load:
    """Post all bodies, each as soon as one of `concurrency` connections is free.

    The clock of a request starts when its first byte is handed to an open connection and stops with the last byte of the answer. A
    request that gets no complete answer in time ends the loop, as do `ENOUGH_BAD` bad answers or the end of the budget; what was
    measured until then is returned.

    Args:
        url: Where to post to.
        headers: Sent with every request.
        tls: For https.
        bodies: JSON bodies; those with `stream` are timed token by token.
        concurrency: Connections, each of which has one request under way at a time.
        timeout_seconds: How long one request may take.
        budget_seconds: How long all of it may take, beyond the requests that are then under way.

    Raises:
        OSError: Nothing can be connected to.
        TimeoutError: A connection was not made in time.
    """
    parts = urlsplit(url)
    target = _Target(
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        path=parts.path,
        headers=(("host", parts.netloc), ("content-type", "application/json"), *headers.items()),
    )
    # Encoded beforehand, so that encoding is not on anybody's clock.
    left = iter([_Asked(json.dumps(body).encode(), bool(body.get("stream")), protocol.largest_answer(body)) for body in bodies])
    connections = [await _Connection.open(target, timeout_seconds) for _ in range(min(concurrency, len(bodies)))]
    taken = _Answers()
    begin = time.perf_counter()
    try:
        await asyncio.gather(*(_work(connection, left, taken, timeout_seconds, begin + budget_seconds) for connection in connections))
    finally:
        for connection in connections:
            connection.close()
    seconds = time.perf_counter() - begin
    # Read only now: taking an answer apart while others are under way would be on their clocks.
    return Load(samples=tuple(one.sample() for one in taken.all), seconds=seconds, concurrency=concurrency)


class _Asked(NamedTuple):
    """A body as it is sent, whether its answer is streamed, and how many bytes that may have."""

    body: bytes
    streamed: bool
    most_bytes: int


class _TooLong(Exception):
    """An answer that goes on beyond what was asked for."""


async def _work(connection: _Connection, left: Iterator[_Asked], taken: _Answers, timeout_seconds: float, deadline: float) -> None:
    try:
        for asked in left:
            if taken.enough or time.perf_counter() > deadline:
                return
            begin = time.perf_counter()
            try:
                async with asyncio.timeout(timeout_seconds):
                    taken.add(await connection.post(asked))
            except TimeoutError:
                taken.add(_Taken(status=None, seconds=time.perf_counter() - begin, problem=f"no answer within {timeout_seconds:g} s"))
                return
            except _TooLong:
                problem = f"it answers with more than {asked.most_bytes} bytes, and was asked for less"
                taken.add(_Taken(status=0, seconds=time.perf_counter() - begin, problem=problem))
                return
            except (OSError, EOFError, h11.RemoteProtocolError) as exc:
                problem = f"the connection broke ({type(exc).__name__})"
                taken.add(_Taken(status=0, seconds=time.perf_counter() - begin, problem=problem))
                return
    finally:
        # At once and not with the others: whatever goes on to come in would be kept, and nobody reads it.
        connection.close()


class _Answers:
    """All answers so far, and whether the bad ones among them are enough."""

    def __init__(self) -> None:
        self.all: list[_Taken] = []
        self.enough = False
        self._bad = 0

    def add(self, one: _Taken) -> None:
        self.all.append(one)
        self._bad += one.status != 200
        self.enough = self.enough or one.status is None or self._bad >= ENOUGH_BAD


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """One answer as it came: its pieces with their times, or what happened instead."""

    status: int | None
    seconds: float
    arrivals: Sequence[tuple[float, bytes]] = ()
    streamed: bool = False
    problem: str = ""

    def sample(self) -> Sample:
        if self.status is None or self.problem:
            return Sample(status=self.status, seconds=self.seconds, error=self.problem)
        return sample(self.status, self.seconds, self.arrivals, self.streamed)


class _Wire(asyncio.Protocol):
    """What comes in, with its times: taken here, where the loop hands over each socket's data before any of it is taken apart.

    With many connections answers come in bursts; a time taken after reading the answers before would count their reading.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._arrived: deque[tuple[float, bytes]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived.append((time.perf_counter(), data))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def read(self) -> tuple[float, bytes]:
        """The next data and when it came; no data at the end."""
        while not self._arrived:
            if self._closed:
                return time.perf_counter(), b""
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._arrived.popleft()


class _Connection:
    """One connection; opened anew where the server closes it."""

    def __init__(self, target: _Target, wire: _Wire) -> None:
        self._target = target
        self._wire = wire
        self._protocol = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, target: _Target, timeout_seconds: float) -> _Connection:
        async with asyncio.timeout(timeout_seconds):
            return cls(target, await _wire(target))

    def close(self) -> None:
        # Aborted, not drained: nobody reads what is still to come.
        self._wire.transport.abort()

    async def post(self, asked: _Asked) -> _Taken:
        if self._protocol.our_state is not h11.IDLE or self._wire.transport.is_closing():
            self.close()
            # Before the clock starts: connecting is no part of an answer.
            self._wire = await _wire(self._target)
            self._protocol = h11.Connection(h11.CLIENT)
        http = self._protocol
        head = h11.Request(
            method="POST", target=self._target.path, headers=[*self._target.headers, ("content-length", str(len(asked.body)))]
        )
        data = [http.send(head), http.send(h11.Data(data=asked.body)), http.send(h11.EndOfMessage())]
        begin = arrived = time.perf_counter()
        self._wire.transport.write(b"".join(part for part in data if part))
        status, arrivals, received_bytes = 0, [], 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                arrived, received = await self._wire.read()
                http.receive_data(received)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                arrivals.append((arrived - begin, bytes(event.data)))
                received_bytes += len(event.data)
                if received_bytes > asked.most_bytes:
                    raise _TooLong
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        return _Taken(status=status, seconds=arrived - begin, arrivals=arrivals, streamed=asked.streamed)


async def _wire(target: _Target) -> _Wire:
    _, wire = await asyncio.get_running_loop().create_connection(_Wire, target.host, target.port, ssl=target.tls)
    return wire


def sample(status: int, seconds: float, arrivals: Sequence[tuple[float, bytes]], streamed: bool) -> Sample:
    """What one answer amounts to.

    Args:
        status: The HTTP status.
        seconds: Until the last byte.
        arrivals: When each piece of the content came, in seconds from the start, and the piece.
        streamed: Whether it should be server-sent events; then the first and each further token are timed by the piece that completes
            their event.
    """
    content = b"".join(piece for _, piece in arrivals)
    if status != 200:
        return Sample(status=status, seconds=seconds, error=protocol.refusal(status, content, seconds).error or f"HTTP {status}")
    try:
        answer = protocol.answer(content, seconds, streamed=streamed, endpoint="", path="")
        times = _token_times(arrivals) if streamed else []
    except (EndpointRejected, *protocol.MALFORMED):
        return Sample(status=status, seconds=seconds, error="no completion")
    return Sample(
        status=status,
        seconds=seconds,
        first_seconds=times[0] if times else None,
        gaps_seconds=tuple(later - earlier for earlier, later in pairwise(times)),
        tokens=answer.completion_tokens,
        error=answer.flaw,
    )


def _token_times(arrivals: Sequence[tuple[float, bytes]]) -> list[float]:
    """When each event that adds text was complete."""
    times, rest = [], b""
    for arrived, piece in arrivals:
        *complete, rest = (rest + piece).split(b"\n\n")
        for event in complete:
            for data in protocol.events(event):
                if data != protocol.DONE and protocol.piece_of(loads(data)):
                    times.append(arrived)
    return times
