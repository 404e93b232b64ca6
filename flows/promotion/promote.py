"""How a candidate enters an environment: the steps that a release, a rollback and a way back share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.errors import PipelineError
from blocks.registry import Entry
from flows.delivery.deliver import UNTOUCHED, Move
from flows.delivery.delivered import Delivered
from flows.naming import release_name
from flows.promotion.proof import proven
from flows.promotion.report import diagnosis_page, measurement_rows, release_page
from flows.promotion.tasks import current_entry, failure_reason, record_deploying, record_failed, record_ready
from flows.record.lock import require_lock
from flows.record.phases import Stopwatch, phases
from flows.recovery.decide import still_serves
from flows.rollout.diagnosis import diagnosis_of
from flows.rollout.tasks import ready_pods, rollout
from flows.runtime.artifacts import publish, publish_diagnosis
from flows.runtime.states import require_passed
from flows.runtime.tasks import run
from flows.spec.candidate import LABEL_LENGTH
from flows.verification.evidence import Proof
from flows.weights.tasks.prefetch import prefetch_everywhere


@dataclass(frozen=True, kw_only=True)
class Entered:
    """What is known of a candidate that serves now.

    Attributes:
        proof: Its verdict and evidence.
        phases: Seconds of each phase.
        fetched_bytes: What was brought to the nodes.
    """

    proof: Proof
    phases: dict[str, float]
    fetched_bytes: int


async def enter(move: Move, bring: Callable[[Move], Awaitable[Delivered]], watch: Stopwatch, proofs: dict[str, Proof]) -> Entered:
    """Bring the candidate into the environment, prove that it answers there, and record it; a failure is recorded, too.

    Args:
        move: What goes where.
        bring: `deliver`, or `take_back` for a candidate that ran there before.
        watch: The times of the phases so far.
        proofs: What this run has proven so far, by environment; this one is added, whatever the verdict, and all are published.

    Raises:
        PipelineError: Why it does not serve there.
    """
    at, candidate, environment, planned, run_id = move.at, move.candidate, move.environment, move.planned, move.run_id
    since, deployed, proof, artifact = datetime.now(UTC), False, None, release_name(candidate.model, "release")
    before = await run(current_entry, move.registry, candidate.model, environment.name)
    await run(record_deploying, move.registry, candidate, environment, planned, run_id, move.lock)
    try:
        with watch.phase("prefetch"):
            fetched = await prefetch_everywhere(at.cluster, move.registry, candidate, environment, planned.nodes, run_id, move.hub_endpoint)
        await run(require_lock, move.registry, move.lock)
        deployed = True
        with watch.phase("deploy"):
            delivered = await bring(move)
        with watch.phase("rollout"):
            await run(rollout, at.cluster, candidate, environment, planned.helm_release, planned.budget.rollout_seconds)
        proof = await proven(move.registry, at, candidate, environment, planned, move.suite, run_id, watch, since)
        proofs[environment.name] = proof
        await run(publish, artifact, release_page(candidate, proofs), measurement_rows(proofs))
        require_passed(proof, move.where)
    except PipelineError as exc:
        diagnosis, evidence, reason = diagnosis_of(exc), proof.kept if proof else None, failure_reason(exc)
        deployed = deployed and not exc.facts.get(UNTOUCHED, False)
        lost = deployed and not await _still_served(move, before)
        await run(record_failed, move.registry, candidate, environment, reason, diagnosis, evidence, deployed, lost, run_id, move.lock)
        if diagnosis is not None:
            await run(publish_diagnosis, f"{artifact}-diagnosis", diagnosis_page(diagnosis, move.where))
        raise
    with watch.phase("record"):
        await run(record_ready, move.registry, candidate, environment, delivered, proof.kept, run_id, move.lock)
    taken = phases(watch.seconds, proof.verdict.pods, since, proof.verdict.warmup_seconds)
    return Entered(proof=proof, phases=taken, fetched_bytes=fetched)


async def _still_served(move: Move, before: Entry | None) -> bool:
    """Whether the endpoint is still that of the candidate which held it before; no, if it cannot be told."""
    if before is None or before.fingerprint in (None, move.candidate.fingerprint):
        return False
    try:
        pods = await run(ready_pods, move.at.cluster, move.environment, move.planned.helm_release)
    except PipelineError:
        return False
    return still_serves(pods, (before.fingerprint or "")[:LABEL_LENGTH])
