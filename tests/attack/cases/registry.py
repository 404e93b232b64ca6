"""The record says what happened, and nobody makes it say something else."""

from __future__ import annotations

import math
from collections.abc import Mapping

import psycopg

from blocks.errors import RegistryRejected
from blocks.registry import RegistryClient
from blocks.storable import storable
from tests.attack.case import attacks, refused
from tests.attack.shared import Shared
from tests.support.candidates import fingerprint, register

PLACE = {"model": "tiny", "environment": "here"}


def begin(registry: RegistryClient, run: str, variant: str = "f", fence: int | None = None) -> None:
    named = register(registry, variant=variant)
    where = {**PLACE, "hub_revision": "a" * 40, "namespace": "llm", "endpoint": "tiny:8000"}
    registry.lifecycle.begin(**where, fingerprint=named, run_id=run, fence=fence)  # type: ignore[arg-type]


def ready(registry: RegistryClient, run: str, evidence: str, variant: str = "f", fence: int | None = None) -> None:
    who = {**PLACE, "fingerprint": fingerprint(variant=variant), "run_id": run, "fence": fence}
    registry.lifecycle.mark_ready(**who, helm_revision=1, evidence_sha256=evidence)  # type: ignore[arg-type]


@attacks("NULs, halves of surrogate pairs, NaN, infinity and endless integers keep nothing from the record")
def anything_is_recorded(shared: Shared) -> None:
    registry = shared.registry()
    details: list[Mapping[str, object]] = [
        {"why": "killed \0"}, {"why": "\ud800"}, {"seconds": math.nan}, {"seconds": -math.inf}, {"n": 10**5000}, {"\0": ["\ud800"]}
    ]  # fmt: skip
    for number, detail in enumerate(details):
        event = registry.events.add("noticed", actor="a\0\ud800", run_id=f"run-{number}", detail=detail)  # type: ignore[arg-type]
        assert event.detail == storable(dict(detail)), detail
        assert registry.events.latest(run_id=f"run-{number}") == [event], detail


@attacks("a document that its hash names is kept as it is or refused, never altered")
def hashed_documents(shared: Shared) -> None:
    registry = shared.registry()
    for odd in ("\0", "\ud800", math.nan, 10**5000):
        refused(RegistryRejected, registry.candidates.register, "f" * 64, {"chat_template": odd}, "tiny", "a" * 40)
        refused(RegistryRejected, registry.evidence.save, "verification", {"text": odd})
    assert registry.candidates.get("f" * 64) is None


@attacks("no candidate is ready without a run that began with it and evidence that was saved")
def ready_without_proof(shared: Shared) -> None:
    registry = shared.registry()
    register(registry, variant="f")
    evidence = registry.evidence.save("verification", {"outcome": "passed"})
    refused(RegistryRejected, ready, registry, "run-1", evidence)
    begin(registry, "run-1")
    refused(RegistryRejected, ready, registry, "run-1", "0" * 64)
    refused(RegistryRejected, ready, registry, "run-2", evidence)
    assert registry.route("tiny", "here").endpoint is None
    ready(registry, "run-1", evidence)
    assert registry.route("tiny", "here").endpoint == "tiny:8000"


@attacks("a run that was taken over from writes nothing any more")
def lost_lock(shared: Shared) -> None:
    registry = shared.registry()
    first = registry.locks.take("tiny", "here", "run-1")
    begin(registry, "run-1", fence=first.fence)
    second = registry.locks.take("tiny", "here", "run-2", stale_seconds=0)
    assert second.run_id == "run-2"
    evidence = registry.evidence.save("verification", {"outcome": "passed"})
    refused(RegistryRejected, ready, registry, "run-1", evidence, fence=first.fence)
    # nor under the number of who took over
    refused(RegistryRejected, ready, registry, "run-1", evidence, fence=second.fence)
    refused(RegistryRejected, begin, registry, "run-3", "e")


@attacks("a failure over what served takes both out of routing")
def failure_over_what_served(shared: Shared) -> None:
    registry = shared.registry()
    evidence = registry.evidence.save("verification", {"outcome": "passed"})
    begin(registry, "run-1")
    ready(registry, "run-1", evidence)
    begin(registry, "run-2", "e")
    registry.lifecycle.mark_failed(**PLACE, fingerprint=fingerprint(variant="e"), reason="\0", run_id="run-2", cluster_changed=True)  # type: ignore[arg-type]
    assert registry.route("tiny", "here").endpoint is None
    assert sorted(entry.status for entry in registry.entries("tiny")) != ["ready"]


@attacks("events and evidence can be neither changed nor removed, and what an owner of the database alters is found")
def altered_record(shared: Shared) -> None:
    dsn = shared.database()
    with RegistryClient(dsn) as registry, psycopg.connect(dsn, autocommit=True) as owner:
        for number in range(3):
            registry.events.add("noticed", run_id=f"run-{number}", detail={"n": number})  # type: ignore[arg-type]
        for statement in (
            "UPDATE slipway_events SET kind = 'approved'", "DELETE FROM slipway_events", "TRUNCATE slipway_events",
            "DELETE FROM slipway_evidence", "DELETE FROM slipway_candidates",
        ):  # fmt: skip
            refused(psycopg.Error, owner.execute, statement)
        assert registry.audit.verify(None).broken is None
        owner.execute("ALTER TABLE slipway_events DISABLE TRIGGER ALL")
        owner.execute("UPDATE slipway_events SET actor = 'ada' WHERE run_id = 'run-1'")
        assert registry.audit.verify(None).broken, "an altered event was not found"


@attacks("a router's role reads routes and nothing else, and the pipeline's changes no record")
def roles(shared: Shared) -> None:
    dsn = shared.database()
    with psycopg.connect(dsn, autocommit=True) as sql:
        sql.execute("SET ROLE slipway_router")
        assert sql.execute("SELECT http_status FROM route('tiny')").fetchone()
        for statement in ("SELECT 1 FROM slipway_events", "SELECT 1 FROM model_registry_entries", "SELECT 1 FROM slipway_authenticators"):
            refused(psycopg.Error, sql.execute, statement)
        sql.execute("RESET ROLE")
        sql.execute("SET ROLE slipway_admin")
        for statement in (
            "UPDATE slipway_events SET kind = 'approved'",
            "DROP TABLE slipway_events",
            "ALTER TABLE slipway_events ADD x int",
        ):
            refused(psycopg.Error, sql.execute, statement)
