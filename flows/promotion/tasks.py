"""The steps of a promotion that people see in the run's graph, but for the delivery, which is `delivery`'s."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.errors import ClusterRejected, EndpointUnreachable, HelmRejected
from blocks.registry import Entry, Registry
from flows.delivery.move import DeliveredRevision, Move
from flows.delivery.released import look_at_release
from flows.naming import release_name
from flows.promotion.page import release_page
from flows.promotion.record import record_ready, record_revalidated
from flows.record.phases import Stopwatch, phases
from flows.rollout.tasks import await_rollout, serving_engine, shows_diagnosis
from flows.runtime.artifacts import show_page
from flows.runtime.blocks import Blocks
from flows.runtime.tasks import OBSERVES, patiently
from flows.spec import Candidate, CheckSuite, Environment
from flows.text.markdown import md
from flows.text.quantities import listed
from flows.verification.attempts import Attempts
from flows.verification.evidence import VerifiedEvidence
from flows.verification.measurement import Measurement, judged
from flows.weights.tasks.prefetch import prefetch_everywhere


@task(task_run_name="skip {environment}: candidate {fingerprint} is verified there", **OBSERVES)
def skip(environment: str, fingerprint: str, evidence: str) -> State[Any]:
    """Show that an earlier process of the run has done an environment.

    Args:
        environment: The environment.
        fingerprint: The beginning of the candidate's fingerprint.
        evidence: The hash of its evidence.
    """
    return Completed(name="Skipped", message=f"This run verified it before it was interrupted (evidence {evidence[:12]}).")


@task(task_run_name="prefetch {move.candidate.model} to {move.environment.name}", **OBSERVES)
def prefetch(move: Move) -> int:
    """Have the candidate's snapshot on every node of the plan, each byte hashed. The bytes that were fetched; 0 where all was there.

    Raises:
        HubUnreachable: The hub did not answer a node; retried.
        HubRejected, SnapshotCorrupt, DoesNotFit, ClusterRejected: A node cannot have it.
    """
    with shows_diagnosis(move.candidate.model, move.where):
        return prefetch_everywhere(
            move.blocks.cluster, move.registry, move.candidate, move.environment, move.plan.nodes, move.run_id, move.hub_endpoint
        )


@task(task_run_name="rollout {move.candidate.model} in {move.environment.name}", **OBSERVES)
def rollout(move: Move, attempts: Attempts) -> None:
    """Wait until every pod of the release serves the candidate, and note these pods. Reads only.

    Args:
        move: What went where.
        attempts: Keeps the pods: whatever becomes of them until the verdict is part of it.

    Raises:
        RolloutStalled: It does not go on; the message says why, and the facts carry the diagnosis, which is shown.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with shows_diagnosis(move.candidate.model, move.where):
        pods = await_rollout(
            move.blocks.cluster, move.candidate, move.environment, move.plan.engine, move.plan.budget.rollout_seconds, move.plan.service
        )
    attempts.begin(pods)


@task(task_run_name="verify {move.candidate.model} in {move.environment.name}", **OBSERVES)
def verify(move: Move, watch: Stopwatch, since: datetime, verified: Mapping[str, VerifiedEvidence], attempts: Attempts) -> VerifiedEvidence:
    """Measure the candidate through its endpoint, judge it, and keep and show the evidence, whatever the verdict.

    Args:
        move: What went where.
        watch: The times of the phases so far; `verify` is added.
        since: When the run began to deploy; pods that are older took none of its time.
        verified: What the run has proven in the environments before, for the page.
        attempts: The pods since the rollout, and the attempts of this task before this one.

    Raises:
        EndpointUnreachable, ClusterUnreachable: Nothing answers; retried.
    """
    # Nothing of it is needed before the cluster was changed: a way back is an emergency.
    from flows.verification.tasks.evidence import keep_evidence, recall_reference
    from flows.verification.tasks.verify import measure

    candidate, environment, plan = move.candidate, move.environment, move.plan
    with watch.phase("verify"):
        reference = recall_reference(move.registry, candidate, environment)
        verdict = measure(
            move.blocks.endpoint,
            move.blocks.cluster,
            candidate,
            environment,
            plan.engine,
            plan.answers_at,
            move.suite,
            reference,
            attempts,
            [as_rendered(move)] if environment.delivery == "helm" else (),
        )
    taken = phases(watch.seconds, verdict.pods, since, verdict.warmup_seconds)
    ref = keep_evidence(move.registry, candidate, environment, move.suite, reference, verdict, taken, move.run_id)
    proof = VerifiedEvidence(verdict=verdict, ref=ref)
    # Only shown: the registry has the evidence, and a candidate that was verified is not left unrecorded for want of a page.
    page = release_page(candidate, {**verified, environment.name: proof})
    show_page(release_name(candidate.model, "release"), page, md("What is released, and what was found"))
    return proof


def as_rendered(move: Move) -> Measurement:
    """Whether what runs is what Helm rendered: the delivery took back what was not, so whoever changed it did so since then."""
    environment = move.environment
    expected = "what Helm rendered, and nothing that others set beside it"
    try:
        found = look_at_release(move.blocks.helm, move.blocks.cluster, environment, move.plan.helm_release)
    except (HelmRejected, ClusterRejected) as exc:
        return Measurement(name="as-rendered", kind="identity", outcome="errored", expected=expected, seen=exc.message)
    reported = environment.drift.changes == "report" and not found.changed
    seen = f"{listed(found.lines, 5)}{' (reported)' if reported else ''}" if found.differs else "the same"
    return judged("as-rendered", "identity", reported or not found.differs, expected=expected, seen=seen)


@task(task_run_name="record {move.candidate.model} in {move.environment.name}", **OBSERVES)
def record(move: Move, delivered: DeliveredRevision, proof: VerifiedEvidence) -> None:
    """Make the candidate's entry `ready` by its evidence; what it replaces is disabled with it, and routers see both at once.

    Raises:
        ReleaseUnderWay: Another run took over.
        RegistryUnreachable: The registry did not answer; retried.
    """
    record_ready(move, delivered, proof.ref)


@task(task_run_name="revalidate {entry.model} in {entry.environment}", **OBSERVES)
def revalidate_entry(
    registry: Registry,
    blocks: Blocks,
    environment: Environment,
    entry: Entry,
    candidate: Candidate,
    address: str,
    suite: CheckSuite,
    run_id: str,
    attempts: Attempts,
) -> VerifiedEvidence:
    """Verify once more what serves, and move its entry between `ready` and `degraded` by the verdict.

    `attempts` is the flow's, so that one of this task that is retried goes on from the pods that the first one saw.

    Raises:
        ClusterUnreachable: The cluster did not answer; retried.
    """
    from flows.verification.tasks.evidence import keep_evidence, recall_reference
    from flows.verification.tasks.verify import measure
    from flows.verification.verdict import judge

    reference = recall_reference(registry, candidate, environment)
    try:
        engine = patiently(serving_engine, blocks.cluster, environment, release_name(entry.model, environment.name))
        where = (candidate, environment, engine, address)
        verdict = patiently(measure, blocks.endpoint, blocks.cluster, *where, suite, reference, attempts)
    # Even after the retries: then it is a verdict and no fault of the run, and the entry must leave `ready`.
    except EndpointUnreachable as exc:
        seen = Measurement(name="endpoint", kind="identity", outcome="failed", expected="an answer", seen=exc.message)
        verdict = judge([seen])
    ref = keep_evidence(registry, candidate, environment, suite, reference, verdict, {}, run_id)
    record_revalidated(registry, entry, verdict, ref, run_id)
    return VerifiedEvidence(verdict=verdict, ref=ref)
