"""A whole round of health checks on a real registry, against a server that plays the engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks.endpoint import Endpoint
from blocks.health_cache import HealthCache
from blocks.registry import Registry, RegistryClient
from flows.health.tasks import check_health
from sandbox.serving import HttpServer, LoopThread
from tests.support.redis_server import redis_url

if TYPE_CHECKING:
    from conftest import Releases

HERE = {"production": Endpoint()}


async def _health(request: Request) -> Response:
    return Response()


async def _complete(request: Request) -> Response:
    return JSONResponse({}, status_code=500 if (await request.json())["model"] == "nano" else 200)


@pytest.fixture(scope="module")
def engines() -> Iterator[str]:
    routes = [Route("/health", _health), Route("/v1/completions", _complete, methods=["POST"])]
    with LoopThread("engines") as loop:
        server = HttpServer(Starlette(routes=routes), loop)
        server.start()
        yield f"{server.host}:{server.port}"
        server.close()


@pytest.fixture
def registry(releases: Releases, dsn: str, engines: str, sql: psycopg.Connection) -> Registry:
    """Two models that serve; `nano` answers with errors."""
    releases.release("a1", "run-1")
    replace(releases, model="nano").release("b1", "run-2")
    sql.execute("UPDATE model_registry_entries SET deployment_endpoint = %s", (engines,))
    return Registry(dsn=SecretStr(dsn))


def statuses(client: RegistryClient) -> dict[str, str]:
    return {entry.model: entry.status for entry in client.entries()}


def test_the_one_that_fails_goes_and_the_other_stays(registry: Registry, client: RegistryClient) -> None:
    rounds = [check_health(registry, HERE) for _ in range(3)]

    assert [len(seen.degraded) for seen in rounds] == [0, 0, 1]
    assert statuses(client) == {"tiny": "ready", "nano": "degraded"}
    # It goes on failing, which is not news.
    assert check_health(registry, HERE).degraded == ()


def test_an_environment_that_nobody_can_reach_is_said(registry: Registry, client: RegistryClient) -> None:
    before = client.entries()

    seen = check_health(registry, {"staging": Endpoint()})

    assert (seen.checked, seen.message) == (0, "0 of 0 endpoints answer; nobody knows how to reach production.")
    assert client.entries() == before


def test_a_row_that_a_release_is_changing_is_left_to_it(registry: Registry, client: RegistryClient, dsn: str) -> None:
    with psycopg.connect(dsn) as releasing:
        releasing.execute("SELECT FROM model_registry_entries WHERE model_name = 'nano' FOR UPDATE")
        for _ in range(3):
            check_health(registry, HERE)

    assert statuses(client) == {"tiny": "ready", "nano": "ready"}


def test_routers_may_read_the_results_in_redis(registry: Registry, tmp_path: Path) -> None:
    with redis_url(tmp_path) as url:
        seen = check_health(registry, HERE, HealthCache(url=SecretStr(url)), 60)
        assert seen.without_cache is None
        with redis.Redis.from_url(url) as cache:
            told = {name: json.loads(cache.get(f"slipway:health::production:{name}") or "null") for name in ("tiny", "nano")}
            left = cache.pttl("slipway:health::production:tiny")

    assert {name: (what["healthy"], what["trouble"]) for name, what in told.items()} == {
        "tiny": (True, None),
        "nano": (False, "/v1/completions answered HTTP 500"),
    }
    assert 100_000 < left <= 120_000


def test_without_redis_the_registry_is_kept_all_the_same(registry: Registry, client: RegistryClient, tmp_path: Path) -> None:
    gone = HealthCache(url=SecretStr(f"unix://{tmp_path}/nothing.sock"))

    seen = [check_health(registry, HERE, gone) for _ in range(3)][-1]

    assert statuses(client) == {"tiny": "ready", "nano": "degraded"}
    assert "the health cache cannot be reached" in seen.message
