"""What a rehearsal asks the registry, and what it records there."""

from __future__ import annotations

from typing import cast

from blocks.facts.kinds import EventKind
from blocks.registry import Registry
from flows.record.tasks import first_begun
from flows.recovery.target import TARGET_SECONDS
from flows.recovery.tasks.rollback import seconds_of
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment


@step
def models_to_rehearse(registry: Registry, environment: str, models: list[str], run_id: str) -> list[str]:
    """What serves in the environment (of these the named ones, if any are), as it was when the run began: that is recorded first."""
    with registry.client() as client:
        serving = {entry.model for entry in client.entries(status="ready") if entry.environment == environment}
        # By its key there is one such event of a run: called again, it gives the first list.
        begun = client.events.add(
            EventKind.REHEARSING,
            environment=environment,
            run_id=run_id,
            detail={"models": sorted(serving & set(models) if models else serving)},
            key=f"{run_id}/{environment}/rehearsing",
        )
    return [str(model) for model in cast("list[object]", begun.detail["models"])]


@step
def rehearsed(registry: Registry, model: str, environment: str, run_id: str) -> dict[str, float] | None:
    """How long both ways took, if an earlier process of the run has done them."""
    with registry.client() as client:
        for event in client.runs.events([run_id], [EventKind.REHEARSED]):
            if (event.model, event.environment) == (model, environment):
                return {way: float(str(event.detail[way])) for way in ("back", "forward")}
    return None


@step
def choose_rehearsal(registry: Registry, model: str, environment: str, run_id: str) -> list[str] | None:
    """Fingerprints of the current and the previous candidate; none where there are not both.

    Those that were it when the run began: lost on the way and taken up again, it must know where it came from.
    """
    with registry.client() as client:
        begun = first_begun(client, model, run_id, environment)
        if begun is not None and begun.fingerprint is not None and begun.detail.get("replaces"):
            return [str(begun.detail["replaces"]), begun.fingerprint]
        current, previous = client.current(model, environment), client.previous(model, environment)
    if current is None or current.fingerprint is None or previous is None or previous.fingerprint is None:
        return None
    return [current.fingerprint, previous.fingerprint]


@step
def record_rehearsed(
    registry: Registry, current: Candidate, previous: Candidate, environment: Environment, run_id: str
) -> dict[str, float]:
    """Keep how long it took to go back and forward, in seconds, and whether both were within the target."""
    with registry.client() as client:
        taken = {
            "back": seconds_of(client, previous, environment, run_id),
            "forward": seconds_of(client, current, environment, run_id),
        }
        client.events.add(
            EventKind.REHEARSED,
            model=current.model,
            environment=environment.name,
            fingerprint=current.fingerprint,
            run_id=run_id,
            detail={**taken, "to": previous.fingerprint, "target_seconds": TARGET_SECONDS, "within": max(taken.values()) <= TARGET_SECONDS},
            key=f"{run_id}/{environment.name}/{current.model}/rehearsed",
        )
    return taken
