"""The router sends requests where the registry says, and says so when it cannot."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from blocks.registry import RegistryClient
from sandbox.postgres import Postgres
from sandbox.router import Router, Target
from sandbox.serving import HttpServer, LoopThread
from sandbox.weights import lies_below, point
from tests.support.pgbouncer import pooler_before
from tests.support.waiting import until


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread("router-tests") as thread:
        yield thread


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("router") / "postgres", durable=False) as running:
        with RegistryClient(running.dsn) as client:
            client.migrate()
        with psycopg.connect(running.dsn) as connection:
            connection.execute("CREATE ROLE gateway LOGIN IN ROLE slipway_router")
            connection.execute("CREATE ROLE pooled LOGIN IN ROLE slipway_router")
        yield running


def gateway(postgres: Postgres) -> str:
    """The connection string of somebody who may read the routes and nothing else."""
    return make_conninfo(postgres.dsn, user="gateway")


@pytest.fixture
def entries(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection that commits each statement, on an empty table."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM model_registry_entries")
        yield connection


_numbers = itertools.count()


def enter(
    entries: psycopg.Connection, model: str, endpoint: str, status: str = "ready", environment: str = "production", day: int = 1
) -> None:
    statement = """
        INSERT INTO model_registry_entries
            (model_name, hub_revision, deployment_environment, deployment_endpoint, deployment_status, verified_at)
        VALUES (%s, %s, %s, %s, %s, make_timestamptz(2026, 1, %s, 0, 0, 0))
    """
    entries.execute(statement, (model, str(next(_numbers)), environment, endpoint, status, day))


def heard(router: Router, entries: psycopg.Connection) -> None:
    """Wait until the router knows of everything so far: notices come in the order of the commits."""
    marker = f"marker-{next(_numbers)}"
    enter(entries, marker, "good:8000")
    until(lambda: marker in listed(router))
    entries.execute("DELETE FROM model_registry_entries WHERE model_name = %s", (marker,))
    until(lambda: marker not in listed(router))


def listed(router: Router) -> list[str]:
    return [model["id"] for model in _http().get(f"{router.url}/v1/models").json()["data"]]


@functools.cache
def _http() -> httpx.Client:
    """One for all: each reads the authorities of all the world, 20 ms of CPU."""
    return httpx.Client()


async def _tell(request: Request) -> Response:
    told = {"path": request.url.path, "authorization": request.headers.get("authorization"), "body": (await request.body()).decode()}
    return JSONResponse(told, status_code=201)


async def _slow(request: Request) -> Response:
    """A long answer: its last word is held back until the test lets it go."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        await LET_GO.wait()
        yield b"last"

    return StreamingResponse(pieces())


LET_GO = asyncio.Event()


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
        Route("/proxy/v1/slow", _slow, methods=["POST"]),
    ]
    server = HttpServer(Starlette(routes=routes), loop, certificate=(folder / "cert.pem", folder / "key.pem"))
    server.start()
    yield f"{server.url}/proxy", {"Authorization": "Bearer cluster-token"}, context
    server.close()


@pytest.fixture(scope="module")
def resolve(upstream: Target) -> Callable[[str], Target]:
    return lambda endpoint: upstream if endpoint == "good:8000" else ("http://127.0.0.1:9", {}, None)


@pytest.fixture(scope="module")
def router(loop: LoopThread, postgres: Postgres, resolve: Callable[[str], Target]) -> Iterator[Router]:
    running = Router(gateway(postgres), resolve, loop)
    running.start()
    yield running
    running.close()
    running.close()


def ask(router: Router, model: object, path: str = "/v1/completions", **headers: str) -> httpx.Response:
    return _http().post(router.url + path, json={"model": model, "prompt": "x"}, headers=headers)


def test_a_ready_model_is_reached_with_the_clusters_credentials_and_not_the_callers(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")
    heard(router, entries)

    answer = ask(router, "tiny", Authorization="Bearer from-the-caller")

    assert answer.status_code == 201
    assert answer.json() == {
        "path": "/proxy/v1/completions",
        "authorization": "Bearer cluster-token",
        "body": '{"model":"tiny","prompt":"x"}',
    }


def test_a_stream_is_passed_on(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")
    heard(router, entries)

    answer = ask(router, "tiny", "/v1/chat/completions")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_a_request_that_is_under_way_outlives_a_change_of_its_route(router: Router, entries: psycopg.Connection, loop: LoopThread) -> None:
    enter(entries, "tiny", "good:8000")
    heard(router, entries)
    with httpx.stream("POST", f"{router.url}/v1/slow", json={"model": "tiny"}) as answer:
        pieces = answer.iter_text()
        assert next(pieces) == "first "

        entries.execute("UPDATE model_registry_entries SET deployment_endpoint = 'bad:8000'")
        heard(router, entries)
        assert ask(router, "tiny").status_code == 502
        loop.loop.call_soon_threadsafe(LET_GO.set)

        assert "".join(pieces) == "last"


def test_the_newest_ready_entry_wins(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "bad:8000", day=1)
    enter(entries, "tiny", "good:8000", day=2)
    enter(entries, "tiny", "bad:8000", status="failed", day=3)
    heard(router, entries)

    assert ask(router, "tiny").status_code == 201


def test_why_not_is_said_in_openais_form(router: Router, entries: psycopg.Connection, postgres: Postgres) -> None:
    enter(entries, "tiny", "good:8000")
    with RegistryClient(postgres.dsn) as client:
        client.switch.disable("tiny", "production", reason="it leaks", actor="ada")
    enter(entries, "nano", "good:8000", status="degraded")
    enter(entries, "giga", "good:8000", environment="staging")
    heard(router, entries)

    answers = {model: ask(router, model) for model in ("tiny", "nano", "giga")}

    assert {model: answer.status_code for model, answer in answers.items()} == {"tiny": 503, "nano": 503, "giga": 404}
    assert answers["tiny"].json()["error"] == {
        "message": "model tiny is disabled in production: it leaks",
        "type": "ServiceUnavailableError",
        "param": "model",
        "code": 503,
    }
    assert answers["nano"].json()["error"]["message"] == "model nano is not ready in production: it is degraded"
    assert answers["giga"].json()["error"] == {
        "message": "model giga is unknown in production",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


def test_it_loads_the_same_as_it_hears(
    loop: LoopThread, router: Router, entries: psycopg.Connection, postgres: Postgres, resolve: Callable[[str], Target]
) -> None:
    for status in ("ready", "degraded", "failed", "disabled", "deploying"):
        enter(entries, f"only-{status}", "good:8000", status=status)
        enter(entries, "all", "good:8000", status=status)
    heard(router, entries)
    models = ["all", "none", *(f"only-{status}" for status in ("ready", "degraded", "failed", "disabled", "deploying"))]

    late = Router(gateway(postgres), resolve, loop)
    late.start()
    try:
        assert [ask(late, model).text for model in models] == [ask(router, model).text for model in models]
        assert listed(late) == listed(router) == ["all", "only-ready"]
    finally:
        late.close()


def test_other_organisations_are_not_served(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "good:8000")
    heard(router, entries)
    entries.execute("UPDATE model_registry_entries SET organisation = 'theirs'")
    heard(router, entries)

    assert ask(router, "tiny").status_code == 404


@pytest.mark.parametrize("model", [None, 7, ["tiny"]])
def test_a_request_without_a_model_is_refused(router: Router, model: object) -> None:
    assert ask(router, model).status_code == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000, b'{"model": "\\ud800"}'])
def test_a_body_that_is_not_a_json_object_is_refused(router: Router, body: bytes) -> None:
    assert httpx.post(f"{router.url}/v1/completions", content=body).json()["error"]["code"] in (400, 404)


def test_an_endpoint_that_does_not_answer_is_a_bad_gateway(router: Router, entries: psycopg.Connection) -> None:
    enter(entries, "tiny", "bad:8000")
    heard(router, entries)

    answer = ask(router, "tiny")

    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "BadGatewayError")


def named(model: str) -> str:
    return f'{{"model": "{model}", "environment": "production", "organisation": null}}'


@pytest.mark.parametrize(
    "payload", ["{}", "no JSON", "[]", '{"model": 7}', "[" * 7000, named("\\ud800"), named("\\u0000"), named("made up")]
)
def test_a_notice_that_names_no_place_is_no_harm(router: Router, entries: psycopg.Connection, payload: str) -> None:
    enter(entries, "tiny", "good:8000")
    entries.execute("SELECT pg_notify('slipway_routes', %s)", (payload,))
    heard(router, entries)

    assert ask(router, "tiny").status_code == 201
    assert set(router.routes.places or {}) == {"tiny"}


def test_what_no_notice_told_is_found_by_loading_again(
    loop: LoopThread, postgres: Postgres, entries: psycopg.Connection, resolve: Callable[[str], Target]
) -> None:
    router = Router(gateway(postgres), resolve, loop, resync_seconds=0.2)
    router.start()
    try:
        with entries.transaction():
            entries.execute("SET LOCAL session_replication_role = replica")  # no triggers, so no notice
            enter(entries, "tiny", "good:8000")
        until(lambda: listed(router) == ["tiny"])
    finally:
        router.close()


@pytest.fixture(scope="module")
def poolers(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A gateway's connection string through a pooler, by the pooler's mode."""
    with ExitStack() as stack:
        made = {}
        for mode in ("transaction", "session"):
            folder = tmp_path_factory.mktemp(mode)
            pooler = stack.enter_context(pooler_before(folder, postgres.dsn, users=("postgres", "pooled"), mode=mode))
            made[mode] = pooler.of(postgres.dsn, user="pooled")
        yield made


@pytest.mark.parametrize(
    ("direct", "unheard"),
    [
        (None, "a pooler lies between"),
        ("transaction", "a pooler lies behind the direct address, too"),
        ("nowhere", "the direct address cannot be reached"),
        ("session", ""),
        ("direct", ""),
    ],
)
def test_behind_a_pooler_changes_are_heard_at_a_direct_address_or_asked_for(
    loop: LoopThread,
    postgres: Postgres,
    poolers: dict[str, str],
    entries: psycopg.Connection,
    resolve: Callable[[str], Target],
    direct: str | None,
    unheard: str,
) -> None:
    addresses = {**poolers, "direct": gateway(postgres), "nowhere": make_conninfo(gateway(postgres), host="/nowhere"), None: None}
    # Where notices are heard, nothing is asked for during the test.
    router = Router(poolers["transaction"], resolve, loop, resync_seconds=0.2 if unheard else 600, direct_dsn=addresses[direct])
    router.start()
    try:
        until(lambda: not unheard or unheard in router.routes.unheard)
        assert bool(router.routes.unheard) == bool(unheard)
        enter(entries, "tiny", "good:8000")
        until(lambda: listed(router) == ["tiny"])
        (listening,) = entries.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pooled' AND query LIKE 'LISTEN slipway_routes%'"
        ).fetchall()
        assert listening[0] == 0 or not unheard
    finally:
        router.close()


def test_without_the_database_the_last_routes_hold_and_what_was_missed_is_made_up_for(
    loop: LoopThread, tmp_path: Path, resolve: Callable[[str], Target]
) -> None:
    with Postgres(tmp_path / "postgres", durable=False) as postgres:
        with RegistryClient(postgres.dsn) as client:
            client.migrate()
        with psycopg.connect(postgres.dsn, autocommit=True) as entries:
            enter(entries, "tiny", "good:8000")
            enter(entries, "nano", "good:8000", status="deploying")
        router = Router(postgres.dsn, resolve, loop)
        router.start()
        try:
            postgres.stop()
            assert ask(router, "tiny").status_code == 201
            postgres.start()
            with psycopg.connect(postgres.dsn, autocommit=True) as entries:
                entries.execute("UPDATE model_registry_entries SET deployment_status = 'ready' WHERE model_name = 'nano'")
            until(lambda: listed(router) == ["nano", "tiny"])
        finally:
            router.close()


def test_cut_while_it_changes_the_router_ends_up_right(router: Router, entries: psycopg.Connection, postgres: Postgres) -> None:
    stop = threading.Event()

    def connected() -> set[int]:
        return {pid for (pid,) in entries.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'gateway'").fetchall()}

    def change() -> None:
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            while not stop.is_set():
                enter(connection, "busy", "good:8000")

    def cut() -> None:
        until(lambda: len(connected()) == 1)
        (pid,) = connected()
        entries.execute("SELECT pg_terminate_backend(%s)", (pid,))
        until(lambda: pid not in connected())

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(3):
            cut()
    finally:
        stop.set()
        changing.join(10)
    enter(entries, "tiny", "good:8000")

    heard(router, entries)
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


class Engine:
    """An engine that says who it is, counts what it is asked, and streams its answer."""

    def __init__(self, name: str, loop: LoopThread) -> None:
        self.name = name
        self.asked = 0
        self.peers: set[tuple[str, int]] = set()
        self.status = 200
        self.hold = asyncio.Event()
        self.hold.set()
        self.server = HttpServer(Starlette(routes=[Route("/v1/{path:path}", self._answer, methods=["POST"])]), loop)
        self.server.start()

    async def _answer(self, request: Request) -> Response:
        self.asked += 1
        assert request.client is not None
        self.peers.add((request.client.host, request.client.port))
        await self.hold.wait()

        async def pieces() -> AsyncIterator[bytes]:
            for text in (self.name, "!"):
                yield b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % text.encode()
            yield b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}\n\n'

        return StreamingResponse(pieces(), status_code=self.status, media_type="text/event-stream")


class Trial:
    """A router before two engines, the second of which is a canary."""

    def __init__(self, router: Router, entries: psycopg.Connection, current: Engine, canary: Engine, places: dict[str, Target]) -> None:
        self.router, self.entries, self.current, self.canary, self.places = router, entries, current, canary, places

    def share(self, weight: int, shadow: int = 0) -> None:
        self.entries.execute("UPDATE slipway_canaries SET weight = %s, shadow = %s", (weight, shadow))
        heard(self.router, self.entries)

    def ask(self, session: str | None = None, path: str = "/v1/chat/completions", **body: object) -> str:
        """Which engine answered."""
        headers = {"x-session-id": session} if session else {}
        answer = _http().post(self.router.url + path, json={"model": "tiny", **body}, headers=headers)
        return "canary" if "canary" in answer.text else "current" if "current" in answer.text else answer.text

    def counted(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(_http().get(f"{self.router.url}/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == f"slipway_router_{name}"]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


@pytest.fixture
def trial(loop: LoopThread, postgres: Postgres, entries: psycopg.Connection) -> Iterator[Trial]:
    engines = {name: Engine(name, loop) for name in ("current", "canary")}
    places: dict[str, Target] = {
        **{f"{name}:8000": (engine.server.url, {}, None) for name, engine in engines.items()},
        "gone:8000": ("http://127.0.0.1:9", {}, None),
    }
    # Before the router loads: nobody is told of a row that is gone, which only a test does.
    entries.execute("DELETE FROM slipway_canaries")
    router = Router(gateway(postgres), lambda endpoint: places.get(endpoint, places["current:8000"]), loop)
    router.start()
    enter(entries, "tiny", "current:8000")
    entries.execute("UPDATE model_registry_entries SET candidate_fingerprint = %s WHERE model_name = 'tiny'", ("a" * 64,))
    entries.execute(
        """INSERT INTO slipway_canaries
               (model_name, environment, run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, began_at, since, phase)
           VALUES ('tiny', 'production', 'run', %s, %s, 'canary:8000', now(), now(), 'running')""",
        ("a" * 64, "c" * 64),
    )
    yield Trial(router, entries, engines["current"], engines["canary"], places)
    router.close()
    for engine in engines.values():
        engine.server.close()


def test_a_canary_gets_its_share_and_a_conversation_stays(trial: Trial) -> None:
    sessions = [f"session-{number}" for number in range(40)]
    there: set[str] = set()
    for weight in (0, 25, 50, 100):
        trial.share(weight)
        now = {session for session in sessions if trial.ask(session) == "canary"}
        assert now == {session for session in sessions if trial.ask(session) == "canary"}
        assert now == {session for session in sessions if lies_below(point("weight", "c" * 64, session), weight)}
        assert there <= now
        there = now
    assert {trial.ask() for _ in range(5)} == {"canary"}
    trial.share(0)
    assert {trial.ask(session) for session in sessions} == {"current"}
    assert (trial.counted("requests_total", candidate="c" * 64), trial.counted("requests_total")) == (trial.canary.asked, 365)
    live = {"model": "tiny", "environment": "production", "candidate": "c" * 64, "traffic": "live", "prompt": "<=1KiB"}
    for name in ("requests_total", "ttft_seconds_count", "itl_seconds_count", "e2e_seconds_count", "output_tokens_count", "finishes_total"):
        assert trial.counted(name, **live) == trial.canary.asked, name


def test_copies_delay_nobody_and_are_told_apart(trial: Trial, loop: LoopThread) -> None:
    loop.loop.call_soon_threadsafe(trial.canary.hold.clear)
    trial.canary.status = 500
    trial.share(0, shadow=100)
    for path, body in (("/v1/chat/completions", {}), ("/v1/responses", {}), ("/v1/chat/completions", {"store": True})):
        assert trial.ask(path=path, **body) == "current"
    until(lambda: trial.canary.asked == 1)
    loop.loop.call_soon_threadsafe(trial.canary.hold.set)
    until(lambda: trial.counted("requests_total", traffic="shadow", outcome="error") == 1)
    assert trial.counted("requests_total", traffic="live", outcome="ok") == 3
    # More than may be under way are left out, and cost the callers nothing.
    loop.loop.call_soon_threadsafe(trial.canary.hold.clear)
    assert {trial.ask() for _ in range(40)} == {"current"}
    assert trial.counted("copies_dropped_total", model="tiny") == 8
    loop.loop.call_soon_threadsafe(trial.canary.hold.set)


def test_a_canary_that_cannot_be_reached_costs_no_request(trial: Trial) -> None:
    trial.entries.execute("UPDATE slipway_canaries SET canary_endpoint = 'gone:8000'")
    trial.share(100, shadow=100)

    assert {trial.ask() for _ in range(3)} == {"current"}
    assert trial.counted("requests_total", candidate="c" * 64, traffic="live", outcome="error") == 3


def test_a_canary_that_breaks_off_is_a_bad_gateway(trial: Trial) -> None:
    with socket.create_server(("127.0.0.1", 0)) as breaking:

        def break_off() -> None:
            connection, _ = breaking.accept()
            connection.recv(65536)
            connection.close()

        threading.Thread(target=break_off, daemon=True).start()
        trial.places["breaking:8000"] = (f"http://127.0.0.1:{breaking.getsockname()[1]}", {}, None)
        trial.entries.execute("UPDATE slipway_canaries SET canary_endpoint = 'breaking:8000'")
        trial.share(100)

        answer = _http().post(f"{trial.router.url}/v1/completions", json={"model": "tiny"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "BadGatewayError")
    assert trial.counted("requests_total", candidate="c" * 64, outcome="error") == 1


def test_idle_connections_are_closed_when_an_endpoint_is_another_candidates(trial: Trial) -> None:
    trial.share(0)
    trial.ask()
    trial.ask()
    (first,) = trial.current.peers
    trial.entries.execute("UPDATE model_registry_entries SET candidate_fingerprint = %s WHERE model_name = 'tiny'", ("c" * 64,))
    heard(trial.router, trial.entries)
    trial.ask()
    assert len(trial.current.peers - {first}) == 1


def test_a_caller_who_goes_away_is_counted_as_such(trial: Trial, loop: LoopThread) -> None:
    trial.share(100)
    loop.loop.call_soon_threadsafe(trial.canary.hold.clear)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{trial.router.url}/v1/chat/completions", json={"model": "tiny"}, timeout=0.3)
    loop.loop.call_soon_threadsafe(trial.canary.hold.set)
    until(lambda: trial.counted("requests_total") == 1)
    assert trial.counted("requests_total", candidate="c" * 64, outcome="aborted") == 1
