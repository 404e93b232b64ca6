"""Reads which canaries are over but for what they replaced, and has that go."""

from __future__ import annotations

from datetime import datetime

from blocks.facts.canary import Canary
from blocks.registry import Entry, Lock, Registry
from flows.delivery.deliver import BackEnd
from flows.delivery.provenance import Provenance
from flows.runtime.tasks import step


@step
def over(registry: Registry, now: datetime) -> list[Canary]:
    """The open canaries that serve by the record and are kept no longer."""
    with registry.client() as client:
        return [canary for canary in client.canaries.open() if _is_over(client.current(canary.model, canary.environment), canary, now)]


def _is_over(serving: Entry | None, canary: Canary, now: datetime) -> bool:
    if serving is None or serving.fingerprint != canary.canary or canary.phase not in ("taking_over", "warm"):
        return False
    return canary.until is None or canary.until <= now


@step
def put_away(registry: Registry, delivery: BackEnd, canary: Canary, lock: Lock, run_id: str) -> bool:
    """Have what the canary replaced go, and the canary be over; whether it was still open.

    Raises:
        PipelineError: Something cannot be reached or refuses; call again.
    """
    with registry.client() as client:
        now = client.canaries.get(canary.model, canary.environment)
        if now is None or (now.run_id, now.canary, now.open) != (canary.run_id, canary.canary, True):
            return False
        delivery.leave(canary.model, canary.stable, Provenance(run_id=run_id, reason="it was kept for as long as was asked for"))
        reason = f"{canary.canary[:12]} serves, and {canary.stable[:12]} is kept no longer"
        client.canaries.end(
            model=canary.model, environment=canary.environment, run_id=run_id, fence=lock.fence, outcome="promoted", reason=reason
        )
        return True
