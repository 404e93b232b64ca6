"""The router sends requests where the registry says, and says so when it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.postgres import Postgres
from sandbox.router import Router, Target
from sandbox.serving import HttpServer, LoopThread

TABLE = """
CREATE TABLE model_registry_entries (
    model_name text, deployment_environment text, deployment_endpoint text, deployment_status text, verified_at timestamptz
)
"""


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread("router-tests") as thread:
        yield thread


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("router") / "postgres", durable=False) as running:
        with psycopg.connect(running.dsn) as connection:
            connection.execute(TABLE)
        yield running


@pytest.fixture
def entries(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection that commits each statement, on an empty table."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM model_registry_entries")
        yield connection


def enter(
    entries: psycopg.Connection, model: str, endpoint: str, status: str = "ready", environment: str = "production", day: int = 1
) -> None:
    statement = "INSERT INTO model_registry_entries VALUES (%s, %s, %s, %s, make_timestamptz(2026, 1, %s, 0, 0, 0))"
    entries.execute(statement, (model, environment, endpoint, status, day))


async def _tell(request: Request) -> Response:
    told = {"path": request.url.path, "authorization": request.headers.get("authorization"), "body": (await request.body()).decode()}
    return JSONResponse(told, status_code=201)


async def _stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {number}\n\n".encode()

    return StreamingResponse(pieces(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def upstream(loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A TLS server behind a path prefix that tells what it was asked."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    context = httpx.create_ssl_context()
    authority.configure_trust(context)
    routes = [
        Route("/proxy/v1/completions", _tell, methods=["POST"]),
        Route("/proxy/v1/chat/completions", _stream, methods=["POST"]),
    ]
    server = HttpServer(Starlette(routes=routes), loop, certificate=(folder / "cert.pem", folder / "key.pem"))
    server.start()
    yield f"{server.url}/proxy", {"Authorization": "Bearer cluster-token"}, context
    server.close()


@pytest.fixture(scope="module")
def router(loop: LoopThread, postgres: Postgres, upstream: Target) -> Iterator[Router]:
    def resolve(endpoint: str) -> Target:
        return upstream if endpoint == "good:8000" else ("http://127.0.0.1:9", {}, None)

    running = Router(postgres.dsn, resolve, loop)
    running.start()
    yield running
    running.close()
    running.close()


def ask(router: Router, model: object, path: str = "/v1/completions", **headers: str) -> httpx.Response:
    return httpx.post(router.url + path, json={"model": model, "prompt": "x"}, headers=headers)


def test_a_ready_model_is_reached_with_the_clusters_credentials_and_not_the_callers(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")

    answer = ask(router, "tiny", Authorization="Bearer from-the-caller")

    assert answer.status_code == 201
    assert answer.json() == {
        "path": "/proxy/v1/completions",
        "authorization": "Bearer cluster-token",
        "body": '{"model":"tiny","prompt":"x"}',
    }


def test_a_stream_is_passed_on(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")

    answer = ask(router, "tiny", "/v1/chat/completions")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_the_newest_ready_entry_wins(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "bad:8000", day=1)
    enter(entries, "tiny", "good:8000", day=2)
    enter(entries, "tiny", "bad:8000", status="failed", day=3)

    assert ask(router, "tiny").status_code == 201


def test_an_entry_that_is_no_longer_ready_gets_nothing_from_then_on(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")
    assert ask(router, "tiny").status_code == 201

    entries.execute("UPDATE model_registry_entries SET deployment_status = 'degraded'")

    answer = ask(router, "tiny")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The model `tiny` is not ready: it is degraded."


def test_other_environments_are_not_served(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000", environment="staging")

    answer = ask(router, "tiny")

    assert answer.status_code == 404
    assert answer.json()["error"] == {"message": "The model `tiny` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}


@pytest.mark.parametrize("model", [None, 7, ["tiny"]])
def test_a_request_without_a_model_is_refused(router: Router, entries: psycopg.Connection, model: object) -> None:
    assert ask(router, model).status_code == 400


def test_a_body_that_is_not_json_is_refused(router: Router) -> None:
    assert httpx.post(f"{router.url}/v1/completions", content=b"{").json()["error"]["code"] == 400


def test_an_endpoint_that_does_not_answer_is_a_bad_gateway(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "bad:8000")

    answer = ask(router, "tiny")

    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "BadGatewayError")


def test_models_lists_what_is_ready_here(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "b", "good:8000")
    enter(entries, "a", "good:8000")
    enter(entries, "a", "good:8000")
    enter(entries, "c", "good:8000", status="deploying")
    enter(entries, "d", "good:8000", environment="staging")

    models = httpx.get(f"{router.url}/v1/models").json()["data"]

    assert [model["id"] for model in models] == ["a", "b"]


def test_it_outlives_a_restart_of_the_database(router: Router, postgres: Postgres, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")
    assert ask(router, "tiny").status_code == 201

    postgres.restart()

    assert ask(router, "tiny").status_code == 201


def test_a_database_that_is_down_is_said_so(loop: LoopThread, tmp_path: Path) -> None:
    router = Router(f"postgresql://postgres@/postgres?host={tmp_path}", lambda endpoint: ("", {}, None), loop)
    router.start()
    try:
        answers = [httpx.get(f"{router.url}/v1/models"), ask(router, "tiny")]
    finally:
        router.close()

    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["error"]["message"] == "the registry cannot be reached"
