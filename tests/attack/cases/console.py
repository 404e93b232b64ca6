"""Whoever reaches the console sees and does what their sign-in says, in their own name, and no other site does it by their browser."""

from __future__ import annotations

import base64
import json
import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.responses import Response

from blocks.facts.kinds import EventKind
from blocks.registry import Gate, RegistryClient
from flows.console.access.proxy import GROUPS, SECRET, USER
from flows.console.access.sealed import Seal
from flows.console.access.sessions import begin_session, cookie_name
from flows.console.access.signing_in import own_path
from flows.console.access.who import signed_in
from flows.console.edge.limits import MOST_NAMES, Buckets, Rate
from flows.runtime.json_logs import JsonLines
from tests.attack.case import attacks
from tests.attack.shared import Shared
from tests.support.candidates import register
from tests.support.console import PROXY, PROXY_SECRET, SETTINGS, URL, Asking, console, folder, token
from tests.support.known_prefect import KnownPrefect

MODEL, RUN = "tiny-llama", "5d0f5b0a-7d34-4c1c-9a7e-3f1c1f2b7a11"
SESSION = cookie_name(SETTINGS, "session")
SCRIPT = "<script>alert(1)</script>"
ACCESS = """
grants:
  - {role: viewer, people: [vera]}
  - {role: viewer, people: [tina], models: ["tiny-*"], environments: [staging]}
  - {role: operator, people: [otto]}
  - {role: admin, people: [ada]}
"""
APPROVERS = """
approvers:
  - {name: desk, roles: [release-manager], environments: [production], aliases: [vera]}
  - {name: second, roles: [release-manager], environments: [production], aliases: [otto]}
"""


class NobodyEnded:
    """A registry in which no session has ended, and no token is known."""

    access: Any

    def __init__(self) -> None:
        self.access = self

    def is_ended(self, _: str) -> bool:
        return False

    def token(self, _: str) -> None:
        return None


@contextmanager
def bare(**changes: Any) -> Iterator[FastAPI]:
    """A console with an address that changes something and tells who asked, and no registry."""
    with tempfile.TemporaryDirectory() as where:
        app = console(folder(Path(where), ACCESS), NobodyEnded(), **changes)
        app.add_api_route("/api/v1/changes", signed_in, methods=["POST"])
        yield app


def whole(shared: Shared) -> tuple[FastAPI, KnownPrefect, RegistryClient]:
    """A console over a registry of its own, and a Prefect that is known."""
    prefect, registry = KnownPrefect(), shared.registry()
    return console(folder(shared.new_folder(), ACCESS, approvers=APPROVERS), registry, prefect), prefect, registry


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def waits(registry: RegistryClient, prefect: KnownPrefect, requester: str = "otto") -> str:
    gate = Gate(run_id=RUN, name="production-0123456789abcdef", model=MODEL, environment="production", fingerprint="f" * 64)
    detail = {"requester": requester, "evidence_sha256": "e" * 64, "request_hours": 72.0, "environment": "production"}
    registry.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, detail)
    prefect.add("release", {"model": MODEL, "environments": [], "requester": requester}, "PAUSED", RUN, f"{gate.name}-1")
    return gate.name


@attacks("a header that says who somebody is counts from a configured proxy with its secret alone, once")
def forged_header() -> None:
    told = {USER: "ada", GROUPS: "administrators", SECRET: PROXY_SECRET}
    with bare() as app:
        for address, headers in [
            ("10.0.0.2", told),
            (PROXY, {USER: "ada"}),
            (PROXY, {**told, SECRET: PROXY_SECRET.upper()}),
            (PROXY, {**told, SECRET: ""}),
            ("10.0.0.2", {**told, "X-Forwarded-For": PROXY}),
            ("::ffff:10.0.0.2", told),
        ]:
            assert Asking(app, address=address, headers=headers).get("/api/v1/me").status_code == 401, (address, headers)
        twice = Asking(app).client.get("/api/v1/me", headers=[*told.items(), (USER, "vera")])
        assert twice.status_code == 401, twice.text


@attacks("another site's page has a browser change nothing, whatever it sends along")
def foreign_origin() -> None:
    with bare() as app:
        for headers in [
            {"Origin": "https://evil.test"},
            {"Origin": "null"},
            {"Origin": f"{URL}.evil.test"},
            {"Origin": URL.replace("https", "http")},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"X-CSRF-Token": "x"},
            {"X-CSRF-Token": ""},
        ]:
            answer = Asking(app, "ada").post("/api/v1/changes", headers=headers)
            assert answer.status_code == 403, headers
        silent = {USER: "ada", SECRET: PROXY_SECRET}
        assert Asking(app).client.post("/api/v1/changes", headers=silent).status_code == 403, "a browser that says nothing"
        assert Asking(app).client.post("/api/v1/changes", headers={**silent, "Origin": URL}).status_code == 403, "without a token"


@attacks("a form's token is of one session: another's, or one from before the sign-in, changes nothing")
def anothers_token() -> None:
    with bare() as app:
        veras = str(Asking(app, "vera").get("/api/v1/me").json()["csrf"])
        assert Asking(app, "ada", token=veras).post("/api/v1/changes").status_code == 403


@attacks("no page of the console is shown in another's frame, runs an inline script, or loads anything from elsewhere")
def frames_and_scripts() -> None:
    with bare() as app:
        for path in ("/api/v1/me", "/nothing", "/sign-in", "/healthz", "/api/v1/openapi.json", "/%00"):
            headers = Asking(app).get(path).headers
            policy = headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy, path
            assert "unsafe" not in policy, path
            assert "http" not in policy, path
            assert headers["x-content-type-options"] == "nosniff", path


@attacks("a name of somebody else's that leads to the console is turned away, so that no page of theirs reads it (DNS rebinding)")
def rebound_name() -> None:
    with bare() as app:
        for host in ("evil.test", "slipway.test.evil.test", "slipway.test:8443", "127.0.0.1", ""):
            assert Asking(app, "ada").get("/api/v1/me", headers={"Host": host}).status_code == 421, host


@attacks("a sign-in leads back to the console and nowhere else")
def open_redirect() -> None:
    for path in (
        "//evil.test",
        "/\\evil.test",
        "https://evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie: a",
        "/a b",
    ):
        assert own_path(path) in ("/", path.split("\r")[0]), path
        assert not own_path(path).startswith(("//", "/\\")), path
        assert ":" not in own_path(path).partition("/")[0], path


@attacks("a session that was made elsewhere, cut, of another purpose, of another key or too old is nobody's")
def made_up_session() -> None:
    with bare() as app:
        document = {"id": "x", "name": "ada", "groups": ["administrators"]}
        other = Seal([Fernet.generate_key().decode()]).close("session", document)
        purpose = Seal(SETTINGS.keys).close("sign-in", document)
        good = Seal(SETTINGS.keys).close("session", document)
        plain = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
        for cookie in (other, purpose, good[:-5], good[::-1], plain, "", "x" * 5000):
            thief = Asking(app)
            thief.client.cookies.set(SESSION, cookie)
            assert thief.get("/api/v1/me").status_code == 401, cookie[:40]
        app.state.settings = replace(SETTINGS, session_hours=-1)
        old = Asking(app)
        old.client.cookies.set(SESSION, good)
        assert old.get("/api/v1/me").status_code == 401, "too old"


@attacks("a cookie is out of reach of scripts, of other sites' forms and of plain HTTP, and of a neighbour's subdomain")
def cookie_for_all() -> None:
    response = Response()
    begin_session(response, SETTINGS, "ada", [])
    cookie = response.headers["set-cookie"]
    for part in ("__Host-", "HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie, cookie
    assert "Domain" not in cookie
    assert "ada" not in cookie


@attacks("a body is bounded in bytes, depth and fields, whether or not it says how long it is")
def endless_body() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    with bare() as app:
        for content in (b"[" * 60_000, b'{"a":' * 10_000, b"x" * 70_000, pieces(), b"&".join([b"a=1"] * 20_000), b"\xff\xfe", b"\0"):
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                headers = {"Content-Type": kind, "X-CSRF-Token": ""} if kind == "application/json" else {"Content-Type": kind}
                answer = Asking(app, "ada").client.post("/api/v1/changes", content=content, headers={**as_ada(), **headers})
                assert answer.status_code in (400, 403, 413), (kind, answer.status_code)
        said = Asking(app).client.post("/api/v1/changes", content=b"", headers={"Content-Length": "9" * 30})
        assert said.status_code == 413


def as_ada() -> dict[str, str]:
    return {USER: "ada", SECRET: PROXY_SECRET, "Origin": URL}


@attacks("no trick with a path leads past who may ask, to a file, or to an error of ours")
def path_tricks() -> None:
    with bare() as app:
        for path in (
            "/api/v1/../v1/me", "/api/v1//me", "/API/V1/ME", "/api/v1/me/", "/api/v1/me%2f", "/api/v1/%2e%2e/me", "/static/../settings.py",
            "/static/x/..%2f..%2fsettings.py", "/static/x/%2e%2e%2fsettings.py", "/static//etc/passwd", "/api/v1/me;x", "/api/v1/me%00",
            "/api/v1/models/..%2f..%2fetc%2fpasswd", "/api/v1/me%0d%0aX:%20y", "/%5c%5cevil.test", "/api/v1/evidence/%27%20OR%201",
        ):  # fmt: skip
            answer = Asking(app).get(path)
            assert answer.status_code in (400, 401, 404), (path, answer.status_code)
            assert "root:" not in answer.text, path
            assert "ConsoleSettings" not in answer.text, path


@attacks("what reads changes nothing, whatever method a header or a parameter says that it is")
def method_tricks() -> None:
    with bare() as app:
        ada = Asking(app, "ada")
        for headers in ({"X-HTTP-Method-Override": "POST"}, {"X-Method-Override": "POST"}, {"X-HTTP-Method": "DELETE"}):
            assert ada.get("/api/v1/changes?_method=POST", headers=headers).status_code == 405, headers
        for method in ("TRACE", "CONNECT", "PUT", "PATCH", "PROPFIND"):
            assert Asking(app).ask(method, "/api/v1/me").status_code in (401, 405), method


@attacks("who guesses tokens and sessions is told to wait, from whatever address they say that they come")
def guessing() -> None:
    with bare() as app:
        codes = []
        for number in range(60):
            headers = {"Authorization": f"Bearer {number}", "X-Forwarded-For": f"192.0.2.{number}"}
            codes.append(Asking(app, address="10.9.9.9", headers=headers).get("/api/v1/me").status_code)
        assert codes[0] == 401
        assert codes[-1] == 429, codes


@attacks("the rates of a million names take no more memory than those of ten thousand, and forget who asked longest ago")
def endless_names() -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), most=100)
    for number in range(10_000):
        buckets.take(f"name {number}")
    assert len(buckets) == 100
    assert MOST_NAMES <= 10_000


@attacks("nothing of a request ends a header or a line of the log: not its id, its path, or a name")
def split_lines() -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    log = logging.getLogger("flows.console")
    handler, level = Kept(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with bare() as app:
            for headers in (
                {"X-Request-Id": "a\tb"},
                {"X-Request-Id": "x" * 5000},
                {"X-Request-Id": "../../etc"},
                {"X-Request-Id": SCRIPT},
            ):
                answer = Asking(app, headers=headers).get("/api/v1/%0aforged%1b[31m")
                assert answer.headers["x-request-id"] != headers["X-Request-Id"]
                assert len(answer.headers["x-request-id"]) == 32
            known = {"Authorization": "Bearer slipway_" + "s" * 43, "Cookie": f"{SESSION}=secret-cookie"}
            assert Asking(app, headers=known).get("/api/v1/me?x=secret").status_code == 401
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert len(lines) >= 5
    for line in lines:
        assert "\n" not in line
        assert "\x1b" not in line
        assert "secret" not in line, line
        assert "s" * 43 not in line, line


@attacks("an error of the console quotes neither an address with a password nor what was sent")
def quoting() -> None:
    with bare() as app:

        @app.get("/api/v1/breaks")
        def breaks() -> None:
            raise RuntimeError("postgresql://slipway:canaryQ7x9Z@db/registry")

        assert "canaryQ7x9Z" not in Asking(app).get("/api/v1/breaks").text
        wrong = Asking(app, "ada").post("/api/v1/approvals/" + RUN, json={"code": "canaryQ7x9Z" * 3}, headers=key())
        assert wrong.status_code == 422
        assert "canaryQ7x9Z" not in wrong.text


WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/api/v1/releases", {"model": MODEL}),
    ("POST", "/api/v1/plans", {"model": MODEL}),
    ("POST", "/api/v1/rollbacks", {"model": MODEL, "environment": "staging", "reason": "because"}),
    ("POST", f"/api/v1/releases/{RUN}/cancel", {}),
    ("POST", f"/api/v1/models/{MODEL}/environments/staging/disable", {"reason": "because"}),
    ("POST", f"/api/v1/models/{MODEL}/environments/staging/enable", {"reason": "because"}),
    ("DELETE", "/api/v1/tokens/0a", {}),
)


@attacks("a viewer who calls everything changes nothing, and an operator nothing that is an administrator's")
def viewer_calls_everything(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    prefect.add("release", {"model": MODEL, "environments": ["staging"]}, "RUNNING", RUN)
    vera = Asking(app, "vera")
    described = {
        (method.upper(), path)
        for path, methods in vera.get("/api/v1/openapi.json").json()["paths"].items()
        for method in methods
        if method != "get"
    }
    assert len(described) == len(WRITES) + 1, "a write that this list lacks"
    for method, path, body in WRITES:
        answer = vera.ask(method, path, headers=key(), **({"json": body} if body else {}))
        assert answer.status_code == 403, (method, path, answer.status_code, answer.text)
    for path in ("/api/v1/tokens", "/api/v1/audit/verification"):
        assert Asking(app, "otto").get(path).status_code == 403, path
    assert list(prefect.runs) == [RUN]
    assert prefect.runs[RUN]["state_type"] == "RUNNING"
    assert registry.events.latest(limit=10) == []


@attacks("nobody asks, rolls back or decides in another's name, and no template of Prefect's gets into a parameter")
def in_anothers_name(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    gate = waits(registry, prefect)
    ada, answer = Asking(app, "ada"), {"gate": gate, "decision": "approve", "code": "123456"}
    template = {"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"}
    for path, body in [
        ("/api/v1/releases", {"model": MODEL, "requester": "otto"}),
        ("/api/v1/releases", {"model": MODEL, "actor": "otto"}),
        ("/api/v1/releases", {"model": template}),
        ("/api/v1/releases", {"model": MODEL, "revision": template}),
        ("/api/v1/releases", {"model": MODEL, "environments": [template]}),
        ("/api/v1/rollbacks", {"model": MODEL, "environment": "staging", "reason": template}),
        ("/api/v1/rollbacks", {"model": MODEL, "environment": "staging", "reason": "because", "actor": "otto"}),
        (f"/api/v1/approvals/{RUN}", {**answer, "approver": "desk"}),
        (f"/api/v1/approvals/{RUN}", {**answer, "code": template}),
    ]:
        assert ada.post(path, json=body, headers=key()).status_code == 422, (path, body)
    assert list(prefect.runs) == [RUN]
    assert not prefect.resumed


@attacks("an approval is given by an approver, in their own name, for what they were shown, and not by who asked for the release")
def anothers_approval(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    gate = waits(registry, prefect)
    for name, given, status in [
        ("ada", gate, 403),  # an administrator is no approver
        ("otto", gate, 403),  # under another of their names they asked for it
        ("vera", "production-ffffffffffffffff", 409),
        ("tina", gate, 404),
    ]:
        answer = Asking(app, name).post(
            f"/api/v1/approvals/{RUN}", json={"gate": given, "decision": "approve", "code": "123456"}, headers=key()
        )
        assert answer.status_code == status, (name, answer.text)
    assert not prefect.resumed


@attacks("a request that is sent again is done once, and another's key, or the key of another request, tells and does nothing")
def replay(shared: Shared) -> None:
    app, prefect, _ = whole(shared)
    same = key()
    for _ in range(3):
        assert Asking(app, "otto").post("/api/v1/releases", json={"model": MODEL}, headers=same).status_code == 202
    other = Asking(app, "otto").post("/api/v1/releases", json={"model": MODEL, "revision": "v2"}, headers=same)
    assert other.status_code == 422
    assert len(prefect.runs) == 1
    anothers = Asking(app, "ada").post("/api/v1/releases", json={"model": MODEL}, headers=same)
    assert anothers.json()["run"] not in list(prefect.runs)[:1]
    assert len(prefect.runs) == 2


@attacks("a session that somebody copied ends when it is signed out of")
def stolen_session(shared: Shared) -> None:
    app, _, _ = whole(shared)
    response = Response()
    begin_session(response, SETTINGS, "ada", [])
    cookie = response.headers["set-cookie"].partition("=")[2].partition(";")[0]
    owner, thief = Asking(app), Asking(app)
    for each in (owner, thief):
        each.client.cookies.set(SESSION, cookie)
    csrf = owner.get("/api/v1/me").json()["csrf"]
    assert thief.get("/api/v1/me").status_code == 200
    assert owner.post("/sign-out", headers={"X-CSRF-Token": csrf}).status_code == 303
    assert thief.get("/api/v1/me").status_code == 401


@attacks("a token does what it is for, until it is revoked or its time is up, and is in no row and no log")
def tokens_beyond(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    narrow = token(registry, role="operator", models=["tiny-*"], environments=["staging"])
    machine = Asking(app, headers=narrow)

    def release(**body: Any) -> int:
        return machine.client.post("/api/v1/releases", json=body, headers={**narrow, **key()}).status_code

    assert release(model="huge", environments=["staging"]) == 404
    assert release(model=MODEL, environments=["production"]) == 404
    assert release(model=MODEL) == 404
    assert not prefect.runs
    assert machine.get("/api/v1/tokens").status_code == 403
    secret = narrow["Authorization"].removeprefix("Bearer ")
    assert secret not in Asking(app, "ada").get("/api/v1/tokens").text
    assert registry.access.revoke_token(registry.access.tokens()[0].id, "ada")
    assert machine.get("/api/v1/me").status_code == 401


@attacks("who may see one model in one environment learns of no other: not its name, its candidate, its reason, or that there is one")
def curious_viewer(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    tina = Asking(app, "tina")
    serve(registry, MODEL, "staging", "plain")
    for model, environment in (("canary-model", "staging"), (MODEL, "canaryplace")):
        named, sha256 = serve(registry, model, environment, "canary")
        run = prefect.add("release", {"model": model, "environments": [environment], "requester": "canary-person"})
        for path in (
            "models", "models?search=canary", f"models/{model}", "entries", f"entries?model={model}", "routes", "releases",
            f"releases/{run}", "approvals", "audit", f"audit?model={model}", "audit?run=canary-run", "audit/4", "audit/5",
            f"evidence/{sha256}", f"candidates/{named}", "environments", "nodes",
        ):  # fmt: skip
            text = tina.get(f"/api/v1/{path}").text
            assert "canary" not in text, (path, text[:300])
            assert named not in text, path
        for path in ("", f"models/{model}", "runs", f"runs/{run}", "approvals", "record", "record/4", f"evidence/{sha256}", "nodes"):
            text = tina.get(f"/{path}").text.replace(f"/models/{model}", "").replace(f"%2Fmodels%2F{model}", "")
            assert "canary" not in text, (path, text[text.index("canary") - 100 :][:200])
            assert named not in text, path


def serve(registry: RegistryClient, model: str, environment: str, word: str) -> tuple[str, str]:
    """Something serves; its candidate and its evidence."""
    named = register(registry, model, variant=f"{word}{model}{environment}")
    where = {"model": model, "hub_revision": "a" * 40, "environment": environment, "namespace": word, "endpoint": f"{word}:8000"}
    registry.lifecycle.begin(**where, fingerprint=named, run_id=f"{word}-run")  # type: ignore[arg-type]
    document = {"candidate": {"model": model}, "environment": environment, "answer": word}
    sha256 = registry.evidence.save("verification", document)
    who = {"model": model, "environment": environment, "fingerprint": named, "run_id": f"{word}-run"}
    registry.lifecycle.mark_ready(**who, helm_revision=1, evidence_sha256=sha256)  # type: ignore[arg-type]
    return named, sha256


@attacks("a script in a model's name, an actor, a reason or an answer is text on every page and in every answer")
def script_in_text(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    for odd in (SCRIPT, "'\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "{{7*7}}"):
        registry.events.add(EventKind.APPROVED, model=odd, environment="staging", actor=odd, run_id=RUN, detail={"reason": odd, odd: odd})
    registry.evidence.save("verification", {"candidate": {"model": MODEL}, "environment": "staging", "answer": SCRIPT, SCRIPT: SCRIPT})
    run = prefect.add("release", {"model": MODEL, "environments": [], "requester": SCRIPT, "revision": SCRIPT})
    prefect.runs[run]["name"] = SCRIPT
    prefect.runs[run]["state"]["message"] = SCRIPT
    sha256 = registry.evidence.save("verification", {"candidate": {"model": MODEL}, "environment": "staging", "answer": SCRIPT})
    ada = Asking(app, "ada")
    for path in (
        "/", "/runs", f"/runs/{run}", "/record", "/record/1", "/record/2", "/approvals", f"/evidence/{sha256}", f"/models/{SCRIPT}",
        f"/?search={SCRIPT}", f"/record?model={SCRIPT}", f"/{SCRIPT}",
    ):  # fmt: skip
        answer = ada.get(path)
        assert answer.status_code < 500, (path, answer.status_code)
        assert SCRIPT not in answer.text, path
        assert "<img src=x" not in answer.text, path
        assert 'href="javascript:' not in answer.text, path
    for path in ("audit", f"releases/{run}", f"evidence/{sha256}"):
        assert ada.get(f"/api/v1/{path}").headers["content-type"] == "application/json", path


@attacks("a parameter is a value: not SQL, not a pattern, not another request's cursor, not a number without end")
def parameter_tricks(shared: Shared) -> None:
    app, _, registry = whole(shared)
    registry.events.add(EventKind.APPROVED, model=MODEL, environment="staging", actor="vera", run_id=RUN)
    ada = Asking(app, "ada")
    for odd in ("' OR 1=1 --", "%", "_", "%25", "\\", "*", ".*", "%(model)s", "$1", "x'; DROP TABLE slipway_events; --"):
        for path in ("audit?model=", "audit?actor=", "audit?run=", "audit?kind=", "audit?candidate=", "entries?model="):
            answer = ada.get(f"/api/v1/{path}", params={path.split("?")[1].rstrip("="): odd})
            assert answer.status_code == 200, (path, odd, answer.text)
            assert answer.json()["items"] == [], (path, odd)
    for cursor in ("-1", "LTE", "MWUzMDA", "bnVsbA", "WzFd", "9" * 300, "e30=", "../"):
        for path in ("audit", "entries", "models", "releases"):
            assert ada.get(f"/api/v1/{path}", params={"cursor": cursor}).status_code == 422, (path, cursor)
    for path in ("audit/9999999999999999999999", "audit/-1", "audit/1e5", "audit?limit=100000", "audit?limit=-1", "models?limit=0"):
        assert ada.get(f"/api/v1/{path}").status_code == 422, path


@attacks("a name that only looks like somebody's, or groups that are told twice, give none of their rights")
def names_that_look_alike() -> None:
    with bare() as app:
        for name in ("\uff41\uff44\uff41", "ad\u00aa", "\u0430da", "ada\u0301"):
            headers = [(USER.encode(), name.encode()), (SECRET.encode(), PROXY_SECRET.encode())]
            assert Asking(app).client.get("/api/v1/me", headers=headers).json()["grants"] == [], name
        twice = [(USER, "eve"), (SECRET, PROXY_SECRET), (GROUPS, "administrators"), (GROUPS, "guests")]
        assert Asking(app).client.get("/api/v1/me", headers=twice).status_code == 401


@attacks("an error tells nobody where the registry and Prefect are, and not which models and environments there are")
def telling_errors(shared: Shared) -> None:
    app, prefect, registry = whole(shared)
    machine = token(registry, models=["no-*"], environments=["st*"])
    for body in ({"model": "no-such", "environments": ["staging"]}, {"model": "no-such", "environments": ["stag"]}):
        text = Asking(app).client.post("/api/v1/releases", json=body, headers={**machine, **key()}).text
        assert MODEL not in text, text
        assert "production" not in text, text
    prefect.down = True
    nowhere = RegistryClient("postgresql://slipway@127.0.0.1:9/attack_registry")
    away = console(folder(shared.new_folder(), ACCESS), nowhere, prefect)
    for path in ("/readyz", "/api/v1/models", "/api/v1/releases", "/", "/runs"):
        text = Asking(away, "ada").get(path).text
        assert "127.0.0.1" not in text, (path, text)
        assert "attack_" not in text, path


@attacks("where a list of events ends says nothing of a model that one may not see")
def telling_ends(shared: Shared) -> None:
    app, _, registry = whole(shared)
    for number in range(15):
        registry.events.add(EventKind.APPROVED, model="canary-model", environment="staging", actor="vera", run_id=f"run-{number}")
    tina = Asking(app, "tina")
    for limit in (1, 2, 50):
        assert tina.get(f"/api/v1/audit?model=canary-model&limit={limit}").json() == {"items": [], "next": None}, limit
        assert "before=" not in tina.get("/record?model=canary-model").text
