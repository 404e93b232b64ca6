"""The console's API over a real registry: what it tells whom, and what it has done, once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from blocks.facts.kinds import EventKind
from blocks.registry import Gate, RegistryClient
from flows.console.api import following
from flows.runtime.prefect_api import _Answer
from tests.support.console import Asking, console, folder, token
from tests.support.known_prefect import KnownPrefect

if TYPE_CHECKING:
    from conftest import Releases

RUN = "5d0f5b0a-7d34-4c1c-9a7e-3f1c1f2b7a11"
APPROVERS = """
approvers:
  - {name: desk, roles: [release-manager], environments: [production], aliases: [dora]}
  - {name: second, roles: [release-manager], environments: [production], aliases: [otto]}
"""
MODEL = "tiny-llama"


@dataclass
class World:
    """A console over a registry and a Prefect that are known."""

    app: FastAPI
    prefect: KnownPrefect
    registry: RegistryClient

    def __call__(self, name: str = "", **more: Any) -> Asking:
        return Asking(self.app, name, **more)

    def wait(self, requester: str = "otto", run_id: str = RUN) -> str:
        """A release waits for approval; the name of its gate."""
        gate = Gate(run_id=run_id, name="production-0123456789abcdef", model=MODEL, environment="production", fingerprint="f" * 64)
        detail = {"requester": requester, "evidence_sha256": "e" * 64, "request_hours": 72.0, "environment": "production"}
        self.registry.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, detail)
        self.prefect.add("release", {"model": MODEL, "environments": [], "requester": requester}, "PAUSED", run_id, f"{gate.name}-1")
        return gate.name


ACCESS = """
grants:
  - {role: viewer, people: [vera], models: ["tiny-*"]}
  - {role: viewer, people: [dora]}
  - {role: operator, people: [otto], models: ["*"], environments: [development, staging]}
  - {role: viewer, people: [otto]}
  - {role: admin, people: [ada]}
"""


@pytest.fixture
def world(tmp_path: Path, client: RegistryClient) -> World:
    prefect = KnownPrefect()
    return World(app=console(folder(tmp_path, ACCESS, approvers=APPROVERS), client, prefect), prefect=prefect, registry=client)


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def test_a_release_is_started_in_the_name_of_who_is_signed_in(world: World) -> None:
    answer = world("ada").post("/api/v1/releases", json={"model": MODEL, "environments": ["staging"]}, headers=key())

    run = world.prefect.runs[answer.json()["run"]]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/api/v1/releases/{run['id']}")
    assert run["parameters"] == {
        "model": MODEL,
        "revision": "main",
        "environments": ["staging"],
        "requester": "ada",
        "keep_failed": False,
    }


def test_nobody_says_whose_release_it_is(world: World) -> None:
    answer = world("ada").post("/api/v1/releases", json={"model": MODEL, "requester": "otto"}, headers=key())

    assert answer.status_code == 422
    assert not world.prefect.runs


def test_the_same_key_is_the_same_run_and_another_request_is_refused(world: World) -> None:
    ada, same = world("ada"), key()
    first = ada.post("/api/v1/releases", json={"model": MODEL}, headers=same)

    again = ada.post("/api/v1/releases", json={"model": MODEL, "revision": "main"}, headers=same)
    other = ada.post("/api/v1/releases", json={"model": MODEL, "revision": "v2"}, headers=same)

    assert first.json() == again.json()
    assert (again.headers["idempotent-replayed"], other.status_code, other.json()["type"]) == ("true", 422, "/problems/key-used-before")
    assert len(world.prefect.runs) == 1
    assert ada.post("/api/v1/releases", json={"model": MODEL}).status_code == 422, "without a key"


def test_an_answer_that_was_lost_makes_no_second_run(world: World) -> None:
    ada, same = world("ada"), key()
    first = ada.post("/api/v1/releases", json={"model": MODEL}, headers=same).json()
    world.registry.access.begin_answer("somebody", "else", "0" * 64)
    with world.registry._session.transaction() as connection:  # as if the process had been killed before it kept the answer
        connection.execute("UPDATE slipway_api_answers SET status = NULL, body = NULL, begun_at = now() - interval '2 minutes'")

    assert ada.post("/api/v1/releases", json={"model": MODEL}, headers=same).json() == first
    assert len(world.prefect.runs) == 1


def test_what_came_to_nothing_may_be_sent_again(world: World) -> None:
    ada, same = world("ada"), key()
    world.prefect.down = True
    away = ada.post("/api/v1/releases", json={"model": MODEL}, headers=same)
    world.prefect.down = False

    assert (away.status_code, away.json()["type"]) == (503, "/problems/not-now")
    assert "127.0.0.1" not in away.text
    assert ada.post("/api/v1/releases", json={"model": MODEL}, headers=same).status_code == 202


@pytest.mark.parametrize(
    ("name", "environments", "status"),
    [
        ("vera", ["staging"], 403),
        ("otto", ["staging"], 202),
        ("otto", [], 403),
        ("otto", ["staging", "production"], 403),
        ("eve", ["staging"], 404),
    ],
)
def test_who_may_release_is_said_by_environment(world: World, name: str, environments: list[str], status: int) -> None:
    answer = world(name).post("/api/v1/releases", json={"model": MODEL, "environments": environments}, headers=key())

    assert answer.status_code == status
    assert len(world.prefect.runs) == (status == 202)


def test_a_rollback_a_plan_and_a_cancellation_are_runs_too(world: World) -> None:
    ada = world("ada")
    rollback = {"model": MODEL, "environment": "production", "reason": "answers changed", "to": "a" * 12}
    back = ada.post("/api/v1/rollbacks", json=rollback, headers=key()).json()["run"]
    plan = ada.post("/api/v1/plans", json={"model": MODEL}, headers=key()).json()["run"]

    cancelled = ada.post(f"/api/v1/releases/{back}/cancel", headers=key())

    assert world.prefect.runs[back]["parameters"] == {**rollback, "actor": "ada"}
    assert cancelled.status_code == 202
    assert world.prefect.runs[back]["state_type"] == "CANCELLING"
    assert world("otto").post(f"/api/v1/releases/{plan}/cancel", headers=key()).status_code == 403
    assert ada.post(f"/api/v1/releases/{uuid.uuid4()}/cancel", headers=key()).status_code == 404
    world.prefect.runs[plan]["state_type"] = "COMPLETED"
    assert ada.post(f"/api/v1/releases/{plan}/cancel", headers=key()).status_code == 409


def answered(gate: str, decision: str = "approve", reason: str = "") -> dict[str, Any]:
    return {"gate": gate, "decision": decision, "code": "123456", "reason": reason}


def test_an_approver_answers_in_their_own_name(world: World) -> None:
    gate = world.wait()

    answer = world("dora").post(f"/api/v1/approvals/{RUN}", json=answered(gate), headers=key())

    assert answer.status_code == 202, answer.text
    assert world.prefect.resumed[RUN] == {"decision": "approve", "approver": "desk", "code": "123456", "reason": ""}


def test_the_requester_may_not_approve_under_any_name_and_may_reject(world: World) -> None:
    gate = world.wait(requester="otto")
    otto = world("otto")

    refused = otto.post(f"/api/v1/approvals/{RUN}", json=answered(gate), headers=key())
    rejected = otto.post(f"/api/v1/approvals/{RUN}", json=answered(gate, "reject", "not mine after all"), headers=key())

    assert (refused.status_code, rejected.status_code) == (403, 202)
    assert "asked for this release" in refused.json()["detail"]
    assert world.prefect.resumed[RUN]["approver"] == "second"


def test_an_answer_is_for_what_was_shown_and_for_nothing_else(world: World) -> None:
    gate = world.wait()
    dora = world("dora")

    other = dora.post(f"/api/v1/approvals/{RUN}", json=answered("production-another"), headers=key())
    world.prefect.runs[RUN]["state"]["state_details"]["run_input_keyset"]["response"] = "suspended-recovery-1-response"
    another_form = dora.post(f"/api/v1/approvals/{RUN}", json=answered(gate), headers=key())

    assert (other.status_code, other.json()["type"]) == (409, "/problems/another-question")
    assert another_form.status_code == 409
    assert not world.prefect.resumed


@pytest.mark.parametrize(("name", "status"), [("ada", 403), ("vera", 403), ("eve", 404)])
def test_who_is_no_approver_answers_nothing(world: World, name: str, status: int) -> None:
    gate = world.wait()

    assert world(name).post(f"/api/v1/approvals/{RUN}", json=answered(gate), headers=key()).status_code == status
    assert not world.prefect.resumed


def test_the_code_is_kept_nowhere(world: World, sql: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate = world.wait()

    world("dora").post(f"/api/v1/approvals/{RUN}", json={**answered(gate), "code": "918273"}, headers=key())

    assert world.prefect.resumed[RUN]["code"] == "918273"
    assert "918273" not in str(sql.execute("SELECT * FROM slipway_api_answers").fetchall())
    assert "918273" not in caplog.text


def test_a_model_is_taken_out_and_the_reason_is_told(world: World, releases: Releases) -> None:
    releases.release("a1", "run-1")
    path = "/api/v1/models/tiny/environments/production/disable"

    answer = world("ada").post(path, json={"reason": "answers leak prompts"}, headers=key())

    assert (answer.status_code, answer.json()["status"]) == (202, "disabled")
    assert world.registry.events.latest("tiny", limit=1)[0].actor == "ada"
    assert world("otto").post(path, json={"reason": "me, too"}, headers=key()).status_code == 403
    nothing = world("ada").post(path.replace("tiny", "none"), json={"reason": "to see"}, headers=key())
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing-there")


READS = ["environments", "models", "models/tiny", "entries", "routes", "releases", "approvals", "nodes", "audit", "me"]


def test_everything_can_be_read_and_what_is_unchanged_is_not_sent_again(world: World, releases: Releases) -> None:
    releases.release("a1", "run-1")
    world.wait()
    ada = world("ada")

    for path in [*READS, f"releases/{RUN}", f"approvals/{RUN}", "audit/1", "audit/verification"]:
        answer = ada.get(f"/api/v1/{path}")
        assert answer.status_code == 200, (path, answer.text)
        again = ada.get(f"/api/v1/{path}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
    (tiny,) = [row for row in ada.get("/api/v1/models").json()["items"] if row["model"] == "tiny"]
    assert tiny["places"][0]["status"] == "ready"
    assert ada.get("/api/v1/audit/verification").json()["holds"] is True


def test_who_sees_nothing_is_told_of_nothing(world: World, releases: Releases) -> None:
    releases.release("a1", "run-1")
    world.wait()
    eve = world("eve")

    for path in ["environments", "routes", "approvals", f"approvals/{RUN}"]:
        assert eve.get(f"/api/v1/{path}").json() == [], path
    for path in ["models", "entries", "audit", "releases"]:
        assert eve.get(f"/api/v1/{path}").json()["items"] == [], path
    for path in ["models/tiny", f"releases/{RUN}", f"releases/{RUN}/events", "audit/1", f"candidates/{releases.fingerprint('a1')}"]:
        assert eve.get(f"/api/v1/{path}").status_code == 404, path
    assert eve.get("/api/v1/audit/verification").status_code == 403
    assert eve.get("/api/v1/tokens").status_code == 403


def test_lists_come_in_pages(world: World, releases: Releases) -> None:
    for number in range(7):
        world.registry.events.add("noticed", model="tiny", environment="production", run_id=f"run-{number}")  # type: ignore[arg-type]
    ada, seen, cursor = world("ada"), [], ""
    while True:
        page = ada.get("/api/v1/audit", params={"limit": 3, "cursor": cursor}).json()
        seen += [event["run_id"] for event in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == [f"run-{number}" for number in range(6, -1, -1)]
    for wrong in ("x", "AAAA", "ImEi", "LTE", "e30"):
        assert ada.get("/api/v1/audit", params={"cursor": wrong}).status_code == 422, wrong


def test_a_machine_does_what_its_token_says_and_no_more(world: World) -> None:
    machine = world(headers=token(world.registry))

    def release(**body: Any) -> int:
        return machine.client.post("/api/v1/releases", json={"model": MODEL, **body}, headers={**machine.headers, **key()}).status_code

    assert machine.get("/api/v1/me").json()["name"] == "nightly"
    assert release(environments=["staging"]) == 202
    assert release(environments=["production"]) == 404
    assert next(iter(world.prefect.runs.values()))["parameters"]["requester"] == "nightly"


@pytest.mark.parametrize("change", ["revoked", "expired", "cut", "doubled"])
def test_a_token_that_does_not_hold_is_nobody(world: World, change: str) -> None:
    headers = token(world.registry, **({"expires_at": datetime.now(UTC) - timedelta(seconds=1)} if change == "expired" else {}))
    if change == "revoked":
        which = world.registry.access.tokens()[0].id
        assert world("ada").ask("DELETE", f"/api/v1/tokens/{which}").status_code == 204
        assert world.registry.events.latest(limit=1)[0].kind == "token_revoked"
    if change == "cut":
        headers["Authorization"] = headers["Authorization"][:-1]
    if change == "doubled":
        headers["Authorization"] += headers["Authorization"]

    # And it is nobody else either, whoever the proxy says that it is.
    answer = world("ada").get("/api/v1/me", headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/no-such-token")


def test_a_run_is_followed_until_it_ends(world: World) -> None:
    run = world.prefect.add("release", {"model": MODEL, "environments": ["staging"]}, "COMPLETED")

    answer = world("ada").get(f"/api/v1/releases/{run}/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    kinds = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert kinds == ["release", "end"]
    last = next(line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: "))
    again = world("ada").get(f"/api/v1/releases/{run}/events", headers={"Last-Event-ID": last}).text
    assert "event: release" not in again


@pytest.mark.parametrize("change", ["revoked", "less"])
def test_a_stream_ends_with_the_right_to_it(tmp_path: Path, client: RegistryClient, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    class TakingAway(KnownPrefect):
        """While it is asked about the run, somebody loses the right to see it."""

        def _send(self, path: str, body: Mapping[str, Any] | None) -> _Answer:
            if change == "revoked":
                client.access.revoke_token(client.access.tokens()[0].id, "ada")
            else:
                folder(tmp_path, "grants: []")
            return super()._send(path, body)

    prefect = TakingAway()
    run = prefect.add("release", {"model": MODEL, "environments": ["staging"]}, "RUNNING")
    given = token(client, role="viewer") if change == "revoked" else {}
    monkeypatch.setattr(following, "PAUSE_SECONDS", 0.0)

    answer = Asking(console(folder(tmp_path, ACCESS), client, prefect), "" if given else "ada", headers=given).get(
        f"/api/v1/releases/{run}/events"
    )

    assert answer.text.count("event: release") == 1
    assert "event: end" not in answer.text


def test_whoever_asks_for_what_is_not_there_is_not_told_what_is(world: World) -> None:
    machine = world(headers=token(world.registry, models=["no-*"], environments=["st*"]))

    for path, body in [
        ("releases", {"model": "no-such", "environments": ["staging"]}),
        ("releases", {"model": "no-such", "environments": ["stag"]}),
        ("plans", {"model": "no-such", "environments": ["stag"]}),
        ("rollbacks", {"model": "no-such", "environment": "stag", "reason": "because"}),
    ]:
        answer = machine.client.post(f"/api/v1/{path}", json=body, headers={**machine.headers, **key()})
        assert answer.status_code == 422
        assert "does not exist" in answer.json()["detail"]
        assert MODEL not in answer.text
        assert "production" not in answer.text


def test_where_a_list_ends_does_not_tell_of_a_model_that_one_may_not_see(world: World) -> None:
    for number in range(15):
        world.registry.events.add("noticed", model="secret", environment="staging", run_id=f"run-{number}")  # type: ignore[arg-type]

    assert world("vera").get("/api/v1/audit?model=secret&limit=1").json() == {"items": [], "next": None}
    assert world("ada").get("/api/v1/audit?model=secret&limit=1").json()["next"]


def test_of_a_run_one_sees_what_one_may(world: World) -> None:
    run = world.prefect.add("release", {"model": MODEL, "environments": ["staging", "production"]}, "FAILED")
    world.prefect.runs[run]["state"]["message"] = "production has no room"
    machine = world(headers=token(world.registry))

    for path in ("releases", f"releases/{run}"):
        text = machine.get(f"/api/v1/{path}").text
        assert "staging" in text
        assert "production" not in text
        assert "no room" in world("ada").get(f"/api/v1/{path}").text


def test_an_approver_who_is_signed_in_under_another_of_their_names_is_told_that_they_may(world: World) -> None:
    world.wait()

    told = {name: world(name).get(f"/api/v1/approvals/{RUN}").json()[0]["you_may_not"] for name in ("dora", "otto", "ada")}

    assert told["dora"] is None
    assert "asked for this release" in told["otto"]
    assert "not an approver" in told["ada"]


def test_every_address_but_a_few_asks_who_it_is(world: World) -> None:
    everybodys = {"/healthz", "/readyz", "/sign-in", "/sign-in/callback", "/api/v1/openapi.json"}
    asked = set()
    for path, methods in addresses(world.app.routes):
        for method in methods - {"HEAD", "OPTIONS"}:
            given = path.replace("{run}", RUN).replace("{event}", "1").replace("{fingerprint}", "f" * 64).replace("{sha256}", "e" * 64)
            given = given.replace("{environment}", "staging").replace("{token}", "0a").replace("{model}", MODEL).replace("{file}", "x")
            asked.add(path)
            if path not in everybodys and not path.startswith("/static"):
                somebody = world(address=f"10.5.{len(asked)}.1")
                # Whatever they send: what cannot be read is not read of somebody who is not known.
                for content, kind in (("", ""), ("{", "application/json"), ("a=1", "application/x-www-form-urlencoded")):
                    answer = somebody.ask(method, given, content=content, headers={"Content-Type": kind} if kind else {})
                    to_sign_in = answer.status_code == 303 and answer.headers["Location"].startswith("/sign-in")
                    assert to_sign_in or answer.status_code == 401, (method, path, kind)

    assert len(asked) > 20


def addresses(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """All that the app answers, in whatever router it was added."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from addresses(route.original_router.routes, prefix + route.include_context.prefix)
        elif hasattr(route, "methods"):
            yield prefix + route.path, set(route.methods)
