"""Whatever an engine answers or writes into its log, it is read, refused in one sentence, or recorded; it breaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import random
import re
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from blocks.endpoint import Endpoint, EndpointAccess, positions, protocol
from blocks.endpoint.health import Probe, probe_all
from blocks.endpoint.load import sample
from blocks.errors import EndpointRejected, Unforeseen
from flows.rollout.engine_log import read_log
from flows.runtime.tasks import call, foreseen
from sandbox.serving import LoopThread
from tests.attack.case import attacks, refused
from tests.attack.shared import Shared
from tests.support.candidates import register
from tests.support.moments import moments, overflow

if TYPE_CHECKING:
    from tests.flows.conftest import Site

#: What may come in the place of any value.
ODD_VALUES = (
    "null", "true", "-1", "1e400", "NaN", "[]", "{}", '""', '"\\u0000"', '"\\ud800"', '"' + "a" * 3000 + '"', "[" * 200 + "]" * 200,
    "9" * 500,
)  # fmt: skip

COMPLETION = (
    '{"choices": [{"text": %s, "finish_reason": %s, "logprobs": {"tokens": %s, "token_logprobs": %s}}], '
    '"usage": {"prompt_tokens": %s, "completion_tokens": %s, "total_tokens": %s}}'
)
RIGHT = ('" Paris."', '"stop"', '["a"]', "[-0.5]", "3", "2", "5")


@attacks("no answer of an engine ends in another error than ours, whichever of its values is something else")
def answers() -> None:
    places = [pair for count in (1, 2) for pair in itertools.combinations(range(len(RIGHT)), count)]
    for place, value in itertools.product(places, ODD_VALUES):
        raw = (COMPLETION % tuple(value if number in place else right for number, right in enumerate(RIGHT))).encode()
        stream = b"data: " + raw + b"\n\ndata: [DONE]\n\n"
        for content, streamed in ((raw, False), (stream, True)):
            said = ""
            try:
                protocol.answer(content, 0.1, streamed=streamed, endpoint="tiny:8000", path="/v1/completions")
            except EndpointRejected as exc:
                said = str(exc)
            assert len(said) < 500, value[:40]
        sample(200, 0.9, [(0.1, stream)], True)


@attacks("what an engine says of itself is bounded, and of the kind that it should be")
def statements() -> None:
    for value in ODD_VALUES:
        if value not in ('""', '"\\u0000"', '"\\ud800"'):
            refused(EndpointRejected, protocol.version, f'{{"version": {value}}}'.encode(), "x")
    refused(EndpointRejected, protocol.version, json.dumps({"version": "0" * (5 << 20)}).encode(), "x")
    refused(EndpointRejected, protocol.served_models, b'{"data": [{"id": "' + b"a" * 2000 + b'", "root": "/m"}]}', "x")
    refused(EndpointRejected, protocol.served_models, b'{"data": [{"id": "a", "root": "/m", "max_model_len": 1e400}]}', "x")
    assert len(protocol.refusal(500, json.dumps({"message": "no" * (1 << 20)}).encode(), 0.1).error) < 5000


@attacks("random bytes in the place of any answer are refused in one sentence")
def noise() -> None:
    draw = random.Random(7)
    for _ in range(2000):
        raw = draw.randbytes(draw.randrange(200))
        for reader in (protocol.version, protocol.tokens, protocol.metrics, protocol.served_models):
            refused(EndpointRejected, reader, raw, "x")


@attacks("an endpoint that answers a byte at a time, or without end, holds no health check")
def slow_health() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=dribble, args=(peer,), daemon=True).start()

        def dribble(peer: socket.socket) -> None:
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                while True:
                    peer.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                peer.close()

        threading.Thread(target=serve, daemon=True).start()
        here = EndpointAccess(api_server=None, headers={}, tls=None)
        look = Probe(endpoint=f"127.0.0.1:{listener.getsockname()[1]}", model="tiny")
        begin = time.monotonic()
        (found,) = asyncio.run(probe_all(here, [look], at_once=1, timeout_seconds=0.3))
        assert found is not None, "it counts as healthy"
        assert time.monotonic() - begin < 10, "it held the check"


@attacks("a head that never ends holds no question, and no answer has more bytes than its tokens allow")
def heads() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        # All of it: a server that closes with something unread resets the connection.
        if (length := re.search(rb"content-length: (\d+)", asked, re.IGNORECASE)) is not None:
            await reader.readexactly(int(length[1]))
        writer.write(b"HTTP/1.1 200 OK\r\n")
        if b"/health" in asked:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x-more: 1\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)
        writer.write(b"content-length: 300000\r\n\r\n" + b" " * 300_000)
        writer.close()

    with LoopThread("strangers") as loop:
        server = loop.run(asyncio.start_server(answer, "127.0.0.1", 0))
        address = "{}:{}".format(*server.sockets[0].getsockname())
        with Endpoint(via="dns", timeout_seconds=0.2).client(address) as client:
            began = time.monotonic()
            assert client.health() is None
            assert time.monotonic() - began < 10
        with Endpoint(via="dns", timeout_seconds=20).client(address) as client:
            said = refused(EndpointRejected, client.complete, "tiny", "Hello", 8)
        loop.loop.call_soon_threadsafe(server.close)
    assert "more than 98304 bytes" in said, said


@attacks("of several tokens with one text the likeliest counts, in whatever order; a token without end and calls by the thousand do not")
def tokens_told() -> None:
    twice = [{"token": "a", "logprob": -1.2}, {"token": "a", "logprob": -1.3}, {"token": "b", "logprob": -2}]
    told = [
        positions.said({"content": [{"token": "c", "logprob": -0.5, "top_logprobs": list(one)}]}) for one in itertools.permutations(twice)
    ]
    assert len(set(map(str, (one[0].top["a"] for one in told)))) == 1, told
    refused(ValueError, positions.said, {"tokens": ["a" * 1000], "token_logprobs": [-0.1]})
    message = {"content": "", "tool_calls": [{"function": {"name": "note", "arguments": "{}"}}] * 5000}
    many = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})
    began = time.process_time()
    refused(EndpointRejected, protocol.answer, many.encode(), 0.1, streamed=False, endpoint="x", path="/v1/chat/completions")
    assert time.process_time() - began < 1


@attacks("whatever a step raises is an error of ours that names the step, and quotes nothing that a stranger said")
def unforeseen() -> None:
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger("flows.runtime.tasks").addHandler(handler)
    try:
        _raise_everything()
    finally:
        logging.getLogger("flows.runtime.tasks").removeHandler(handler)
    assert "OverflowError" in logged.getvalue(), "the log does not say what it was"
    assert "\x1b" not in logged.getvalue(), "the log commands terminals"
    assert "hf_secret" not in logged.getvalue(), "the log holds a token"


def _raise_everything() -> None:
    for kind in (OverflowError, ValueError, UnicodeError, RecursionError, MemoryError, StopIteration, KeyError, ZeroDivisionError):

        def measure(kind: type[Exception] = kind) -> None:
            raise kind("hf_secretsecretsecret \x1b[2J")

        async def ask(step: object = measure) -> None:
            await call(step)  # type: ignore[arg-type]

        said = refused(Unforeseen, asyncio.run, ask())
        assert "measure" in said, said
        assert kind.__name__ in said, said
        assert "secret" not in said, said
        try:
            with foreseen("Releasing"):
                raise kind("x")
        except Unforeseen:
            continue
        raise AssertionError(f"{kind.__name__} passed by")


@attacks("the last line of an engine's log is on record with the failure, whatever is in it")
def last_line(shared: Shared) -> None:
    registry = shared.registry()
    place = {"model": "tiny", "environment": "here", "fingerprint": register(registry)}
    for number, line in enumerate(("killed \0", "\ud800 killed", "\x1b]0;owned\x07", "\0" * 10_000, "💥" * 5000)):
        run = f"run-{number}"
        registry.lifecycle.begin(**place, hub_revision="a" * 40, namespace="llm", endpoint="tiny:8000", run_id=run)
        found = read_log(f"INFO starting\nRuntimeError: {line}\n")
        assert found is not None
        entry = registry.lifecycle.mark_failed(**place, reason=found.line, run_id=run, cluster_changed=True)
        assert entry is not None, line[:20]
        assert entry.status == "failed", line[:20]
        assert registry.route("tiny", "here").endpoint is None, line[:20]


LIKELY = (
    '{"choices": [{"text": "a", "finish_reason": "stop", '
    '"logprobs": {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": %s}]}, '
    '"prompt_logprobs": [null, {"5": {"logprob": %s}}, %s]}], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}'
)


@attacks("no log-probability of an answer or a prompt, and no number of them, ends in another error than ours")
def likely_tokens() -> None:
    many = json.dumps({str(token): {"logprob": -9.0} for token in range(100_000)})
    for place, value in itertools.product(range(3), (*ODD_VALUES, many, '{"5": 1}', '{"5": {}}', "1e-400", "9.5")):
        raw = (LIKELY % tuple(value if number == place else right for number, right in enumerate(("-0.5", "-0.5", "null")))).encode()
        with contextlib.suppress(EndpointRejected):
            told = protocol.answer(raw, 0.1, streamed=False, endpoint="tiny:8000", path="/v1/completions")
            assert all(len(position.top) <= 64 and abs(value) < 1e7 for position in told.read for value in position.top.values())


@attacks("a stream that an engine breaks off is told by its own words, shortened, whatever it says")
def broken_streams() -> None:
    for value in ODD_VALUES:
        for error in (value, f'{{"message": {value}}}'):
            raw = b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\ndata: {"error": %s}\n\ndata: [DONE]\n\n' % error.encode()
            assert len(sample(200, 0.9, [(0.1, raw)], True).error) < 5000, value[:40]


@attacks("four megabytes of metrics take no second of CPU time")
def many_metrics() -> None:
    begin = time.process_time()
    flood = b'vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3"} 7\n' * 65_000
    refused(EndpointRejected, protocol.metrics, flood, "x")
    refused(EndpointRejected, protocol.metrics, b'vllm:num_preemptions_total{engine="0"} 1\n' * 100_000, "x")
    assert time.process_time() - begin < 1.0


@attacks("whatever ends a step between deploy and record, it is recorded, and nothing is routed that nobody verified")
def every_step(shared: Shared) -> None:
    from flows.release import release

    site = shared.site
    assert site.release().is_completed()
    old = routed(site)
    site.publish(seed=1)
    # Which steps a release has until it is recorded is seen of one that goes back when it would be.
    with moments() as at:
        at.on["begin record_ready"] = overflow
        assert site.release().name == "Errored"
        heard = at.heard[at.heard.index("end record_deploying") : at.heard.index("begin record_ready")]
    assert routed(site) == old
    # Where one ends, the next begins: between the two the world is the same.
    steps = [moment for moment in dict.fromkeys(heard) if moment.startswith("begin ")]
    assert len(steps) > 3, steps
    for moment in steps:
        run = site.start(release, model=site.model, environments=["development"])
        with moments() as at:
            at.on[moment] = overflow
            ended = site.leg(release, run)
        assert ended.name == "Errored", (moment, ended.message)
        failed = [each for each in site.events(run) if each.kind == "failed"]
        assert [each.detail["error"] for each in failed] == ["Unforeseen"], (moment, ended.message)
        assert routed(site) == old, moment
        serving = {pod.labels["slipway.dev/candidate"] for pod in site.pods() if not pod.terminating}
        assert serving == {str(old)[:40]}, moment


@attacks("an engine that answers 1e400, a log-probability of 10^400 or token ids that are none is not routed")
def numbers_of_a_live_engine(shared: Shared) -> None:
    site = shared.site
    lies = (
        {"completion_tokens": "1e400"},
        {"token_logprobs": "[1" + "0" * 400 + "]"},
        {"tokens": "[1e400]"},
        {"vllm:kv_cache_usage_perc": "NaN"},
    )
    for number, raw in enumerate(lies, 2):
        site.world.engine_faults.clear()
        site.publish(seed=number)
        site.world.engine_faults.set(site.model, raw=raw)
        ended = site.release()
        site.world.engine_faults.clear()
        assert ended.name == "Errored", (raw, ended.message)
        assert routed(site) is None, raw


def routed(site: Site) -> str | None:
    """The candidate that the site's model is routed to in development."""
    with site.registry() as registry:
        entry, route = registry.current(site.model, "development"), registry.route(site.model, "development")
    return entry.fingerprint if entry is not None and route.endpoint is not None else None
