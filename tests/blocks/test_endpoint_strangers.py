"""Servers that no engine is, at the level of the connection: what they do ends in time, in bounded memory, and in one sentence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from blocks.endpoint import Endpoint
from blocks.errors import EndpointRejected, EndpointUnreachable
from sandbox.serving import LoopThread
from tests.support.waiting import HANGS_SECONDS

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@contextmanager
def listening(answers: Answers) -> Iterator[str]:
    """The address of a server that does as is said with each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answers(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()

    with LoopThread("strangers") as loop:
        server = loop.run(listen())
        try:
            yield "{}:{}".format(*server.sockets[0].getsockname())
        finally:
            loop.run(stop(server))


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


async def header_by_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(HEAD)
    while True:
        writer.write(b"x-more: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def early_hints_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answers", [header_by_header, early_hints_for_ever], ids=lambda answers: answers.__name__)
def test_a_head_that_never_ends_ends_in_time(answers: Answers) -> None:
    begin = time.monotonic()

    with listening(answers) as address, Endpoint(via="dns", timeout_seconds=0.5).client(address) as client:
        assert client.health() is None
        assert client.complete("tiny", "Hello", 4).error == "no answer within 0.5 s"
        with pytest.raises(EndpointUnreachable, match=r"did not answer /metrics within 0\.5 s"):
            client.metrics()

    assert time.monotonic() - begin < HANGS_SECONDS


def test_an_answer_has_as_many_bytes_as_was_asked_for_tokens() -> None:
    text = json.dumps({"choices": [{"text": "x" * (1 << 20), "finish_reason": "stop"}], "usage": {}}).encode()

    async def a_megabyte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()

    too_long = pytest.raises(EndpointRejected, match=r"answered /v1/completions with more than 81920 bytes, and was asked for less")
    with listening(a_megabyte) as address, Endpoint(via="dns").client(address) as client, too_long:
        client.complete("tiny", "Hello", 4)


def test_a_connection_that_goes_on_beyond_its_answer_is_closed_while_others_are_measured() -> None:
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b'"flood"' not in await request(reader):
            await ended.wait()
            writer.write(HEAD + b"content-length: 2\r\n\r\n{}")
            return
        writer.write(HEAD + b"content-length: 1000000000000\r\n\r\n")
        try:
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        finally:
            ended.set()

    with listening(flood) as address, Endpoint(via="dns").client(address) as client:
        load = client.load("/v1/completions", [{"prompt": "flood"}, {"prompt": "Hello"}], concurrency=2, budget_seconds=30)

    # the other one is answered once nobody reads the flood any longer
    assert sorted((sample.error, sample.status) for sample in load.samples) == [
        ("it answers with more than 131072 bytes, and was asked for less", 0),
        ("no completion", 200),
    ]
