"""What one build does with a registry, in turns with others: changes, lookups, and how soon a change is followed.

    python turns.py DSN [DIRECT_DSN]

A line on its input is a question, a line of JSON on its output the answer; `sides.py` runs it with this build and one before. Only what
both builds have is called.

"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from blocks.registry import RegistryClient


def changes(client: RegistryClient, writer: int, writers: int, seconds: float) -> Callable[[], object]:
    """Flip this writer's entries between ready and degraded: how many changes, and in how many seconds."""
    ready = sorted((entry.model, str(entry.fingerprint)) for entry in client.entries(environment="staging", status="ready"))
    mine = ready[writer::writers]

    def flip(number: int) -> bool:
        model, fingerprint = mine[number // 2 % len(mine)]
        if number % 2:
            return bool(client.lifecycle.mark_recovered(model=model, environment="staging", fingerprint=fingerprint))
        return bool(client.lifecycle.mark_degraded(model=model, environment="staging", fingerprint=fingerprint, reason="answers are wrong"))

    def flips() -> object:
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            assert flip(done)
            done += 1
        return [done, time.perf_counter() - began]

    assert flip(0)
    assert flip(1)
    return flips


def lookups(client: RegistryClient, models: int, number: int) -> Callable[[], object]:
    """Ask for the routes of some models: the seconds of each answer."""
    chosen = random.Random(7)

    def ask() -> float:
        model = f"model-{chosen.randint(1, models)}"
        began = time.perf_counter()
        assert client.route(model).http_status == 200
        return time.perf_counter() - began

    return lambda: [ask() for _ in range(number)]


def followed(client: RegistryClient, dsn: str, direct_dsn: str, number: int) -> Callable[[], object]:
    """Take a model out and put it back: the seconds from each commit to the first request that the reference router treats so."""
    # Here: writers and lookups need none of it.
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from sandbox.router import Router
    from sandbox.serving import HttpServer, LoopThread

    async def answer(request: Request) -> Response:
        return PlainTextResponse("served")

    loop = LoopThread("bench").__enter__()
    asking = httpx.Client(trust_env=False)
    upstream = HttpServer(Starlette(routes=[Route("/v1/completions", answer, methods=["POST"])]), loop)
    upstream.start()
    direct = {"direct_dsn": direct_dsn} if direct_dsn else {}
    router = Router(dsn, lambda endpoint: (upstream.url, {}, None), loop, **direct)  # type: ignore[arg-type]
    router.start()

    def until(status: int) -> float:
        began = time.perf_counter()
        while asking.post(f"{router.url}/v1/completions", json={"model": "model-1"}).status_code != status:
            assert time.perf_counter() - began < 10
        return time.perf_counter() - began

    def follow() -> object:
        off, on = [], []
        for _ in range(number):
            client.switch.disable("model-1", "production", reason="bench", actor="bench")
            off.append(until(503))
            client.switch.enable("model-1", "production", reason="bench", actor="bench")
            on.append(until(200))
        return [off, on]

    return follow


def main() -> None:
    """Get ready for what the first line asks, say so, and do it once for each further line."""
    dsn, direct_dsn = sys.argv[1], (sys.argv[2:] or [""])[0]
    with RegistryClient(dsn) as client:
        what, *values = json.loads(sys.stdin.readline())
        if what == "followed":
            turn = followed(client, dsn, direct_dsn, *values)
        else:
            turn = {"changes": changes, "lookups": lookups}[what](client, *values)
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(turn()), flush=True)


if __name__ == "__main__":
    main()
