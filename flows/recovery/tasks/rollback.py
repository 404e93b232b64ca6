"""Chooses what to go back to, and records that an environment went back."""

from __future__ import annotations

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.registry import Registry, RegistryClient
from flows.record.tasks import first_begun
from flows.recovery.target import choose_target
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment


@step
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
            previous = client.previous(model, environment.name)
            fingerprint = choose_target(
                model,
                environment.name,
                verified=client.candidates.verified(model, environment.name),
                previous=previous.fingerprint if previous is not None else None,
                to=to,
            )
        document = client.candidates.get(fingerprint)
    if document is None:
        raise RegistryRejected(f"The registry knows no candidate {fingerprint[:12]} of {environment.name}; release it again.")
    return Candidate.from_document(document)


@step
def verified_before(registry: Registry, model: str, environment: str) -> bool:
    """Whether a candidate is known to go back to there: verified once, and its last verdict good."""
    with registry.client() as client:
        return client.previous(model, environment) is not None


@step
def record_rolled_back(
    registry: Registry, candidate: Candidate, environment: Environment, actor: str, reason: str, automatic: bool, run_id: str
) -> float:
    """Keep who went back to what, and why, and whether that was part of a release that failed; return how long it took in seconds.

    The time is that from the run's first change to its verified candidate, by the registry's clock: the same in whichever of the run's
    processes it is recorded.
    """
    with registry.client() as client:
        seconds = seconds_of(client, candidate, environment, run_id)
        client.events.add(
            EventKind.ROLLED_BACK,
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
    kinds = (EventKind.DEPLOYING, EventKind.READY)
    events = client.runs.own_events(run_id, candidate.model, environment.name, candidate.fingerprint, kinds)
    own = {event.kind: event.occurred_at for event in events}
    return round((own[EventKind.READY] - own[EventKind.DEPLOYING]).total_seconds(), 1)
