"""The load generator: a closed loop of requests whose times are taken at the socket.

h11 on asyncio's streams, because it had to be faster than what it measures: on one core it made 8,000 requests a second against a server
that answers at once (aiohttp the same, httpx 600), and at 16 connections to a server that takes 20 ms it was 0.9 ms off `wrk`'s median
where httpx was 5 ms off. `make bench-verify` repeats the comparison with `wrk`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import h11

from blocks.endpoint import protocol
from blocks.errors import EndpointRejected
from blocks.facts import Load, Sample

#: After so many bad answers the loop ends: more of them tell nothing new.
ENOUGH_BAD = 5

_READ_BYTES = 1 << 16


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
    left = iter([(json.dumps(body).encode(), bool(body.get("stream"))) for body in bodies])
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


async def _work(
    connection: _Connection, left: Iterator[tuple[bytes, bool]], taken: _Answers, timeout_seconds: float, deadline: float
) -> None:
    for body, streamed in left:
        if taken.enough or time.perf_counter() > deadline:
            return
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_seconds):
                taken.add(await connection.post(body, streamed))
        except TimeoutError:
            problem = f"no answer within {timeout_seconds:g} s"
            taken.add(_Taken(status=None, seconds=time.perf_counter() - begin, problem=problem))
            return
        except (OSError, EOFError, h11.RemoteProtocolError) as exc:
            problem = f"the connection broke ({type(exc).__name__})"
            taken.add(_Taken(status=0, seconds=time.perf_counter() - begin, problem=problem))
            return


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


class _Connection:
    """One connection; opened anew where the server closes it."""

    def __init__(self, target: _Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader, self._writer = reader, writer
        self._protocol = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, target: _Target, timeout_seconds: float) -> _Connection:
        async with asyncio.timeout(timeout_seconds):
            return cls(target, *await asyncio.open_connection(target.host, target.port, ssl=target.tls))

    def close(self) -> None:
        # Aborted, not drained: nobody reads what is still to come.
        self._writer.transport.abort()

    async def post(self, body: bytes, streamed: bool) -> _Taken:
        if self._protocol.our_state is not h11.IDLE:
            self.close()
            fresh = await asyncio.open_connection(self._target.host, self._target.port, ssl=self._target.tls)
            self._reader, self._writer = fresh
            self._protocol = h11.Connection(h11.CLIENT)
        protocol_ = self._protocol
        head = h11.Request(method="POST", target=self._target.path, headers=[*self._target.headers, ("content-length", str(len(body)))])
        data = [protocol_.send(head), protocol_.send(h11.Data(data=body)), protocol_.send(h11.EndOfMessage())]
        begin = time.perf_counter()
        self._writer.write(b"".join(part for part in data if part))
        status, arrivals = 0, []
        while True:
            event = protocol_.next_event()
            if event is h11.NEED_DATA:
                received = await self._reader.read(_READ_BYTES)
                arrived = time.perf_counter()
                protocol_.receive_data(received)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                arrivals.append((arrived - begin, bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError
        seconds = arrived - begin
        if protocol_.our_state is h11.DONE and protocol_.their_state is h11.DONE:
            protocol_.start_next_cycle()
        return _Taken(status=status, seconds=seconds, arrivals=arrivals, streamed=streamed)


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
                if data != protocol.DONE and protocol.piece_of(protocol.loads(data)):
                    times.append(arrived)
    return times
