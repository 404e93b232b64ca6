"""What is wrong with an endpoint, as far as one can tell from two small requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks.endpoint import Endpoint, EndpointAccess
from blocks.endpoint.health import Probe, probe_all
from sandbox.serving import HttpServer, LoopThread
from tests.support.waiting import HANGS_SECONDS

HERE = EndpointAccess(api_server=None, headers={"Authorization": "Bearer key"}, tls=None)


class Engines:
    """One server that plays many engines by the name of the model, and notes how many it answers at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.asked: list[tuple[str, object]] = []

    async def health(self, request: Request) -> Response:
        return Response(status_code=200)

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked.append((request.headers["authorization"], body))
        await asyncio.sleep(3600 if body["model"] == "hangs" else 0.01)
        self.now -= 1
        return JSONResponse({}, status_code={"broken": 500, "missing": 404}.get(body["model"], 200))


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def address(engines: Engines) -> Iterator[str]:
    routes = [Route("/health", engines.health), Route("/v1/completions", engines.complete, methods=["POST"])]
    with LoopThread("engines") as loop:
        server = HttpServer(Starlette(routes=routes), loop)
        server.start()
        yield f"{server.host}:{server.port}"
        server.close()


def ask(*looks: Probe, at_once: int = 10) -> list[str | None]:
    return asyncio.run(probe_all(HERE, looks, at_once=at_once, timeout_seconds=5))


def test_each_endpoint_gets_its_own_answer(address: str, engines: Engines) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        looks = [Probe(endpoint=address, model=model) for model in ("fine", "broken", "missing", "hangs")]
        found = ask(*looks, Probe(endpoint=nobody, model="fine"), Probe(endpoint="no host:at all", model="fine"), looks[0])

    assert found == [
        None,
        "/v1/completions answered HTTP 500",
        "/v1/completions answered HTTP 404",
        "/v1/completions did not answer (ReadTimeout)",
        "/health did not answer (ConnectError)",
        "/health did not answer (InvalidURL)",
        None,
    ]
    assert ("Bearer key", {"model": "fine", "prompt": "Hello", "max_tokens": 1, "temperature": 0}) in engines.asked


def test_no_more_than_so_many_at_once(address: str, engines: Engines) -> None:
    assert ask(*[Probe(endpoint=address, model="fine")] * 40, at_once=4) == [None] * 40
    assert 1 < engines.most <= 4


def test_nothing_to_look_at() -> None:
    assert ask() == []


def test_outside_of_the_cluster_an_address_that_is_no_service_is_trouble() -> None:
    outside = EndpointAccess(api_server="https://127.0.0.1:9", headers={}, tls=None)

    (found,) = asyncio.run(probe_all(outside, [Probe(endpoint="example.com:80", model="fine")], at_once=1, timeout_seconds=HANGS_SECONDS))

    assert found is not None
    assert "is not the address of a Service" in found


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        (Endpoint(), "it asks for a key, and was sent none; api_key_secret in the environment's file names the Secret that has it"),
        (
            Endpoint().with_key("sesame", "engine-key in llm"),
            "it asks for another key than the Secret engine-key in llm has now; engines read it when they start, "
            "so restart the model's pods (kubectl rollout restart) or put the former key back",
        ),
    ],
    ids=["none was sent", "the Secret was changed after the start"],
)
def test_an_engine_that_asks_for_another_key_is_said_with_its_secret_and_the_cure(endpoint: Endpoint, why: str) -> None:
    async def locked(request: Request) -> Response:
        return JSONResponse({"error": "Unauthorized"}, status_code=200 if request.url.path == "/health" else 401)

    routes = [Route("/health", locked), Route("/v1/completions", locked, methods=["POST"])]
    with LoopThread("locked") as loop:
        server = HttpServer(Starlette(routes=routes), loop)
        server.start()
        look = Probe(endpoint=f"{server.host}:{server.port}", model="tiny")
        (what,) = asyncio.run(probe_all(endpoint.access(), [look], at_once=1, timeout_seconds=HANGS_SECONDS))
        server.close()

    assert what == f"/v1/completions answered HTTP 401: {why}"
