"""Asks the registry what happened, and keeps that something did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from blocks.errors import RegistryRejected
from blocks.facts.kinds import BEGINNINGS, EventKind
from blocks.registry import Entry, Event, Failure, Lock, Registry, RegistryClient
from flows.errors import ReleaseUnderWay
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment

_SERVING: tuple[Literal["ready"], Literal["degraded"]] = ("ready", "degraded")


@step
def current_entry(registry: Registry, model: str, environment: str) -> Entry | None:
    """The entry that serves the model in the environment now; none if nothing does."""
    with registry.client() as client:
        return client.current(model, environment)


@step
def seal(registry: Registry) -> int:
    """Seal the chains of events that went on; how many these are."""
    with registry.client() as client:
        return client.audit.seal()


@step
def last_verified(registry: Registry, candidate: Candidate, environment: str) -> datetime | None:
    """When the candidate last passed a verification in the environment: the release's own, or a nightly one; none if it never did."""
    with registry.client() as client:
        passed = client.events.last_verdict(candidate.model, environment, candidate.fingerprint)
    return passed.occurred_at if passed is not None else None


def last_evidence(client: RegistryClient, candidate: Candidate, environment: str | None) -> str | None:
    """The evidence (its SHA-256) with which the candidate last passed in the environment; none if it never did, or there is none before."""
    passed = client.events.last_verdict(candidate.model, environment, candidate.fingerprint) if environment is not None else None
    return str(passed.detail["evidence_sha256"]) if passed is not None else None


def first_begun(client: RegistryClient, model: str, run_id: str, environment: str | None = None) -> Event | None:
    """The event with which the run first took something of the model into its hands: in the environment, or in any."""
    for event in client.runs.events([run_id], BEGINNINGS):
        if event.model == model and environment in (None, event.environment):
            return event
    return None


@step
def unsettled_failure(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Failure | None:
    """The failure of this run's candidate after which nobody has put the environment right; none if there is none."""
    with registry.client() as client:
        return client.runs.unsettled_failure(run_id, candidate.model, environment.name, candidate.fingerprint)


@step
def settled_failure(registry: Registry, candidate: Candidate, environment: Environment, run_id: str) -> Failure | None:
    """The failure of this run's candidate after which the run has put the environment right; none if that was not its last deed there."""
    with registry.client() as client:
        return client.runs.settled_failure(run_id, candidate.model, environment.name, candidate.fingerprint)


@step
def note(
    registry: Registry, candidate: Candidate, environment: Environment, kind: EventKind, detail: Mapping[str, object], run_id: str
) -> None:
    """Keep that something happened to the candidate in the environment."""
    with registry.client() as client:
        client.events.add(
            kind, model=candidate.model, environment=environment.name, fingerprint=candidate.fingerprint, run_id=run_id, detail=detail
        )


@step
def live_entries(registry: Registry) -> list[Entry]:
    """The entries that serve: `ready` and `degraded`."""
    with registry.client() as client:
        return [entry for status in _SERVING for entry in client.entries(status=status)]


@step
def recall_candidate(registry: Registry, model: str, environment: str, fingerprint: str) -> Candidate:
    """The candidate of the model that has, or had, an entry in the environment.

    Raises:
        RegistryRejected: The registry does not know it.
    """
    with registry.client() as client:
        document = client.candidates.get(fingerprint)
    if document is None:
        raise RegistryRejected(f"The registry knows no candidate {fingerprint[:12]} of {model} in {environment}; release it again.")
    return Candidate.from_document(document)


@step
def take_lock(registry: Registry, model: str, environment: str, run_id: str) -> Lock:
    """Take the lock, also from a run that gave no sign of life for a minute.

    Raises:
        ReleaseUnderWay: Another run holds it.
    """
    with registry.client() as client:
        lock = client.locks.take(model, environment, run_id)
    if lock.run_id != run_id:
        raise ReleaseUnderWay(
            f"{model} in {environment} is being changed by run {lock.run_id} (last sign of life {lock.silent_seconds:.0f} s ago): "
            "wait until it ends, or cancel it.",
            run_id=lock.run_id,
        )
    return lock


@step
def give_back(registry: Registry, model: str, environment: str, run_id: str) -> None:
    """Give the lock back that an earlier process of the run, which has nothing left to do there, was lost with."""
    with registry.client() as client:
        client.locks.give_back(model, environment, run_id)


@step
def require_lock(registry: Registry, lock: Lock) -> None:
    """Make sure that the lock is still held, before something outside of the registry is changed.

    Raises:
        ReleaseUnderWay: Another run took over, as this one gave no sign of life for too long.
    """
    with registry.client() as client:
        if not client.locks.keep(lock):
            raise ReleaseUnderWay(
                f"Run {lock.run_id} gave no sign of life for too long, and another run took over {lock.model} in {lock.environment}.",
                run_id=lock.run_id,
            )
