"""How a candidate enters an environment: the steps that a release, a rollback and a way back share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.errors import EndpointRejected, PipelineError
from blocks.registry import Entry, Registry
from flows.delivery.move import UNTOUCHED, DeliveredRevision, Move
from flows.errors import VerificationFailed, VerificationInconclusive
from flows.naming import release_name
from flows.placement.assess import ReleasePlan
from flows.promotion.page import release_page
from flows.promotion.tasks import failure_reason, record_deploying, record_failed, record_ready
from flows.record.phases import Stopwatch, phases
from flows.record.tasks import current_entry, require_lock
from flows.rollout.diagnosis import diagnosis_of, diagnosis_page
from flows.rollout.judge import still_serves
from flows.rollout.tasks import ready_pods, rollout
from flows.runtime.artifacts import publish, publish_diagnosis
from flows.runtime.blocks import Blocks
from flows.runtime.tasks import run
from flows.spec import Candidate, CheckSuite, Environment
from flows.spec.candidate import LABEL_LENGTH
from flows.verification.evidence import EvidenceRef, VerifiedEvidence
from flows.verification.measurement import Outcome
from flows.verification.summary import measurement_rows
from flows.verification.tasks.evidence import keep_evidence, recall_reference
from flows.verification.tasks.verify import verify
from flows.verification.verdict import Verdict
from flows.weights.tasks.prefetch import prefetch_everywhere


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What is known of a candidate that serves now.

    Attributes:
        proof: Its verdict and evidence.
        phases: Seconds of each phase.
        fetched_bytes: What was brought to the nodes.
    """

    proof: VerifiedEvidence
    phases: dict[str, float]
    fetched_bytes: int


async def promote(
    move: Move, bring: Callable[[Move], Awaitable[DeliveredRevision]], watch: Stopwatch, verified: dict[str, VerifiedEvidence]
) -> Promoted:
    """Bring the candidate into the environment, prove that it answers there, and record it; a failure is recorded, too.

    Args:
        move: What goes where.
        bring: `deliver`, or `roll_back` for a candidate that ran there before.
        watch: The times of the phases so far.
        verified: What this run has proven so far, by environment; this one is added, whatever the verdict, and all are published.

    Raises:
        PipelineError: Why it does not serve there.
    """
    blocks, candidate, environment, planned, run_id = move.blocks, move.candidate, move.environment, move.planned, move.run_id
    since, deployed, proof, artifact = datetime.now(UTC), False, None, release_name(candidate.model, "release")
    before = await run(current_entry, move.registry, candidate.model, environment.name)
    await run(record_deploying, move.registry, candidate, environment, planned, run_id, move.lock)
    try:
        with watch.phase("prefetch"):
            fetched = await prefetch_everywhere(
                blocks.cluster, move.registry, candidate, environment, planned.nodes, run_id, move.hub_endpoint
            )
        await run(require_lock, move.registry, move.lock)
        deployed = True
        with watch.phase("deploy"):
            delivered = await bring(move)
        with watch.phase("rollout"):
            await run(rollout, blocks.cluster, candidate, environment, planned.helm_release, planned.budget.rollout_seconds)
        proof = await _verified(move.registry, blocks, candidate, environment, planned, move.suite, run_id, watch, since)
        verified[environment.name] = proof
        await run(publish, artifact, release_page(candidate, verified), measurement_rows(verified))
        require_passed(proof, move.where)
    except PipelineError as exc:
        diagnosis, evidence, reason = diagnosis_of(exc), proof.ref if proof else None, failure_reason(exc)
        deployed = deployed and not exc.facts.get(UNTOUCHED, False)
        lost = deployed and not await _still_served(move, before)
        await run(record_failed, move.registry, candidate, environment, reason, diagnosis, evidence, deployed, lost, run_id, move.lock)
        if diagnosis is not None:
            await run(publish_diagnosis, f"{artifact}-diagnosis", diagnosis_page(diagnosis, move.where))
        raise
    with watch.phase("record"):
        await run(record_ready, move.registry, candidate, environment, delivered, proof.ref, run_id, move.lock)
    taken = phases(watch.seconds, proof.verdict.pods, since, proof.verdict.warmup_seconds)
    return Promoted(proof=proof, phases=taken, fetched_bytes=fetched)


async def _still_served(move: Move, before: Entry | None) -> bool:
    """Whether the endpoint is still that of the candidate which held it before; no, if it cannot be told."""
    if before is None or before.fingerprint in (None, move.candidate.fingerprint):
        return False
    try:
        pods = await run(ready_pods, move.blocks.cluster, move.environment, move.planned.helm_release)
    except PipelineError:
        return False
    return still_serves(pods, (before.fingerprint or "")[:LABEL_LENGTH])


_NOT_PASSED: dict[Outcome, type[PipelineError]] = {
    "failed": VerificationFailed,
    "inconclusive": VerificationInconclusive,
    "errored": EndpointRejected,
}


def require_passed(proof: VerifiedEvidence, where: str) -> None:
    """Go on only with a verdict that passed.

    Raises:
        VerificationFailed: The checks said no.
        VerificationInconclusive: They could not tell.
        EndpointRejected: Something could not be measured.
    """
    verdict = proof.verdict
    if verdict.outcome != "passed":
        message = f"{where}: verification {verdict.message} (evidence {proof.ref.sha256[:12]})."
        raise _NOT_PASSED[verdict.outcome](message, evidence_sha256=proof.ref.sha256)


async def _verified(
    registry: Registry,
    blocks: Blocks,
    candidate: Candidate,
    environment: Environment,
    planned: ReleasePlan,
    suite: CheckSuite,
    run_id: str,
    watch: Stopwatch,
    since: datetime,
) -> VerifiedEvidence:
    """Verify the candidate through its endpoint and keep the evidence, whatever the verdict.

    Args:
        registry: Where evidence is kept.
        blocks: The environment's blocks.
        candidate: What should answer.
        environment: Where.
        planned: Its names there.
        suite: What it is asked.
        run_id: The flow run.
        watch: The times of the phases so far; `verify` is added.
        since: When the run began to deploy; pods that are older took none of its time.
    """
    with watch.phase("verify"):
        reference = await run(recall_reference, registry, candidate, environment)
        verdict: Verdict = await run(
            verify, blocks.endpoint, blocks.cluster, candidate, environment, planned.helm_release, planned.endpoint, suite, reference
        )
    taken = phases(watch.seconds, verdict.pods, since, verdict.warmup_seconds)
    kept: EvidenceRef = await run(keep_evidence, registry, candidate, environment, suite, reference, verdict, taken, run_id)
    return VerifiedEvidence(verdict=verdict, ref=kept)
