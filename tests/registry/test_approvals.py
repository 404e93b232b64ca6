"""Answers and their codes: once, whatever is killed or repeated, and by whomever at the same time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from blocks.registry import Gate, RegistryClient
from blocks.registry.events import Appended
from tests.support.waiting import HANGS_SECONDS

NOW = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)
GATE = Gate(run_id="run-1", name="production-abc", model="tiny", environment="production", fingerprint="f" * 64)


def answer(client: RegistryClient, number: int, step: int | None = 100, gate: Gate = GATE, **changes: Any) -> Appended:
    given = {"kind": "approved", "approver": "ada", "refusal": None, "detail": {"reason": "good"}, "at": NOW, **changes}
    return client.approvals.answer(gate, number, code_step=step, **given)  # type: ignore[arg-type]


def why(appended: Appended) -> str:
    return str(appended.event.detail.get("why"))


def test_a_right_code_is_an_approval_with_its_actor(client: RegistryClient) -> None:
    event = answer(client, 1).event

    assert (event.kind, event.actor, event.occurred_at) == ("approved", "ada", NOW)
    assert event.detail == {"reason": "good", "round": 1, "gate": "production-abc"}


def test_repeating_an_answer_uses_no_second_code(client: RegistryClient) -> None:
    first = answer(client, 1)

    again = answer(client, 1)

    assert (first.new, again.new) == (True, False)
    assert again.event == first.event


def test_a_repeated_refusal_stays_one_and_counts_once(client: RegistryClient, sql: psycopg.Connection) -> None:
    for _ in range(3):
        assert answer(client, 1, None).event.kind == "approval_refused"

    assert sql.execute("SELECT wrong_codes FROM slipway_authenticators").fetchone() == (1,)


@pytest.mark.parametrize("step", [100, 99])
def test_a_code_works_once_and_an_older_one_never(client: RegistryClient, step: int) -> None:
    answer(client, 1)

    replayed = answer(client, 1, step, gate=Gate(run_id="run-2", name="g", model="tiny", environment="production", fingerprint="e" * 64))

    assert replayed.event.kind == "approval_refused"
    assert replayed.event.actor is None
    assert "used before" in why(replayed)


def test_two_answers_with_one_code_at_once(dsn: str) -> None:
    events: list[str] = []
    start = threading.Barrier(4)

    def give(number: int) -> None:
        gate = Gate(run_id=f"run-{number}", name="g", model="tiny", environment="production", fingerprint="f" * 64)
        with RegistryClient(dsn) as client:
            start.wait(HANGS_SECONDS)
            events.append(answer(client, 1, gate=gate).event.kind)

    threads = [threading.Thread(target=give, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(events) == ["approval_refused"] * 3 + ["approved"]


def test_five_wrong_codes_lock_the_approver_for_a_quarter_of_an_hour(client: RegistryClient) -> None:
    for number in range(1, 6):
        assert why(answer(client, number, None)) == "the one-time code is wrong"

    # the right code does not help, and is not used up
    assert "locked out until 2026-05-17 08:45" in why(answer(client, 6))
    assert "locked out" in why(answer(client, 7, at=NOW + timedelta(minutes=14, seconds=59)))
    # somebody else is not locked out
    assert answer(client, 8, approver="bob").event.kind == "approved"
    # and after the time it works again
    assert answer(client, 9, at=NOW + timedelta(minutes=15)).event.kind == "approved"


def test_a_right_code_forgets_earlier_mistakes(client: RegistryClient) -> None:
    for number in range(1, 5):
        answer(client, number, None)
    answer(client, 5)
    for number in range(6, 10):
        answer(client, number, None)

    assert answer(client, 10, 101).event.kind == "approved"


def test_what_is_refused_whatever_the_code_costs_no_code(client: RegistryClient) -> None:
    refused = answer(client, 1, refusal="ada asked for this release")

    assert (refused.event.kind, why(refused)) == ("approval_refused", "ada asked for this release")
    assert refused.event.detail["claimed"] == "ada"
    assert answer(client, 2).event.kind == "approved"


def test_open_requests_are_those_that_nothing_closed(client: RegistryClient) -> None:
    gates = {
        kind: Gate(run_id=f"run-{kind}", name="g", model="tiny", environment="production", fingerprint="f" * 64)
        for kind in ("open", "approval_granted", "approval_expired", "approval_void", "rejected", "approved", "frozen")
    }
    for gate in gates.values():
        assert client.approvals.mark(gate, "approval_requested", {"requester": "zoe"}).new
        assert not client.approvals.mark(gate, "approval_requested", {"requester": "zoe"}).new
    for kind in ("approval_granted", "approval_expired", "approval_void"):
        client.approvals.mark(gates[kind], kind, {})
    answer(client, 1, gate=gates["rejected"], kind="rejected")
    answer(client, 1, 101, gate=gates["approved"])  # one of two: the request stays open
    for day in (1, 3, 2):
        client.approvals.mark(gates["frozen"], "approval_frozen", {"until": f"2026-06-0{day}T08:00:00+00:00"}, step=str(day))

    waiting = {request.run_id: request for request in client.approvals.open_requests()}

    assert set(waiting) == {"run-open", "run-approved", "run-frozen"}
    assert waiting["run-frozen"].frozen_until == datetime(2026, 6, 3, 8, tzinfo=UTC)
    assert waiting["run-open"].frozen_until is None
    assert [event.kind for event in client.approvals.events("run-approved", "g")] == ["approval_requested", "approved"]
