"""Keeps evidence in the registry, and looks up what earlier evidence says."""

from __future__ import annotations

from datetime import UTC, datetime

from blocks.facts.kinds import EventKind
from blocks.registry import Registry, RegistryClient
from flows.record.phases import BUDGET_SECONDS, counted_seconds
from flows.runtime.tasks import step
from flows.spec import Candidate, CheckSuite, Environment
from flows.verification.evidence import Evidence, EvidenceRef, evidence
from flows.verification.golden import Reference
from flows.verification.page import evidence_page
from flows.verification.verdict import Verdict


@step
def recall_reference(registry: Registry, candidate: Candidate, environment: Environment) -> Reference:
    """What the registry knows from before: the answers of the release that serves in the environment, and the engine's version that
    the candidate's own image showed, here or in the environment before."""
    with registry.client() as client:
        here = _verified(client, candidate.model, environment.name)
        elsewhere = _verified(client, candidate.model, environment.after) if environment.after else None
    same_image = [known for known in (here, elsewhere) if known is not None and known.candidate.image == candidate.image]
    return Reference(
        fingerprint=here.candidate.fingerprint if here else None,
        commit=here.candidate.commit if here else None,
        golden=here.verdict.golden if here else None,
        engine_version=next((known.verdict.engine_version for known in same_image if known.verdict.engine_version), None),
    )


def _verified(client: RegistryClient, model: str, environment: str) -> Evidence | None:
    """The evidence of the newest release that was verified there."""
    event = client.events.last_ready(model, environment)
    document = client.evidence.get(str(event.detail["evidence_sha256"])) if event is not None else None
    try:
        return Evidence.from_document(document) if document else None
    except ValueError:  # of another version of the form: what it measured cannot be compared
        return None


@step
def keep_evidence(
    registry: Registry,
    candidate: Candidate,
    environment: Environment,
    suite: CheckSuite,
    reference: Reference,
    verdict: Verdict,
    phases: dict[str, float],
    run_id: str,
) -> EvidenceRef:
    """Keep the verdict's evidence, passed or not: the document, the page made of it, and an event that names both."""
    made = evidence(
        candidate=candidate,
        environment=environment,
        suite=suite,
        reference=reference,
        verdict=verdict,
        phases=phases,
        run_id=run_id,
        measured_at=datetime.now(UTC),
    )
    with registry.client() as client:
        # Documents first, the event that names them last: killed in between, no event points at nothing.
        sha256 = client.evidence.save("verification", made.document())
        page = client.evidence.save("page", {"of": sha256, "html": str(evidence_page(made, sha256))})
        client.events.add(
            EventKind.VERIFIED,
            model=candidate.model,
            environment=environment.name,
            fingerprint=candidate.fingerprint,
            run_id=run_id,
            detail={"outcome": verdict.outcome, "sentence": verdict.message, "evidence_sha256": sha256, "page_sha256": page},
        )
    return EvidenceRef(sha256=sha256, page_sha256=page)


@step
def record_phases(
    registry: Registry, candidate: Candidate, environment: Environment, phases: dict[str, float], prefetch_bytes: int, run_id: str
) -> None:
    """Keep how long the release took, phase by phase, whether that is within the budget, and how much it brought to the nodes.

    The total is what the budget is of: without the minutes of a canary.
    """
    total = round(counted_seconds(phases), 3)
    with registry.client() as client:
        client.events.add(
            EventKind.TIMED,
            model=candidate.model,
            environment=environment.name,
            fingerprint=candidate.fingerprint,
            run_id=run_id,
            detail={
                "phases": phases,
                "total_seconds": total,
                "budget_seconds": BUDGET_SECONDS,
                "within_budget": total <= BUDGET_SECONDS,
                "prefetch_bytes": prefetch_bytes,
            },
        )
