"""What load generators are compared on: a server whose answers take as long as is said, in a process of its own on the last core."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: After so many requests the same times come again: whoever sends a multiple of it meets the same ones, in whatever order.
CYCLE = 160

_TEXT = {"object": "text_completion", "choices": [{"index": 0, "text": " word", "finish_reason": None}]}
_LAST = {"object": "text_completion", "choices": [{"index": 0, "text": " word", "finish_reason": "length"}]}
_USAGE = {"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 24}
_WHOLE = {"object": "text_completion", "choices": [{"index": 0, "text": " word" * 8, "finish_reason": "length"}], "usage": _USAGE}
_MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "tests"}]}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A server and how it is asked.

    Attributes:
        name: Its name.
        delay_seconds: How long an answer takes, in the median.
        spread: The standard deviation of that time's logarithm; 0 where every answer takes as long.
        concurrency: Requests under way at a time.
        streamed: Whether an answer comes in eight events, spread over its time.
    """

    name: str
    delay_seconds: float
    concurrency: int
    streamed: bool = False
    spread: float = 0.0

    def delays(self) -> list[float]:
        """How long the answers take, one after another, for ever again."""
        draw = random.Random(1)
        return [self.delay_seconds * draw.lognormvariate(0.0, self.spread) for _ in range(CYCLE)]


CONSTANT = (
    Case(name="20 ms, 16 at a time", delay_seconds=0.02, concurrency=16),
    Case(name="50 ms, 32 at a time", delay_seconds=0.05, concurrency=32),
    Case(name="20 ms in 8 events, 8 at a time", delay_seconds=0.02, concurrency=8, streamed=True),
)
AT_ONCE = Case(name="at once, 16 at a time", delay_seconds=0.0, concurrency=16)
#: As an engine's: slow enough for a client in Python that takes milliseconds for each answer.
LIKE_AN_ENGINE = (
    Case(name="1 s in 8 events, 8 at a time", delay_seconds=1.0, concurrency=8, streamed=True),
    Case(name="about 1 s, scattered, in 8 events, 8 at a time", delay_seconds=1.0, spread=0.5, concurrency=8, streamed=True),
)
CASES = (*CONSTANT, AT_ONCE, *LIKE_AN_ENGINE)


class Server(asyncio.Protocol):
    """Answers a complete request after its delay; streamed, in eight events spread over it."""

    def __init__(self, case: Case, delays: Iterator[float]) -> None:
        self._case = case
        self._delays = delays
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not separator or len(body) < int(length[1] if length else 0):
            return
        self._received = b""
        # What clients ask before they begin, whether it is there and what it serves, takes no turn.
        if head.startswith(b"GET "):
            self._write(_response(_MODELS))
        elif self._case.streamed:
            self._answering = asyncio.ensure_future(self._stream(next(self._delays)))
        else:
            asyncio.get_running_loop().call_later(next(self._delays), self._write, _response(_WHOLE))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # a client that has measured enough goes away
            self._transport.write(data)

    async def _stream(self, seconds: float) -> None:
        events = [json.dumps(event) for event in (*[_TEXT] * 7, _LAST, {"choices": [], "usage": _USAGE})] + ["[DONE]"]
        pieces = [f"data: {event}\n\n".encode() for event in events]
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces[:7], b"".join(pieces[7:]))]
        self._write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        # By the clock, so that eight naps do not add up what each of them oversleeps.
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for number, chunk in enumerate(chunks, start=1):
            await asyncio.sleep(begin + seconds * number / len(chunks) - loop.time())
            self._write(chunk if number < len(chunks) else chunk + b"0\r\n\r\n")


def _response(document: object) -> bytes:
    content = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content) + content


async def serve(case: Case) -> None:
    """Serve the case and print the port."""
    delays = case.delays()
    turns = (delays[number % CYCLE] for number in range(10**9))
    server = await asyncio.get_running_loop().create_server(lambda: Server(case, turns), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served(case: Case) -> Iterator[int]:
    """The port of the case's server."""
    command = ["taskset", "-c", str(max(os.sched_getaffinity(0))), sys.executable, "-m", "tests.bench.load.server", str(CASES.index(case))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(CASES[int(sys.argv[1])]))
