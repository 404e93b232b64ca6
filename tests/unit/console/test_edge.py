"""What every request passes: hosts, sizes, rates, headers, and the form of errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from blocks.errors import PipelineError, RegistryRejected, RegistryUnreachable
from flows.console.edge.limits import LARGEST_BODY, Buckets, Rate
from flows.errors import SpecInvalid
from tests.support.console import PROXY, Asking, console, folder


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return console(folder(tmp_path))


@pytest.mark.parametrize("path", ["/api/v1/me", "/nothing", "/api/v1/nothing"])
def test_every_answer_has_the_headers_that_browsers_go_by(app: FastAPI, path: str) -> None:
    headers = Asking(app).get(path).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    assert headers["cache-control"] == "no-store"
    assert len(headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/api/v1/me", 401, "not-signed-in"),
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("DELETE", "/api/v1/me", 405, "method-not-allowed"),
        ("GET", "/api/v1/%00", 400, "bad-request"),
        ("GET", "/api/v1/%5c..", 400, "bad-request"),
    ],
)
def test_every_error_is_a_problem(app: FastAPI, method: str, path: str, status: int, kind: str) -> None:
    answer = Asking(app).ask(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.json()["status"] == status
    assert answer.json()["request"] == answer.headers["x-request-id"]


def test_what_nobody_foresaw_is_a_problem_without_its_words(app: FastAPI) -> None:
    @app.get("/api/v1/breaks")
    def breaks() -> None:
        raise RuntimeError("postgresql://user:secret@host")

    answer = Asking(app).get("/api/v1/breaks")

    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/unforeseen")
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"]


def test_another_host_is_turned_away(app: FastAPI) -> None:
    assert Asking(app).get("/api/v1/me", headers={"Host": "evil.test"}).status_code == 421
    assert Asking(app).get("/healthz", headers={"Host": "10.1.2.3:4300"}).status_code == 200


def test_a_body_that_is_too_long_is_turned_away_whether_or_not_it_says_so(app: FastAPI) -> None:
    @app.post("/api/v1/takes")
    def takes(body: dict[str, str]) -> None: ...

    def pieces() -> object:
        for _ in range(LARGEST_BODY // 1000 + 2):
            yield b"x" * 1000

    said = Asking(app).post("/api/v1/takes", content=b"x" * (LARGEST_BODY + 1))
    silent = Asking(app).post("/api/v1/takes", content=pieces(), headers={"Content-Type": "application/json"})

    assert (said.status_code, silent.status_code) == (413, 413)


def test_an_address_that_asks_without_end_is_told_to_wait(app: FastAPI) -> None:
    answers = [Asking(app, address="10.9.9.9").get("/api/v1/me") for _ in range(40)]

    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert Asking(app, address="10.9.9.8").get("/api/v1/me").status_code == 401


def test_behind_a_proxy_the_address_is_the_last_that_is_no_proxy(app: FastAPI) -> None:
    def asking(forwarded: str, peer: str = PROXY) -> int:
        return Asking(app, address=peer, headers={"X-Forwarded-For": forwarded}).get("/api/v1/me").status_code

    for number in range(40):
        asking(f"10.1.1.{number}, 192.0.2.1, {PROXY}")

    assert asking("10.1.1.77, 192.0.2.1") == 429  # what stands before, anybody may have written
    assert asking("192.0.2.2") == 401
    assert asking("192.0.2.1", peer="10.2.2.2") == 401  # nobody's word but a proxy's


def test_buckets_fill_again_and_forget_whom_they_need_not_know() -> None:
    now = [0.0]
    buckets = Buckets(Rate(per_second=2, burst=3), clock=lambda: now[0], most=5)

    taken = [buckets.take("ada") for _ in range(4)]
    now[0] = 0.5

    assert taken == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("ada") == 0.0
    for number in range(100):
        buckets.take(f"name {number}")
    assert len(buckets) == 5


ADDRESS = {"host": "db.internal", "port": 5432, "database": "registry"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RegistryUnreachable("the registry at db.internal:5432/registry cannot be reached: refused", **ADDRESS), 503),
        (RegistryRejected("the registry at db.internal:5432/registry refuses the connection: no such role", **ADDRESS), 502),
        (SpecInvalid("The Prefect API at http://db.internal:4200/api cannot be reached.", prefect_status=0), 503),
        (SpecInvalid("The Prefect API at http://db.internal:4200/api refused: HTTP 401: no.", prefect_status=401), 502),
        (SpecInvalid("The Prefect API at http://db.internal:4200/api refused: HTTP 422: code 123456.", prefect_status=422), 502),
    ],
)
@pytest.mark.parametrize("path", ["/readyz", "/api/v1/me"])
def test_nobody_is_told_where_the_registry_and_prefect_are(tmp_path: Path, error: PipelineError, status: int, path: str) -> None:
    class Away:
        def __getattr__(self, _: str) -> None:
            raise error

    answer = Asking(console(folder(tmp_path), Away()), headers={"Authorization": f"Bearer slipway_{'x' * 43}"}).get(path)

    assert answer.status_code == status
    for word in ("db.internal", "5432", "4200", "123456"):
        assert word not in answer.text


def test_whoever_has_an_address_of_version_6_has_its_network(app: FastAPI) -> None:
    answers = [Asking(app, address=f"2001:db8::{number:x}").get("/api/v1/me").status_code for number in range(1, 40)]

    assert answers[-1] == 429
    assert Asking(app, address="2001:db8:0:1::1").get("/api/v1/me").status_code == 401
