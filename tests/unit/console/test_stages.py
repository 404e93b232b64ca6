"""A run as the pipeline that it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.facts.registry import Event
from flows.console.reads.runs import Run, Task, run_of
from flows.console.reads.stages import Lane, lanes_of

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(state: str = "RUNNING") -> Run:
    return run_of(
        {
            "id": "00000000-0000-4000-8000-000000000001",
            "name": "release tiny main",
            "state_type": state,
            "state_name": state.title(),
            "parameters": {"model": "tiny", "revision": "main", "environments": ["staging", "production"], "requester": "zoe"},
            "created": BEGIN.isoformat(),
        },
        "release",
    )


def task(name: str, kind: str = "COMPLETED", minute: int = 0, message: str = "") -> Task:
    at = BEGIN + timedelta(minutes=minute)
    ended = None if kind == "RUNNING" else at + timedelta(seconds=30)
    return Task(name=name, state=kind.title(), kind=kind, message=message, started_at=at, ended_at=ended, attempts=1)


def event(kind: str, environment: str = "production", actor: str | None = None, **detail: object) -> Event:
    return Event(
        id=1,
        occurred_at=BEGIN,
        kind=kind,
        organisation=None,
        model="tiny",
        environment=environment,
        fingerprint="f" * 64,
        run_id="r",
        actor=actor,
        detail=detail,
    )


def states(lane: Lane) -> dict[str, str]:
    return {step.name: step.state for step in lane.steps}


def test_a_release_that_waits_for_people_shows_what_is_done_and_what_is_to_come() -> None:
    tasks = [
        task("resolve tiny at main"),
        *(task(f"{verb} tiny {word} staging") for verb, word in (("plan", "for"), ("prefetch", "to"), ("deploy", "to"))),
        *(task(f"{verb} tiny in staging") for verb in ("rollout", "verify", "record")),
        task("plan tiny for production"),
    ]
    staging, production = lanes_of(
        run("PAUSED"), tasks, [event("approval_requested"), event("approved", actor="ann")], ["staging", "production"], ["production"]
    )

    assert states(staging) == dict.fromkeys(("plan", "prefetch", "deploy", "rollout", "verify", "record"), "done")
    assert staging.state == "done"
    assert states(production) == {
        "plan": "done",
        "gate": "waiting",
        **dict.fromkeys(("prefetch", "deploy", "rollout", "verify", "record"), "to come"),
    }
    assert production.steps[1].message == "ann approved"
    assert staging.steps[0].seconds(BEGIN) == 30


def test_what_a_failure_leads_to_is_a_lane_of_its_own() -> None:
    tasks = [
        task("plan tiny for staging"),
        task("prefetch tiny to staging", minute=1),
        task("deploy tiny to staging", minute=2),
        task("rollout tiny in staging", "FAILED", 3, "RolloutStalled: no GPU"),
        task("plan the way back of tiny in staging", minute=4),
        task("prefetch tiny to staging", minute=5),
        task("roll back tiny in staging", minute=6),
        task("rollout tiny in staging", "RUNNING", 7),
    ]
    forward, back, production = lanes_of(run(), tasks, [], ["staging", "production"], [])

    assert (forward.back, back.back) == (False, True)
    assert states(forward)["rollout"] == "failed"
    assert forward.steps[3].message == "RolloutStalled: no GPU"
    assert states(back) == {
        "plan": "done",
        "prefetch": "done",
        "deploy": "done",
        "rollout": "running",
        "verify": "to come",
        "record": "to come",
    }
    assert production.state == "to come"


@pytest.mark.parametrize(("kind", "expected"), [("FAILED", "failed"), ("CRASHED", "failed"), ("CANCELLED", "cancelled")])
def test_of_a_run_that_has_ended_nothing_is_still_to_come(kind: str, expected: str) -> None:
    (lane,) = lanes_of(run(kind), [task("plan tiny for staging"), task("prefetch tiny to staging", "RUNNING")], [], ["staging"], [])

    assert [step.state for step in lane.steps] == ["done", expected, "unreached", "unreached", "unreached", "unreached"]


def test_what_an_earlier_process_has_done_is_skipped() -> None:
    (lane,) = lanes_of(run(), [task("skip staging: candidate f00 is verified there")], [], ["staging"], ["staging"])

    assert {step.state for step in lane.steps} == {"skipped"}
    assert lane.state == "done"


@pytest.mark.parametrize(
    ("kind", "detail", "state", "message"),
    [
        ("approval_granted", {"approvers": ["ann", "bob"]}, "done", "approved by ann, bob"),
        ("rejected", {"reason": "not on a Friday"}, "failed", "ann rejected it: not on a Friday"),
        ("approval_expired", {}, "failed", "nobody decided in time"),
        ("approval_frozen", {"until": "2026-04-01"}, "waiting", "approved, and frozen until 2026-04-01"),
    ],
)
def test_how_a_gate_ended_is_the_registrys_to_say(kind: str, detail: dict[str, object], state: str, message: str) -> None:
    events = [event("approval_requested"), event(kind, actor="ann", **detail)]

    (lane,) = lanes_of(run(), [], events, ["production"], [])

    gate = lane.steps[1]
    assert (gate.state, gate.message) == (state, message)
