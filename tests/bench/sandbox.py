"""What the sandbox costs: the start and the memory of a whole world, and the time of one request to its API server.

`make bench-sandbox` prints the figures and writes them as JSON lines to `build/bench-sandbox.json`. The peer is the least that can be
served in the same way: a constant JSON over TLS by uvicorn and starlette, asked by the same client, in turns with the API server.
Server and client are processes of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig

STARTS = 3
WARM_UP = 50
REQUESTS = 300
LISTED = 50
RESULTS = Path("build") / "bench-sandbox.json"

# What the project promises of its sandbox.
START_SECONDS = 6.0
MEMORY_BYTES = 300e6
REQUEST_SECONDS = 0.003

Object = dict[str, object]


@contextmanager
def serving(part: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], Object]]:
    """A part of `tests.bench.served` in a process of its own, and what it says once it serves."""
    command = [sys.executable, "-m", "tests.bench.served", part, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def family(pid: int, folder: Path) -> set[psutil.Process]:
    """The process, its descendants, and whatever detached itself (PostgreSQL does) but works on the folder."""
    members = {psutil.Process(pid), *psutil.Process(pid).children(recursive=True)}
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.pid != os.getpid():
            members |= {process, *process.children(recursive=True)}
    return members


def memory_bytes(members: set[psutil.Process]) -> tuple[int, int]:
    """The processes' memory: with each shared page counted once among its users (PSS), and by process (RSS)."""
    proportional = resident = 0
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's workers come and go
            info = member.memory_full_info()
            proportional, resident = proportional + info.pss, resident + info.rss
    return proportional, resident


def world_starts() -> Iterator[Object]:
    """The start of a world, and what it takes when it is idle."""
    starts, whole, proportional, resident = [], [], [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            with serving("world", Path(name)) as (process, said):
                whole.append(time.monotonic() - began)
                starts.append(float(str(said["start_seconds"])))
                shared_once, summed = memory_bytes(family(process.pid, Path(name)))
                proportional.append(shared_once)
                resident.append(summed)
    yield row("world start", statistics.median(starts), "seconds", bar=START_SECONDS, runs=STARTS)
    yield row("world start with interpreter and imports", statistics.median(whole), "seconds", bar=START_SECONDS, runs=STARTS)
    yield row("world memory, shared pages counted once (PSS)", statistics.median(proportional), "bytes", bar=MEMORY_BYTES, runs=STARTS)
    yield row("world memory, summed RSS", statistics.median(resident), "bytes", runs=STARTS)


def request_times() -> Iterator[Object]:
    """The time of each kind of request, in turns with the peer's."""
    with (
        tempfile.TemporaryDirectory() as name,
        serving("world", Path(name) / "world") as (_, world),
        serving("peer", Path(name) / "peer") as (_, peer),
    ):
        access = read_kubeconfig(Path(str(world["kubeconfig"])))
        with (
            httpx.Client(base_url=access.url, verify=access.tls(), headers=access.headers(), trust_env=False) as api,
            httpx.Client(base_url=str(peer["url"]), verify=False, trust_env=False) as other,  # noqa: S501 - its authority is gone
        ):
            maps = "/api/v1/namespaces/default/configmaps"
            labels = {"app": "bench"}
            for number in range(LISTED):
                api.post(maps, json={"metadata": {"name": f"listed-{number}", "labels": labels}, "data": {"k": "v"}}).raise_for_status()
            kinds: dict[str, Callable[[int], httpx.Response]] = {
                "get": lambda number: api.get(f"{maps}/listed-0"),
                f"list of {LISTED}": lambda number: api.get(maps, params={"labelSelector": "app=bench"}),
                "create": lambda number: api.post(maps, json={"metadata": {"name": f"made-{number}"}, "data": {"k": "v"}}),
                "patch": lambda number: api.patch(
                    f"{maps}/listed-0",
                    content=json.dumps({"data": {"k": str(number)}}),
                    headers={"content-type": "application/merge-patch+json"},
                ),
            }
            for kind, send in kinds.items():
                ours, theirs = [], []
                for number in range(WARM_UP + REQUESTS):
                    theirs.append(timed(lambda _: other.get("/"), number))
                    ours.append(timed(send, number))
                ours, theirs = ours[WARM_UP:], theirs[WARM_UP:]
                yield row(
                    f"request: {kind}",
                    statistics.median(ours),
                    "seconds",
                    bar=REQUEST_SECONDS,
                    runs=REQUESTS,
                    p95=percentile(ours, 95),
                    peer=statistics.median(theirs),
                    times_peer=round(statistics.median(ours) / statistics.median(theirs), 2),
                )


def timed(send: Callable[[int], httpx.Response], number: int) -> float:
    """The seconds from sending a request to having its whole answer."""
    began = time.perf_counter()
    send(number).raise_for_status()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: int) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, -(-share * len(values) // 100) - 1)]


def row(name: str, value: float, unit: str, **more: object) -> Object:
    """One figure; `met` says whether it is within its bar."""
    bar = more.get("bar")
    return {"name": name, "value": round(value, 6), "unit": unit, **more} | ({"met": value < float(str(bar))} if bar is not None else {})


def main() -> int:
    """Measure everything; 1 if a bar is not met."""
    RESULTS.parent.mkdir(exist_ok=True)
    met = True
    with RESULTS.open("w") as results:
        for part in (world_starts, request_times):
            for line in part():
                print(json.dumps(line), file=results, flush=True)
                print(json.dumps(line), flush=True)
                met = met and line.get("met") is not False
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
