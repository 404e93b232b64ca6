"""Reads which canaries are open, and has the one of both candidates go that is not to serve."""

from __future__ import annotations

from typing import Any

from blocks.facts.canary import Canary
from blocks.registry import Lock, Registry
from flows.delivery.deliver import BackEnd
from flows.delivery.provenance import Provenance
from flows.recovery.orphans import Leaves
from flows.runtime.tasks import step


@step
def open_canaries(registry: Registry) -> list[tuple[Canary, str | None]]:
    """The canaries that have not ended, each with the fingerprint of what serves there by the record; none if nothing does."""
    with registry.client() as client:
        serving = [(each, client.current(each.model, each.environment)) for each in client.canaries.open()]
    return [(canary, entry.fingerprint if entry is not None else None) for canary, entry in serving]


@step
def put_away(registry: Registry, delivery: BackEnd, leaves: Leaves, lock: Lock, run_id: str) -> bool:
    """Have the candidate go, and the canary be over; whether it was still where it was.

    Raises:
        PipelineError: Something cannot be reached or refuses; call again.
    """
    seen = leaves.canary
    place: dict[str, Any] = {"model": seen.model, "environment": seen.environment, "run_id": run_id, "fence": lock.fence}
    with registry.client() as client:
        now = client.canaries.get(seen.model, seen.environment)
        if now is None or (now.run_id, now.canary, now.phase) != (seen.run_id, seen.canary, seen.phase):
            return False
        if now.weight + now.shadow:
            client.canaries.change(**place, weight=0, shadow=0, until=now.until, reason=leaves.reason)
        delivery.leave(seen.model, leaves.fingerprint, Provenance(run_id=run_id, reason=leaves.reason))
        client.canaries.end(**place, outcome=leaves.outcome, reason=leaves.reason)
        return True
