"""What the console costs at size: 1,000 models in three environments, and twenty people who look at them.

`make bench-console` prints the figures and writes them as JSON lines to `build/bench-console.json`; it ends with 1 and names what misses
its bar. The console is `slipway serve`, a process of its own, over a real registry; Prefect is not there, which these pages must not need.
Each of the twenty asks for a page of the fleet, reads it for a second, and asks for the next one; the time is that of the whole answer.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from cryptography.fernet import Fernet

from blocks.registry import RegistryClient
from flows.console.access.proxy import SECRET, USER
from flows.spec.load import ROOT
from sandbox.postgres import Postgres
from tests.bench.sited import report
from tests.support.console import PROXY_SECRET, folder
from tests.support.fleet import MODEL, WAITING_RUN, fill, tell_history

MODELS = 1_000
PEOPLE = 20
LOOKS = 15
THINKING_SECONDS = 1.0
PAINTS = 5
RESULTS = Path("build") / "bench-console.json"

# What the project promises.
PAGE_SECONDS, MEMORY_MB, PAINT_SECONDS, PAGE_BYTES = 0.3, 200.0, 1.0, 100_000

GRANTS = 'grants:\n  - {role: admin, groups: ["*"]}\n'


@dataclass(frozen=True, kw_only=True)
class Served:
    """A console that serves: its address, and its process."""

    url: str
    process: psutil.Process

    def get(self, path: str, name: str = "ada") -> httpx.Response:
        """What somebody of that name gets there."""
        answer = httpx.get(f"{self.url}{path}", headers={USER: name, SECRET: PROXY_SECRET}, timeout=30)
        answer.raise_for_status()
        return answer


@contextmanager
def served(state: Path, dsn: str) -> Iterator[Served]:
    """`slipway serve` behind a proxy's word, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = {"keys": Fernet.generate_key().decode(), "secret": PROXY_SECRET, "dsn": dsn}
    for name, text in files.items():
        (state / name).write_text(text)
    url = f"http://127.0.0.1:{port}"
    variables = {
        "SLIPWAY_CONSOLE_URL": url,
        "SLIPWAY_CONSOLE_KEYS_FILE": str(state / "keys"),
        "SLIPWAY_CONSOLE_PROXIES": "127.0.0.1/32",
        "SLIPWAY_CONSOLE_PROXY_SECRET_FILE": str(state / "secret"),
        "SLIPWAY_REGISTRY_DSN_FILE": str(state / "dsn"),
        "SLIPWAY_DEPLOYMENTS": str(folder(state, GRANTS).root),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }
    command = [sys.executable, "-m", "flows.cli.app", "serve", "--port", str(port)]
    with (state / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((state / "log").read_text()) from None
                time.sleep(0.1)
        yield Served(url=url, process=psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(20)


def looking(console: Served) -> Iterator[Mapping[str, object]]:
    """Twenty people who page through the fleet: the 95th percentile of their answers, and the memory after it."""
    console.get("/")

    def person(number: int) -> tuple[list[float], list[float]]:
        took, idle, after = [], [], ""
        # Not all at the same moment.
        time.sleep(number * THINKING_SECONDS / PEOPLE)
        with httpx.Client(base_url=console.url, headers={USER: f"person-{number}", SECRET: PROXY_SECRET}, timeout=30) as client:
            for look in range(LOOKS):
                began = time.perf_counter()
                answer = client.get("/", params={"after": after})
                took.append(time.perf_counter() - began)
                answer.raise_for_status()
                began = time.perf_counter()
                client.get("/healthz")
                idle.append(time.perf_counter() - began)
                after = f"model-{50 * (look + number) % MODELS:04}"
                time.sleep(THINKING_SECONDS)
        return took, idle

    busy = sum(console.process.cpu_times()[:2])
    with ThreadPoolExecutor(PEOPLE) as threads:
        measured = list(threads.map(person, range(PEOPLE)))
    took, idle = (sorted(seconds for each in measured for seconds in each[part]) for part in (0, 1))
    busy = sum(console.process.cpu_times()[:2]) - busy
    p95 = took[int(0.95 * len(took))]
    yield {
        "name": "fleet page, P95",
        "value": round(p95, 4),
        "unit": "seconds",
        "median": round(statistics.median(took), 4),
        "cpu_seconds_each": round(busy / len(took), 4),
        # What an answer takes that asks for nothing: of a machine that others use, the wait is theirs.
        "nothing_p95": round(idle[int(0.95 * len(idle))], 4),
        "people": PEOPLE,
        "looks": len(took),
        "models": MODELS,
        "at_most": PAGE_SECONDS,
        "met": p95 < PAGE_SECONDS,
    }
    memory = console.process.memory_info().rss / 1e6
    yield {"name": "memory", "value": round(memory, 1), "unit": "MB", "at_most": MEMORY_MB, "met": memory < MEMORY_MB}


def weights(console: Served, event_id: int, sha256: str) -> Iterator[Mapping[str, object]]:
    """The bytes of each page, as they are before anybody compresses them."""
    pages = {
        "fleet": "/",
        "model": f"/models/{MODEL}",
        "approvals": "/approvals",
        "approval": f"/approvals/{WAITING_RUN}",
        "nodes": "/nodes",
        "record": "/record",
        "event": f"/record/{event_id}",
        "evidence": f"/evidence/{sha256}",
        "release form": "/release",
    }
    for name, path in pages.items():
        began = time.perf_counter()
        size = len(console.get(path).content)
        took = round(time.perf_counter() - began, 4)
        yield {"name": f"{name} page", "value": size, "unit": "bytes", "seconds": took, "at_most": PAGE_BYTES, "met": size < PAGE_BYTES}


def paints(console: Served) -> Iterator[Mapping[str, object]]:
    """When Chromium first paints the fleet, in a browser that has seen nothing of the console before."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no Chromium on this machine: the first paint is not measured.", file=sys.stderr)
        return
    from playwright.sync_api import sync_playwright

    seen = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(PAINTS):
            context = browser.new_context(extra_http_headers={USER: "ada", SECRET: PROXY_SECRET})
            page = context.new_page()
            page.goto(console.url)
            painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            # Not `wait_for_function`, which has the page evaluate a text: its policy refuses that.
            while (at := page.evaluate(painted)) is None:
                page.wait_for_timeout(20)
            seen.append(float(at) / 1000)
            context.close()
        browser.close()
    paint = statistics.median(seen)
    yield {
        "name": "first paint",
        "value": round(paint, 3),
        "unit": "seconds",
        "slowest": round(max(seen), 3),
        "at_most": PAINT_SECONDS,
        "met": paint < PAINT_SECONDS,
    }


def figures() -> Iterator[Mapping[str, object]]:
    """All of them."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", ignore_cleanup_errors=True) as name, Postgres(Path(name) / "pg") as postgres:
        dsn = postgres.create_database("registry")
        with RegistryClient(dsn) as registry:
            registry.migrate()
            tell_history(registry)
            fill(dsn, MODELS)
            verdict = registry.overview.verdicts(MODEL, 1)[0]
        with served(Path(name), dsn) as console:
            yield from looking(console)
            yield from weights(console, verdict.id, str(verdict.evidence_sha256))
            yield from paints(console)


def main() -> int:
    """Measure, print and write; 1 if a promise is not kept, which is named."""
    missed = []

    def told() -> Iterator[Mapping[str, object]]:
        for figure in figures():
            if figure.get("met") is False:
                missed.append(f"{figure['name']} is {figure['value']} {figure['unit']}, promised are at most {figure['at_most']}")
            yield figure

    code = report(told(), RESULTS)
    for line in missed:
        print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
