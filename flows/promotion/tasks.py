"""Writes what happened into the registry, which the router reads. Every write is conditional and may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from prefect import task

from blocks.errors import PipelineError, RegistryRejected
from blocks.registry import Entry, Event, Lock, Registry, RegistryClient
from flows.delivery.delivered import Delivered
from flows.placement.assess import ReleasePlan
from flows.recovery.decide import Failure, settled, unsettled
from flows.recovery.target import choose_target
from flows.rollout.diagnosis import Diagnosis
from flows.runtime.tasks import OBSERVES
from flows.spec import Candidate, Environment
from flows.verification.evidence import Evidence, Kept, Proof
from flows.verification.verdict import Verdict

_SERVING: tuple[Literal["ready"], Literal["degraded"]] = ("ready", "degraded")


@task(task_run_name="record {environment.name} deploying", **OBSERVES)
def record_deploying(
    registry: Registry, candidate: Candidate, environment: Environment, plan: ReleasePlan, run_id: str, lock: Lock
) -> None:
    """Make the candidate known and its entry `deploying`."""
    with registry.client() as client:
        client.register(candidate.fingerprint, candidate.document(), candidate.model, candidate.commit)
        client.begin(
            model=candidate.model,
            hub_revision=candidate.commit,
            environment=environment.name,
            namespace=environment.namespace,
            endpoint=plan.endpoint,
            fingerprint=candidate.fingerprint,
            run_id=run_id,
            fence=lock.fence,
        )


@task(task_run_name="record {environment.name} ready", **OBSERVES)
def record_ready(
    registry: Registry,
    candidate: Candidate,
    environment: Environment,
    delivered: Delivered,
    evidence: Kept,
    run_id: str,
    lock: Lock,
) -> None:
    """Make the candidate's entry `ready` by its evidence; the entry that it replaces is disabled with it."""
    with registry.client() as client:
        client.mark_ready(
            model=candidate.model,
            environment=environment.name,
            fingerprint=candidate.fingerprint,
            helm_revision=delivered.helm_revision,
            git_commit=delivered.git_commit,
            evidence_sha256=evidence.sha256,
            run_id=run_id,
            fence=lock.fence,
        )


@task(task_run_name="record {environment.name} failed", **OBSERVES)
def record_failed(
    registry: Registry,
    candidate: Candidate,
    environment: Environment,
    reason: str,
    diagnosis: Diagnosis | None,
    evidence: Kept | None,
    deployed: bool,
    endpoint_taken: bool,
    run_id: str,
    lock: Lock,
) -> None:
    """Make the candidate's entry `failed`, with the evidence of its verification or the diagnosis of its rollout.

    Args:
        registry: Where.
        candidate: What failed.
        environment: Where it failed.
        reason: Why.
        diagnosis: Why its rollout did not go on; none if it did.
        evidence: Its verification; none if it did not come so far.
        deployed: Whether the cluster was told to run it.
        endpoint_taken: Whether what served before may no longer be what the endpoint answers with; it is `degraded` then.
        run_id: The flow run.
        lock: Its lock.
    """
    with registry.client() as client:
        sha256 = evidence.sha256 if evidence else None
        if diagnosis is not None:
            sha256 = client.save_evidence("diagnosis", {"diagnosis": diagnosis.document(), "run_id": run_id})
        client.mark_failed(
            model=candidate.model,
            environment=environment.name,
            fingerprint=candidate.fingerprint,
            reason=reason,
            cluster_changed=endpoint_taken,
            deployed=deployed,
            evidence_sha256=sha256,
            run_id=run_id,
            fence=lock.fence,
        )


@task(task_run_name="look up {environment}", **OBSERVES)
def current_entry(registry: Registry, model: str, environment: str) -> Entry | None:
    """The entry that serves the model in the environment now; none if nothing does."""
    with registry.client() as client:
        return client.current(model, environment)


@task(task_run_name="look up last verdict in {environment}", **OBSERVES)
def last_verified(registry: Registry, candidate: Candidate, environment: str) -> datetime | None:
    """When the candidate last passed a verification in the environment: the release's own, or a nightly one; none if it never did."""
    with registry.client() as client:
        for event in client.events(model=candidate.model, environment=environment, limit=1000):
            if event.fingerprint == candidate.fingerprint and event.kind in ("ready", "recovered", "revalidated"):
                return event.occurred_at
    return None


@task(task_run_name="recall {environment.name}", **OBSERVES)
def finished(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Proof | None:
    """The verdict and evidence with which this very run already made the candidate ready in the environment; none if it has not."""
    with registry.client() as client:
        events = client.events(model=candidate.model, environment=environment.name, run_id=run_id)
        for event in events:
            if event.kind == "ready" and event.fingerprint == candidate.fingerprint:
                return _proof(client, str(event.detail["evidence_sha256"]), events)
    return None


def _proof(client: RegistryClient, sha256: str, events: list[Event]) -> Proof | None:
    document = client.evidence(sha256)
    page = next((str(event.detail["page_sha256"]) for event in events if event.detail.get("page_sha256") and _names(event, sha256)), "")
    try:
        return Proof(verdict=Evidence.from_document(document).verdict, kept=Kept(sha256=sha256, page_sha256=page)) if document else None
    except ValueError:  # written by another version of Slipway, while the run waited: the environment is verified again
        return None


def _names(event: Event, sha256: str) -> bool:
    return event.detail.get("evidence_sha256") == sha256


@task(task_run_name="recall what this run began with", **OBSERVES)
def begun_with(registry: Registry, model: str, run_id: str) -> Candidate | None:
    """The candidate that an earlier process of the run brought to an environment or asked people about; none if it had not come so far.

    The registry says it, and nothing that a worker keeps: a pod takes its disk along, and a branch of the hub moves on. None also if
    another version of Slipway wrote it, while the run waited, in a way that this one cannot read: then the run begins anew.
    """
    with registry.client() as client:
        begun = first_begun(client, model, run_id)
        document = client.candidate(begun.fingerprint) if begun is not None and begun.fingerprint is not None else None
    try:
        return Candidate.from_document(document) if document is not None else None
    except ValueError:
        return None


def first_begun(client: RegistryClient, model: str, run_id: str, environment: str | None = None) -> Event | None:
    """The event with which the run first took something of the model into its hands: in the environment, or in any."""
    for event in client.run_events([run_id], ("approval_requested", "deploying")):
        if event.model == model and environment in (None, event.environment):
            return event
    return None


@task(task_run_name="choose what to roll back to", **OBSERVES)
def rollback_target(registry: Registry, model: str, environment: Environment, to: str | None, run_id: str) -> Candidate:
    """The candidate to go back to: the one whose fingerprint begins with `to`, or the last verified one before the current.

    A run that is taken up again goes to where it was on its way to: by then that may be what is current.

    Raises:
        NothingToRollBackTo: There is no such candidate, or it was never verified in the environment.
    """
    with registry.client() as client:
        begun = first_begun(client, model, run_id, environment.name)
        if begun is not None and begun.fingerprint is not None:
            fingerprint = begun.fingerprint
        else:
            events = client.events(model=model, environment=environment.name, limit=1000)
            previous = client.previous(model, environment.name)
            fingerprint = choose_target(
                model,
                environment.name,
                verified={event.fingerprint for event in events if event.kind == "ready" and event.fingerprint is not None},
                previous=previous.fingerprint if previous is not None else None,
                to=to,
            )
        document = client.candidate(fingerprint)
    if document is None:
        raise RegistryRejected(f"The registry knows no candidate {fingerprint[:12]} of {environment.name}; release it again.")
    return Candidate.from_document(document)


@task(task_run_name="record rollback of {environment.name}", **OBSERVES)
def record_rolled_back(
    registry: Registry, candidate: Candidate, environment: Environment, actor: str, reason: str, automatic: bool, run_id: str
) -> float:
    """Keep who went back to what, and why, and whether that was part of a release that failed; return how long it took in seconds.

    The time is that from the run's first change to its verified candidate, by the registry's clock: the same in whichever of the run's
    processes it is recorded.
    """
    with registry.client() as client:
        seconds = seconds_of(client, candidate, environment, run_id)
        client.add_event(
            "rolled_back",
            model=candidate.model,
            environment=environment.name,
            fingerprint=candidate.fingerprint,
            run_id=run_id,
            actor=actor,
            detail={"reason": reason, "seconds": seconds, "automatic": automatic},
            key=f"{run_id}/{environment.name}/{candidate.fingerprint}/rolled_back",
        )
    return seconds


def seconds_of(client: RegistryClient, candidate: Candidate, environment: Environment, run_id: str) -> float:
    """Seconds from this run's first change with the candidate in the environment until it was verified there."""
    events = client.events(model=candidate.model, environment=environment.name, run_id=run_id)
    own = {event.kind: event.occurred_at for event in reversed(events) if event.fingerprint == candidate.fingerprint}
    return round((own["ready"] - own["deploying"]).total_seconds(), 1)


@task(task_run_name="look for an unsettled failure in {environment.name}", **OBSERVES)
def unsettled_failure(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Failure | None:
    """The failure of this run's candidate after which nobody has put the environment right; none if there is none."""
    with registry.client() as client:
        events = client.events(model=candidate.model, environment=environment.name, limit=200)
    return unsettled(events, candidate.fingerprint, run_id)


@task(task_run_name="look for a settled failure in {environment.name}", **OBSERVES)
def settled_failure(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Failure | None:
    """The failure of this run's candidate after which the run has put the environment right; none if that was not its last deed there."""
    with registry.client() as client:
        events = client.events(model=candidate.model, environment=environment.name, limit=200)
    return settled(events, candidate.fingerprint, run_id)


@task(task_run_name="note {kind} in {environment.name}", **OBSERVES)
def note(registry: Registry, candidate: Candidate, environment: Environment, kind: str, detail: Mapping[str, object], run_id: str) -> None:
    """Keep that something happened to the candidate in the environment."""
    with registry.client() as client:
        client.add_event(
            kind, model=candidate.model, environment=environment.name, fingerprint=candidate.fingerprint, run_id=run_id, detail=detail
        )


@task(task_run_name="list what is live", **OBSERVES)
def live_entries(registry: Registry) -> list[Entry]:
    """The entries that serve: `ready` and `degraded`."""
    with registry.client() as client:
        return [entry for status in _SERVING for entry in client.entries(status=status)]


@task(task_run_name="recall candidate of {model}", **OBSERVES)
def recall_candidate(registry: Registry, model: str, environment: str, fingerprint: str) -> Candidate:
    """The candidate of the model that has, or had, an entry in the environment.

    Raises:
        RegistryRejected: The registry does not know it.
    """
    with registry.client() as client:
        document = client.candidate(fingerprint)
    if document is None:
        raise RegistryRejected(f"The registry knows no candidate {fingerprint[:12]} of {model} in {environment}; release it again.")
    return Candidate.from_document(document)


@task(task_run_name="record verdict of {entry.model}", **OBSERVES)
def record_revalidated(registry: Registry, entry: Entry, verdict: Verdict, evidence: Kept, run_id: str) -> None:
    """Move the entry between `ready` and `degraded` by the verdict."""
    with registry.client() as client:
        fingerprint = entry.fingerprint or ""
        if verdict.outcome != "passed":
            client.mark_degraded(
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                reason=verdict.sentence,
                evidence_sha256=evidence.sha256,
                run_id=run_id,
                organisation=entry.organisation,
            )
        elif entry.status == "degraded":
            client.mark_recovered(
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                evidence_sha256=evidence.sha256,
                run_id=run_id,
                organisation=entry.organisation,
            )
        else:
            client.add_event(
                "revalidated",
                model=entry.model,
                environment=entry.environment,
                fingerprint=fingerprint,
                run_id=run_id,
                detail={"evidence_sha256": evidence.sha256},
                organisation=entry.organisation,
            )
        client.mark_checked([entry.key], datetime.now(UTC))


def failure_reason(exc: PipelineError) -> str:
    """What the registry keeps of an error: its kind and its sentence."""
    return f"{type(exc).__name__}: {exc.message}"
