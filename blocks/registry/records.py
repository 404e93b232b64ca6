"""What the registry gives back: frozen, and free of the database's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, get_args

Status = Literal["pending", "deploying", "ready", "degraded", "failed", "disabled"]

#: All statuses of an entry, in the order of its life.
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class EntryKey:
    """What there is one entry of.

    Attributes:
        organisation: Whose entry it is; None where there is only one.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
        environment: Where it is served.
    """

    organisation: str | None = None
    model: str
    hub_revision: str
    environment: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate in an environment, with its status.

    Attributes:
        organisation: Whose entry it is; None where there is only one.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
        environment: Where it is served.
        namespace: The Kubernetes namespace there.
        endpoint: Host and port that a router sends to.
        status: Only `ready` is routed.
        status_reason: Why it is degraded, failed or disabled.
        fingerprint: The candidate that serves here or is being deployed.
        helm_revision: Number in `helm history`; None until it is verified.
        verified_at: When the candidate last passed verification here.
        last_health_check_at: When its endpoint was last looked at.
        created_at: When the entry was made; None in rows that were there before Slipway and hold no time.
        updated_at: When it last changed; health checks do not count.
    """

    organisation: str | None
    model: str
    hub_revision: str
    environment: str
    namespace: str | None
    endpoint: str | None
    status: Status
    status_reason: str | None
    fingerprint: str | None
    helm_revision: int | None
    verified_at: datetime | None
    last_health_check_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None

    @property
    def key(self) -> EntryKey:
        """What identifies the entry."""
        return EntryKey(organisation=self.organisation, model=self.model, hub_revision=self.hub_revision, environment=self.environment)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; never changed afterwards.

    Attributes:
        id: Order of recording.
        occurred_at: When it happened.
        kind: One word; the registry's own are deploying, ready, failed, degraded, recovered, displaced and superseded.
        organisation: Whose entry it concerns.
        model: Which model it concerns, if one.
        environment: Where, if somewhere.
        fingerprint: Which candidate, if one.
        run_id: The flow run that did it.
        actor: The person or service that asked for it.
        detail: Facts that differ by kind.
    """

    id: int
    occurred_at: datetime
    kind: str
    organisation: str | None
    model: str | None
    environment: str | None
    fingerprint: str | None
    run_id: str | None
    actor: str | None
    detail: Mapping[str, object]


class Verified(NamedTuple):
    """A candidate that an environment can go back to.

    Attributes:
        fingerprint: The candidate.
        helm_revision: The number in `helm history` under which it was verified.
        event: Its latest `ready` event.
    """

    fingerprint: str
    helm_revision: int
    event: Event
