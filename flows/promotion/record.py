"""Writes what happened into the registry, which the router reads. Every write is conditional and may be repeated."""

from __future__ import annotations

from datetime import UTC, datetime

from blocks.errors import PipelineError
from blocks.facts.kinds import STEPS, EventKind
from blocks.registry import Entry, Event, Registry, RegistryClient
from blocks.storable import storable_document
from flows.delivery.move import DeliveredRevision, Move
from flows.record.tasks import first_begun
from flows.rollout.diagnosis import Diagnosis
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment
from flows.verification.evidence import Evidence, EvidenceRef, VerifiedEvidence
from flows.verification.verdict import Verdict


@step
def record_deploying(move: Move) -> None:
    """Make the candidate known and its entry `deploying`."""
    candidate, environment = move.candidate, move.environment
    with move.registry.client() as client:
        client.candidates.register(candidate.fingerprint, candidate.document(), candidate.model, candidate.commit)
        client.lifecycle.begin(
            model=candidate.model,
            hub_revision=candidate.commit,
            environment=environment.name,
            namespace=environment.namespace,
            endpoint=move.plan.endpoint,
            fingerprint=candidate.fingerprint,
            run_id=move.run_id,
            fence=move.lock.fence,
        )


@step
def record_ready(move: Move, delivered: DeliveredRevision, evidence: EvidenceRef) -> None:
    """Make the candidate's entry `ready` by its evidence; the entry that it replaces is disabled with it."""
    with move.registry.client() as client:
        client.lifecycle.mark_ready(
            model=move.candidate.model,
            environment=move.environment.name,
            fingerprint=move.candidate.fingerprint,
            helm_revision=delivered.helm_revision,
            git_commit=delivered.git_commit,
            evidence_sha256=evidence.sha256,
            run_id=move.run_id,
            fence=move.lock.fence,
        )


@step
def made_ready(move: Move, evidence: EvidenceRef) -> bool:
    """Whether the run's last word on the candidate there is that it is ready, by this very evidence."""
    with move.registry.client() as client:
        candidate, environment = move.candidate, move.environment
        events = client.runs.own_events(move.run_id, candidate.model, environment.name, candidate.fingerprint, STEPS)
    return bool(events) and events[-1].kind == EventKind.READY and events[-1].detail.get("evidence_sha256") == evidence.sha256


@step
def record_failed(
    move: Move, error: PipelineError, diagnosis: Diagnosis | None, evidence: EvidenceRef | None, *, deployed: bool, endpoint_taken: bool
) -> None:
    """Make the candidate's entry `failed`, with the evidence of its verification or the diagnosis of its rollout.

    Args:
        move: What failed where.
        error: Why.
        diagnosis: Why its rollout did not go on; none if it did.
        evidence: Its verification; none if it did not come so far.
        deployed: Whether the cluster was told to run it.
        endpoint_taken: Whether what served before may no longer be what the endpoint answers with; it is `degraded` then.
    """
    with move.registry.client() as client:
        sha256 = evidence.sha256 if evidence else None
        # Never both: what has a diagnosis did not come to a verdict.
        if diagnosis is not None:
            # Cleaned before it is hashed: it quotes an engine's log, which may hold anything.
            sha256 = client.evidence.save("diagnosis", storable_document({"diagnosis": diagnosis.document(), "run_id": move.run_id}))
        client.lifecycle.mark_failed(
            model=move.candidate.model,
            environment=move.environment.name,
            fingerprint=move.candidate.fingerprint,
            reason=_reason(error),
            error=type(error).__name__,
            cluster_changed=endpoint_taken,
            deployed=deployed,
            evidence_sha256=sha256,
            run_id=move.run_id,
            fence=move.lock.fence,
        )


@step
def finished(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> VerifiedEvidence | None:
    """The verdict and evidence with which this very run already made the candidate ready in the environment; none if it has not."""
    with registry.client() as client:
        kinds = (EventKind.VERIFIED, EventKind.READY)
        events = client.runs.own_events(run_id, candidate.model, environment.name, candidate.fingerprint, kinds)
        ready = [event for event in events if event.kind == EventKind.READY]
        return _proof(client, str(ready[-1].detail["evidence_sha256"]), events) if ready else None


def _proof(client: RegistryClient, sha256: str, events: list[Event]) -> VerifiedEvidence | None:
    document = client.evidence.get(sha256)
    page = next((str(event.detail["page_sha256"]) for event in events if event.detail.get("page_sha256") and _names(event, sha256)), "")
    try:
        return (
            VerifiedEvidence(verdict=Evidence.from_document(document).verdict, ref=EvidenceRef(sha256=sha256, page_sha256=page))
            if document
            else None
        )
    except ValueError:  # written by another version of Slipway, while the run waited: the environment is verified again
        return None


def _names(event: Event, sha256: str) -> bool:
    return event.detail.get("evidence_sha256") == sha256


@step
def begun_with(registry: Registry, model: str, run_id: str) -> Candidate | None:
    """The candidate that an earlier process of the run brought to an environment or asked people about; none if it had not come so far.

    The registry says it, and nothing that a worker keeps: a pod takes its disk along, and a branch of the hub moves on. None also if
    another version of Slipway wrote it, while the run waited, in a way that this one cannot read: then the run begins anew.
    """
    with registry.client() as client:
        begun = first_begun(client, model, run_id)
        document = client.candidates.get(begun.fingerprint) if begun is not None and begun.fingerprint is not None else None
    try:
        return Candidate.from_document(document) if document is not None else None
    except ValueError:
        return None


@step
def record_revalidated(registry: Registry, entry: Entry, verdict: Verdict, evidence: EvidenceRef, run_id: str) -> None:
    """Move the entry between `ready` and `degraded` by the verdict."""
    with registry.client() as client:
        fingerprint = entry.fingerprint or ""
        if verdict.outcome != "passed":
            client.lifecycle.mark_degraded(
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                reason=verdict.message,
                evidence_sha256=evidence.sha256,
                run_id=run_id,
                organisation=entry.organisation,
            )
        elif entry.status == "degraded":
            client.lifecycle.mark_recovered(
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                evidence_sha256=evidence.sha256,
                run_id=run_id,
                organisation=entry.organisation,
            )
        else:
            client.events.add(
                EventKind.REVALIDATED,
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                run_id=run_id,
                detail={"evidence_sha256": evidence.sha256},
                organisation=entry.organisation,
            )
        client.health.mark_checked([entry.key], datetime.now(UTC))


def _reason(error: PipelineError) -> str:
    """What people read of an error in the registry: its kind and its sentence."""
    return f"{type(error).__name__}: {error.message}"
