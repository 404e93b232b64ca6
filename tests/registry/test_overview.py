"""What pages show of the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from blocks.facts.kinds import EventKind
from blocks.registry import RegistryClient

if TYPE_CHECKING:
    from conftest import Releases


def test_the_fleet_has_the_entry_that_counts_with_its_last_verdict_and_who_changes_it(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.release("b1", "run-2")  # takes the place of the first
    replace(releases, environment="staging").begin("c1", "run-3")
    client.locks.take("tiny", "staging", "run-3")
    other = replace(releases, model="other")
    other.release("a1", "run-4")
    nightly = client.evidence.save("verdict", {"outcome": "passed", "night": 1})
    client.events.add(
        EventKind.REVALIDATED,
        model="tiny",
        environment="production",
        fingerprint=releases.fingerprint("b1"),
        run_id="night",
        detail={"evidence_sha256": nightly},
    )

    canary = replace(releases, environment="production")
    client.candidates.register(canary.fingerprint("c1"), canary.document("c1"), "tiny", "c" * 40)
    client.canaries.begin(
        model="tiny",
        environment="production",
        stable=releases.fingerprint("b1"),
        canary=releases.fingerprint("c1"),
        endpoint="tiny-canary:8000",
        steps=[],
        run_id="run-5",
    )

    fleet = client.overview.fleet()

    assert [(p.model, p.environment, p.status, p.held_by) for p in fleet] == [
        ("other", "production", "ready", None),
        ("tiny", "production", "ready", None),
        ("tiny", "staging", "deploying", "run-3"),
    ]
    production, staging = fleet[1:]
    assert (production.fingerprint, production.evidence_sha256) == (releases.fingerprint("b1"), nightly)
    assert production.passed_at is not None
    assert production.endpoint is not None
    assert (staging.endpoint, staging.passed_at, staging.evidence_sha256) == (None, None, None)
    assert (production.canary, production.canary_phase, production.canary_weight) == (releases.fingerprint("c1"), "coming", 0)
    assert staging.canary is None
    assert client.overview.fleet("tiny") == fleet[1:]


def test_a_models_history_and_what_its_verifications_measured(releases: Releases, client: RegistryClient) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    latency = {"end_to_end": {"p50": {"value": 0.1, "low": 0.09, "high": 0.11}, "p95": "nobody's number"}, "tokens_per_second": 40}
    measured = client.evidence.save("verification", {"verdict": {"latency": [latency]}, "limits": {"latency": {"p50_seconds": 0.3}}})
    for outcome, sha256 in (("passed", measured), ("errored", "0" * 64)):
        client.events.add(
            EventKind.VERIFIED,
            model="tiny",
            environment="production",
            fingerprint=releases.fingerprint("b1"),
            run_id="run-2",
            detail={"outcome": outcome, "sentence": outcome, "evidence_sha256": sha256},
        )

    candidates = client.overview.candidates_of("tiny", 10)
    assert [candidate.document["variant"] for candidate in candidates] == ["b1", "a1"]
    assert [candidate.document["variant"] for candidate in client.overview.candidates_of("tiny", 1)] == ["b1"]
    assert client.overview.candidates_of("other", 10) == []
    kinds = (EventKind.DEPLOYING, EventKind.READY)
    assert [event.kind for event in client.overview.history("tiny", kinds, 10)] == ["deploying", "ready", "deploying"]
    unknown, passed = client.overview.verdicts("tiny", 10)
    assert (unknown.outcome, unknown.p50) == ("errored", None)  # its document is not there
    assert (passed.p50, passed.p50_limit) == ({"value": 0.1, "low": 0.09, "high": 0.11}, 0.3)
    assert (passed.p95, passed.exact_share) == ("nobody's number", None)
    assert set(client.overview.documents([measured, "1" * 64])) == {measured}


def test_the_record_is_read_in_pages_and_each_event_is_proven_up_to_its_seal(
    releases: Releases, client: RegistryClient, sql: psycopg.Connection
) -> None:
    releases.release("a1", "run-1")
    releases.fail("a1", "run-2", cluster_changed=False)
    client.audit.seal()
    releases.degrade("a1")

    newest, *older = client.overview.record(limit=2)
    assert newest.kind == "degraded"
    assert [event.kind for event in client.overview.record(before_id=older[-1].id)] == ["failed", "ready", "deploying"]
    assert [event.kind for event in client.overview.record(run_id="run-2", model="tiny")] == ["failed"]

    def proof(kind: str) -> tuple[bool, str]:
        (event,) = client.overview.record(kind=kind)
        place = client.overview.place_of(event.id)
        assert place is not None
        found = client.overview.proof_of(place)
        return found.holds, found.message

    assert proof("ready") == (True, "Computed again up to its seal: it is what was recorded.")
    assert proof("sealed")[0]
    assert proof("degraded") == (True, "It follows from the event before it; no seal stands for it yet.")
    assert client.overview.place_of(10**9) is None

    # when somebody who owns the database alters what was recorded
    sql.execute("SET session_replication_role = replica")
    sql.execute("UPDATE slipway_events SET actor = 'somebody else' WHERE kind = 'failed'")
    assert proof("failed") == (False, "Position 3 is not what its hash says: it was altered.")
    # with its hash computed anew the seal gives it away
    sql.execute("UPDATE slipway_events AS e SET hash = slipway_event_hash(e) WHERE kind = 'failed'")
    assert proof("failed") == (False, "The seal names another event at position 3.")
    assert proof("degraded")[0] is False
