"""What flows ask the record: the same question has one answer, and no answer is lost because much has happened since."""

from __future__ import annotations

import ast
import uuid
from dataclasses import dataclass, replace

import psycopg
import pytest
from pydantic import SecretStr

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.errors import HelmRejected
from blocks.facts.kinds import GROUPS, EventKind
from blocks.helm import Helm
from blocks.registry import Event, Failure, Gate, Registry, RegistryClient
from blocks.registry.statements import statement
from flows.approval.tasks.gate import gather_evidence
from flows.cli.evidence import find, page
from flows.delivery.git import provenance_of, verified_commit
from flows.delivery.git_files import Commit
from flows.delivery.move import Context
from flows.placement.assess import assess, plan_release
from flows.promotion.record import finished, record_failed
from flows.record.tasks import last_verified, settled_failure, unsettled_failure
from flows.recovery.recover import recalled
from flows.recovery.tasks.rollback import record_rolled_back, rollback_target
from flows.runtime.blocks import Blocks
from flows.spec import Candidate, CheckSuite, Environment
from flows.spec.checks import UnknownModelCheck
from flows.spec.load import ROOT
from flows.verification.behaviour import Reference
from flows.verification.evidence import EvidenceRef
from flows.verification.tasks.evidence import keep_evidence, recall_reference
from flows.verification.verdict import judge
from tests.support.examples import candidate, cluster_state, digest, environment, model, node

STAGING = environment()
PRODUCTION = environment(name="production", namespace="llm-production", after="staging")
SUITE = CheckSuite(name="smoke", checks=(UnknownModelCheck(name="a", kind="unknown-model"),))
OLD, NEW = candidate(commit="a" * 40), candidate(commit="b" * 40)
COMMIT = "c" * 40

#: More events than any scan of the newest ones ever looked through.
MUCH = 1500


@dataclass(frozen=True, kw_only=True)
class Record:
    """A registry, told what flows tell it."""

    registry: Registry
    client: RegistryClient
    sql: psycopg.Connection

    def measured(self, made: Candidate, where: Environment, run: str, hours: int = 0) -> EvidenceRef:
        """The run measured the candidate; each measurement is another one."""
        return keep_evidence(self.registry, made, where, SUITE, Reference(fingerprint=None), judge([]), {"verify": float(hours)}, run)

    def begun(self, made: Candidate, where: Environment, run: str) -> None:
        self.client.candidates.register(made.fingerprint, made.document(), made.model, made.commit)
        place = {"model": made.model, "environment": where.name, "fingerprint": made.fingerprint, "run_id": run}
        self.client.lifecycle.begin(**place, hub_revision=made.commit, namespace=where.namespace, endpoint="tiny:8000")

    def released(self, made: Candidate, where: Environment, run: str, **delivered: object) -> str:
        """The run made the candidate ready; the hash of its evidence."""
        self.begun(made, where, run)
        evidence = self.measured(made, where, run)
        place = {"model": made.model, "environment": where.name, "fingerprint": made.fingerprint, "run_id": run}
        self.client.lifecycle.mark_ready(**place, evidence_sha256=evidence.sha256, **(delivered or {"helm_revision": 1}))
        return evidence.sha256

    def failed(self, made: Candidate, where: Environment, run: str) -> None:
        place = {"model": made.model, "environment": where.name, "fingerprint": made.fingerprint, "run_id": run}
        self.client.lifecycle.mark_failed(**place, reason="VerificationFailed: too slow", cluster_changed=True)

    def noted(self, kind: EventKind, made: Candidate, where: Environment, run: str, **detail: object) -> Event:
        place = {"model": made.model, "environment": where.name, "fingerprint": made.fingerprint, "run_id": run}
        return self.client.events.add(kind, **place, detail=detail)

    def revalidated(self, made: Candidate, where: Environment, night: int) -> str:
        sha256 = self.measured(made, where, f"night-{night}", night).sha256
        self.noted(EventKind.REVALIDATED, made, where, f"night-{night}", evidence_sha256=sha256)
        return sha256

    def much_happens(self, where: Environment, run: str = "others", kind: EventKind = EventKind.TIMED) -> None:
        """Of the model, in the environment: what is no answer to anything that is asked here."""
        self.sql.execute(
            "INSERT INTO slipway_events (occurred_at, kind, model_name, environment, candidate_fingerprint, run_id)"
            " SELECT now(), %s, %s, %s, %s, %s FROM generate_series(1, %s)",
            (kind, NEW.model, where.name, "0" * 64, run, MUCH),
        )

    def approved(self, made: Candidate, where: Environment, run: str, evidence: str) -> None:
        gate = Gate(run_id=run, name="gate-1", model=made.model, environment=where.name, fingerprint=made.fingerprint)
        self.client.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, {"evidence_sha256": evidence})
        for number, who in enumerate(("bob", "ada"), 1):
            place = {"model": made.model, "environment": where.name, "fingerprint": made.fingerprint, "run_id": run}
            self.client.events.add(EventKind.APPROVED, **place, actor=who, detail={"gate": "gate-1", "round": number, "emergency": False})
        self.client.approvals.mark(gate, EventKind.APPROVAL_GRANTED, {"approvers": ["ada", "bob"], "emergency": False})

    # What flows ask.

    def shown_to_approvers(self, run: str = "release") -> object:
        """The verdict that people are shown before the candidate goes to production."""
        shown = self.client.evidence.get(gather_evidence(self.registry, NEW, PRODUCTION, run).sha256)
        assert shown is not None
        return shown["verdict_sha256"]

    def written_to_git(self, run: str = "release") -> str | None:
        plan = plan_release(assess(model(), NEW, PRODUCTION, cluster_state(node()), digest("chart")))
        return provenance_of(self.client, Commit(candidate=NEW, environment=PRODUCTION, plan=plan, run_id=run)).evidence_sha256

    def approvers(self, run: str = "release") -> list[str]:
        plan = plan_release(assess(model(), NEW, PRODUCTION, cluster_state(node()), digest("chart")))
        change = Commit(candidate=NEW, environment=PRODUCTION, plan=plan, run_id=run)
        return [approval.approver for approval in provenance_of(self.client, change).approvals]

    def last_passed(self) -> str | None:
        """The evidence of the verification by whose time the gate before production judges."""
        at = last_verified(self.registry, NEW, "staging")
        found = [
            event for event in self.client.events.latest(limit=10_000) if event.occurred_at == at and event.detail.get("evidence_sha256")
        ]
        return str(found[0].detail["evidence_sha256"]) if found else None


@pytest.fixture
def record(client: RegistryClient, dsn: str, sql: psycopg.Connection) -> Record:
    return Record(registry=Registry(dsn=SecretStr(dsn)), client=client, sql=sql)


def last_verdicts(record: Record) -> set[object]:
    """Everybody's answer to: with which evidence did the candidate last pass in the environment before?"""
    return {record.shown_to_approvers(), record.written_to_git(), record.last_passed()}


def test_everybody_takes_the_same_verdict_for_the_last(record: Record) -> None:
    assert last_verdicts(record) == {None}
    passed = record.released(NEW, STAGING, "r1")
    assert last_verdicts(record) == {passed}
    passed_again = record.revalidated(NEW, STAGING, 1)
    assert last_verdicts(record) == {passed_again}

    record.client.lifecycle.mark_degraded(
        model=NEW.model, environment="staging", fingerprint=NEW.fingerprint, reason="slow", run_id="night-2"
    )
    found = record.measured(NEW, STAGING, "night-3", 3).sha256
    place = {"model": NEW.model, "environment": "staging", "fingerprint": NEW.fingerprint, "run_id": "night-3"}
    record.client.lifecycle.mark_recovered(**place, evidence_sha256=found)
    assert last_verdicts(record) == {found}


def test_health_that_is_good_again_is_no_verification(record: Record) -> None:
    passed = record.released(NEW, STAGING, "r1")
    place = {"model": NEW.model, "environment": "staging", "fingerprint": NEW.fingerprint, "actor": "monitor"}
    record.client.lifecycle.mark_degraded(**place, reason="three of five checks were bad")
    record.client.lifecycle.mark_recovered(**place, degraded_by="monitor")

    assert last_verdicts(record) == {passed}


def test_another_candidates_verdict_is_none(record: Record) -> None:
    passed = record.released(NEW, STAGING, "r1")
    record.released(OLD, STAGING, "r2")
    record.released(replace(NEW, model="nano"), STAGING, "r3")
    record.released(NEW, PRODUCTION, "r4")

    assert last_verdicts(record) == {passed}


def test_what_people_were_asked_about_stays_what_they_are_asked_about(record: Record) -> None:
    """A night passes while a request waits: its gate is still the same one."""
    record.released(NEW, STAGING, "r1")
    asked = gather_evidence(record.registry, NEW, PRODUCTION, "release")
    record.approved(NEW, PRODUCTION, "release", asked.sha256)

    newer = record.revalidated(NEW, STAGING, 1)

    assert gather_evidence(record.registry, NEW, PRODUCTION, "release") == asked
    assert record.written_to_git() == asked.sha256
    assert record.shown_to_approvers("another") == newer


def test_a_verdict_is_not_forgotten(record: Record) -> None:
    passed = record.released(NEW, STAGING, "r1")
    record.much_happens(STAGING)

    assert record.last_passed() == passed
    assert record.written_to_git() == passed
    assert record.shown_to_approvers() == passed


def test_who_approved_is_not_forgotten(record: Record) -> None:
    shown = record.client.evidence.save("approval", {"verdict_sha256": None})
    record.approved(NEW, PRODUCTION, "release", shown)
    record.much_happens(PRODUCTION, "release")

    assert record.approvers() == ["ada", "bob"]
    assert record.written_to_git() == shown


def test_those_who_approved_another_gate_did_not_let_this_one_pass(record: Record) -> None:
    record.approved(NEW, PRODUCTION, "release", "e" * 64)
    gate = Gate(run_id="release", name="gate-2", model=NEW.model, environment="production", fingerprint=NEW.fingerprint)
    place = {"model": NEW.model, "environment": "production", "fingerprint": NEW.fingerprint, "run_id": "release"}
    for minute in (1, 2):
        record.client.events.add(
            EventKind.APPROVED, **place, actor="eve", detail={"gate": "gate-2", "round": minute, "emergency": minute == 2}
        )
    record.client.approvals.mark(gate, EventKind.APPROVAL_GRANTED, {"approvers": ["eve"], "emergency": True})

    assert record.approvers() == ["eve"]


def test_a_verified_commit_is_not_forgotten(record: Record) -> None:
    record.released(NEW, PRODUCTION, "r1", git_commit=COMMIT)
    record.released(OLD, PRODUCTION, "r2", git_commit="d" * 40)
    record.much_happens(PRODUCTION)

    assert verified_commit(record.client, NEW, PRODUCTION) == COMMIT


def test_a_reference_is_not_forgotten(record: Record) -> None:
    record.released(OLD, STAGING, "r1")
    record.released(NEW, STAGING, "r2")
    record.much_happens(STAGING)

    assert recall_reference(record.registry, NEW, STAGING).fingerprint == NEW.fingerprint


def test_a_candidate_to_go_back_to_is_not_forgotten(record: Record) -> None:
    record.released(OLD, PRODUCTION, "r1")
    record.released(NEW, PRODUCTION, "r2")
    record.much_happens(PRODUCTION)

    assert rollback_target(record.registry, OLD.model, PRODUCTION, OLD.short, "back").fingerprint == OLD.fingerprint


def test_a_failure_is_not_forgotten_and_neither_is_what_settled_it(record: Record) -> None:
    record.released(OLD, PRODUCTION, "r1")
    record.begun(NEW, PRODUCTION, "r2")
    record.failed(NEW, PRODUCTION, "r2")
    record.much_happens(PRODUCTION)
    owed = unsettled_failure(record.registry, NEW, PRODUCTION, "r2")
    assert owed is not None
    assert (owed.reason, owed.replaces) == ("VerificationFailed: too slow", OLD.fingerprint)
    assert settled_failure(record.registry, NEW, PRODUCTION, "r2") is None

    record.noted(EventKind.ROLLBACK_DECLINED, NEW, PRODUCTION, "r2")
    record.much_happens(PRODUCTION)
    assert unsettled_failure(record.registry, NEW, PRODUCTION, "r2") is None
    done = settled_failure(record.registry, NEW, PRODUCTION, "r2")
    assert done is not None
    assert done.reason == "VerificationFailed: too slow"


def test_a_failure_comes_back_as_the_error_that_it_was(record: Record) -> None:
    lock = record.client.locks.take(NEW.model, "production", "r1")
    record.client.candidates.register(NEW.fingerprint, NEW.document(), NEW.model, NEW.commit)
    place = {"model": NEW.model, "environment": "production", "fingerprint": NEW.fingerprint, "run_id": "r1", "fence": lock.fence}
    record.client.lifecycle.begin(**place, hub_revision=NEW.commit, namespace=PRODUCTION.namespace, endpoint="tiny:8000")

    nothing = Blocks(
        cluster=Cluster(), helm=Helm(chart=ROOT / "charts" / "vllm-deployment"), endpoint=Endpoint()
    )  # a record is written without them
    context = Context(run_id="r1", registry=record.registry, hub_endpoint="", blocks=nothing, environment=PRODUCTION, suite=SUITE)
    plan = plan_release(assess(model(), NEW, PRODUCTION, cluster_state(node()), digest("chart")))
    record_failed(context.move(NEW, plan, lock), HelmRejected("values: no"), None, None, deployed=True, endpoint_taken=True)

    failure = unsettled_failure(record.registry, NEW, PRODUCTION, "r1")
    assert failure == Failure(reason="HelmRejected: values: no", error="HelmRejected", replaces=None)
    assert (type(recalled(failure)), recalled(failure).message) == (HelmRejected, "values: no")


def test_what_a_run_has_done_is_not_forgotten_however_much_it_does(record: Record) -> None:
    sha256 = record.released(NEW, PRODUCTION, "release")
    record.much_happens(PRODUCTION, "release")

    done = finished(record.registry, NEW, PRODUCTION, "release")
    assert done is not None
    assert (done.ref.sha256, done.ref.page_sha256 != "") == (sha256, True)
    assert 0 <= record_rolled_back(record.registry, NEW, PRODUCTION, "ada", "too slow", False, "release") < 60


def test_the_evidence_of_a_run_and_its_page_are_found_however_many_it_kept(record: Record) -> None:
    run = str(uuid.uuid4())
    sha256 = record.measured(NEW, STAGING, run).sha256
    record.much_happens(STAGING, run)

    found = find(record.client, run, None)

    assert found.sha256 == sha256
    assert NEW.model in page(record.client, found)


#: 20,000 events of 40 models, a release every five.
_MANY = """
INSERT INTO slipway_events
    (occurred_at, kind, model_name, environment, candidate_fingerprint, run_id, detail, chain_position, previous_hash, hash)
SELECT
    now(), (ARRAY['deploying', 'verified', 'ready', 'superseded', 'timed'])[n % 5 + 1], 'model-' || m, 'production',
    md5(m || '.' || n / 50), 'run-' || m || '.' || n / 5, '{"evidence_sha256": "e"}', row_number() OVER (), '', ''
FROM generate_series(0, 499) AS n, generate_series(1, 40) AS m
"""

QUESTIONS = (
    "last_verdict",
    "last_ready",
    "verified_candidates",
    "who_approved",
    "unsettled_failure",
    "settled_failure",
    "own_events",
    "run_events",
    "naming_event",
)


def test_no_question_reads_the_whole_record(sql: psycopg.Connection) -> None:
    sql.execute("SET session_replication_role = replica")  # without the chain, which takes its time
    sql.execute(_MANY)
    sql.execute("ANALYZE slipway_events")
    who = {
        "organisation": None,
        "model": "model-7",
        "environment": "production",
        "fingerprint": "f",
        "run_id": "run-7.1",
        "run_ids": ["run-7.1", "run-8.1"],
        "sha256": "e",
        "kinds": ["ready"],
    }

    for question in QUESTIONS:
        plan = sql.execute(b"EXPLAIN " + statement(question), {**GROUPS, **who}).fetchall()
        assert "Seq Scan" not in str(plan), question


def test_no_flow_answers_a_question_from_the_newest_events() -> None:
    calls = {
        path.relative_to(ROOT)
        for path in (ROOT / "flows").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "latest"
    }

    assert calls == set()
