"""Ends what a run began and never will: its Jobs, its entry, its lock; and has the environment be what it was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.cluster import Cluster
from blocks.facts.kinds import EventKind
from blocks.registry import Event, Lock, Registry, RegistryClient
from flows.delivery.deliver import BackEnd
from flows.delivery.provenance import Provenance
from flows.errors import SpecInvalid
from flows.naming import release_name
from flows.recovery.decide import Aftermath, Decision, Step, after_failure
from flows.recovery.orphans import Orphaned, what_is_left
from flows.runtime.artifacts import show_page_of
from flows.runtime.tasks import step
from flows.spec import Environment
from flows.text.markdown import md
from flows.weights.job import RUN_LABEL

#: The Prefect deployment that takes an environment back, and who asks for it.
ROLLBACK = "rollback/rollback"
ACTOR = "slipway"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a run began: a candidate in an environment.

    Attributes:
        event_id: The event with which it did.
        run_id: The run.
        model: The model.
        fingerprint: The candidate.
        replaces: What held the endpoint then; none if nothing did.
    """

    event_id: int
    run_id: str
    model: str
    fingerprint: str
    replaces: str | None

    @classmethod
    def of(cls, event: Event) -> Begun:
        """What the event `deploying` says."""
        replaces = event.detail.get("replaces")
        return cls(
            event_id=event.id,
            run_id=event.run_id or "",
            model=event.model or "",
            fingerprint=event.fingerprint or "",
            replaces=str(replaces) if replaces else None,
        )


@step
def clean_up(registry: Registry, cluster: Cluster, delivery: BackEnd, environment: Environment, begun: Begun, why: Orphaned) -> str | None:
    """Leave the environment as it was before the run, or say what is left; that sentence, or none while another run holds it.

    Idempotent: killed at any point, the next call goes on. What is to be done is decided once, recorded, and kept to; the lock is taken in
    the run's own name, so that a process of it that still lives may not write any more.

    Args:
        registry: Where it is recorded.
        cluster: Where the run's Jobs are.
        delivery: What delivers there.
        environment: Where.
        begun: What the run began.
        why: Why nobody will end it.

    Raises:
        PipelineError: Something cannot be reached or refuses; call again.
    """
    with registry.client() as client:
        lock = client.locks.take(begun.model, environment.name, begun.run_id)
        if lock.run_id != begun.run_id:
            return None
        end_canary(client, lock, delivery, begun, why)
        decision = _decide(client, delivery.carried(begun.model), environment, begun, why)
        jobs = _end_jobs(cluster, environment, begun.run_id)
        _record_failed(client, lock, begun, why, cluster_changed=decision.step != "nothing")
        if decision.step == "remove":
            # Under the lock, so that nobody releases there what would be taken away.
            delivery.remove(begun.model, begun.fingerprint, Provenance(run_id=begun.run_id, reason=why.message))
        # Before the rollback is started, as that run takes the lock for itself.
        client.locks.free(lock)
        left = what_is_left(decision, begun.fingerprint, delivery.shown(begun.model), jobs)
        if decision.step == "roll_back":
            run_id = _start_rollback(begun, environment, why, decision.to or "")
            left = f"{left} ({ROLLBACK} {run_id})"
        said = md("{} in {}: {}. {}", begun.model, environment.name, why.message, left)
        show_page_of(begun.run_id, release_name(begun.model, "left"), said)
        # Last: until this is on record, every sweep comes here again.
        _record(client, EventKind.CLEANED_UP, begun, environment, {"why": why.message, "left": left, "jobs": jobs})
    return left


def end_canary(client: RegistryClient, lock: Lock, delivery: BackEnd, begun: Begun, why: Orphaned) -> None:
    """Leave what served to serve everything, wherever the run's canary was: what it took over without a record goes back without a pod."""
    canary = client.canaries.get(begun.model, lock.environment)
    if canary is None or canary.canary != begun.fingerprint or not (canary.open or canary.run_id == begun.run_id):
        return
    place: dict[str, Any] = {"model": begun.model, "environment": lock.environment, "run_id": begun.run_id, "fence": lock.fence}
    if canary.open and canary.weight + canary.shadow:
        client.canaries.change(**place, weight=0, shadow=0, reason=why.message, actor=ACTOR)
    delivery.leave(begun.model, begun.fingerprint, Provenance(run_id=begun.run_id, reason=why.message))
    client.canaries.end(**place, outcome=why.kind.lower(), reason=why.message, actor=ACTOR)


#: How the record names what is to be done; what it says stays readable for every version.
_WAYS: dict[Step, str] = {"nothing": "none", "roll_back": "back", "ask": "ask", "remove": "remove", "keep": "leave"}
_STEPS = {way: step for step, way in _WAYS.items()}


def _decide(client: RegistryClient, carried: str | None, environment: Environment, begun: Begun, why: Orphaned) -> Decision:
    """What is to be done; decided from what is there at the first call, and found again by the others."""
    failed = client.runs.events([begun.run_id], [EventKind.FAILED])
    decision = after_failure(
        Aftermath(
            candidate=begun.fingerprint,
            replaces=begun.replaces,
            deployed=carried == begun.fingerprint,
            # It had failed there with something that was deployed, before it began this: so this was its way back.
            rolling_back=any(e.environment == environment.name and e.id < begun.event_id and e.detail.get("deployed") for e in failed),
            verified_before=client.previous(begun.model, environment.name) is not None,
        ),
        environment.failure,
    )
    detail: dict[str, object] = {"why": why.message, "way": _WAYS[decision.step], "back_to": decision.to}
    decided = _record(client, EventKind.CLEANING_UP, begun, environment, detail).detail
    return Decision(step=_STEPS[str(decided["way"])], to=str(decided["back_to"]) if decided["back_to"] else None)


def _end_jobs(cluster: Cluster, environment: Environment, run_id: str) -> int:
    with cluster.client() as client:
        running = [job for job in client.jobs.list(environment.namespace, {RUN_LABEL: run_id}) if job.outcome is None]
        for job in running:
            client.jobs.delete(environment.namespace, job.name)
    return len(running)


def _record_failed(client: RegistryClient, lock: Lock, begun: Begun, why: Orphaned, *, cluster_changed: bool) -> None:
    client.lifecycle.mark_failed(
        model=begun.model,
        environment=lock.environment,
        fingerprint=begun.fingerprint,
        reason=f"{why.kind}: {why.message}",
        # Its pods may take the endpoint at any moment until it goes back, so that what served is not routed meanwhile.
        cluster_changed=cluster_changed,
        run_id=begun.run_id,
        fence=lock.fence,
        actor=ACTOR,
    )


def _start_rollback(begun: Begun, environment: Environment, why: Orphaned, back_to: str) -> str:
    """Start the run that takes the environment back, once."""
    parameters = {
        "model": begun.model,
        "environment": environment.name,
        "reason": f"{begun.run_id}: {why.message}",
        "actor": ACTOR,
        "to": back_to,
    }
    with get_client(sync_client=True) as prefect:
        try:
            deployment = prefect.read_deployment_by_name(ROLLBACK)
        except ObjectNotFound as exc:
            raise SpecInvalid(
                f"Prefect has no deployment {ROLLBACK!r}, which takes {begun.model} in {environment.name} back: run "
                "`prefect --no-prompt deploy --all` in the checkout."
            ) from exc
        # Prefect answers a key that it knows with the run that it made then.
        key = f"clean-up/{begun.run_id}/{begun.event_id}"
        return str(prefect.create_flow_run_from_deployment(deployment.id, parameters=parameters, idempotency_key=key).id)


def _record(client: RegistryClient, kind: EventKind, begun: Begun, environment: Environment, detail: dict[str, object]) -> Event:
    return client.events.add(
        kind,
        model=begun.model,
        environment=environment.name,
        fingerprint=begun.fingerprint,
        run_id=begun.run_id,
        actor=ACTOR,
        detail={"begun": begun.event_id, **detail},
        key=f"{kind.replace('_', '-')}/{begun.run_id}/{begun.event_id}",
    )
