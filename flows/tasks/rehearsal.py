"""What a rehearsal asks the registry, and what it records there."""

from __future__ import annotations

from prefect import task

from blocks.registry import Registry
from flows.plan.rollback import TARGET_SECONDS
from flows.spec import Candidate, Environment
from flows.tasks.policy import OBSERVES, ONCE
from flows.tasks.record import seconds_of


@task(task_run_name="list models to rehearse", **OBSERVES)
def models_to_rehearse(registry: Registry, environment: str, models: list[str]) -> list[str]:
    """The models that serve in the environment; of these the named ones, if any are named."""
    with registry.client() as client:
        serving = {entry.model for entry in client.entries(status="ready") if entry.environment == environment}
    return sorted(serving & set(models) if models else serving)


@task(task_run_name="choose what to rehearse {model} with", **ONCE)
def choose_rehearsal(registry: Registry, model: str, environment: str, run_id: str) -> list[str] | None:
    """Fingerprints of the current and the previous candidate; none where there are not both."""
    with registry.client() as client:
        current, previous = client.current(model, environment), client.previous(model, environment)
    if current is None or current.fingerprint is None or previous is None or previous.fingerprint is None:
        return None
    return [current.fingerprint, previous.fingerprint]


@task(task_run_name="record rehearsal of {current.model}", **OBSERVES)
def record_rehearsed(
    registry: Registry, current: Candidate, previous: Candidate, environment: Environment, run_id: str
) -> dict[str, float]:
    """Keep how long it took to go back and forward, in seconds, and whether both were within the target."""
    with registry.client() as client:
        taken = {
            "back": seconds_of(client, previous, environment, run_id),
            "forward": seconds_of(client, current, environment, run_id),
        }
        client.add_event(
            "rehearsed",
            model=current.model,
            environment=environment.name,
            fingerprint=current.fingerprint,
            run_id=run_id,
            detail={**taken, "to": previous.fingerprint, "target_seconds": TARGET_SECONDS, "within": max(taken.values()) <= TARGET_SECONDS},
        )
    return taken
