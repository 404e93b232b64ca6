"""Whether the load generator measures right: the same servers measured by it and by wrk, in turns, each on the same one core.

`make bench-verify` prints the figures and writes them as JSON lines to `build/bench-verify.json`. The server answers each request a fixed
time after it came, on the other core, so that what a client adds is what differs. Figures are medians over rounds, ratios
medians of each round's own.

wrk is a peer only where the server is as even as here. It corrects what it measured for coordinated omission: it adds the requests that an
open loop would have sent while a slow answer was waited for. Where latencies scatter, as an engine's do, its percentiles answer another
question, and the peer is a client that was made for engines, such as guidellm, in front of an engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.endpoint import Endpoint
from flows.verification.percentiles import percentile
from flows.verification.requests import COMPLETIONS, load_requests

RESULTS = Path("build") / "bench-verify.json"
ROUNDS = 9
ROUND_SECONDS = 2.0

# What the project promises.
WITHIN = 0.05
REQUESTS_PER_SECOND = 500

_CHUNK = {"object": "text_completion", "choices": [{"index": 0, "text": " word", "finish_reason": None}]}
_LAST = {"object": "text_completion", "choices": [{"index": 0, "text": " word", "finish_reason": "length"}]}
_USAGE = {"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 24}
_WHOLE = {"object": "text_completion", "choices": [{"index": 0, "text": " word" * 8, "finish_reason": "length"}], "usage": _USAGE}

_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies, next_body = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
request = function()
  next_body = next_body %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next_body])
end
done = function(summary, latency)
  io.write(string.format("p50=%%.6f p95=%%.6f requests=%%d microseconds=%%d bad=%%d\\n", latency:percentile(50) / 1e6,
    latency:percentile(95) / 1e6, summary.requests, summary.duration, summary.errors.status + summary.errors.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A server and how it is asked."""

    name: str
    delay_seconds: float
    concurrency: int
    streamed: bool


CASES = (
    Case(name="20 ms, 16 at a time", delay_seconds=0.02, concurrency=16, streamed=False),
    Case(name="50 ms, 32 at a time", delay_seconds=0.05, concurrency=32, streamed=False),
    Case(name="20 ms in 8 events, 8 at a time", delay_seconds=0.02, concurrency=8, streamed=True),
)
AT_ONCE = Case(name="at once, 16 at a time", delay_seconds=0.0, concurrency=16, streamed=False)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one client measured in one round."""

    p50_seconds: float
    p95_seconds: float
    requests_per_second: float


class Server(asyncio.Protocol):
    """Answers a complete request after the delay; streamed, in eight events spread over it."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._received = b""
        content = json.dumps(_WHOLE).encode()
        self._whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content) + content

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if separator and length and len(body) >= int(length[1]):
            self._received = b""
            asyncio.ensure_future(self._stream()) if self._case.streamed else self._later(self._case.delay_seconds, self._whole)

    def _later(self, seconds: float, data: bytes) -> None:
        asyncio.get_running_loop().call_later(seconds, self._write, data)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # a client that has measured enough goes away
            self._transport.write(data)

    async def _stream(self) -> None:
        events = [json.dumps(event) for event in (*[_CHUNK] * 7, _LAST, {"choices": [], "usage": _USAGE})] + ["[DONE]"]
        pieces = [f"data: {event}\n\n".encode() for event in events]
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces[:7], b"".join(pieces[7:]))]
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks[:-1]:
            await asyncio.sleep(self._case.delay_seconds / 8)
            self._write(chunk)
        await asyncio.sleep(self._case.delay_seconds / 8)
        self._write(chunks[-1] + b"0\r\n\r\n")


async def serve(case: Case) -> None:
    """Serve the case and print the port."""
    server = await asyncio.get_running_loop().create_server(lambda: Server(case), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served(index: int) -> Iterator[int]:
    """The port of the case's server, which runs on the last core."""
    command = ["taskset", "-c", str(max(os.sched_getaffinity(0))), sys.executable, "-m", "tests.bench.verify", "serve", str(index)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def bodies(case: Case, count: int) -> list[dict[str, object]]:
    """The bodies that verification would send, streamed or not."""
    asked = load_requests("tiny", range(100, 200), prompt_tokens=16, max_tokens=8, count=count, seed=1)
    return [{key: value for key, value in one.body.items() if case.streamed or not key.startswith("stream")} for one in asked]


def ours(case: Case, port: int) -> Figures:
    """Measured by the load generator, in a process of its own on the first core."""
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-m", "tests.bench.verify", "load"]
    done = subprocess.run([*command, str(_all().index(case)), str(port)], capture_output=True, text=True, check=True)
    return Figures(**json.loads(done.stdout))


def load(case: Case, port: int) -> Figures:
    """What `ours` runs there."""
    expected = case.concurrency / case.delay_seconds if case.delay_seconds else 6000.0
    asked = bodies(case, round(expected * ROUND_SECONDS))
    with Endpoint(via="dns").client(f"127.0.0.1:{port}") as client:
        client.load(COMPLETIONS, asked[:200], concurrency=case.concurrency, budget_seconds=60)
        taken = client.load(COMPLETIONS, asked, concurrency=case.concurrency, budget_seconds=60)
    assert not [sample.error for sample in taken.samples if sample.error]
    seconds = [sample.seconds for sample in taken.samples]
    return Figures(
        p50_seconds=percentile(seconds, 50), p95_seconds=percentile(seconds, 95), requests_per_second=len(seconds) / taken.seconds
    )


def wrk(case: Case, port: int) -> Figures:
    """Measured by wrk, with one thread on the first core."""
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder, "bodies"), Path(folder, "post.lua")
        lines.write_text("\n".join(json.dumps(body) for body in bodies(case, 500)) + "\n")
        script.write_text(_LUA % lines)
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), "wrk", "-t1", f"-c{case.concurrency}", f"-d{ROUND_SECONDS:.0f}s"]
        done = subprocess.run(
            [*command, "-s", str(script), f"http://127.0.0.1:{port}{COMPLETIONS}"], capture_output=True, text=True, check=True
        )
    told = dict(pair.split("=") for pair in done.stdout.strip().splitlines()[-1].split())
    assert told["bad"] == "0", done.stdout
    return Figures(
        p50_seconds=float(told["p50"]),
        p95_seconds=float(told["p95"]),
        requests_per_second=int(told["requests"]) / int(told["microseconds"]) * 1e6,
    )


def compare(case: Case) -> dict[str, object]:
    """One line: medians over rounds in which both measured in turns."""
    with served(_all().index(case)) as port:
        rounds = [(ours(case, port), wrk(case, port)) for _ in range(ROUNDS)]
    mine, peer = zip(*rounds, strict=True)

    def median(figures: tuple[Figures, ...], name: str) -> float:
        return statistics.median(getattr(one, name) for one in figures)

    line: dict[str, object] = {"case": case.name, "peer": "wrk", "rounds": ROUNDS}
    for name in ("p50_seconds", "p95_seconds"):
        line |= {name: round(median(mine, name), 6), f"wrk_{name}": round(median(peer, name), 6)}
        # Of each round by itself: what else the machine does changes from round to round, and slows both clients of one.
        ratios = [getattr(own, name) / getattr(other, name) for own, other in rounds]
        line[name.replace("seconds", "ratio")] = round(statistics.median(ratios), 4)
    rate = {
        "requests_per_second": round(median(mine, "requests_per_second")),
        "wrk_requests_per_second": round(median(peer, "requests_per_second")),
    }
    return {**line, **rate}


def _all() -> tuple[Case, ...]:
    return (*CASES, AT_ONCE)


def main() -> int:
    """Measure all cases; 1 where a promise is not kept."""
    missing = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if missing:
        print(
            f"{missing[0]} is not installed: on Debian, apt-get install {'wrk' if missing[0] == 'wrk' else 'util-linux'}.", file=sys.stderr
        )
        return 1
    begin, lines = time.monotonic(), []
    for case in _all():
        line = compare(case)
        if case is AT_ONCE:
            line["holds"] = float(str(line["requests_per_second"])) >= REQUESTS_PER_SECOND
        else:
            ratios = [float(str(line[name])) for name in ("p50_ratio", "p95_ratio")]
            line["holds"] = all(abs(ratio - 1) <= WITHIN for ratio in ratios)
        lines.append(line)
        print(json.dumps(line), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"Wrote {RESULTS} after {time.monotonic() - begin:.0f} s.", file=sys.stderr)
    return 0 if all(line["holds"] for line in lines) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", index]:
            asyncio.run(serve(_all()[int(index)]))
        case ["load", index, port]:
            print(json.dumps(vars(load(_all()[int(index)], int(port)))))
        case _:
            sys.exit(main())
