"""Verification with its evidence: what a release and a rollback share."""

from __future__ import annotations

from datetime import datetime

from blocks.registry import Registry
from flows.placement.assess import ReleasePlan
from flows.record.phases import Stopwatch, phases
from flows.runtime.blocks import Site
from flows.runtime.tasks import run
from flows.spec import Candidate, CheckSuite, Environment
from flows.verification.evidence import Kept, Proof
from flows.verification.tasks.evidence import keep_evidence, recall_reference
from flows.verification.tasks.verify import verify
from flows.verification.verdict import Verdict


async def proven(
    registry: Registry,
    at: Site,
    candidate: Candidate,
    environment: Environment,
    planned: ReleasePlan,
    suite: CheckSuite,
    run_id: str,
    watch: Stopwatch,
    since: datetime,
) -> Proof:
    """Verify the candidate through its endpoint and keep the evidence, whatever the verdict.

    Args:
        registry: Where evidence is kept.
        at: The environment's blocks.
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
            verify, at.endpoint, at.cluster, candidate, environment, planned.helm_release, planned.endpoint, suite, reference
        )
    taken = phases(watch.seconds, verdict.pods, since, verdict.warmup_seconds)
    kept: Kept = await run(keep_evidence, registry, candidate, environment, suite, reference, verdict, taken, run_id)
    return Proof(verdict=verdict, kept=kept)
