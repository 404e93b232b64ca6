"""Where requests go: what a router reads of the registry, for all models at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blocks.facts.registry import Status
from flows.console.reads.fleet import Fleet
from flows.console.reads.known import MaySee


@dataclass(frozen=True, kw_only=True)
class RouteRow:
    """Where requests for a model in an environment go.

    Attributes:
        model: The name that clients send.
        environment: Where.
        organisation: Whose; None where there is only one.
        status: Of the entry that counts; only `ready` is routed.
        endpoint: Host and port that its requests go to, but for the canary's share; None where none do.
        fingerprint: The candidate there.
        canary: The candidate that answers a share of them; None without a canary.
        canary_weight: That share, in percent; None without a canary.
        why: Why it is not routed; None if it is.
        last_checked_at: When its endpoint was last looked at.
    """

    model: str
    environment: str
    organisation: str | None
    status: Status
    endpoint: str | None
    fingerprint: str | None
    canary: str | None
    canary_weight: int | None
    why: str | None
    last_checked_at: datetime | None


def routes_of(fleet: Fleet, may_see: MaySee, *, environment: str = "") -> list[RouteRow]:
    """The routes that the caller may see, by model and environment."""
    return [
        RouteRow(
            model=entry.model,
            environment=entry.environment,
            organisation=entry.organisation,
            status=entry.status,
            endpoint=entry.endpoint,
            fingerprint=entry.fingerprint,
            canary=entry.canary,
            canary_weight=entry.canary_weight,
            why=None if entry.endpoint else entry.status_reason or f"it is {entry.status}",
            last_checked_at=entry.last_checked_at,
        )
        for entry in (place for row in fleet.rows for place in row.places)
        if may_see(entry.model, entry.environment) and environment in ("", entry.environment)
    ]
